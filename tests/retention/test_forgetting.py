# SPDX-License-Identifier: Apache-2.0
"""What is too old goes by the registry, and nothing that must be kept ever does."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from freezegun import freeze_time
from make import make_device

from cic.models import Activation
from fleet.database import Base, db, transaction
from fleet.devices.models import Device
from fleet.server import pulse
from fleet.server.models import Outage
from fleet.server.pulse import ClockNotTrusted
from fleet.staff.models import IdempotentAnswer, StaffToken
from retention import policies
from retention.ages import rule_of
from retention.models import DataShare, RightsRequest
from retention.service import forgetting
from retention.service.forgetting import (
    PROTECTED,
    Unforgettable,
    forget,
    last_day_before,
    rows_by_age,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
A_MOMENT = timedelta(microseconds=1)
DAY = timedelta(days=1)
NEXT_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def still(app: Flask) -> Iterator[None]:  # noqa: ARG001 -- there first
    with freeze_time(NOW):
        yield


def rows(model: type[Base]) -> int:
    with db.engine.connect() as connection:
        return (
            connection.scalar(sa.select(sa.func.count()).select_from(model.__table__))
            or 0
        )


def keep(row: Base) -> Base:
    with transaction() as session:
        session.add(row)
    return row


def token(
    number: int, *, expires_at: datetime, revoked_at: datetime | None = None
) -> StaffToken:
    row = StaffToken(
        owner="Anna Agent",
        role="support",
        digest=number.to_bytes(32),
        key_version=1,
        created_at=NOW - 400 * DAY,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )
    keep(row)
    return row


def share(
    number: int, *, expires_at: datetime, revoked_at: datetime | None = None
) -> None:
    device = make_device(f"CX9{number:09}", now=NOW)
    keep(
        DataShare(
            device_id=device.id,
            digest=number.to_bytes(32),
            key_version=1,
            recipient="A service company",
            created_at=NOW - 400 * DAY,
            created_by="device",
            expires_at=expires_at,
            revoked_at=revoked_at,
        )
    )


def request(closed_at: datetime | None) -> None:
    keep(
        RightsRequest(
            device_id=None,
            kind="access",
            asked_by="device",
            verified_by="certificate",
            reason="",
            received_at=NOW - 3000 * DAY,
            due_at=NOW,
            closed_at=closed_at,
        )
    )


# --- rows, by their own age ---------------------------------------------------------


@pytest.mark.parametrize(
    ("expired", "revoked", "left"),
    [
        pytest.param(-90 * DAY, None, 0, id="90 days after its end, exactly"),
        pytest.param(-90 * DAY + A_MOMENT, None, 1, id="a moment less"),
        pytest.param(DAY, -90 * DAY, 0, id="revoked before it expired"),
        pytest.param(-90 * DAY, -89 * DAY, 0, id="revoked when it had expired"),
        pytest.param(DAY, None, 1, id="in use"),
    ],
)
def test_a_token_of_the_staff_goes_90_days_after_its_end(
    expired: timedelta, revoked: timedelta | None, left: int
) -> None:
    token(1, expires_at=NOW + expired, revoked_at=revoked and NOW + revoked)

    assert forget(NOW) == ({} if left else {"staff_token": 1})
    assert rows(StaffToken) == left
    assert forget(NOW) == {}


@pytest.mark.parametrize(
    ("expired", "revoked", "left"),
    [
        (-30 * DAY, None, 0),
        (-30 * DAY + A_MOMENT, None, 1),
        (DAY, -30 * DAY, 0),
        (DAY, -29 * DAY, 1),
    ],
)
def test_a_share_goes_30_days_after_its_end(
    expired: timedelta, revoked: timedelta | None, left: int
) -> None:
    share(1, expires_at=NOW + expired, revoked_at=revoked and NOW + revoked)

    forget(NOW)

    assert rows(DataShare) == left


@pytest.mark.parametrize(
    ("closed", "left"),
    [
        pytest.param(None, 1, id="open, however old"),
        pytest.param(datetime(2022, 12, 31, 23, 59, tzinfo=UTC), 0, id="2022"),
        pytest.param(datetime(2023, 1, 1, tzinfo=UTC), 1, id="2023"),
    ],
)
def test_a_request_goes_three_years_after_the_year_of_its_answer(
    closed: datetime | None, left: int
) -> None:
    request(closed)

    forget(NOW)

    assert rows(RightsRequest) == left


def test_a_row_that_another_refers_to_waits_for_it() -> None:
    old = token(1, expires_at=NOW - 91 * DAY)
    token(2, expires_at=NOW - 91 * DAY)
    keep(
        IdempotentAnswer(
            token_id=old.id,
            key="k",
            fingerprint=bytes(32),
            status=200,
            headers="{}",
            body=b"",
            created_at=NOW,
        )
    )

    assert forget(NOW) == {"staff_token": 1}
    with transaction() as session:
        session.execute(sa.delete(IdempotentAnswer))
    assert forget(NOW) == {"staff_token": 1}


def test_more_than_a_slice_goes_and_what_lies_between_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forgetting, "SLICE", 3)
    for number in range(1, 21):
        token(number, expires_at=NOW + (DAY if number % 4 == 0 else -91 * DAY))

    assert forget(NOW) == {"staff_token": 15}
    assert rows(StaffToken) == 5


def test_what_went_is_gone_from_the_files(app: Flask) -> None:
    if db.engine.dialect.name != "sqlite":
        pytest.skip("of SQLite: on PostgreSQL vacuum does it")
    canary = "Canary Person 8d1f"
    row = token(1, expires_at=NOW - 91 * DAY)
    with transaction() as session:
        session.execute(sa.update(StaffToken).values(owner=canary))
    assert row.id

    forget(NOW)

    name = app.config["SQLALCHEMY_DATABASE_URI"].removeprefix("sqlite:///")
    for suffix in ("", "-wal"):
        with open(f"{name}{suffix}", "rb") as file:  # noqa: PTH123 -- a name, not a path
            assert canary.encode() not in file.read()


# --- what is protected --------------------------------------------------------------


def test_no_protected_table_is_ever_deleted_from_by_row() -> None:
    tables = {table.name for _, table in rows_by_age()}

    assert tables == {"data_share", "rights_request", "staff_token"}
    assert not tables & PROTECTED


def test_a_registry_that_wants_proofs_deleted_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = policies.load()
    careless = replace(
        registry["audit-log"], done_by=(forgetting.JOB,), age=rule_of({"hours": 24})
    )
    faulty = replace(
        registry, categories=dict(registry.categories) | {"audit-log": careless}
    )
    monkeypatch.setattr(policies, "load", lambda: faulty)

    with pytest.raises(Unforgettable, match="audit_entry is protected"):
        forget(NOW)


def test_protected_tables_are_those_that_the_database_or_a_promise_keeps() -> None:
    assert set(Base.metadata.tables) >= PROTECTED
    assert {"voucher", "release_code", "ledger_entry", "audit_entry"} <= PROTECTED
    assert {"retention_entry", "access_count", "rights_mark", "device"} <= PROTECTED


# --- PBXs whose support is long over ------------------------------------------------


def old_pbx(number: int = 1, *, support_ends_on: date | None) -> int:
    device = make_device(
        f"CX8{number:09}",
        customer="Müller",
        notes="calls often",
        support_ends_on=support_ends_on,
        now=NOW,
    )
    return device.id


def last_checked(device: int, instant: datetime) -> None:
    keep(Activation(device_id=device, device_type="VM", last_check_at=instant))


@pytest.mark.parametrize(
    ("ends_on", "checked", "now", "left"),
    [
        pytest.param(date(2026, 6, 30), None, NEXT_YEAR, 0, id="the turn of the year"),
        pytest.param(date(2026, 6, 30), None, NEXT_YEAR - A_MOMENT, 1, id="before it"),
        pytest.param(date(2026, 12, 30), None, NEXT_YEAR, 0, id="ends in the year"),
        pytest.param(
            date(2026, 12, 31), None, NEXT_YEAR, 1, id="its last zone is in the next"
        ),
        pytest.param(None, None, NEXT_YEAR, 1, id="support without an end"),
        pytest.param(
            date(2026, 6, 30),
            datetime(2027, 1, 1, tzinfo=UTC),
            NEXT_YEAR,
            1,
            id="it was in touch after that year",
        ),
        pytest.param(
            date(2026, 6, 30),
            datetime(2026, 12, 31, 23, 59, tzinfo=UTC),
            NEXT_YEAR,
            0,
            id="it was in touch in that year",
        ),
    ],
)
def test_a_pbx_goes_unasked_three_years_after_support_and_use(
    ends_on: date | None, checked: datetime | None, now: datetime, left: int
) -> None:
    device = old_pbx(support_ends_on=ends_on)
    if checked is not None:
        last_checked(device, checked)

    with freeze_time(now):
        gone = forget(now)

    assert rows(Device) == left
    assert gone == ({} if left else {"device": 1})


def test_a_pbx_that_goes_takes_all_with_it_and_leaves_a_note(app: Flask) -> None:  # noqa: ARG001
    old_pbx(support_ends_on=date(2026, 6, 30))

    with freeze_time(NEXT_YEAR):
        assert forget(NEXT_YEAR) == {"device": 1}

    with db.engine.connect() as connection:
        entry = connection.execute(
            sa.text("SELECT * FROM audit_entry ORDER BY id DESC LIMIT 1")
        ).one()
        for table in ("activation", "life_event", "device_certificate"):
            assert connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) == 0
    assert entry.action == "device.forget"
    assert entry.actor == "cli:retention"
    assert "Müller" not in f"{entry.before}{entry.after}{entry.reason}"


def test_no_pbx_goes_by_a_clock_that_may_be_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old_pbx(support_ends_on=date(2026, 6, 30))

    def doubtful(_self: object) -> datetime:
        raise ClockNotTrusted

    monkeypatch.setattr(pulse.Timekeeper, "now", doubtful)
    with freeze_time(NEXT_YEAR):
        assert forget(NEXT_YEAR) == {}
    assert rows(Device) == 1


def test_only_so_many_pbxs_go_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "MOST_PBXS", 2)
    monkeypatch.setattr(forgetting, "SLICE", 2)
    for number in range(5):
        old_pbx(number, support_ends_on=date(2026, 6, 30))

    with freeze_time(NEXT_YEAR):
        assert [forget(NEXT_YEAR).get("device", 0) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        ("2026-12-31T12:00", date(2026, 12, 30)),
        ("2026-12-31T11:59", date(2026, 12, 29)),
        ("2027-01-01T00:00", date(2026, 12, 30)),
    ],
)
def test_the_last_day_that_is_over_everywhere(instant: str, day: date) -> None:
    at = datetime.fromisoformat(instant).replace(tzinfo=UTC)

    assert last_day_before(at) == day


@pytest.mark.parametrize(
    ("gap", "since", "forgotten"),
    [
        (timedelta(days=29), DAY, 1),  # a service that was away
        (timedelta(days=3650), DAY, 0),  # a clock that leaped by ten years, perhaps
        (timedelta(days=3650), 8 * DAY, 1),  # and nobody said so for a week
    ],
)
def test_nothing_is_forgotten_soon_after_a_leap(
    gap: timedelta, since: timedelta, forgotten: int
) -> None:
    keep(token(1, expires_at=NOW - timedelta(days=3650)))
    with db.engine.begin() as connection:
        connection.execute(
            sa.insert(Outage).values(began_at=NOW - since - gap, ended_at=NOW - since)
        )

    assert forget(NOW).get("staff_token", 0) == forgotten
