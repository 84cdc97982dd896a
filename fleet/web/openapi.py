# SPDX-License-Identifier: Apache-2.0
"""The description of all routes (OpenAPI 3.1), read off the routes themselves.

What is described is what is enforced: callers come from the guards, shapes from
the schemas that ``@accepts``, ``@queries`` and ``@returns`` use, summaries from
the first line of each view's docstring. So the document cannot be forgotten.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import cast

from apispec import APISpec
from flask import Flask
from werkzeug.routing import Rule

from fleet.errors import Refusal
from fleet.web.callers import Callers, Kind, callers_of
from fleet.web.contract import Contract, contract_of
from fleet.web.openapi_schemas import PROBLEM, Document, Schemas, path_schema
from fleet.web.problems import status_of

View = Callable[..., object]

# The version of the wire protocol. The document changes with the routes, not
# with each release.
PROTOCOL_VERSION = "1"

PROBLEM_TYPE = "application/problem+json"
PAGE_TYPE = "text/html"

SECURITY_SCHEMES: dict[str, Document] = {
    "device": {
        "type": "mutualTLS",
        "description": "The PBX's client certificate.",
    },
    "staff": {
        "type": "http",
        "scheme": "bearer",
        "description": "A staff token: `callhome staff token`.",
    },
}

# What a guard itself may answer: protocol, section 1.
GUARD_CODES: dict[Kind, dict[int, tuple[str, ...]]] = {
    Kind.ANYONE: {},
    Kind.DEVICE: {
        401: ("device-certificate-required",),
        403: ("device-not-recognised", "device-not-permitted", "serial-mismatch"),
    },
    Kind.STAFF: {401: ("staff-token-required",), 403: ("not-permitted",)},
    Kind.OPERATOR_NETWORK: {403: ("operator-network-only",)},
}

# The methods that change nothing, in OpenAPI's spelling or HTTP's.
READS = frozenset({"get", "head", "GET", "HEAD"})

IDEMPOTENCY_KEY: Document = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "The same key and body again gets the first answer again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def document(app: Flask, *, title: str) -> Document:
    """Return the OpenAPI document of all routes of ``app``.

    Raises ``ValueError`` where two operations would have the same id.
    """
    schemas = Schemas()
    spec = APISpec(
        title=title,
        version=PROTOCOL_VERSION,
        openapi_version="3.1.0",
        plugins=[schemas.plugin],
        servers=[{"url": "/"}],
    )
    spec.components.schema("Problem", PROBLEM)
    for name, scheme in SECURITY_SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    for tag in _tags(app):
        spec.tag(tag)
    seen: set[str] = set()
    for rule in sorted(app.url_map.iter_rules(), key=lambda each: each.rule):
        operations = _operations(app, rule)
        for operation in operations.values():
            name = cast("str", operation["operationId"])
            if name in seen:
                raise ValueError(f"two operations are called {name}")
            seen.add(name)
        path, parameters = path_schema(app, rule)
        spec.path(path=path, operations=operations, parameters=parameters)
    return schemas.finished(spec.to_dict())


def _operations(app: Flask, rule: Rule) -> dict[str, Document]:
    view = app.view_functions[rule.endpoint]
    methods = sorted((rule.methods or set()) - {"OPTIONS"})
    if "GET" in methods:
        methods.remove("HEAD")  # follows from GET
    several = len(methods) > 1 or _has_sisters(app, rule)
    return {
        method.lower(): _operation(
            rule,
            view,
            method,
            operation_id=_operation_id(rule, method, several=several),
        )
        for method in methods
    }


def _has_sisters(app: Flask, rule: Rule) -> bool:
    return sum(1 for _ in app.url_map.iter_rules(rule.endpoint)) > 1


def _operation_id(rule: Rule, method: str, *, several: bool) -> str:
    """Name an operation after its view, and its rule where that is not enough."""
    name = re.sub(r"\W", "_", rule.endpoint)
    if not several:
        return name
    return re.sub(r"\W+", "_", f"{name}_{method.lower()}_{rule.rule}").strip("_")


def _operation(rule: Rule, view: View, method: str, *, operation_id: str) -> Document:
    contract = contract_of(view)
    callers = callers_of(view) or Callers(Kind.ANYONE)
    summary, description = _said(view)
    operation: Document = {
        "operationId": operation_id,
        "summary": summary,
        "tags": [rule.endpoint.partition(".")[0]],
        "x-callers": str(callers.kind),
        "parameters": _parameters(contract, callers, method),
        "responses": _responses(rule, contract, callers),
    }
    if description:
        operation["description"] = description
    if callers.roles:
        readers = callers.readers if method in READS else ()
        operation["x-roles"] = sorted({*callers.roles, *readers})
    if callers.kind in {Kind.DEVICE, Kind.STAFF}:
        operation["security"] = [{str(callers.kind): []}]
    if (body := _body(contract)) is not None:
        operation["requestBody"] = body
    return operation


def _parameters(contract: Contract, callers: Callers, method: str) -> list[object]:
    parameters: list[object] = []
    if contract.query is not None:
        parameters.append({"in": "query", "schema": contract.query})
    if callers.kind is Kind.STAFF and method == "POST":
        parameters.append(IDEMPOTENCY_KEY)
    return parameters


def _body(contract: Contract) -> Document | None:
    """Return the request body; bytes where the media type is not JSON."""
    if contract.body is not None:
        required = any(each.required for each in contract.body.load_fields.values())
        content: Document = {contract.body_media_type: {"schema": contract.body}}
        return {"required": required, "content": content}
    if contract.body_media_type == "application/json":
        return None
    return {"required": True, "content": {contract.body_media_type: {}}}


def _responses(rule: Rule, contract: Contract, callers: Callers) -> Document:
    responses: Document = {}
    for success in (contract.status, *contract.also):
        answer: Document = {"description": success.phrase}
        if content := _content(contract):
            answer["content"] = content
        responses[str(int(success))] = answer
    for status, codes in sorted(_codes(rule, contract, callers).items()):
        responses[str(status)] = _problem(HTTPStatus(status).phrase, codes)
    if contract.media_type == PAGE_TYPE and rule.arguments:
        # Somebody who follows an old link gets a page, too.
        missing = cast("dict[str, Document]", responses["404"])
        missing["content"][PAGE_TYPE] = {}
    responses["default"] = _problem("Anything else that went wrong", ())
    if contract.refuses_by_page:
        for each in cast("dict[str, Document]", responses).values():
            if PROBLEM_TYPE in cast("Document", each.get("content", {})):
                each["content"] = {PAGE_TYPE: {}}
    return responses


def _content(contract: Contract) -> Document:
    """Return the media types of a good answer; a JSON answer without one is empty."""
    if contract.answer is not None:
        others: Document = {each: {} for each in contract.other_media_types}
        return {contract.media_type: {"schema": contract.answer}} | others
    types = (contract.media_type, *contract.other_media_types)
    return {} if types == ("application/json",) else {each: {} for each in types}


def _codes(rule: Rule, contract: Contract, callers: Callers) -> dict[int, list[str]]:
    """Return the codes that a route is known to refuse with, by status."""
    codes: dict[int, list[str]] = {
        status: list(names) for status, names in GUARD_CODES[callers.kind].items()
    }
    if contract.body is not None or contract.query is not None:
        codes.setdefault(400, []).append("invalid-request")
    if contract.body is not None:
        codes.setdefault(413, []).append("request-too-large")
        codes.setdefault(415, []).append("unsupported-media-type")
    if rule.arguments:
        codes.setdefault(404, []).append("not-found")
    for refusal in contract.refusals:
        _add(codes, refusal)
    return codes


def _add(codes: dict[int, list[str]], refusal: type[Refusal]) -> None:
    names = codes.setdefault(int(status_of(refusal)), [])
    if refusal.code not in names:
        names.append(refusal.code)


def _problem(about: str, codes: Iterable[str]) -> Document:
    """Return a problem answer; its codes are the ends of ``type``."""
    named = " or ".join(f"`{code}`" for code in codes)
    return {
        "description": f"{about}: {named}" if named else about,
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _said(view: View) -> tuple[str, str]:
    """Return the first line of a view's docstring, and the rest, as Markdown."""
    text = inspect.cleandoc(view.__doc__ or "").replace("``", "`")
    summary, _, description = text.partition("\n")
    return summary.strip().replace("`", ""), description.strip()


def _tags(app: Flask) -> Iterable[dict[str, str]]:
    """Name each blueprint, and say what its package says of itself."""
    for name, blueprint in sorted(app.blueprints.items()):
        package = blueprint.import_name.rpartition(".")[0]
        about = inspect.getdoc(sys.modules.get(package)) or ""
        yield {"name": name, "description": about.partition("\n")[0]}
