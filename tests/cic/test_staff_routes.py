# SPDX-License-Identifier: Apache-2.0
"""What staff decide about PBXs: who may, what changes, and what is written down."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from freezegun import freeze_time
from make import SERIAL, TestPbx, make_device, make_token
from werkzeug.test import TestResponse

from cic.models import Activation
from fleet.staff.audit import AuditFacts
from fleet.staff.roles import Role

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HEIR = "CX1000000002"
THIRD = "CX1000000003"
PBX = f"/cic/v1/devices/{SERIAL}"
WHY = {"reason": "as agreed"}
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

Held = Callable[..., Activation]
History = Callable[..., list[str]]
Audited = Callable[..., list[AuditFacts]]
Ask = Callable[..., TestResponse]

NEW = {
    "serial_number": "CX1000000009",
    "device_secret": "a secret of at least 16",
    "device_type": "COMtrexx VM",
    "customer": "Bäckerei Müller",
}

# Each route: who may read it, or change by it.
READS = [PBX, "/cic/v1/devices", "/cic/v1/amnesties", "/cic/v1/graces"]
CHANGES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/cic/v1/devices", NEW),
    ("PATCH", PBX, {"customer": "Weber", **WHY}),
    ("POST", f"{PBX}/block", WHY),
    ("POST", f"{PBX}/unblock", WHY),
    ("POST", f"{PBX}/reinitialisation", WHY),
    ("POST", f"{PBX}/replacement", {"by": HEIR, **WHY}),
    ("POST", "/cic/v1/amnesties", {"until": "2027-04-01T00:00:00Z", **WHY}),
    ("DELETE", "/cic/v1/amnesties/1?reason=over", None),
    ("PUT", "/cic/v1/graces/COMtrexx", {"grace_days": 40, **WHY}),
]


@pytest.fixture
def ask(pbx: TestPbx, staff: dict[str, str]) -> Ask:
    """Ask as support, an hour after ``BIRTH``, unless told otherwise."""

    def send(
        method: str,
        url: str,
        body: dict[str, Any] | None = None,
        *,
        after: timedelta = timedelta(hours=1),
        **headers: str,
    ) -> TestResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with freeze_time(BIRTH + after):
            return pbx.client.open(url, method=method, json=body, headers=staff | named)

    return send


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].removeprefix("/problems/")


def others() -> None:
    with freeze_time(BIRTH):
        make_device(HEIR)
        make_device(THIRD)


# Roles.


@pytest.mark.parametrize(
    ("role", "reads", "changes"),
    [
        pytest.param(Role.SUPPORT, True, True, id="support decides"),
        pytest.param(Role.OPERATOR, True, True, id="an operator decides"),
        pytest.param(Role.PRODUCT_MANAGER, True, False, id="a product manager reads"),
        pytest.param(Role.RELEASE_MANAGER, True, False, id="a release manager reads"),
        pytest.param(Role.AUDITOR, True, False, id="an auditor reads all"),
        pytest.param(None, False, False, id="nobody else does anything"),
    ],
)
@ON_SQLITE
def test_who_may(
    pbx: TestPbx, audited: Audited, role: Role | None, reads: bool, changes: bool
) -> None:
    others()
    with freeze_time(BIRTH):
        headers = make_token(role) if role else {}
        answers = [pbx.client.get(url, headers=headers) for url in READS]
        assert {each.status_code for each in answers} == {200 if reads else 401}
        statuses = [
            pbx.client.open(url, method=method, json=body, headers=headers).status_code
            for method, url, body in CHANGES
        ]
    if changes:
        assert statuses == [201, 200, 200, 200, 200, 200, 201, 200, 200]
        assert len(audited()) == len(CHANGES)
    else:
        assert set(statuses) == {403 if role else 401}
        assert audited() == []


@ON_SQLITE
def test_a_pbx_is_no_member_of_the_staff(pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        answer = pbx.client.post(f"{PBX}/unblock", json=WHY, headers=pbx.headers)
    assert code(answer) == (401, "staff-token-required")


# The audit log.


def test_every_change_says_who_when_what_why_before_and_after(
    ask: Ask, audited: Audited
) -> None:
    others()
    for method, url, body in CHANGES:
        assert ask(method, url, body).status_code < 300
    found = {each.action: each for each in audited()}
    assert {(each.actor, each.role) for each in found.values()} == {
        ("Anna Agent", "support")
    }
    assert {each.happened_at for each in found.values()} == {BIRTH + timedelta(hours=1)}
    told = {
        action: (each.subject, each.reason, changed(each))
        for action, each in found.items()
    }
    subject, why = f"device:{SERIAL}", WHY["reason"]
    opened_at = "2027-03-01T13:00:00+00:00"
    until = "2027-04-01T00:00:00Z"
    assert told == {
        "device.register": (
            "device:CX1000000009",
            "",
            {
                "device_type": (None, "COMtrexx VM"),
                "customer": (None, "Bäckerei Müller"),
            },
        ),
        "device.change": (subject, why, {"customer": ("", "Weber")}),
        "device.block": (
            subject,
            why,
            {"hold": ("", "blocked"), "hold_reason": ("", why)},
        ),
        "device.unblock": (
            subject,
            why,
            {"hold": ("blocked", ""), "hold_reason": (why, "")},
        ),
        "device.reinitialisation": (
            subject,
            why,
            {"reinitialisation_opened_at": (None, opened_at)},
        ),
        "device.replacement": (
            subject,
            why,
            {
                "hold": ("", "replaced"),
                "hold_reason": ("", why),
                "by": (None, HEIR),
            },
        ),
        "amnesty.grant": ("amnesty:1", why, {"until": (None, until)}),
        "amnesty.withdraw": ("amnesty:1", "over", {"until": (until, None)}),
        "grace.set": ("device-type:COMtrexx", why, {"grace_days": (None, 40)}),
    }


def changed(entry: AuditFacts) -> dict[str, tuple[object, object]]:
    names = {*entry.before, *entry.after}
    both = {name: (entry.before.get(name), entry.after.get(name)) for name in names}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def test_the_same_decision_again_changes_nothing_and_is_not_noted_twice(
    ask: Ask, audited: Audited, history: History
) -> None:
    others()
    repeatable = [each for each in CHANGES if "reinit" not in each[1]]
    for method, url, body in repeatable:
        first = ask(method, url, body)
        if url.endswith("/amnesties"):
            continue
        again = ask(method, url, body, after=timedelta(hours=2))
        assert (first.status_code, first.get_json()) == (
            again.status_code,
            again.get_json(),
        )
    assert len(audited()) == len(repeatable)
    assert history() == ["initialised", "blocked", "unblocked", "replaced"]


def test_a_post_with_one_idempotency_key_has_one_effect(
    ask: Ask, audited: Audited
) -> None:
    for method, url, body in CHANGES:
        if method != "POST" or "replacement" in url:
            continue
        key = f'"{url}"'
        first = ask(method, url, body, Idempotency_Key=key)
        again = ask(method, url, body, Idempotency_Key=key, after=DAY)
        assert first.status_code in {200, 201}
        assert again.data == first.data
        other = ask(method, url, {"reason": "other"}, Idempotency_Key=key, after=DAY)
        assert code(other) == (422, "idempotency-key-reused")
    assert len(audited()) == 5


@ON_SQLITE
def test_fields_that_are_not_known_are_refused(ask: Ask, audited: Audited) -> None:
    for method, url, body in CHANGES:
        if body is not None:
            answer = ask(method, url, body | {"mood": "good"})
            assert code(answer) == (400, "invalid-request"), url
            assert list(answer.get_json()["fields"]) == ["mood"], url
    for url in (*READS[1:3], "/cic/v1/amnesties/1"):
        method = "DELETE" if url.endswith("1") else "GET"
        assert code(ask(method, f"{url}?mood=good")) == (400, "invalid-request"), url
    assert audited() == []


FAULTS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "no grace": ("PATCH", PBX, {"grace_days": 0}, "grace_days"),
    "a grace of 11 years": ("PATCH", PBX, {"grace_days": 3651}, "grace_days"),
    "half a day": ("PATCH", PBX, {"grace_days": 1.5}, "grace_days"),
    "no date": ("PATCH", PBX, {"support_ends_on": "soon"}, "support_ends_on"),
    "a control character": ("PATCH", PBX, {"notes": "\x1b[2J"}, "notes"),
    "a long reason": ("POST", f"{PBX}/block", {"reason": "x" * 501}, "reason"),
    "no heir": ("POST", f"{PBX}/replacement", {"by": "CX-1", **WHY}, "by"),
    "no reason": ("POST", f"{PBX}/replacement", {"by": HEIR}, "reason"),
    "past": (
        "POST",
        "/cic/v1/amnesties",
        {"until": "2027-03-01T12:59:59Z", **WHY},
        "until",
    ),
    "now": (
        "POST",
        "/cic/v1/amnesties",
        {"until": "2027-03-01T13:00:00Z", **WHY},
        "until",
    ),
    "beyond a year": (
        "POST",
        "/cic/v1/amnesties",
        {"until": "2028-03-01T13:00:01Z", **WHY},
        "until",
    ),
    "no zone": (
        "POST",
        "/cic/v1/amnesties",
        {"until": "2027-03-02T12:00:00", **WHY},
        "until",
    ),
    "a long type": (
        "PUT",
        f"/cic/v1/graces/{'x' * 65}",
        {"grace_days": 9, **WHY},
        "device_type",
    ),
    "a type with a NUL": (
        "PUT",
        "/cic/v1/graces/COM%00",
        {"grace_days": 9, **WHY},
        "device_type",
    ),
    "a short secret": (
        "POST",
        "/cic/v1/devices",
        NEW | {"device_secret": "short"},
        "device_secret",
    ),
    "no MAC": ("POST", "/cic/v1/devices", NEW | {"mac_address": "no"}, "mac_address"),
}


def test_nothing_changes_where_a_field_is_wrong(ask: Ask, audited: Audited) -> None:
    for said, (method, url, body, field) in FAULTS.items():
        answer = ask(method, url, body)
        assert code(answer) == (400, "invalid-request"), said
        assert list(answer.get_json()["fields"]) == [field], said
    assert audited() == []


@ON_SQLITE
def test_what_does_not_exist_is_not_found(ask: Ask, audited: Audited) -> None:
    nobody = "/cic/v1/devices/CX9999999999"
    for method, url, body in (
        ("GET", nobody, None),
        ("PATCH", nobody, {"customer": "x"}),
        ("POST", f"{nobody}/block", WHY),
        ("POST", f"{nobody}/unblock", WHY),
        ("POST", f"{nobody}/reinitialisation", WHY),
        ("POST", f"{nobody}/replacement", {"by": SERIAL, **WHY}),
        ("POST", f"{PBX}/replacement", {"by": "CX9999999999", **WHY}),
    ):
        assert code(ask(method, url, body)) == (404, "unknown-device"), url
    for number in ("1", str(2**63 - 1)):
        answer = ask("DELETE", f"/cic/v1/amnesties/{number}")
        assert code(answer) == (404, "unknown-amnesty")
    assert ask("DELETE", f"/cic/v1/amnesties/{2**63}").status_code == 404
    assert audited() == []


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
