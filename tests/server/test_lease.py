# SPDX-License-Identifier: Apache-2.0
"""Of several jobs processes, the one with the lease works."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from flask import Flask
from sqlalchemy import delete, update
from sqlalchemy.exc import SQLAlchemyError

from fleet.database import db, transaction, writing
from fleet.server import lease
from fleet.server.lease import LEASE_LIFE, RENEW_EVERY, Lease, LeaseLost
from fleet.server.models import JobLease

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)

Claimant = Callable[[], Lease]


@pytest.fixture
def claimant(app: Flask) -> Claimant:
    """A process that would like to work."""
    assert app.testing
    return lambda: Lease(db.engine, "jobs")


def test_the_first_to_claim_it_holds_it(claimant: Claimant) -> None:
    one, other = claimant(), claimant()
    assert not one.held(NOON)
    assert one.claim(NOON)
    assert not other.claim(NOON)
    assert one.held(NOON)
    assert not other.held(NOON)
    assert (one.token, other.token) == (1, None)


def test_of_many_that_claim_it_at_once_one_gets_it(claimant: Claimant) -> None:
    claimants = [claimant() for _ in range(8)]
    begin = Barrier(len(claimants))

    def claim(each: Lease) -> bool:
        begin.wait()
        return each.claim(NOON)

    with ThreadPoolExecutor(len(claimants)) as pool:
        assert sorted(pool.map(claim, claimants)) == [False] * 7 + [True]


def test_who_renews_keeps_it_and_its_token(claimant: Claimant) -> None:
    one, other = claimant(), claimant()
    for turn in range(9):
        assert one.claim(NOON + turn * RENEW_EVERY)
        assert not other.claim(NOON + turn * RENEW_EVERY)
    assert one.token == 1


def test_it_runs_out_and_the_next_holder_has_a_higher_token(
    claimant: Claimant,
) -> None:
    one, other = claimant(), claimant()
    one.claim(NOON)
    assert one.held(NOON + LEASE_LIFE - SECOND)
    assert not other.claim(NOON + LEASE_LIFE - SECOND)
    # From the instant it runs out it is one's no more, and anybody's.
    assert not one.held(NOON + LEASE_LIFE)
    assert other.claim(NOON + LEASE_LIFE)
    assert other.token == 2
    # Who was only slow learns of it at the next renewal.
    assert not one.claim(NOON + LEASE_LIFE)
    assert one.token is None
    assert one.claim(NOON + 2 * LEASE_LIFE)
    assert one.token == 3


def test_a_holder_that_was_slow_while_nobody_came_goes_on(claimant: Claimant) -> None:
    one = claimant()
    one.claim(NOON)
    assert one.claim(NOON + 10 * LEASE_LIFE)
    assert one.token == 1


def test_who_gives_it_up_lets_another_work_at_once(claimant: Claimant) -> None:
    one, other = claimant(), claimant()
    one.claim(NOON)
    one.give_up()
    assert not one.held(NOON + SECOND)
    assert other.claim(NOON + SECOND)
    assert other.token == 2


def test_who_does_not_hold_it_cannot_give_it_up(claimant: Claimant) -> None:
    one, other, third = claimant(), claimant(), claimant()
    one.claim(NOON)
    other.give_up()
    assert not third.claim(NOON)
    # Nor can who has lost it without knowing.
    assert other.claim(NOON + LEASE_LIFE)
    one.give_up()
    assert not third.claim(NOON + LEASE_LIFE)


def test_leases_of_different_names_are_independent(claimant: Claimant) -> None:
    assert claimant().claim(NOON)
    assert Lease(db.engine, "other").claim(NOON)


def test_a_renewal_that_fails_takes_nothing_away(claimant: Claimant) -> None:
    one = claimant()
    one.claim(NOON)
    with transaction() as session:
        session.connection().exec_driver_sql("ALTER TABLE job_lease RENAME TO gone")
    with pytest.raises(SQLAlchemyError):
        one.claim(NOON + RENEW_EVERY)
    assert one.held(NOON + RENEW_EVERY)
    assert not one.held(NOON + LEASE_LIFE)


def test_work_is_only_committed_by_who_has_it(claimant: Claimant) -> None:
    one, other = claimant(), claimant()
    one.claim(NOON)
    with writing(db.engine) as connection:
        one.fence(connection, NOON + RENEW_EVERY)
    assert one.held(NOON + LEASE_LIFE)
    assert not other.claim(NOON + LEASE_LIFE)
    assert other.claim(NOON + RENEW_EVERY + LEASE_LIFE)

    def work() -> None:
        with writing(db.engine) as connection:
            connection.execute(delete(JobLease))
            one.fence(connection, NOON + RENEW_EVERY)

    with pytest.raises(LeaseLost):
        work()
    assert one.token is None
    assert not claimant().claim(NOON + LEASE_LIFE)
    with writing(db.engine) as connection:
        other.fence(connection, NOON + LEASE_LIFE)


def test_the_same_holder_with_an_older_token_is_fenced_off(claimant: Claimant) -> None:
    one = claimant()
    one.claim(NOON)
    with writing(db.engine) as connection:
        connection.execute(update(JobLease).values(token=JobLease.token + 1))
    with pytest.raises(LeaseLost), writing(db.engine) as connection:
        one.fence(connection, NOON)


def test_nobody_takes_it_while_its_holders_work_is_being_committed(
    claimant: Claimant,
) -> None:
    one, other = claimant(), claimant()
    one.claim(NOON)
    late = NOON + 2 * LEASE_LIFE
    with ThreadPoolExecutor(1) as pool:
        with writing(db.engine) as connection:
            one.fence(connection, NOON)
            taken = pool.submit(other.claim, late)
            assert not wait([taken], timeout=0.3).done
        assert taken.result()
    with pytest.raises(LeaseLost), writing(db.engine) as connection:
        one.fence(connection, NOON)


def test_one_that_nobody_renews_is_taken_though_it_ends_in_a_year(
    claimant: Claimant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monotonic = [1000.0]
    monkeypatch.setattr(lease.time, "monotonic", lambda: monotonic[0])
    ahead = claimant()
    ahead.claim(NOON + timedelta(days=365))
    assert not claimant().claim(NOON)
    monotonic[0] += LEASE_LIFE.total_seconds() - 1
    assert not claimant().claim(NOON)
    # It lives: its clock is wrong, but it renews.
    ahead.claim(NOON + timedelta(days=365) + SECOND)
    monotonic[0] += 1
    assert not claimant().claim(NOON)
    monotonic[0] += LEASE_LIFE.total_seconds()
    # Another claimant of the same process, as each run is one.
    assert claimant().claim(NOON)
    assert not ahead.claim(NOON)


def test_one_that_was_given_up_is_free_by_every_clock(claimant: Claimant) -> None:
    one, other = claimant(), claimant()
    one.claim(NOON)
    one.give_up()
    assert other.claim(NOON - timedelta(days=365))
