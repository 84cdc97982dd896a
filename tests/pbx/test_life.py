# SPDX-License-Identifier: Apache-2.0
"""Weeks in the life of a PBX, told as stories."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pbx.simulated import DAY, NOON, SERIAL, lose, silence
from pbx.world import make_running, make_world

from fleet.pbx.errors import Nothing, Unreachable, WrongNonce
from fleet.pbx.lease import Lease
from fleet.pbx.life import Notice, Standing
from fleet.pbx.transport import Answer, Request

HOUR = timedelta(hours=1)
CHECK = "/cic/v1/check"
INITIALISE = "/cic/v1/initialise"


def test_a_new_pbx_initialises_itself_at_once_and_then_checks_daily() -> None:
    world = make_world()

    world.pbx.live_for(10 * DAY)

    assert world.stands() is Standing.RUNNING
    assert world.pbx.functions_enabled
    assert len(world.vendor.asked(INITIALISE)) == 1
    assert len(world.vendor.asked(CHECK)) == 9


def test_each_check_presents_the_token_of_the_one_before() -> None:
    world = make_running()

    world.pbx.live_for(4 * DAY + HOUR)

    presented = [body.get("continuation") for body in world.vendor.asked(CHECK)]
    assert presented == [None, "token-1", "token-2", "token-3"]


def test_a_token_from_an_answer_that_is_not_signed_is_not_kept() -> None:
    world = make_running()
    world.pbx.check()
    world.vendor.meddler = lambda _, __: Answer(
        status=200, headers={}, body=b'{"lease": "a.b.c", "continuation": "bad"}'
    )
    assert isinstance(world.pbx.check(), Nothing)

    world.vendor.meddler = None
    world.pbx.check()

    assert world.vendor.asked(CHECK)[-1]["continuation"] == "token-1"


def test_every_question_has_a_nonce_of_its_own() -> None:
    world = make_running()

    world.pbx.live_for(30 * DAY)

    nonces = [body["nonce"] for body in world.vendor.asked(CHECK)]
    assert len(set(nonces)) == len(nonces)


def test_the_first_check_is_the_same_question_until_it_is_answered() -> None:
    world = make_running()
    world.vendor.meddler = lose
    for _ in range(3):
        world.pbx.check()
        world.reboot()
    world.vendor.meddler = None
    world.pbx.check()
    world.pbx.check()

    first, *repeats, last = [body["nonce"] for body in world.vendor.asked(CHECK)]
    assert repeats == [first] * 3
    assert last != first


def test_a_first_answer_that_was_held_back_for_days_is_nothing() -> None:
    world = make_running()
    held_back: list[Answer] = []

    def hold_back(_: Request, honestly: Callable[[], Answer]) -> Answer:
        held_back.append(honestly())
        raise Unreachable("held back")

    world.vendor.meddler = hold_back
    world.pbx.live_for(3 * DAY)
    world.vendor.meddler = lambda _, __: held_back[0]

    assert type(world.pbx.check()) is WrongNonce


def test_forty_days_of_silence_warn_and_then_lock_but_never_before_lock_at() -> None:
    world = make_running()
    world.vendor.meddler = silence

    world.pbx.live_for(16 * DAY)
    assert world.stands() is Standing.RUNNING
    world.pbx.live_for(2 * DAY)
    assert world.stands() is Standing.WARNING
    assert world.pbx.functions_enabled
    world.pbx.live_for(12 * DAY + 23 * HOUR)
    assert world.pbx.functions_enabled
    world.pbx.live_for(9 * DAY)

    assert world.stands() is Standing.LOCKED_BY_ITSELF
    assert world.notices.count(Notice.WARNING) == 4
    assert world.notices.count(Notice.LOCKED_BY_ITSELF) == 1


def test_a_pbx_that_locked_itself_goes_on_asking_hourly_and_active_unlocks() -> None:
    world = make_running()
    world.vendor.meddler = silence
    world.pbx.live_for(40 * DAY)
    asked = len(world.vendor.asked(CHECK))
    world.pbx.live_for(DAY)
    assert 20 <= len(world.vendor.asked(CHECK)) - asked <= 28

    world.vendor.meddler = None
    world.pbx.live_for(2 * HOUR)

    assert world.stands() is Standing.RUNNING
    assert world.pbx.state.failed_attempts == 0
    assert Notice.UNLOCKED in world.notices


def test_an_outage_that_ends_in_time_leaves_no_trace() -> None:
    world = make_running()
    world.vendor.meddler = silence
    world.pbx.live_for(25 * DAY)

    world.vendor.meddler = None
    world.pbx.live_for(2 * HOUR)

    assert world.stands() is Standing.RUNNING
    assert Notice.LOCKED_BY_ITSELF not in world.notices
    assert world.pbx.state.warnings_given == 0


def test_without_enough_attempts_no_silence_is_long_enough() -> None:
    world = make_running(minimum_attempts=10_000)
    world.vendor.meddler = silence

    world.pbx.live_for(60 * DAY)

    assert world.stands() is Standing.WARNING


def test_a_year_on_a_shelf_locks_nobody() -> None:
    world = make_running()
    world.vendor.meddler = silence

    world.reboot(off_for=timedelta(days=364)).live_for(DAY)

    assert world.stands() is Standing.RUNNING
    assert Notice.WARNING not in world.notices


def test_holidays_warn_after_the_first_failure_and_do_not_lock() -> None:
    world = make_running()
    world.vendor.meddler = silence

    world.reboot(off_for=timedelta(days=20))
    world.pbx.live_for(DAY)

    assert world.stands() is Standing.WARNING
    assert Notice.CLOCK_AHEAD not in world.notices


def test_an_amnesty_moves_the_lock() -> None:
    world = make_running(amnesty_until=NOON + 50 * DAY)
    world.vendor.meddler = silence

    world.pbx.live_for(49 * DAY)
    assert world.pbx.functions_enabled
    world.pbx.live_for(2 * DAY)

    assert world.stands() is Standing.LOCKED_BY_ITSELF


def test_signed_locked_demands_reinitialisation_and_that_brings_it_back() -> None:
    world = make_running()
    first_key = world.pbx.record.credentials
    world.vendor.verdict = "locked"
    world.pbx.live_for(2 * DAY)
    assert world.stands() is Standing.LOCKED

    assert isinstance(world.pbx.initialise(), Lease)

    assert world.stands() is Standing.RUNNING
    assert world.pbx.state.generation == 2
    assert first_key is not None
    assert world.pbx.record.credentials is not None
    assert world.pbx.record.credentials.private_key != first_key.private_key


@pytest.mark.parametrize("verdict", ["locked", "blocked", "replaced"])
def test_a_signed_no_locks_and_is_asked_about_daily(verdict: str) -> None:
    world = make_running()
    world.vendor.verdict = verdict

    world.pbx.live_for(3 * DAY + HOUR)

    assert world.stands() == verdict
    assert not world.pbx.functions_enabled
    assert len(world.vendor.asked(CHECK)) == 3
    world.vendor.verdict = "active"
    world.pbx.live_for(DAY)
    assert world.pbx.functions_enabled


@pytest.mark.parametrize("verdict", ["blocked", "replaced"])
def test_reinitialisation_lifts_neither_block_nor_replacement(verdict: str) -> None:
    world = make_running()
    world.vendor.verdict = verdict
    world.pbx.check()

    world.pbx.initialise()

    assert world.stands() == verdict


@pytest.mark.parametrize("verdict", ["locked", "blocked", "replaced"])
def test_silence_after_a_signed_no_changes_nothing(verdict: str) -> None:
    world = make_running()
    world.vendor.verdict = verdict
    world.pbx.check()
    world.vendor.meddler = silence

    world.pbx.live_for(40 * DAY)

    assert world.stands() == verdict


def test_the_report_says_what_support_needs() -> None:
    world = make_running()
    world.vendor.meddler = silence
    world.pbx.live_for(2 * DAY)
    world.vendor.meddler = None
    world.pbx.live_for(2 * HOUR)

    told = [body for body in world.vendor.asked(CHECK) if body["failed_attempts"]][-1]
    assert told["serial_number"] == SERIAL
    assert told["device_type"] == "pbx-one"
    assert told["failed_attempts"] >= 20
    assert datetime.fromisoformat(told["device_time"]) > NOON.astimezone(UTC)
