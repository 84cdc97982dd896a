# SPDX-License-Identifier: Apache-2.0
"""How marshmallow's schemas and Flask's path converters look in OpenAPI."""

import copy
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import make_schema_key, resolve_schema_cls
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask
from marshmallow import Schema, fields, validate
from werkzeug.routing import Rule

Document = dict[str, object]

PROBLEM: Document = {
    "type": "object",
    "description": "RFC 9457; `type` is also the address of a page for people.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["/problems/invalid-request"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "Names the request."},
        "fields": {
            "type": "object",
            "description": "Where fields are at fault: what is wrong with each.",
        },
    },
}

_VARIABLE = re.compile(r"<(?:(?P<kind>\w+)(?:\((?P<options>[^)]*)\))?:)?(?P<name>\w+)>")

_REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')

_KINDS: dict[str, Document] = {
    "default": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
    "string": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
    "path": {"type": "string", "minLength": 1},
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number", "minimum": 0},
    "uuid": {"type": "string", "format": "uuid"},
}


class Schemas:
    """The schemas of one document, each under a name of its own."""

    def __init__(self) -> None:
        """Begin a document."""
        self._names: dict[str, object] = {}
        self._docs: dict[str, str] = {}
        self.plugin = _Plugin(schema_name_resolver=self._name)

    def finished(self, document: Document) -> Document:
        """Return ``document`` with what each schema says of itself."""
        components = cast("dict[str, dict[str, Document]]", document["components"])
        schemas = components["schemas"]
        sent = _sent(document, schemas)
        for name, schema in schemas.items():
            if about := self._docs.get(name):
                schema.setdefault("description", about)
            if name not in sent:
                # Answers are only ever added to: who reads them must not mind.
                schema.pop("additionalProperties", None)
        return document

    def _name(self, schema: type[Schema] | Schema | str) -> str:
        """Name a component after its class; a second one of that name by its room."""
        cls = cast("type[Schema]", resolve_schema_cls(schema))
        key = make_schema_key(schema if isinstance(schema, Schema) else cls())
        room = cls.__module__.partition(".")[0].capitalize()
        candidates = [cls.__name__, f"{room}{cls.__name__}"]
        candidates += [f"{room}{cls.__name__}{number}" for number in range(2, 20)]
        for name in candidates:
            if self._names.setdefault(name, key) == key:
                self._docs[name] = _summary(cls)
                return name
        raise ValueError(f"too many schemas are called {cls.__name__}")


class _Converter(OpenAPIConverter):
    """Takes over what apispec leaves out or takes too literally."""

    def field2property(self, field: fields.Field[object]) -> Document:
        """Return a field's schema, with what stands inside ``validate.And``.

        A field of our own kind says in ``openapi`` what its texts look like.
        """
        plain = copy.copy(field)
        plain.validators = list(_flattened(field.validators))
        described: Document = super().field2property(plain)
        return {**described, **getattr(field, "openapi", {})}

    def _field2parameter(
        self, field: fields.Field[object], *, name: str, location: str
    ) -> Document:
        """Return a parameter; a query string cannot spell null, only leave out."""
        parameter: Document = super()._field2parameter(
            field, name=name, location=location
        )
        schema = cast("Document", parameter.get("schema", {}))
        kind = schema.get("type")
        if isinstance(kind, list):
            schema["type"] = next(each for each in kind if each != "null")
        choices = schema.get("enum")
        if isinstance(choices, list):
            schema["enum"] = [each for each in choices if each is not None]
        if schema.get("default", schema) is None:
            del schema["default"]
        return parameter

    def field2pattern(
        self, field: fields.Field[object], **_ignored: object
    ) -> Document:
        """Return the pattern as ECMA-262, anchored where marshmallow anchors it."""
        for validator in field.validators:
            if isinstance(validator, validate.Regexp):
                return {"pattern": ecma(str(validator.regex.pattern))}
        return {}


class _Plugin(MarshmallowPlugin):
    Converter = _Converter


def ecma(pattern: str) -> str:
    r"""Return a Python pattern for ECMA-262 (JSON Schema's dialect).

    marshmallow matches from the start of a text, JSON Schema anywhere in it.
    """
    pattern = pattern.replace(r"\A", "^").replace(r"\Z", "$").replace("(?P<", "(?<")
    return pattern if pattern.startswith("^") else f"^(?:{pattern})"


def path_schema(app: Flask, rule: Rule) -> tuple[str, list[Document]]:
    """Return a rule's path in OpenAPI's spelling, and its parameters."""
    parameters: list[Document] = []

    def named(found: re.Match[str]) -> str:
        kind = found["kind"] or "default"
        parameters.append(
            {
                "in": "path",
                "name": found["name"],
                "required": True,
                "schema": _kind_schema(app, kind),
            }
        )
        return "{" + found["name"] + "}"

    return _VARIABLE.sub(named, rule.rule), parameters


def _kind_schema(app: Flask, kind: str) -> Document:
    """Return what a path variable may be; our own converters are patterns."""
    known = _KINDS.get(kind)
    if known is not None:
        return dict(known)
    return {"type": "string", "pattern": f"^{app.url_map.converters[kind].regex}$"}


def _flattened(validators: Iterable[object]) -> Iterator[Any]:
    for each in validators:
        if isinstance(each, validate.And):
            yield from _flattened(each.validators)
        else:
            yield each


def _sent(document: Document, schemas: dict[str, Document]) -> set[str]:
    """Return the names of all schemas that a request body is made of."""
    waiting = [
        name
        for path in cast("dict[str, Document]", document["paths"]).values()
        for operation in path.values()
        if isinstance(operation, dict) and "requestBody" in operation
        for name in _REFERENCE.findall(json.dumps(operation["requestBody"]))
    ]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _REFERENCE.findall(json.dumps(schemas[name]))
    return found


def _summary(cls: type[Schema]) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0].replace("``", "`")
