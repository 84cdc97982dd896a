# SPDX-License-Identifier: Apache-2.0
"""Weeks in the life of a PBX, told as stories."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pbx.simulated import (
    DAY,
    NOON,
    SERIAL,
    problem,
    silence,
)
from pbx.world import make_pbx, make_running, make_world

from fleet.pbx.errors import Nothing, Unreachable
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


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.999])
def test_waiting_is_spread(draw: float) -> None:
    world = make_running()
    world.pbx = make_pbx(world, draw=lambda: draw)
    world.vendor.meddler = silence

    world.pbx.check()
    first = world.pbx.state.wake_at
    world.clock.sleep(first)
    world.pbx.check()
    second = world.pbx.state.wake_at - first

    assert first == pytest.approx(3600 * (0.75 + draw / 2) + 120 * draw)
    assert second == pytest.approx(3600 * (0.75 + draw / 2))


def test_after_a_regional_power_cut_pbxs_come_back_within_ten_minutes() -> None:
    world = make_running()

    pbx = world.reboot(off_for=HOUR)

    assert pbx.state.wake_at == 300
    assert len(world.vendor.asked(CHECK)) == 0


@pytest.mark.parametrize(
    ("next_check_in", "waits"),
    [
        pytest.param(86400, 86400, id="a day"),
        pytest.param(90720, 90720, id="a day and five per cent"),
        pytest.param(0, 60, id="at once is once a minute"),
        pytest.param(10**12, 7 * 86400, id="never is once a week"),
    ],
)
def test_the_lease_sets_the_interval_within_reason(
    next_check_in: int, waits: int
) -> None:
    world = make_running()
    honest = world.vendor.lease_claims
    world.vendor.lease_claims = lambda nonce: {  # type: ignore[method-assign]
        **honest(nonce),
        "next_check_in": next_check_in,
    }

    world.pbx.check()

    assert world.pbx.state.wake_at - world.clock.uptime() == waits


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "waits"),
    [
        pytest.param("120", 120, id="two minutes"),
        pytest.param("0", 60, id="not more often than once a minute"),
        pytest.param("315360000", 86400, id="ten years are a day"),
        pytest.param("9" * 5000, 86400, id="for ever is a day"),
        pytest.param("Wed, 21 Oct 2065 07:28:00 GMT", 3660, id="a date is not read"),
        pytest.param("-5", 3660, id="not a number"),
        pytest.param("¹²", 3660, id="not digits"),
    ],
)
def test_retry_after_is_honoured_up_to_a_day(
    status: int, retry_after: str, waits: int
) -> None:
    world = make_running()
    busy = problem(status, "busy", **{"retry-after": retry_after})
    world.vendor.meddler = lambda _, __: busy

    world.pbx.check()

    assert world.pbx.state.wake_at == waits
    assert world.stands() is Standing.RUNNING


def test_retry_after_beside_a_plain_error_is_not_honoured() -> None:
    world = make_running()
    world.vendor.meddler = lambda _, __: problem(
        404, "not-found", **{"retry-after": "80000"}
    )

    world.pbx.check()

    assert world.pbx.state.wake_at == 3660


def test_a_spoofed_retry_after_cannot_use_up_the_attempts() -> None:
    world = make_running(grace=timedelta(0), minimum_attempts=48)
    hurry = problem(503, "busy", **{"retry-after": "60"})
    world.vendor.meddler = lambda _, __: hurry

    world.pbx.live_for(6 * HOUR + DAY + HOUR)

    assert len(world.vendor.asked(CHECK)) > 100
    assert world.pbx.functions_enabled
    assert world.pbx.state.failed_attempts <= 14


def test_a_lost_answer_to_initialise_is_repeated_with_the_same_key() -> None:
    world = make_world()

    def lose(_: Request, honestly: Callable[[], Answer]) -> Answer:
        honestly()
        raise Unreachable("lost on the way back")

    world.vendor.meddler = lose
    assert isinstance(world.pbx.initialise(), Unreachable)
    world.vendor.meddler = None
    world.reboot()
    world.pbx.live_for(HOUR)

    assert world.stands() is Standing.RUNNING
    assert world.vendor.generation == 1
    assert len(world.vendor.certified) == 1


def test_a_server_that_wants_a_new_key_gets_one_at_once() -> None:
    world = make_world()
    world.vendor.meddler = lambda _, honestly: (honestly(), silence(_, honestly))[1]
    world.pbx.initialise()
    world.vendor.meddler = None
    world.vendor.verdict = "locked"

    assert isinstance(world.pbx.initialise(), Lease)

    requests = world.vendor.asked(INITIALISE)
    assert len(requests) == 3
    assert requests[0]["csr"] != requests[2]["csr"]
    assert world.stands() is Standing.RUNNING


def test_a_wrong_secret_is_nothing_and_is_tried_again_hourly() -> None:
    world = make_world()
    world.vendor.meddler = lambda _, __: problem(403, "device-not-recognised")

    world.pbx.live_for(DAY)

    assert world.stands() is Standing.UNINITIALISED
    assert 20 <= len(world.vendor.asked(INITIALISE)) <= 26


def test_the_certificate_is_renewed_with_a_new_key_after_two_thirds_of_its_life() -> (
    None
):
    world = make_running(certificate_lasts=timedelta(days=30))
    before = world.pbx.record.credentials

    world.pbx.live_for(20 * DAY)
    assert world.pbx.record.credentials == before
    world.pbx.live_for(DAY)
    after = world.pbx.record.credentials
    world.pbx.live_for(40 * DAY)

    assert before is not None
    assert after is not None
    assert after.private_key != before.private_key
    assert world.stands() is Standing.RUNNING
    assert world.notices.count(Notice.CERTIFICATE_RENEWED) == 3


def test_a_lost_answer_to_renewal_is_repeated_with_the_same_key() -> None:
    world = make_running()
    world.vendor.meddler = silence
    assert isinstance(world.pbx.renew(), Unreachable)
    waiting = world.pbx.record.renewing_key
    world.vendor.meddler = None

    world.pbx.renew()

    assert world.pbx.record.credentials is not None
    assert world.pbx.record.credentials.private_key == waiting
    assert world.pbx.record.renewing_key is None


def test_a_failed_renewal_means_nothing_for_the_licence() -> None:
    world = make_running(certificate_lasts=timedelta(days=30))

    def refuse_renewal(request: Request, honestly: Callable[[], Answer]) -> Answer:
        if request.path.endswith("simplereenroll"):
            return problem(503, "busy")
        return honestly()

    world.vendor.meddler = refuse_renewal
    world.pbx.live_for(25 * DAY)

    assert world.stands() is Standing.RUNNING
    assert world.pbx.state.failed_attempts == 0
    assert Notice.RENEWAL_FAILED in world.notices


@pytest.mark.parametrize("verdict", ["blocked", "replaced"])
def test_a_pbx_without_rights_does_not_ask_for_a_certificate(verdict: str) -> None:
    world = make_running(certificate_lasts=timedelta(days=30))
    world.vendor.verdict = verdict

    world.pbx.live_for(25 * DAY)

    assert world.vendor.asked("/.well-known/est/simplereenroll") == []


def test_a_pbx_whose_certificate_ran_out_on_the_shelf_initialises_again() -> None:
    world = make_running()

    world.reboot(off_for=timedelta(days=800)).live_for(DAY)

    assert world.stands() is Standing.RUNNING
    assert world.vendor.generation == 2
    assert len(world.vendor.asked(CHECK)) == 3


def test_no_certificate_is_shown_on_open_routes() -> None:
    world = make_running()
    world.pbx.live_for(10 * DAY)
    world.pbx.initialise()

    shown = {
        request.path.partition("?")[0]: request.credentials is not None
        for request, _ in world.vendor.requests
    }
    assert shown == {
        INITIALISE: False,
        CHECK: True,
        "/cic/v1/keyset": False,
        "/voucher/v1/entitlements": True,
    }


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
