# SPDX-License-Identifier: Apache-2.0
"""Who may queue and who is to come back when. Pure: instants are arguments."""

import pytest

from fleet.server.admission import (
    FIRST_GUESS,
    MAX_RETRY_AFTER,
    Admission,
    Appointments,
    Lane,
    Meter,
    Share,
)


def at(rate: float) -> Admission:
    return Admission(meter=Meter(rate=rate), chance=lambda: 0.5)


@pytest.mark.parametrize(
    ("lane", "rate", "ahead", "admitted"),
    [
        pytest.param(Lane.CHECK, 0.2, 0, True, id="nobody waits"),
        pytest.param(Lane.OTHER, 0.2, 0, True, id="nobody waits, other"),
        pytest.param(Lane.CHECK, 100, 199, True, id="just under two seconds"),
        pytest.param(Lane.CHECK, 100, 200, False, id="two seconds"),
        pytest.param(Lane.OTHER, 100, 99, True, id="just under one second"),
        pytest.param(Lane.OTHER, 100, 100, False, id="one second"),
        pytest.param(Lane.OTHER, 0.5, 1, False, id="one ahead that does not move"),
    ],
)
def test_admission_by_the_wait(
    lane: Lane, rate: float, ahead: int, *, admitted: bool
) -> None:
    assert at(rate).admits(lane, ahead=ahead) is admitted


def test_bulk_is_admitted_by_number() -> None:
    bulk = Admission(shares={Lane.BULK: Share(wait=float("inf"), part=0.5, most=3)})
    assert [bulk.admits(Lane.BULK, ahead=n) for n in range(5)] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(("lane", "before"), [(Lane.CHECK, 96.0), (Lane.OTHER, 98.0)])
def test_who_waited_far_too_long_is_overdue(lane: Lane, before: float) -> None:
    assert at(1).overdue_before(lane, now=100.0) == before


def test_appointments_are_spread_over_the_measured_capacity() -> None:
    book = Appointments(part=0.5, chance=lambda: 0.5)
    given = [book.take(rate=100, ahead=200, now=1000.0) for _ in range(5000)]
    # 5,000 at 50 a second, behind a queue of two seconds.
    assert given[0] in (2, 3)
    assert 100 <= given[-1] <= 110
    assert given == sorted(given)
    busiest = max(given.count(second) for second in set(given))
    assert busiest <= 60


def test_appointments_go_on_where_they_ended_and_lapse_with_time() -> None:
    book = Appointments(part=1.0, chance=lambda: 0.0)
    assert [book.take(rate=1, ahead=0, now=0.0) for _ in range(4)] == [1, 1, 2, 3]
    assert book.take(rate=1, ahead=0, now=3.0) == 1
    assert book.take(rate=1, ahead=0, now=500.0) == 1


def test_appointments_stay_within_a_second_and_an_hour() -> None:
    book = Appointments(part=0.2)
    given = [book.take(rate=10, ahead=50, now=0.0) for _ in range(20_000)]
    assert min(given) >= 1
    assert max(given) <= MAX_RETRY_AFTER
    beyond = given[10_000:]
    assert min(beyond) >= MAX_RETRY_AFTER // 2
    assert max(beyond.count(second) for second in set(beyond)) < 50


def measured(*samples: tuple[float, int, bool]) -> float:
    meter = Meter()
    for now, served, queued in samples:
        meter.observe(served, queued=queued, now=now)
    return meter.rate


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        pytest.param([], FIRST_GUESS, id="nothing yet"),
        pytest.param([(0, 0, True), (0.05, 40, True)], FIRST_GUESS, id="too early"),
        pytest.param([(0, 0, True), (0.5, 100, True)], 200, id="first sample counts"),
        pytest.param(
            [(0, 0, True), (1, 100, True), (2, 300, True)], 150, id="then half and half"
        ),
        pytest.param(
            [(0, 0, False), (1, 100, True)], FIRST_GUESS, id="no queue, no capacity"
        ),
        pytest.param(
            [(0, 0, False), (1, 3000, False)], 3000, id="at least what was served"
        ),
        pytest.param([(0, 0, True), (1, 0, True)], 0.2, id="nothing moves"),
        pytest.param(
            [(0, 0, True), (1, 0, True), (2, 50, False)], 50, id="it moves again"
        ),
    ],
)
def test_capacity_is_measured(
    samples: list[tuple[float, int, bool]], rate: float
) -> None:
    assert measured(*samples) == pytest.approx(rate)
