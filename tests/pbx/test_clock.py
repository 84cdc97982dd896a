# SPDX-License-Identifier: Apache-2.0
"""Wrong clocks, on either side: none of them locks anybody."""

from datetime import UTC, datetime, timedelta

import pytest
from pbx.simulated import (
    DAY,
    NOON,
    silence,
)
from pbx.world import (
    make_world,
)

from fleet.pbx.lease import Lease
from fleet.pbx.life import Notice, Standing
from fleet.pbx.timekeeping import Doubt, Reckoning

DEAD = datetime(1970, 1, 1, tzinfo=UTC)
FAR = datetime(2199, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("rtc", "doubt", "now"),
    [
        pytest.param(NOON, Doubt.NONE, NOON, id="right"),
        pytest.param(NOON + HOUR, Doubt.NONE, NOON + HOUR, id="switched off a while"),
        pytest.param(NOON - 23 * HOUR, Doubt.NONE, NOON, id="a little behind"),
        pytest.param(NOON - 25 * HOUR, Doubt.BEHIND, NOON, id="turned back"),
        pytest.param(DEAD, Doubt.BEHIND, NOON, id="dead battery"),
        pytest.param(NOON + 30 * DAY, Doubt.NONE, NOON + 30 * DAY, id="a month off"),
        pytest.param(NOON + 31 * DAY, Doubt.AHEAD, NOON, id="jumped ahead"),
        pytest.param(FAR, Doubt.AHEAD, NOON, id="another century"),
    ],
)
def test_the_real_time_clock_is_believed_near_the_mark(
    rtc: datetime, doubt: Doubt, now: datetime
) -> None:
    booted = Reckoning.from_factory(NOON).booted(rtc, uptime=0, built_at=NOON)

    assert booted.doubt is doubt
    assert booted.now == now
    assert booted.counted(3600).now == now + HOUR
    assert booted.certain == NOON


def test_the_mark_falls_only_at_reinitialisation() -> None:
    ahead = Reckoning.from_factory(NOON).booted(
        NOON + 20 * DAY, uptime=0, built_at=NOON
    )

    checked = ahead.confirmed(NOON + HOUR, lower_mark=False)
    initialised = ahead.confirmed(NOON + HOUR, lower_mark=True)

    assert checked.mark == NOON + 20 * DAY
    assert initialised.mark == NOON + HOUR
    assert checked.now == initialised.now == NOON + HOUR


def test_after_reinitialisation_a_clock_that_was_ahead_is_believed_again() -> None:
    world = make_world()
    world.pbx.initialise()
    world.clock.set(NOON + 20 * DAY)
    world.reboot()
    assert isinstance(world.pbx.check(), Lease)
    world.reboot()
    assert Notice.CLOCK_BEHIND in world.notices

    world.pbx.initialise()
    world.clock.set(world.vendor.now)
    world.reboot()

    assert world.pbx.state.time.doubt is Doubt.NONE


def test_newer_firmware_raises_the_mark() -> None:
    booted = Reckoning.from_factory(NOON).booted(
        NOON, uptime=0, built_at=NOON + 5 * DAY
    )

    assert booted.mark == NOON + 5 * DAY
    assert booted.doubt is Doubt.BEHIND


def test_an_uptime_that_falls_counts_nothing() -> None:
    ran = Reckoning.from_factory(NOON).counted(100.0)

    assert ran.counted(50.0).ran == 100.0


@pytest.mark.parametrize("rtc", [DEAD, FAR, NOON - 400 * DAY, NOON + 400 * DAY])
def test_a_new_pbx_with_a_wrong_clock_gets_its_licence_and_the_time(
    rtc: datetime,
) -> None:
    world = make_world(rtc=rtc)

    assert isinstance(world.pbx.initialise(), Lease)

    assert world.stands() is Standing.RUNNING
    assert world.clock.now() == NOON


@pytest.mark.parametrize("rtc", [DEAD, FAR])
def test_a_wrong_clock_warns_and_the_next_check_mends_it(rtc: datetime) -> None:
    world = make_world()
    world.pbx.initialise()
    world.pbx.live_for(5 * DAY)
    world.clock.set(rtc)

    world.reboot().live_for(HOUR)

    wrong = Notice.CLOCK_BEHIND if rtc == DEAD else Notice.CLOCK_AHEAD
    assert wrong in world.notices
    assert world.stands() is Standing.RUNNING
    assert abs(world.clock.now() - world.vendor.now) < timedelta(seconds=1)


@pytest.mark.parametrize("jump", [-400 * DAY, -2 * DAY, 25 * DAY, 29 * DAY, 400 * DAY])
def test_a_jump_of_the_clock_alone_never_locks(jump: timedelta) -> None:
    world = make_world()
    world.pbx.initialise()
    world.vendor.meddler = silence

    for _ in range(5):
        world.clock.set(world.clock.now() + jump)
        world.reboot().live_for(6 * HOUR)

    assert world.pbx.functions_enabled


def test_a_clock_set_while_running_moves_no_deadline() -> None:
    world = make_world()
    world.pbx.initialise()
    world.vendor.meddler = silence
    world.pbx.live_for(2 * DAY)
    before = world.pbx.state.time.now

    world.clock.set(FAR)
    world.pbx.live_for(HOUR)

    assert world.pbx.state.time.now == before + HOUR


def test_turning_the_clock_back_at_each_boot_does_not_stretch_the_grace() -> None:
    world = make_world()
    world.pbx.initialise()
    world.vendor.meddler = silence

    for _ in range(40):
        world.clock.set(NOON)
        world.reboot().live_for(DAY)

    assert world.stands() is Standing.LOCKED_BY_ITSELF


@pytest.mark.parametrize("error", [-400 * DAY, -HOUR, HOUR, 400 * DAY])
def test_a_server_with_a_wrong_clock_locks_nobody(error: timedelta) -> None:
    world = make_world(key_set_lasts=timedelta(days=3650))
    world.vendor.keys_from = NOON - 3 * 365 * DAY
    world.pbx.initialise()
    world.vendor.clock_error = error
    world.pbx.live_for(2 * DAY)
    world.vendor.clock_error = timedelta(0)
    world.pbx.live_for(2 * DAY)
    world.vendor.meddler = silence

    world.pbx.live_for(29 * DAY)
    assert world.pbx.functions_enabled
    world.pbx.live_for(5 * DAY)

    assert world.stands() is Standing.LOCKED_BY_ITSELF


def test_while_the_clock_is_behind_tls_does_not_judge_dates() -> None:
    world = make_world()
    world.pbx.initialise()
    world.clock.set(DEAD)

    world.reboot().live_for(HOUR)
    world.pbx.check()

    judged = [
        request.dates_matter
        for request, _ in world.vendor.requests
        if request.path.startswith("/cic/")
    ]
    assert judged == [True, False, True]
