# SPDX-License-Identifier: Apache-2.0
"""What staff see of one PBX and decide about it, and about many."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from freezegun import freeze_time
from make import SERIAL, TestPbx, make_device
from werkzeug.test import TestResponse

from cic.models import Activation

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HEIR = "CX1000000002"
THIRD = "CX1000000003"
PBX = f"/cic/v1/devices/{SERIAL}"
WHY = {"reason": "as agreed"}
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

Held = Callable[..., Activation]
History = Callable[..., list[str]]
Ask = Callable[..., TestResponse]

NEW = {
    "serial_number": "CX1000000009",
    "device_secret": "a secret of at least 16",
    "device_type": "COMtrexx VM",
    "customer": "Bäckerei Müller",
}


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].removeprefix("/problems/")


def others() -> None:
    with freeze_time(BIRTH):
        make_device(HEIR)
        make_device(THIRD)


# One PBX.


def test_one_pbx_is_shown_with_all_that_support_needs(
    pbx: TestPbx, ask: Ask, staff: dict[str, str]
) -> None:
    with freeze_time(BIRTH + DAY):
        pbx.lease(failed_attempts=2, device_time="2027-03-02T12:01:00Z")
    ask("PATCH", PBX, {"grace_days": 60, "customer": "Weber", **WHY})
    with freeze_time(BIRTH + 10 * DAY):
        spelled = f"{SERIAL[:4].lower()}-{SERIAL[4:]}"
        shown = pbx.client.get(f"/cic/v1/devices/{spelled}", headers=staff).get_json()
    [certificate] = shown.pop("certificates")
    assert certificate["in_force"] is True
    assert certificate["generation"] == 1
    assert certificate["issued_at"] == "2027-03-01T12:00:00Z"
    assert certificate["fingerprint"] == pbx.chain[0].fingerprint(SHA256()).hex()
    assert certificate["number"] == f"{pbx.chain[0].serial_number:x}"
    assert shown == {
        "serial_number": SERIAL,
        "mac_address": None,
        "device_type": "COMtrexx VM",
        "part_number": "S30852-H2716-R101",
        "hardware_revision": "1.0",
        "customer": "Weber",
        "notes": "",
        "support_ends_on": None,
        "registered_at": "2027-03-01T12:00:00Z",
        "state": "active",
        "reason": "within-grace",
        "why": "It is silent, but within its grace; it locks at 2027-05-02T12:00:00Z.",
        "lock_at": "2027-05-02T12:00:00Z",
        "grace_days": 60,
        "own_grace_days": 60,
        "generation": 1,
        "software_version": "2.0.1",
        "last_success_at": "2027-03-02T12:00:00Z",
        "last_check_at": "2027-03-02T12:00:00Z",
        "clone_suspected": False,
        "clone_suspected_at": None,
        "hold_reason": "",
        "held_at": None,
        "replaced_by": None,
        "initialised_at": "2027-03-01T12:00:00Z",
        "reinitialisations_left": 3,
        "checks": {
            "last_check_at": "2027-03-02T12:00:00Z",
            "last_success_at": "2027-03-02T12:00:00Z",
            "last_verdict": "active",
            "failed_attempts": 2,
            "clock_skew_seconds": 60,
        },
        "history": [
            {"happened_at": "2027-03-01T12:00:00Z", "kind": "initialised"}
            | {"detail": "generation 1"}
        ],
    }


@ON_SQLITE
def test_a_pbx_that_never_came_is_shown_too(ask: Ask) -> None:
    others()
    shown = ask("GET", f"/cic/v1/devices/{HEIR}").get_json()
    assert (shown["state"], shown["generation"]) == ("uninitialised", 0)
    assert shown["why"] == "It has not initialised itself yet."
    assert (shown["lock_at"], shown["certificates"], shown["history"]) == (None, [], [])


@ON_SQLITE
def test_what_is_left_out_of_a_change_stays_and_null_empties(ask: Ask) -> None:
    ask("PATCH", PBX, {"customer": "Weber", "grace_days": 9, "notes": "a\nb"})
    shown = ask("PATCH", PBX, {"support_ends_on": "2030-01-31"}).get_json()
    kept = ("customer", "notes", "own_grace_days", "support_ends_on")
    assert [shown[each] for each in kept] == ["Weber", "a\nb", 9, "2030-01-31"]
    shown = ask("PATCH", PBX, {"support_ends_on": None, "grace_days": None}).get_json()
    assert [shown[each] for each in kept] == ["Weber", "a\nb", None, None]


# Holds and replacements.


def test_the_rules_of_replacement(ask: Ask, held: Held, history: History) -> None:
    others()

    def replace(old: str, new: str) -> tuple[int, str]:
        url = f"/cic/v1/devices/{old}/replacement"
        answer = ask("POST", url, {"by": new, **WHY})
        return (200, "") if answer.status_code == 200 else code(answer)

    impossible, conflict = (409, "replacement-impossible"), (409, "hold-conflict")
    assert replace(SERIAL, SERIAL) == impossible  # by itself
    ask("POST", f"/cic/v1/devices/{HEIR}/block", WHY)
    assert replace(SERIAL, HEIR) == impossible  # by one that is blocked
    ask("POST", f"/cic/v1/devices/{HEIR}/unblock", WHY)
    assert replace(SERIAL, HEIR) == (200, "")
    assert replace(SERIAL, HEIR) == (200, "")  # the same again
    assert replace(SERIAL, THIRD) == conflict  # by a third one
    assert replace(HEIR, SERIAL) == impossible  # in a circle
    assert replace(HEIR, THIRD) == (200, "")  # the heir in its turn
    for decision in ("block", "unblock"):
        assert code(ask("POST", f"{PBX}/{decision}", WHY)) == conflict
    shown = ask("GET", PBX).get_json()
    assert (shown["state"], shown["replaced_by"]) == ("replaced", HEIR)
    assert shown["why"] == "It was replaced at 2027-03-01T13:00:00Z: as agreed"
    assert history() == ["initialised", "replaced"]
    assert history(HEIR) == ["blocked", "unblocked", "took-over", "replaced"]
    assert history(THIRD) == ["took-over"]
    assert held(THIRD).hold == ""


def test_a_blocked_pbx_may_be_replaced(ask: Ask) -> None:
    others()
    ask("POST", f"{PBX}/block", WHY)
    answer = ask("POST", f"{PBX}/replacement", {"by": HEIR, **WHY})
    assert answer.get_json()["state"] == "replaced"


@ON_SQLITE
def test_a_pbx_may_be_blocked_before_it_ever_came(ask: Ask) -> None:
    others()
    assert (
        ask("POST", f"/cic/v1/devices/{HEIR}/block", WHY).get_json()["state"]
        == "blocked"
    )
    shown = ask("POST", f"/cic/v1/devices/{HEIR}/unblock", WHY).get_json()
    assert (shown["state"], shown["lock_at"]) == ("uninitialised", None)


# Registration, amnesties and graces.


def test_a_pbx_registered_by_hand_lives(pbx: TestPbx, ask: Ask) -> None:
    url = "/cic/v1/devices"
    answer = ask("POST", url, NEW)
    assert (answer.status_code, answer.get_json()["state"]) == (201, "uninitialised")
    other = NEW | {"device_secret": "another secret entirely"}
    assert code(ask("POST", url, other)) == (409, "device-already-registered")
    new = TestPbx(pbx.client, NEW["serial_number"], NEW["device_secret"])
    with freeze_time(BIRTH):
        assert new.initialise().status_code == 201


def test_amnesties_are_listed_newest_first_page_by_page(ask: Ask) -> None:
    url = "/cic/v1/amnesties"
    for day in range(2, 7):
        body = {"until": f"2027-03-0{day}T12:00:00+02:00", **WHY}
        granted = ask("POST", url, body)
        assert granted.status_code == 201
        assert granted.get_json()["until"] == f"2027-03-0{day}T10:00:00Z"
        assert granted.get_json()["granted_by"] == "Anna Agent"
    withdrawn = ask("DELETE", f"{url}/3?reason=over").get_json()
    assert withdrawn["withdrawn_at"] == "2027-03-01T13:00:00Z"
    # Once it is withdrawn, it stays so.
    later = ask("DELETE", f"{url}/3?reason=over", after=DAY).get_json()
    assert later["withdrawn_at"] == "2027-03-01T13:00:00Z"
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = ask("GET", f"{url}?limit=2{cursor and f'&cursor={cursor}'}").get_json()
        found += page["items"]
        cursor = page["next_cursor"]
    assert [each["id"] for each in found] == [5, 4, 3, 2, 1]
    assert [bool(each["withdrawn_at"]) for each in found] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_graces_are_set_by_type_and_given_back(ask: Ask) -> None:
    url = "/cic/v1/graces"
    ask("PUT", f"{url}/COMtrexx%20VM", {"grace_days": 3, **WHY})
    shown = ask("PUT", f"{url}/COMpact", {"grace_days": 90, **WHY}).get_json()
    assert shown["default_grace_days"] == 30
    graces = {each["device_type"]: each["grace_days"] for each in shown["items"]}
    assert graces == {"COMpact": 90, "COMtrexx VM": 3}
    assert ask("GET", PBX).get_json()["lock_at"] == "2027-03-05T12:00:00Z"
    left = ask("PUT", f"{url}/COMtrexx%20VM", {"grace_days": None, **WHY}).get_json()
    assert [each["device_type"] for each in left["items"]] == ["COMpact"]
    assert ask("GET", PBX).get_json()["lock_at"] == "2027-04-01T12:00:00Z"
