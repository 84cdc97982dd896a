# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document is what the service does, whatever it is sent.

Schemathesis reads ``/openapi.json`` and makes requests out of it, good ones and
bad ones, for each operation and as each kind of caller. The seed is fixed, so a
failure comes again. On PostgreSQL, which refuses more than SQLite does.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

import pytest
import schemathesis
from flask import Flask
from fuzz.journeys import Place
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, CheckFunction, GenerationMode, SerializationContext
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema

from fleet.staff.roles import Role

SEED = 20261122
GOOD, BAD = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


@schemathesis.serializer("application/pkcs10")
def pkcs10(_context: SerializationContext, value: object) -> bytes:
    """Send what was made up as it is: an EST body is no JSON."""
    return value if isinstance(value, bytes) else str(value).encode()


load_all_checks()
CONFORMS = [
    cast("CheckFunction", CHECKS.get_one(name))
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
]
REFUSES = [
    *CONFORMS,
    cast("CheckFunction", CHECKS.get_one("negative_data_rejection")),
]

# As whom, how often with good data, how often with bad.
CALLERS: dict[str, tuple[int, int]] = {
    "nobody": (2, 1),
    "a PBX": (4, 4),
    Role.SUPPORT: (4, 4),
    Role.OPERATOR: (3, 3),
    Role.AUDITOR: (1, 1),
    Role.PRODUCT_MANAGER: (1, 1),
    Role.RELEASE_MANAGER: (1, 1),
    Role.DEALER: (1, 1),
}

Operation = APIOperation[Any, Any, Any, Any]


@pytest.fixture
def described(proxied_app: Flask) -> BaseSchema:
    return schemathesis.openapi.from_wsgi("/openapi.json", proxied_app)


def _operations(schema: BaseSchema) -> Iterator[Operation]:
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result.err()
        yield result.ok()


def _headers(place: Place, caller: str) -> Mapping[str, str]:
    if caller == "nobody":
        return {}
    if caller == "a PBX":
        return place.pbx.headers
    return place.staff[Role(caller)]


def _try(
    operation: Operation,
    headers: Mapping[str, str],
    *,
    mode: GenerationMode,
    times: int,
) -> None:
    @seed(SEED)
    @settings(
        max_examples=times,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode))
    def attempt(case: Case[Any]) -> None:
        case.call_and_validate(
            headers=dict(headers), checks=CONFORMS if mode is GOOD else REFUSES
        )

    attempt()


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize("caller", CALLERS)
def test_every_answer_is_one_that_is_described(
    place: Place, described: BaseSchema, caller: str
) -> None:
    headers = _headers(place, caller)
    good, bad = CALLERS[caller]
    tried = {GOOD: 0, BAD: 0}
    for operation in _operations(described):
        for mode, times in ((GOOD, good), (BAD, bad)):
            with suppress(Unsatisfiable):  # nothing in it can be wrong
                _try(operation, headers, mode=mode, times=times)
                tried[mode] += 1
    assert tried[GOOD] > 20
    assert tried[BAD] > 10
