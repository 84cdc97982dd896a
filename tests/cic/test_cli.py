# SPDX-License-Identifier: Apache-2.0
"""What an operator types about the licence check."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from freezegun import freeze_time
from make import SERIAL, TestPbx, make_device

from cic.cli import cic
from fleet.errors import Refusal
from fleet.staff.audit import AuditFacts
from fleet.staff.roles import cli_actor

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HEIR = "CX1000000002"

Typed = Callable[..., Result]
Audited = Callable[..., list[AuditFacts]]


@pytest.fixture
def typed(house: Flask, pbx: TestPbx) -> Typed:
    """Type it a day after ``BIRTH``."""
    assert pbx.chain
    with freeze_time(BIRTH):
        make_device(HEIR)

    def run(*words: str) -> Result:
        with freeze_time(BIRTH + DAY):
            return house.test_cli_runner().invoke(cic, list(words))

    return run


@pytest.fixture
def told(typed: Typed) -> Callable[..., Any]:
    """What is printed as JSON."""

    def run(*words: str) -> Any:
        result = typed(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


def test_one_pbx_is_decided_about_and_the_audit_log_names_the_operator(
    told: Callable[..., Any], audited: Audited
) -> None:
    serial = "cx10 0000-0001"
    assert told("show", serial)["state"] == "active"
    assert told("block", serial, "--reason", "stolen")["state"] == "blocked"
    assert told("unblock", serial, "--reason", "found")["state"] == "active"
    opened = told("reinitialise", serial, "--reason", "disk")
    assert opened["history"][0]["kind"] == "reinitialisation-opened"
    replaced = told("replace", serial, "--by", "cx1000000002", "--reason", "broken")
    assert (replaced["state"], replaced["replaced_by"]) == ("replaced", HEIR)
    found = audited(f"device:{SERIAL}")
    assert [(each.action, each.reason) for each in found] == [
        ("device.block", "stolen"),
        ("device.unblock", "found"),
        ("device.reinitialisation", "disk"),
        ("device.replacement", "broken"),
    ]
    assert {(each.actor, each.role) for each in found} == {
        (cli_actor().owner, "operator")
    }


def test_pbxs_are_listed_by_state_by_lock_and_by_what_is_looked_for(
    told: Callable[..., Any], typed: Typed
) -> None:
    def listed(*words: str) -> list[str]:
        return [each["serial_number"] for each in told("list", *words)["items"]]

    assert listed() == [SERIAL, HEIR]
    assert listed("--state", "active") == [SERIAL]
    assert listed("--state", "uninitialised") == [HEIR]
    assert listed("--q", "0002") == [HEIR]
    assert listed("--locks-before", "2027-04-01T12:00:00Z") == []
    assert listed("--locks-before", "2027-04-01T14:00:01+02:00") == [SERIAL]
    first = told("list", "--limit", "1")
    assert [each["serial_number"] for each in first["items"]] == [SERIAL]
    assert listed("--cursor", first["next_cursor"]) == [HEIR]
    plain = typed("list", "--limit", "1")
    assert plain.stdout.split()[:3] == [SERIAL, "active", "2027-04-01T12:00:00Z"]
    assert f"--cursor {first['next_cursor']}" in plain.stderr


def test_amnesties_are_granted_listed_and_withdrawn(
    told: Callable[..., Any], audited: Audited, typed: Typed
) -> None:
    until = "2027-05-01T00:00:00Z"
    granted = told("amnesty", "grant", "--until", until, "--reason", "DNS")
    assert (granted["id"], granted["until"]) == (1, until)
    assert told("show", SERIAL)["lock_at"] == until
    assert told("amnesty", "list")["items"] == [granted]
    withdrawn = told("amnesty", "withdraw", "1", "--reason", "over")
    assert withdrawn["withdrawn_at"] == "2027-03-02T12:00:00Z"
    assert "withdrawn 2027-03-02T12:00:00Z" in typed("amnesty", "list").stdout
    actions = [each.action for each in audited("amnesty:1")]
    assert actions == ["amnesty.grant", "amnesty.withdraw"]


def test_the_grace_of_a_type_is_set_and_given_back(
    told: Callable[..., Any], typed: Typed
) -> None:
    [set_] = told("grace", "set", "COMtrexx VM", "40", "--reason", "ships")["items"]
    assert (set_["device_type"], set_["grace_days"]) == ("COMtrexx VM", 40)
    assert told("show", SERIAL)["lock_at"] == "2027-04-11T12:00:00Z"
    plain = typed("grace", "set", "COMpact", "50", "--reason", "ships")
    assert "COMpact" in plain.stdout
    left = [
        told("grace", "set", kind, "default", "--reason", "back")["items"]
        for kind in ("COMpact", "COMtrexx VM")
    ]
    assert [len(each) for each in left] == [1, 0]
    assert told("show", SERIAL)["lock_at"] == "2027-04-01T12:00:00Z"


def test_a_person_reads_the_standing_and_why(typed: Typed) -> None:
    lines = typed("block", SERIAL, "--reason", "stolen").stdout.splitlines()
    assert lines[0].split()[:3] == [SERIAL, "blocked", "-"]
    assert lines[1] == "It was blocked at 2027-03-02T12:00:00Z: stolen"
    assert lines[2].split() == ["2027-03-02T12:00:00Z", "blocked", "stolen"]


WRONG = {
    "no reason": ("block", SERIAL),
    "no such state": ("list", "--state", "asleep"),
    "no day that there is": ("list", "--locks-before", "2027-02-30"),
    "an instant without a zone": ("list", "--locks-before", "2027-03-02T12:00:00"),
    "an instant before time": ("list", "--locks-before", "0001-01-01T00:00:00+23:59"),
    "no days": ("grace", "set", "COMtrexx", "0", "--reason", "why"),
    "too many days": ("grace", "set", "COMtrexx", "3651", "--reason", "why"),
    "far too many": ("grace", "set", "COMtrexx", "9" * 5000, "--reason", "why"),
    "half a day": ("grace", "set", "COMtrexx", "1.5", "--reason", "why"),
    "no number": ("amnesty", "withdraw", "first", "--reason", "why"),
}


def test_what_cannot_be_meant_is_a_usage_error_and_changes_nothing(
    typed: Typed, audited: Audited
) -> None:
    for said, words in WRONG.items():
        result = typed(*words)
        assert result.exit_code == 2, said
        assert "Usage:" in result.stderr, said
    assert audited() == []


REFUSED: dict[str, list[tuple[str, ...]]] = {
    "invalid-request": [
        ("show", "CX-1"),
        ("grace", "set", "x" * 65, "9", "--reason", "why"),
        ("amnesty", "grant", "--until", "2027-03-01T00:00:00Z", "--reason", "why"),
    ],
    "unknown-device": [("block", "CX9999999999", "--reason", "why")],
    "unknown-amnesty": [("amnesty", "withdraw", "7", "--reason", "why")],
    "replacement-impossible": [
        ("replace", SERIAL, "--by", SERIAL, "--reason", "why"),
    ],
}


def test_what_is_refused_is_refused_as_over_http(
    typed: Typed, audited: Audited
) -> None:
    for code, cases in REFUSED.items():
        for words in cases:
            result = typed(*words)
            assert result.exit_code == 1, words
            assert isinstance(result.exception, Refusal), words
            assert result.exception.code == code
    assert audited() == []
