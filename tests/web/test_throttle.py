# SPDX-License-Identifier: Apache-2.0
"""Guessing is slowed down, and only for whoever guesses."""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from prometheus_client import REGISTRY

from fleet.database import db, transaction
from fleet.errors import TooMany
from fleet.web import throttle
from fleet.web.models import GuessCount
from fleet.web.throttle import Guessing, check, client_network, window_of, wrong

NOON = datetime(2030, 1, 1, 12, 0, 30, tzinfo=UTC)
TEA = Guessing("tea", per_serial=3, per_address=5, alarm_at=8)
HERE = "192.0.2.7"
ELSEWHERE = "192.0.2.8"


def guess_wrongly(times: int, address: str = HERE, serial: str = "PBX000001") -> None:
    for _ in range(times):
        wrong(TEA, address, serial=serial, now=NOON)


def refused(address: str, serial: str | None, now: datetime = NOON) -> bool:
    try:
        check(TEA, address, serial=serial, now=now)
    except TooMany:
        return True
    return False


def counted(name: str) -> float:
    labels = {"kind": "tea"}
    return REGISTRY.get_sample_value(f"callhome_{name}_total", labels) or 0


@pytest.mark.usefixtures("stored_app")
def test_a_guess_is_looked_at_until_the_limit_is_reached() -> None:
    guess_wrongly(2)
    assert not refused(HERE, "PBX000001")

    guess_wrongly(1)

    assert refused(HERE, "PBX000001")
    assert not refused(HERE, "PBX000002")
    assert not refused(ELSEWHERE, "PBX000001")


@pytest.mark.usefixtures("stored_app")
def test_an_address_that_guesses_for_many_is_refused_for_all() -> None:
    for number in range(5):
        guess_wrongly(1, serial=f"PBX00000{number}")

    assert refused(HERE, "PBX999999")
    assert refused(HERE, None)
    assert not refused(ELSEWHERE, "PBX000001")


@pytest.mark.usefixtures("stored_app")
def test_the_window_ends_and_says_when() -> None:
    guess_wrongly(3)
    with pytest.raises(TooMany) as caught:
        check(TEA, HERE, serial="PBX000001", now=NOON)

    assert caught.value.retry_after == 571
    later = NOON + timedelta(seconds=caught.value.retry_after)
    assert not refused(HERE, "PBX000001", later)


@pytest.mark.usefixtures("stored_app")
def test_a_wrong_guess_beyond_the_limit_is_refused_itself() -> None:
    guess_wrongly(3)

    with pytest.raises(TooMany):
        guess_wrongly(1)


@pytest.mark.usefixtures("stored_app")
def test_an_unknown_address_has_no_limit_of_its_own() -> None:
    for number in range(9):
        guess_wrongly(1, address="", serial=f"PBX00000{number}")

    assert not refused("", "PBX999999")


@pytest.mark.usefixtures("stored_app")
def test_the_total_raises_one_alarm_and_refuses_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alarms = counted("guessing_alarms")
    guesses = counted("wrong_guesses")

    with caplog.at_level(logging.WARNING):
        for number in range(12):
            guess_wrongly(1, address=f"192.0.2.{number}", serial=f"PBX0000{number:02}")

    assert counted("guessing_alarms") == alarms + 1
    assert counted("wrong_guesses") == guesses + 12
    assert [each.message for each in caplog.records] == [
        "tea was guessed wrongly 8 times in one window"
    ]
    assert not refused("198.51.100.1", "PBX000099")


def test_no_guess_is_lost_when_many_come_at_once(stored_app: Flask) -> None:
    many = Guessing("many", per_serial=10**6, per_address=10**6)

    def guess(number: int) -> None:
        with stored_app.app_context():
            wrong(many, HERE, serial=f"PBX00000{number % 3}", now=NOON)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(guess, range(60)))

    with db.engine.connect() as connection:
        counts = connection.scalars(sa.select(GuessCount.wrong)).all()
    assert sorted(counts) == [20, 20, 20, 60, 60]


@pytest.mark.usefixtures("stored_app")
def test_a_rollback_cannot_undo_a_count() -> None:
    with pytest.raises(RuntimeError), transaction():
        guess_wrongly(1)


@pytest.mark.usefixtures("stored_app")
def test_neither_address_nor_serial_number_is_stored() -> None:
    guess_wrongly(1)

    with db.engine.connect() as connection:
        rows = connection.execute(sa.select(GuessCount.__table__)).all()
    stored = repr(rows).encode()
    assert len(rows) == 3
    assert b"192.0.2.7" not in stored
    assert b"PBX000001" not in stored


@pytest.mark.usefixtures("stored_app")
def test_counts_of_past_windows_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST_FORGOTTEN_TOGETHER", 2)
    guess_wrongly(2)
    later = NOON + timedelta(minutes=10)
    wrong(TEA, HERE, serial="PBX000001", now=later)

    assert throttle.forget(NOON) == 0
    assert throttle.forget(later) == 3
    with db.engine.connect() as connection:
        left = connection.scalars(sa.select(GuessCount.window_began_at)).all()
    assert set(left) == {window_of(later)}


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_one_client_is(address: str, client: str) -> None:
    assert client_network(address) == client
