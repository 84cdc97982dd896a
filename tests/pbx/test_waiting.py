# SPDX-License-Identifier: Apache-2.0
"""When a PBX asks again: spread, by its lease, and after ``Retry-After``."""

from datetime import timedelta

import pytest
from pbx.simulated import DAY, problem, silence
from pbx.world import make_pbx, make_running

from fleet.pbx.life import Standing

HOUR = timedelta(hours=1)
CHECK = "/cic/v1/check"


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
