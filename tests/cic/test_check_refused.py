# SPDX-License-Identifier: Apache-2.0
"""Licence checks that are refused: of whom, for what, and what nobody may sign."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from freezegun import freeze_time
from make import TestPbx, make_device
from sqlalchemy import delete, update
from werkzeug.test import TestResponse

from cic.models import Activation
from fleet.clock import utcnow
from fleet.database import transaction
from fleet.ground import ground
from fleet.identity.authorities import authorities
from fleet.identity.models import DeviceCertificate
from fleet.server.models import Pulse
from fleet.server.pulse import accept_clock, timekeeper

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
OTHER = "CX1000000002"
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

MakeApp = Callable[..., Flask]
Held = Callable[..., Activation]


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].removeprefix("/problems/")


def at(after: timedelta) -> AbstractContextManager[object]:
    return freeze_time(BIRTH + after)


def state(row: Activation) -> dict[str, object]:
    return {name: getattr(row, name) for name in Activation.__table__.columns.keys()}  # noqa: SIM118 -- a collection of columns, not a dict


# Who is refused.


def forget(_: TestPbx) -> None:
    with transaction() as session:
        session.execute(delete(DeviceCertificate))


def revoke(_: TestPbx) -> None:
    with transaction() as session:
        session.execute(update(DeviceCertificate).values(revoked_at=BIRTH))


def retire(_: TestPbx) -> None:
    with transaction() as session:
        session.execute(update(DeviceCertificate).values(retires_at=BIRTH + DAY))


def make_one_of_its_own(pbx: TestPbx) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    issue = authorities().issuing.issue
    pbx.chain = [issue(key, serial_number=pbx.serial_number, now=BIRTH)]


@pytest.mark.parametrize(
    ("after", "fault"),
    [
        pytest.param(DAY, forget, id="unknown"),
        pytest.param(DAY, make_one_of_its_own, id="of the right CA, but not recorded"),
        pytest.param(DAY, revoke, id="revoked"),
        pytest.param(DAY, retire, id="retired after a renewal"),
        pytest.param(366 * DAY, lambda _: None, id="expired"),
    ],
)
def test_a_certificate_is_not_believed_that_is(
    pbx: TestPbx, held: Held, after: timedelta, fault: Callable[[TestPbx], None]
) -> None:
    fault(pbx)
    before = state(held())
    with at(after):
        answer = pbx.check()
    assert code(answer) == (403, "device-not-recognised")
    assert answer.get_json()["detail"] == "This PBX is not recognised."
    assert state(held()) == before


@ON_SQLITE
def test_a_renewed_certificate_is_believed_until_it_retires(pbx: TestPbx) -> None:
    retire(pbx)
    with at(DAY - timedelta(seconds=1)):
        assert pbx.lease()["verdict"] == "active"


def test_a_pbx_cannot_check_for_another(pbx: TestPbx, held: Held) -> None:
    with at(0 * DAY):
        make_device(OTHER)
        TestPbx(pbx.client, OTHER).initialise()
    before = state(held()), state(held(OTHER))
    with at(DAY):
        assert code(pbx.check(serial_number=OTHER)) == (403, "serial-mismatch")
        assert code(pbx.check(serial_number="CX9999999999")) == (403, "serial-mismatch")
    assert (state(held()), state(held(OTHER))) == before


@ON_SQLITE
def test_a_check_without_certificate_is_refused(pbx: TestPbx) -> None:
    with at(DAY):
        answer = pbx.client.post("/cic/v1/check", json={})
    assert code(answer) == (401, "device-certificate-required")


FAULTS = {
    "a nonce of 15 bytes": ("nonce", "n" * 21),
    "a nonce of 65 bytes": ("nonce", "n" * 87),
    "a nonce that is a number": ("nonce", 17),
    "no serial number": ("serial_number", None),
    "a long version": ("software_version", "x" * 65),
    "a version that cannot be printed": ("software_version", "2.0\x7f"),
    "a token that is a list": ("continuation", ["x"]),
    "an instant that is a number": ("device_time", 1803988800),
    "attempts below zero": ("failed_attempts", -1),
    "more attempts than fit": ("failed_attempts", 2**31),
    "attempts as text": ("failed_attempts", "3"),
    "half an attempt": ("failed_attempts", 0.5),
}


@ON_SQLITE
@pytest.mark.parametrize(
    "shown", ["2027-03-02", "2027-03-02T12:00:00", "2026-12-31T23:59:60Z", "-", ""]
)
def test_a_clock_that_cannot_be_read_is_nothing_and_the_pbx_runs(
    pbx: TestPbx, held: Held, shown: str
) -> None:
    with at(DAY):
        assert pbx.lease(device_time=shown)["verdict"] == "active"
    assert held().clock_skew_seconds is None


@ON_SQLITE
def test_a_token_that_we_never_gave_out_is_suspicious_however_long(
    pbx: TestPbx, held: Held
) -> None:
    with at(DAY):
        pbx.lease()
        assert pbx.lease(continuation="x" * 5000)["verdict"] == "active"
    assert held().clone_suspected_at is not None


@ON_SQLITE
def test_nothing_happens_where_a_field_is_wrong(pbx: TestPbx, held: Held) -> None:
    before = state(held())
    for said, (field, value) in FAULTS.items():
        with at(DAY):
            answer = pbx.check(**{field: value})
        assert code(answer) == (400, "invalid-request"), said
        assert list(answer.get_json()["fields"]) == [field], said
    assert state(held()) == before


# Nothing is signed by a server that should not.


def test_without_signing_keys_there_is_503_and_nothing_has_changed(
    pbx: TestPbx, held: Held
) -> None:
    for each in (ground().settings.data_dir / "keys" / "signing").glob("*.pem"):
        each.unlink()
    before = state(held())
    with at(DAY):
        assert code(pbx.check()) == (503, "cannot-sign")
    assert state(held()) == before


def test_a_clock_that_is_not_trusted_signs_nothing_until_it_is_mended(
    make_app: MakeApp, held: Held
) -> None:
    pbx = TestPbx(make_app(clock_tolerance_seconds=300).test_client())
    make_device()
    assert pbx.initialise().status_code == 201
    before = state(held())
    with transaction() as session:
        session.execute(update(Pulse).values(beat_at=utcnow() + HOUR))
    timekeeper().beat()
    fresh = replace(pbx, key=ec.generate_private_key(ec.SECP256R1()))
    for refused in (pbx.check(), fresh.initialise()):
        assert code(refused) == (503, "clock-not-trusted")
        assert int(refused.headers["Retry-After"]) > 0
    assert state(held()) == before
    with transaction() as session:
        accept_clock(session.connection(), utcnow())
    timekeeper().beat()
    assert pbx.lease()["verdict"] == "active"
