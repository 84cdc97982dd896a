# SPDX-License-Identifier: Apache-2.0
"""What a lease says: every claim of the protocol's table, in its spelling."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from cic.lease import claims, minimum_attempts, next_check_in
from cic.standing import Reason, Standing, Verdict

NOW = datetime(2027, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DAY = timedelta(days=1)
LOCK = NOW + 31 * DAY
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

ACTIVE = Standing(Verdict.ACTIVE, Reason.IN_TOUCH, LOCK, 30 * DAY)
LOCKED = Standing(Verdict.LOCKED, Reason.SILENT_TOO_LONG, NOW - DAY, 30 * DAY)
BLOCKED = Standing(Verdict.BLOCKED, Reason.BLOCKED_BY_VENDOR, None, 30 * DAY)
REPLACED = Standing(Verdict.REPLACED, Reason.REPLACED_BY_OTHER, None, 30 * DAY)
ALL = [
    pytest.param(ACTIVE, id="active"),
    pytest.param(LOCKED, id="locked"),
    pytest.param(BLOCKED, id="blocked"),
    pytest.param(REPLACED, id="replaced"),
]


def lease(
    standing: Standing,
    *,
    amnesty_until: datetime | None = None,
    draw: float = 0.5,
) -> dict[str, object]:
    return claims(
        standing,
        serial_number="CX1000000001",
        nonce="n" * 22,
        generation=3,
        lock_at=standing.lock_at,
        amnesty_until=amnesty_until,
        draw=draw,
        now=NOW,
    )


def test_an_active_lease_says_exactly_this() -> None:
    assert lease(ACTIVE) == {
        "sub": "CX1000000001",
        "nonce": "n" * 22,
        "iat": 1803902400,
        "exp": 1803902400 + 31 * 86400,
        "verdict": "active",
        "reason": "in-touch",
        "server_time": "2027-03-01T12:00:00Z",
        "next_check_in": 86400,
        "retry_in": 3600,
        "lock_at": "2027-04-01T12:00:00Z",
        "warn_at": [
            "2027-03-18T12:00:00Z",
            "2027-03-25T12:00:00Z",
            "2027-03-29T12:00:00Z",
            "2027-03-30T12:00:00Z",
            "2027-03-31T12:00:00Z",
            "2027-04-01T00:00:00Z",
        ],
        "minimum_attempts": 360,
        "generation": 3,
    }


@pytest.mark.parametrize("standing", ALL)
def test_no_claim_of_the_protocols_table_is_ever_missing(standing: Standing) -> None:
    assert set(lease(standing)) >= {
        "sub",
        "nonce",
        "iat",
        "exp",
        "verdict",
        "reason",
        "server_time",
        "next_check_in",
        "retry_in",
        "lock_at",
        "warn_at",
        "minimum_attempts",
        "generation",
    }


@pytest.mark.parametrize("standing", ALL)
def test_only_iat_and_exp_are_numbers_of_seconds(standing: Standing) -> None:
    said = lease(standing, amnesty_until=LOCK)
    assert type(said["iat"]) is type(said["exp"]) is int
    instants = [said["server_time"], said["amnesty_until"]]
    warnings = said["warn_at"]
    assert isinstance(warnings, list)
    if said["lock_at"] is not None:
        instants.append(said["lock_at"])
    assert all(INSTANT.fullmatch(str(each)) for each in [*instants, *warnings])
    for name in ("next_check_in", "retry_in", "minimum_attempts", "generation"):
        assert type(said[name]) is int


@pytest.mark.parametrize(
    ("standing", "expires_at", "lock_at"),
    [
        pytest.param(ACTIVE, LOCK, "2027-04-01T12:00:00Z", id="yes: until the lock"),
        pytest.param(LOCKED, NOW + 2 * DAY, "2027-02-28T12:00:00Z", id="locked: 48 h"),
        pytest.param(BLOCKED, NOW + 2 * DAY, None, id="blocked: 48 hours"),
        pytest.param(REPLACED, NOW + 2 * DAY, None, id="replaced: 48 hours"),
    ],
)
def test_a_yes_lasts_until_the_lock_and_a_no_for_48_hours(
    standing: Standing, expires_at: datetime, lock_at: str | None
) -> None:
    said = lease(standing)
    assert said["exp"] == int(expires_at.timestamp())
    assert said["lock_at"] == lock_at


@pytest.mark.parametrize(
    ("draw", "seconds"),
    [
        pytest.param(0.0, 82080, id="the earliest: 5 % less than a day"),
        pytest.param(0.5, 86400, id="the middle: a day"),
        pytest.param(1 - 2**-53, 90720, id="the latest: 5 % more"),
    ],
)
def test_the_next_check_is_a_day_away_within_5_percent(
    draw: float, seconds: int
) -> None:
    assert next_check_in(draw) == seconds
    assert lease(BLOCKED, draw=draw)["next_check_in"] == seconds


@pytest.mark.parametrize(
    ("days", "attempts"),
    [
        pytest.param(1, 12, id="a day"),
        pytest.param(7, 84, id="a week"),
        pytest.param(30, 360, id="the default"),
        pytest.param(3650, 43800, id="ten years"),
    ],
)
def test_a_lock_needs_an_attempt_for_every_second_hour_of_the_grace(
    days: int, attempts: int
) -> None:
    assert minimum_attempts(days * DAY) == attempts


def test_however_short_the_grace_one_attempt_is_needed() -> None:
    assert minimum_attempts(timedelta(minutes=1)) == 1


@pytest.mark.parametrize(
    ("lock_in", "hours_before"),
    [
        pytest.param(31 * DAY, [336, 168, 72, 48, 24, 12], id="the default grace"),
        pytest.param(8 * DAY, [72, 48, 24, 12], id="a grace of a week"),
        pytest.param(2 * DAY, [12], id="a grace of one day"),
        pytest.param(DAY + timedelta(hours=13), [12], id="later than the next check"),
    ],
)
def test_warnings_come_before_the_lock_and_never_to_who_checks_daily(
    lock_in: timedelta, hours_before: list[int]
) -> None:
    limit = NOW + lock_in
    said = lease(Standing(Verdict.ACTIVE, Reason.IN_TOUCH, limit, DAY))
    expected = [limit - timedelta(hours=each) for each in hours_before]
    assert said["warn_at"] == [f"{each:%Y-%m-%dT%H:%M:%S}Z" for each in expected]


@pytest.mark.parametrize("standing", ALL[1:])
def test_who_may_not_run_is_not_warned(standing: Standing) -> None:
    assert lease(standing)["warn_at"] == []


@pytest.mark.parametrize("standing", ALL)
def test_every_lease_carries_the_amnesty_that_lasts(standing: Standing) -> None:
    said = lease(standing, amnesty_until=NOW + 60 * DAY)
    assert said["amnesty_until"] == "2027-04-30T12:00:00Z"


@pytest.mark.parametrize(
    "until",
    [
        pytest.param(None, id="there is none"),
        pytest.param(NOW, id="it ends now"),
        pytest.param(NOW - DAY, id="it is over"),
    ],
)
def test_no_lease_speaks_of_an_amnesty_when(until: datetime | None) -> None:
    assert "amnesty_until" not in lease(ACTIVE, amnesty_until=until)
