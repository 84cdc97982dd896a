# SPDX-License-Identifier: Apache-2.0
"""What staff and operators are told of what is stored, in their language."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from make import make_token

from fleet.staff.roles import Role
from fleet.web.languages import Language
from retention.cli import retention
from retention.policies import load

READERS = sorted(set(Role) - {Role.DEALER})
PATHS = ("/retention/v1/policies", "/retention/v1/inventory")


def as_staff(role: Role = Role.OPERATOR) -> dict[str, str]:
    dealer = "A dealer" if role is Role.DEALER else ""
    return make_token(role, dealer=dealer)


def ask(
    client: FlaskClient, path: str, *, role: Role = Role.OPERATOR, accept: str = "en"
) -> Any:
    answer = client.get(path, headers=as_staff(role) | {"Accept-Language": accept})
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("role", READERS)
def test_every_role_of_the_staff_may_read_it(
    client: FlaskClient, path: str, role: Role
) -> None:
    assert ask(client, path, role=role)["items"]


@pytest.mark.parametrize("path", PATHS)
def test_nobody_else_may(client: FlaskClient, path: str) -> None:
    dealer = as_staff(Role.DEALER)

    assert client.get(path).status_code == 401
    assert client.get(path, headers=dealer).status_code == 403


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("query", "accept", "language"),
    [
        ("", "de-CH, en;q=0.5", "de"),
        ("", "fr", "fr"),
        ("", "ja", "en"),
        ("?lang=de", "fr", "de"),
    ],
)
def test_it_is_told_in_the_language_that_is_wanted(
    client: FlaskClient, path: str, query: str, accept: str, language: str
) -> None:
    answer = client.get(path + query, headers=as_staff() | {"Accept-Language": accept})

    assert answer.json is not None
    assert answer.json["language"] == language
    assert answer.headers["Content-Language"] == language
    assert "Accept-Language" in answer.headers["Vary"]
    said = answer.json["items"][0]["title"]
    assert said == load()["access-records"].title[Language(language)]


@pytest.mark.parametrize("path", PATHS)
def test_a_language_that_we_do_not_speak_is_refused(
    client: FlaskClient, path: str
) -> None:
    answer = client.get(f"{path}?lang=it", headers=as_staff())

    assert answer.status_code == 400
    assert answer.json is not None
    assert "lang" in answer.json["fields"]


def test_a_policy_says_all_that_the_registry_does(client: FlaskClient) -> None:
    items = {each["name"]: each for each in ask(client, PATHS[0])["items"]}

    assert list(items) == list(load().categories)
    records = items["access-records"]
    assert records["rule"] == "span"
    assert records["figures"] == {"hours": 336, "days": 14}
    assert records["duration"] == "at most 14 days (336 hours) from the access"
    assert records["done_by"] == ["retention"]
    assert "access_record.address" in records["columns"]
    assert records["basis"][0] == "performance of the contract, Art. 6(1)(b) GDPR"
    assert "deleted after 14 days" in records["sources"][1]["words"]
    assert not records["exported"]
    assert items["rights-marks"]["files"] == ["retention/marks.jsonl"]
    assert items["proxy-log"]["logs"]
    assert items["softphone-connections"]["coming"]


def test_the_inventory_says_what_the_data_act_asks_for(client: FlaskClient) -> None:
    told = ask(client, PATHS[1])

    for each in told["items"]:
        for field in ("frequency", "place", "duration", "access", "erasure_why"):
            assert each[field], (each["name"], field)
        assert each["recipients"]
        if load()[each["name"]].exported:
            assert each["format"] or each["coming"]
    brackets = [each["says"] for each in told["responsible"]]
    assert brackets[0] == "[to be filled in by the operator: PBX_CONTROLLER]"
    assert len(brackets) == 4


@pytest.mark.parametrize("language", [each.value for each in Language])
def test_an_operator_types_it(runner: FlaskCliRunner, language: str) -> None:
    words = ["policies", "--language", language]

    shown = runner.invoke(retention, words)
    told = json.loads(runner.invoke(retention, [*words, "--json"]).output)

    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert len(lines) == len(told["items"]) == len(load().categories)
    assert lines[0].startswith("access-records: ")
    assert told["language"] == language


@pytest.mark.parametrize("language", [each.value for each in Language])
def test_an_operator_sees_the_inventory(runner: FlaskCliRunner, language: str) -> None:
    words = ["inventory", "--language", language]

    shown = runner.invoke(retention, words)
    told = json.loads(runner.invoke(retention, [*words, "--json"]).output)

    assert shown.exit_code == 0
    for each in load():
        assert each.title[Language(language)] in shown.output
    assert len(told["items"]) == len(load().categories)
    assert len(told["responsible"]) == 4


def test_both_say_the_same_by_wire_and_by_hand(app: Flask, client: FlaskClient) -> None:
    runner = app.test_cli_runner()
    for name, path in zip(("policies", "inventory"), PATHS, strict=True):
        typed = runner.invoke(retention, [name, "--language", "en", "--json"])
        assert json.loads(typed.output) == ask(client, path)
