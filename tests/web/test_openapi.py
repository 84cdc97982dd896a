# SPDX-License-Identifier: Apache-2.0
"""The description of all routes is valid, complete, and says what is enforced."""

from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from flask import Blueprint, Flask
from marshmallow import Schema, fields
from schemathesis.specs.openapi.definitions import OPENAPI_31

from fleet.web.callers import open_to_all
from fleet.web.contract import accepts
from fleet.web.openapi import document
from fleet.web.openapi_schemas import ecma

Document = dict[str, Any]


@pytest.fixture
def described(small_app: Flask) -> Document:
    """What ``GET /openapi.json`` answers."""
    answer = small_app.test_client().get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json is not None
    return answer.json


def test_the_document_is_valid_openapi(described: Document) -> None:
    validator = jsonschema_rs.validator_for(OPENAPI_31)

    assert [error.message for error in validator.iter_errors(described)] == []
    assert described["openapi"] == "3.1.0"


def test_the_whole_service_is_described(app: Flask) -> None:
    described = app.test_client().get("/openapi.json").json
    assert described is not None
    validator = jsonschema_rs.validator_for(OPENAPI_31)

    assert [error.message for error in validator.iter_errors(described)] == []
    for path in described["paths"].values():
        for method, operation in path.items():
            assert method == "parameters" or operation["summary"]


def test_every_route_is_in_it_but_those_that_follow_from_others(
    small_app: Flask, described: Document
) -> None:
    paths = {rule.rule for rule in small_app.url_map.iter_rules()}

    assert len(described["paths"]) == len(paths)
    for path in described["paths"].values():
        assert "options" not in path
        assert not ("get" in path and "head" in path)


def test_operation_ids_are_unique(described: Document) -> None:
    names = [
        operation["operationId"]
        for path in described["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]

    assert len(names) == len(set(names))
    assert "tea_order" in names


def test_a_device_route_says_what_it_enforces(described: Document) -> None:
    operation = described["paths"]["/tea/orders"]["post"]

    assert operation["summary"] == "Order tea."
    assert operation["description"] == "It is brewed for `cups`."
    assert operation["tags"] == ["tea"]
    assert operation["x-callers"] == "device"
    assert operation["security"] == [{"device": []}]
    assert operation["requestBody"]["required"]
    assert set(operation["responses"]) == {
        *("200", "201", "400", "401", "403", "409", "413", "415", "default")
    }
    assert "tea-is-sold" in operation["responses"]["409"]["description"]
    assert "serial-mismatch" in operation["responses"]["403"]["description"]
    problem = operation["responses"]["409"]["content"]
    assert list(problem) == ["application/problem+json"]


def test_a_staff_route_names_roles_and_the_idempotency_key(
    described: Document,
) -> None:
    path = described["paths"]["/tea/orders/{number}/notes"]
    operation = path["post"]

    assert operation["x-roles"] == ["support"]
    assert operation["security"] == [{"staff": []}]
    assert [each["name"] for each in operation["parameters"]] == ["Idempotency-Key"]
    assert path["parameters"][0]["schema"] == {"type": "integer", "minimum": 0}
    assert "content" not in operation["responses"]["204"]


def test_schemas_take_their_constraints_along(described: Document) -> None:
    schemas = described["components"]["schemas"]
    tea = schemas["TeaRequest"]["properties"]

    assert tea["sort"]["pattern"] == "^(?:[a-z]{3,8}$)"
    assert (tea["cups"]["minimum"], tea["cups"]["maximum"]) == (1, 9)
    assert schemas["TeaRequest"]["description"] == "A PBX orders tea."
    note = schemas["NoteRequest"]["properties"]
    assert note["text"]["maxLength"] == 80
    assert note["by"] == {"type": "string", "pattern": "^[A-Z]+$"}


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        pytest.param("TeaRequest", False, id="a PBX may be newer than we are"),
        pytest.param("NoteRequest", True, id="staff hear of a typing error"),
        pytest.param("TeaView", False, id="answers are added to"),
    ],
)
def test_unknown_fields(described: Document, schema: str, closed: bool) -> None:
    found = described["components"]["schemas"][schema]

    assert (found.get("additionalProperties") is False) is closed


def test_a_query_parameter_is_left_out_rather_than_null(described: Document) -> None:
    [parameter] = described["paths"]["/tea/"]["get"]["parameters"]

    assert parameter["schema"] == {"type": "string", "enum": ["a", "b"]}
    assert not parameter["required"]


def test_bodies_and_answers_that_are_not_json(described: Document) -> None:
    operation = described["paths"]["/tea/leaves/{name}"]["put"]

    assert list(operation["requestBody"]["content"]) == ["application/octet-stream"]
    assert list(operation["responses"]["200"]["content"]) == ["text/plain"]


def test_the_document_is_kept_by_its_reader(small_app: Flask) -> None:
    client = small_app.test_client()
    first = client.get("/openapi.json")

    again = client.get(
        "/openapi.json", headers={"If-None-Match": first.headers["ETag"]}
    )

    assert again.status_code == 304
    assert "public" in first.headers["Cache-Control"]


def _same_name(package: str) -> tuple[Blueprint, Callable[..., object]]:
    class TeaRequest(Schema):
        """Another one."""

        leaf = fields.String()

    TeaRequest.__module__ = f"{package}.schemas"
    blueprint = Blueprint(package, __name__, url_prefix=f"/{package}")

    @blueprint.post("/x")
    @open_to_all
    @accepts(TeaRequest)
    def view(*, leaf: str) -> str:
        """Do it."""
        return leaf

    return blueprint, view


def test_schemas_of_one_name_in_two_rooms_stay_apart(small_app: Flask) -> None:
    blueprint, _ = _same_name("cups")
    small_app.register_blueprint(blueprint)

    described: Document = document(small_app, title="Tea")

    schemas = described["components"]["schemas"]
    names = {name for name in schemas if "Tea" in name and "Request" in name}
    assert len(names) == 2
    assert {"TeaRequest"} < names


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        (r"[a-z]+", "^(?:[a-z]+)"),
        (r"^[a-z]+$", "^[a-z]+$"),
        (r"\A[a-z]+\Z", "^[a-z]+$"),
        (r"(?P<day>\d)\Z", r"^(?:(?<day>\d)$)"),
    ],
)
def test_a_pattern_for_other_languages(python: str, expected: str) -> None:
    assert ecma(python) == expected
