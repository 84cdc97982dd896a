# SPDX-License-Identifier: Apache-2.0
"""Lists for support: found, in a state, and who locks this week."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from flask import Flask
from make import NOBODY
from sqlalchemy import Connection, event, insert, select, text

from cic.models import Activation
from cic.service import amnesties
from cic.service.listing import devices
from cic.service.standings import Overview, judge, policy_in
from cic.standing import Verdict
from fleet.database import db, reading, transaction
from fleet.devices.models import Device
from fleet.devices.search import searchable
from fleet.errors import Invalid
from fleet.server.models import Outage

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)

# Of each type, and of each grace of its own: a group in the index.
TYPES = ("COMpact", "COMtrexx Flex", "COMtrexx VM", "Other")
OWN_GRACES = (0, 7, 30, 90)
HOLDS = ("", "", "", "", "", "", "blocked", "replaced")

Make = Callable[[int], None]


@pytest.fixture
def make(app: Flask) -> Make:
    """Put so many PBXs of all kinds into the database, the same ones each time."""

    def fill(count: int) -> None:
        draw = Random(17)
        with transaction() as session:
            session.execute(
                insert(Device), [device(each, draw) for each in range(count)]
            )
            ids = session.scalars(select(Device.id).order_by(Device.id)).all()
            rows = [activation(each, draw) for each in ids[: count * 9 // 10]]
            session.execute(insert(Activation), rows)
        with db.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text("ANALYZE"))

    assert app.testing
    return fill


def device(number: int, draw: Random) -> dict[str, Any]:
    serial = f"CX{number:08}"
    customer = draw.choice(["Bäckerei Müller", "Weber & Co", ""])
    return {
        "serial_number": serial,
        "mac_address": None,
        "part_number": "",
        "device_type": TYPES[number % len(TYPES)],
        "hardware_revision": "",
        "secret_digest": b"",
        "secret_key_version": 1,
        "support_ends_on": None,
        "registered_at": NOW,
        "customer": customer,
        "notes": "",
        "search_text": searchable(serial, None, customer=customer),
    }


def activation(device_id: int, draw: Random) -> dict[str, Any]:
    # Whole hours: many are silent since the same instant.
    silent_for = timedelta(hours=draw.randrange(24 * 100))
    return {
        "device_id": device_id,
        "device_type": TYPES[(device_id - 1) % len(TYPES)],
        "grace_days": draw.choice(OWN_GRACES),
        "hold": draw.choice(HOLDS),
        "silent_since": None if draw.random() < 0.05 else NOW - silent_for,
    }


def walk(limit: int = 50, **wanted: Any) -> list[Overview]:
    """Read all pages."""
    found: list[Overview] = []
    cursor: str | None = None
    while True:
        page = devices(limit=limit, cursor=cursor, now=NOW, **wanted)
        assert len(page.items) <= limit
        found += page.items
        assert page.next_cursor != cursor or cursor is None
        assert len(found) <= 20_000
        cursor = page.next_cursor
        if cursor is None:
            return found


def serials(found: list[Overview]) -> list[str]:
    return [each.device.serial_number for each in found]


def all_judged() -> list[tuple[Device, Activation | None, Any]]:
    """Every PBX with its standing, one by one and in no clever way."""
    with reading() as session:
        policy = policy_in(session)
        rows: Sequence[Any] = session.execute(
            select(Device, Activation).outerjoin(
                Activation, Activation.device_id == Device.id
            )
        ).all()
    blank = Activation(device_id=0, device_type="")
    return [
        (device, activation, judge(activation or blank, policy=policy, now=NOW))
        for device, activation in rows
    ]


def will_lock(before: datetime) -> list[tuple[Any, Any, int]]:
    return sorted(
        (standing.lock_at, activation.silent_since, device.id)
        for device, activation, standing in all_judged()
        if activation is not None
        and standing.verdict is Verdict.ACTIVE
        and standing.lock_at < before
    )


def positions(found: list[Overview]) -> list[tuple[Any, Any, int]]:
    return [
        (each.standing.lock_at, each.activation.silent_since, each.device.id)
        for each in found
    ]


@pytest.fixture
def fleet(make: Make) -> None:
    """300 PBXs under graces of their types, and an outage of ours."""
    make(300)
    for kind, days in (("COMpact", 14), ("Other", 60)):
        amnesties.set_grace(kind, grace_days=days, reason="", by=NOBODY, now=NOW)


@pytest.mark.usefixtures("fleet")
def test_each_state_lists_exactly_the_pbxs_that_are_in_it() -> None:
    judged = all_judged()
    for state in Verdict:
        expected = sorted(
            device.serial_number
            for device, _, standing in judged
            if standing.verdict is state
        )
        assert expected
        assert serials(walk(limit=7, state=state)) == expected, state
    assert serials(walk()) == sorted(each[0].serial_number for each in judged)


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("limit", [1, 7, 200])
def test_who_locks_this_week_is_listed_the_next_first(limit: int) -> None:
    before = NOW + 7 * DAY
    expected = will_lock(before)
    assert len(expected) > 10
    assert positions(walk(limit=limit, locks_before=before)) == expected


@pytest.mark.usefixtures("fleet")
def test_under_an_amnesty_all_lock_at_once_and_none_is_listed_twice_or_never() -> None:
    until = NOW + 90 * DAY
    amnesties.grant(until=until, reason="", by=NOBODY, now=NOW)
    assert walk(locks_before=until) == []
    found = positions(walk(limit=7, locks_before=until + timedelta(seconds=1)))
    assert {each[0] for each in found} == {until}
    assert found == will_lock(until + timedelta(seconds=1))
    everybody = positions(walk(limit=7, locks_before=NOW + 999 * DAY))
    assert everybody == will_lock(NOW + 999 * DAY)
    assert walk(state=Verdict.LOCKED) == []


def test_outages_move_the_locks_of_those_who_were_silent_then(
    make: Make, make_app: Callable[..., Flask]
) -> None:
    make(200)
    with transaction() as session:
        down = {"began_at": NOW - 20 * DAY, "ended_at": NOW - 18 * DAY}
        session.execute(insert(Outage).values(down))
    before = NOW + 9 * DAY
    uncredited = will_lock(before)
    make_app(outage_credit=True)
    assert uncredited != will_lock(before) != []
    assert positions(walk(limit=7, locks_before=before)) == will_lock(before)


@pytest.mark.usefixtures("fleet")
def test_filters_narrow_the_list_together() -> None:
    before = NOW + 20 * DAY
    locking = walk(locks_before=before)
    of_type = [each for each in locking if each.device.device_type == "COMpact"]
    assert walk(locks_before=before, device_type="COMpact") == of_type != []
    named = [each for each in locking if "Weber" in each.device.customer]
    assert serials(walk(limit=3, locks_before=before, q="weber")) == serials(named)
    assert walk(locks_before=before, state=Verdict.ACTIVE) == locking
    with pytest.raises(Invalid):  # nobody is locked and will lock
        walk(locks_before=before, state=Verdict.LOCKED)
    assert walk(locks_before=NOW - 40 * DAY) == []
    blocked = serials(walk(state=Verdict.BLOCKED))
    assert serials(walk(state=Verdict.BLOCKED, q="cx-0000-01", limit=3)) == [
        each for each in blocked if each.startswith("CX000001")
    ]
    [one] = walk(q="cx-0000 0042", state=None)
    assert one.device.serial_number == "CX00000042"


@pytest.mark.usefixtures("fleet")
def test_a_cursor_of_another_list_or_of_nobody_is_refused() -> None:
    ours = devices(limit=1, cursor=None, now=NOW).next_cursor
    assert ours is not None
    for cursor in (ours, "", "x", "W10", "é", "A" * 600):
        with pytest.raises(Invalid):
            devices(limit=1, cursor=cursor, locks_before=NOW + DAY, now=NOW)


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    "instant",
    [
        pytest.param(datetime(1, 1, 1, tzinfo=UTC), id="the earliest there is"),
        pytest.param(datetime(9999, 12, 31, 23, 59, tzinfo=UTC), id="the latest"),
    ],
)
def test_any_instant_can_be_asked_for(instant: datetime) -> None:
    found = walk(limit=200, locks_before=instant)
    assert positions(found) == will_lock(instant)


def test_who_locks_this_week_is_read_from_the_index_alone(
    make: Make, database_kind: str
) -> None:
    make(20_000)
    plans = []

    def explain(
        connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        if "activation" not in statement or statement.startswith("EXPLAIN"):
            return
        words = "EXPLAIN QUERY PLAN" if database_kind == "sqlite" else "EXPLAIN"
        rows = connection.exec_driver_sql(f"{words} {statement}", parameters)
        plans.append(" | ".join(str(row[-1]) for row in rows))

    event.listen(db.engine, "before_cursor_execute", explain)
    try:
        page = devices(limit=50, cursor=None, locks_before=NOW + 7 * DAY, now=NOW)
        devices(limit=50, cursor=page.next_cursor, locks_before=NOW + 7 * DAY, now=NOW)
    finally:
        event.remove(db.engine, "before_cursor_execute", explain)
    assert len(page.items) == 50
    groups = len(TYPES) * len(OWN_GRACES)
    by_index = [each for each in plans if "ix_activation_silence" in each]
    # Leaps to the first group, within a type and to the next type, and a range of
    # each group; then the rows of the page.
    leaps = 1 + groups + len(TYPES)
    assert len(by_index) == 2 * (leaps + groups)
    assert len(plans) == len(by_index) + 2
    for plan in plans:
        assert "SCAN activation" not in plan.replace(
            "SCAN activation USING COVERING INDEX ix_activation_silence", ""
        )
        assert "Seq Scan on activation" not in plan
