# SPDX-License-Identifier: Apache-2.0
"""What support types on a bad day: clones, locks before a day, openings, changes."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from freezegun import freeze_time
from make import SERIAL, TestPbx, make_device, make_token
from werkzeug.test import TestResponse

from cic.cli import cic
from cic.models import Activation
from fleet.staff.audit import AuditFacts
from fleet.staff.roles import Role

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OTHER = "CX1000000002"
LIST = "/cic/v1/devices"
PBX = f"{LIST}/{SERIAL}"
WHY = {"reason": "as agreed"}

Ask = Callable[..., TestResponse]
Typed = Callable[..., Result]
Held = Callable[..., Activation]
History = Callable[..., list[str]]
Audited = Callable[..., list[AuditFacts]]


@pytest.fixture
def ask(pbx: TestPbx, staff: dict[str, str]) -> Ask:
    """Ask as support, an hour after ``BIRTH``; there are two PBXs."""
    with freeze_time(BIRTH):
        make_device(OTHER)

    def send(method: str, url: str, body: dict[str, Any] | None = None) -> TestResponse:
        with freeze_time(BIRTH + HOUR):
            return pbx.client.open(url, method=method, json=body, headers=staff)

    return send


@pytest.fixture
def typed(house: Flask, ask: Ask) -> Typed:
    """Type it an hour after ``BIRTH``."""
    assert ask

    def run(*words: str) -> Result:
        with freeze_time(BIRTH + HOUR):
            return house.test_cli_runner().invoke(cic, list(words))

    return run


def suspect(pbx: TestPbx) -> None:
    """Let a second box check with a token that was never given out."""
    with freeze_time(BIRTH + HOUR):
        pbx.check()
        pbx.check(continuation="never issued")


def listed(answer: TestResponse) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["serial_number"] for each in answer.get_json()["items"]]


def faults(answer: TestResponse) -> dict[str, list[str]]:
    assert answer.status_code == 400
    named: dict[str, list[str]] = answer.get_json()["fields"]
    return named


# Clones.


def test_clone_suspects_are_listed_alone_and_with_other_filters(
    ask: Ask, pbx: TestPbx, typed: Typed
) -> None:
    assert listed(ask("GET", f"{LIST}?clone_suspected=true")) == []
    suspect(pbx)
    for more, found in {
        "clone_suspected=true": [SERIAL],
        "clone_suspected=false": [OTHER],
        "clone_suspected=true&state=active": [SERIAL],
        "clone_suspected=true&q=0002": [],
        "clone_suspected=true&locks_before=2028-01-01": [SERIAL],
        "clone_suspected=false&locks_before=2028-01-01": [],
    }.items():
        assert listed(ask("GET", f"{LIST}?{more}")) == found, more
    [line] = typed("list", "--clone-suspected").stdout.splitlines()
    assert line.startswith(SERIAL)


def test_a_false_alarm_is_cleared_once_and_noted_once(
    ask: Ask, pbx: TestPbx, held: Held, history: History, audited: Audited
) -> None:
    suspect(pbx)
    url = f"{PBX}/clone-suspicion?reason=restored%20from%20a%20copy"
    for _ in range(2):
        shown = ask("DELETE", url).get_json()
        assert (shown["clone_suspected"], shown["clone_suspected_at"]) == (False, None)
    assert held().clone_suspected_at is None
    assert history() == ["initialised", "clone-suspected", "clone-suspicion-cleared"]
    [entry] = audited(f"device:{SERIAL}")
    assert (entry.action, entry.reason) == (
        "device.clone-suspicion",
        "restored from a copy",
    )
    at = "clone_suspected_at"
    assert (entry.before[at], entry.after[at]) == ("2027-03-01T13:00:00+00:00", None)
    suspect(pbx)
    assert history()[-1] == "clone-suspected"  # the next sign counts anew


def test_an_operator_clears_it_by_command_and_others_may_not(
    ask: Ask, pbx: TestPbx, typed: Typed, held: Held
) -> None:
    suspect(pbx)
    with freeze_time(BIRTH):
        headers = make_token(Role.PRODUCT_MANAGER)
    with freeze_time(BIRTH + HOUR):
        answer = pbx.client.delete(f"{PBX}/clone-suspicion", headers=headers)
    assert answer.status_code == 403
    assert held().clone_suspected_at is not None
    result = typed("clear-suspicion", SERIAL, "--reason", "a copy", "--json")
    assert json.loads(result.stdout)["clone_suspected"] is False
    unknown = ask("DELETE", f"{LIST}/CX9999999999/clone-suspicion")
    assert unknown.status_code == 404


# Who locks before.


def test_who_locks_before_is_no_question_about_another_state(ask: Ask) -> None:
    before = "locks_before=2027-05-01T00:00:00Z"
    for state in ("locked", "blocked", "replaced", "uninitialised"):
        named = faults(ask("GET", f"{LIST}?{before}&state={state}"))
        assert "active PBXs only" in named["locks_before"][0], state
    assert listed(ask("GET", f"{LIST}?{before}&state=active")) == [SERIAL]
    assert listed(ask("GET", f"{LIST}?{before}")) == [SERIAL]


def test_a_day_is_its_begin_in_utc(ask: Ask, typed: Typed) -> None:
    # It locks at 12:00 on the first of April.
    for day, found in {"2027-04-01": [], "2027-04-02": [SERIAL]}.items():
        assert listed(ask("GET", f"{LIST}?locks_before={day}")) == found, day
        lines = typed("list", "--locks-before", day).stdout.splitlines()
        assert [line.split()[0] for line in lines] == found, day


def test_an_instant_stays_strict_and_a_lost_plus_sign_is_explained(
    ask: Ask, typed: Typed
) -> None:
    for wrong in ("2027-02-30", "2027-04-01T12:00:00", "20270401", "2027-4-1"):
        assert faults(ask("GET", f"{LIST}?locks_before={wrong}"))["locks_before"]
        assert typed("list", "--locks-before", wrong).exit_code == 2, wrong
    lost = faults(ask("GET", f"{LIST}?locks_before=2027-04-02T00:00:00+01:00"))
    assert "with Z" in lost["locks_before"][0]
    kept = ask("GET", f"{LIST}?locks_before=2027-04-02T00:00:00%2B01:00")
    assert listed(kept) == [SERIAL]
    until = {"until": "2027-04-02", **WHY}
    assert "until" in faults(ask("POST", "/cic/v1/amnesties", until))


# Decisions.


def test_a_replaced_pbx_says_that_it_was_replaced_for_good(ask: Ask) -> None:
    ask("POST", f"{PBX}/replacement", {"by": OTHER, **WHY})
    for decision in ("block", "unblock"):
        problem = ask("POST", f"{PBX}/{decision}", WHY).get_json()
        assert "replaced by another one, for good" in problem["detail"], decision
        assert "blocked" not in problem["detail"]


def test_what_is_open_is_not_opened_again(
    ask: Ask, pbx: TestPbx, history: History, audited: Audited
) -> None:
    opened = ["initialised", "reinitialisation-opened"]
    for _ in range(3):
        shown = ask("POST", f"{PBX}/reinitialisation", WHY).get_json()
        assert shown["reinitialisations_left"] == 3
    assert history() == opened
    assert len(audited(f"device:{SERIAL}")) == 1
    with freeze_time(BIRTH + 2 * HOUR):
        pbx.new_key()
        assert pbx.initialise().status_code == 201
    with freeze_time(BIRTH + 3 * HOUR):
        headers = make_token(Role.SUPPORT, "Berta Agent")
        again = pbx.client.post(f"{PBX}/reinitialisation", json=WHY, headers=headers)
    assert again.get_json()["reinitialisations_left"] == 3
    assert history() == [*opened, "reinitialised", "reinitialisation-opened"]
    assert len(audited(f"device:{SERIAL}")) == 2


def test_who_registers_is_told_where_the_pbx_is(ask: Ask) -> None:
    new = {
        "serial_number": "cx-1000 000009",
        "device_secret": "a secret of at least 16",
        "device_type": "COMtrexx VM",
    }
    for _ in range(2):
        answer = ask("POST", LIST, new)
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{LIST}/CX1000000009"
        shown = ask("GET", answer.headers["Location"]).get_json()
        assert shown == answer.get_json()


# Commands.


def test_a_pbx_is_changed_by_command_and_what_is_left_out_stays(
    typed: Typed, audited: Audited
) -> None:
    def changed(*words: str) -> list[Any]:
        result = typed("change", SERIAL, *words, "--reason", "as agreed", "--json")
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        names = ("customer", "notes", "own_grace_days", "support_ends_on")
        return [told[name] for name in names]

    assert changed("--customer", "Weber", "--grace-days", "9") == ["Weber", "", 9, None]
    ends = changed("--notes", "in the\ncellar", "--support-ends-on", "2030-01-31")
    assert ends == ["Weber", "in the\ncellar", 9, "2030-01-31"]
    emptied = changed(
        "--grace-days", "default", "--support-ends-on", "never", "--customer", ""
    )
    assert emptied == ["", "in the\ncellar", None, None]
    assert [each.action for each in audited(f"device:{SERIAL}")] == [
        "device.change"
    ] * 3


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--customer", "x" * 201),
        ("--notes", "a\x07b"),
        ("--grace-days", "0"),
        ("--support-ends-on", "soon"),
    ],
    ids=str,
)
def test_a_change_that_cannot_be_meant_is_a_usage_error(
    typed: Typed, audited: Audited, words: tuple[str, ...]
) -> None:
    result = typed("change", SERIAL, *words, "--reason", "as agreed")
    assert (result.exit_code, "Usage:" in result.stderr) == (2, True)
    assert audited(f"device:{SERIAL}") == []


def test_graces_and_types_are_listed_by_command(typed: Typed) -> None:
    typed("grace", "set", "COMpact", "50", "--reason", "ships")
    told = json.loads(typed("grace", "list", "--json").stdout)
    assert told["default_grace_days"] == 30
    assert [each["device_type"] for each in told["items"]] == ["COMpact"]
    lines = typed("grace", "list").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["COMpact", "50"],
        ["all", "others"],
    ]
    of_type = typed("list", "--device-type", "COMtrexx VM").stdout.splitlines()
    assert [line.split()[0] for line in of_type] == [SERIAL, OTHER]
    assert typed("list", "--device-type", "COMpact").stdout == ""
