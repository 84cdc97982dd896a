# SPDX-License-Identifier: Apache-2.0
"""What holds for every decision of staff: who may, what is noted, what is refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from freezegun import freeze_time
from make import SERIAL, TestPbx, make_device, make_token
from werkzeug.test import TestResponse

from fleet.staff.audit import AuditFacts
from fleet.staff.roles import Role

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HEIR = "CX1000000002"
THIRD = "CX1000000003"
PBX = f"/cic/v1/devices/{SERIAL}"
WHY = {"reason": "as agreed"}
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
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
            {"device_type": (None, "COMtrexx VM")},
        ),
        "device.change": (subject, why, {"rewritten": (None, ["customer"])}),
        "device.block": (
            subject,
            why,
            {"hold": ("", "blocked"), "rewritten": (None, ["hold_reason"])},
        ),
        "device.unblock": (
            subject,
            why,
            {"hold": ("blocked", ""), "rewritten": (None, ["hold_reason"])},
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
                "rewritten": (None, ["hold_reason"]),
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
