# SPDX-License-Identifier: Apache-2.0
"""Binds a view to its schemas: what comes in, what goes out.

``@accepts(Schema)`` loads the JSON body into the view's keyword-only
parameters, ``@queries(Schema)`` does the same with the query string, and both
refuse at import a view whose parameters differ from the schema's fields.
``@returns(Schema, status)`` dumps what the view returns. The same marks are what
the OpenAPI document is made of (``fleet.web.openapi``).

Schemas are instances made once: making one for each request costs more than
the rest of a request.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import ParamSpec, TypeVar, cast

from flask import Response, request
from marshmallow import EXCLUDE, Schema, ValidationError

from fleet.errors import Invalid, Refusal
from fleet.web.body import read_json_object

P = ParamSpec("P")
T = TypeVar("T")

# Made once: an encoder for each answer costs more than encoding it. A schema has
# dumped everything to what JSON knows before.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

# Where a view and its wrappers keep what they declare.
MARKS = "contract"


@dataclass
class Contract:
    """What a view declares about itself, for the OpenAPI document."""

    body: Schema | None = None
    query: Schema | None = None
    answer: Schema | None = None
    status: HTTPStatus = HTTPStatus.OK
    media_type: str = "application/json"
    other_media_types: tuple[str, ...] = ()
    body_media_type: str = "application/json"
    also: tuple[HTTPStatus, ...] = ()
    refusals: tuple[type[Refusal], ...] = ()
    refuses_by_page: bool = False


@dataclass(frozen=True)
class Answered:
    """What a view returns where the status or a header is not always the same."""

    value: object
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] | None = None


def contract_of(view: Callable[..., object]) -> Contract:
    """Return what ``view`` declares, made on first use."""
    return cast("Contract", view.__dict__.setdefault(MARKS, Contract()))


def accepts(schema_class: type[Schema]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Load the JSON body into the view's keyword-only parameters."""
    schema = schema_class()

    def bind(view: Callable[P, T]) -> Callable[P, T]:
        _agree(view, schema)
        contract_of(view).body = schema

        @wraps(view)
        def loaded(*args: P.args, **kwargs: P.kwargs) -> T:
            kwargs.update(_load(schema, read_json_object()))
            return view(*args, **kwargs)

        return loaded

    return bind


def queries(schema_class: type[Schema]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Load the query string into the view's keyword-only parameters.

    A parameter that is given twice is refused: which one was meant?
    """
    schema = schema_class()

    def bind(view: Callable[P, T]) -> Callable[P, T]:
        _agree(view, schema)
        contract_of(view).query = schema

        @wraps(view)
        def loaded(*args: P.args, **kwargs: P.kwargs) -> T:
            for name, given in request.args.lists():
                if len(given) > 1:
                    raise Invalid(fields={_safe(name): ["Given more than once."]})
            kwargs.update(_load(schema, request.args.to_dict()))
            return view(*args, **kwargs)

        return loaded

    return bind


def returns(
    schema_class: type[Schema] | None, status: HTTPStatus = HTTPStatus.OK
) -> Callable[[Callable[P, object]], Callable[P, Response]]:
    """Dump what the view returns; without a schema the answer has no body.

    A view may return an ``Answered`` to choose status and headers itself, or a
    finished ``Response``, which is passed on as it is.
    """
    schema = schema_class() if schema_class else None

    def bind(view: Callable[P, object]) -> Callable[P, Response]:
        contract = contract_of(view)
        contract.answer, contract.status = schema, status

        @wraps(view)
        def dumped(*args: P.args, **kwargs: P.kwargs) -> Response:
            value = view(*args, **kwargs)
            if isinstance(value, Response):
                return value
            if not isinstance(value, Answered):
                value = Answered(value, status)
            return _answer(schema, value)

        return dumped

    return bind


def says(media_type: str, *others: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Declare the media types of a view that returns a finished ``Response``."""

    def bind(view: Callable[P, T]) -> Callable[P, T]:
        contract_of(view).media_type = media_type
        contract_of(view).other_media_types = others
        return view

    return bind


def takes(media_type: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Declare the media type of a body that the view reads itself."""

    def bind(view: Callable[P, T]) -> Callable[P, T]:
        contract_of(view).body_media_type = media_type
        return view

    return bind


def also_answers(*statuses: HTTPStatus) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Declare further statuses of success, whose answers look the same."""

    def bind(view: Callable[P, T]) -> Callable[P, T]:
        contract_of(view).also += statuses
        return view

    return bind


def refuses(*refusals: type[Refusal]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Declare the refusals of a view that its guard and schemas do not imply."""

    def bind(view: Callable[P, T]) -> Callable[P, T]:
        contract_of(view).refusals += refusals
        return view

    return bind


def refuses_by_page(view: Callable[P, T]) -> Callable[P, T]:
    """Declare that whatever goes wrong is told on a page, not in a document."""
    contract_of(view).refuses_by_page = True
    return view


def _answer(schema: Schema | None, answered: Answered) -> Response:
    body = b"" if schema is None else _encode(schema.dump(answered.value)).encode()
    response = Response(body, answered.status, content_type="application/json")
    if schema is None:
        del response.headers["Content-Type"]
    if answered.headers:
        response.headers.update(answered.headers)
    return response


def _load(schema: Schema, data: Mapping[str, object]) -> dict[str, object]:
    try:
        return cast("dict[str, object]", schema.load(data))
    except ValidationError as fault:
        named = fault.normalized_messages()  # type: ignore[no-untyped-call] # of the library
        raise Invalid(fields={_safe(k): v for k, v in named.items()}) from None


def _safe(name: object) -> str:
    """Return a field's name as it may be repeated to its sender."""
    return str(name)[:64].encode("ascii", "replace").decode()


def _agree(view: Callable[..., object], schema: Schema) -> None:
    wanted = {
        name
        for name, parameter in inspect.signature(view).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    given = {field.attribute or name for name, field in schema.load_fields.items()}
    if not given <= wanted:
        raise TypeError(
            f"{view.__qualname__} has no parameter for {sorted(given - wanted)}"
        )


class DeviceRequest(Schema):
    """The ancestor of what a PBX sends: fields we do not know are newer firmware's."""

    class Meta:
        """Marshmallow options."""

        unknown = EXCLUDE
