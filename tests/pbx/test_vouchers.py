# SPDX-License-Identifier: Apache-2.0
"""Weeks in the life of a PBX that has vouchers, told as stories."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from pbx.simulated import DAY, NOON, Meddler, lose, problem, silence
from pbx.simulated_center import USERS, Offer, renewing, voicemail
from pbx.world import has, make_running

from fleet.pbx import appliance
from fleet.pbx.codes import Mistyped
from fleet.pbx.errors import Nothing, Refused, Unreachable
from fleet.pbx.functions import AlreadyCounted, Entitlements, quantities
from fleet.pbx.life import Notice, Standing
from fleet.pbx.transport import Answer, Request
from fleet.pbx.voucher_center import Released

HOUR = timedelta(hours=1)
CHECK = "/cic/v1/check"
ENTITLEMENTS = "/voucher/v1/entitlements"
REDEMPTIONS = "/voucher/v1/redemptions"
TODAY = date(2030, 1, 1)


def day(number: int) -> date:
    return TODAY + timedelta(days=number)


def only(path: str, meddler: Meddler) -> Meddler:
    """Meddle with the answers from one path."""

    def meddle(request: Request, honestly: Callable[[], Answer]) -> Answer:
        if request.path.partition("?")[0] == path:
            return meddler(request, honestly)
        return honestly()

    return meddle


def test_a_voucher_is_redeemed_and_its_functions_work_at_once() -> None:
    world = make_running()
    code = world.vendor.center.sell(USERS)

    heard = world.pbx.redeem(code.lower())

    assert isinstance(heard, Released)
    assert heard.release_code == world.vendor.center.redeem(code.replace("-", ""))
    assert has(world) == {"users": 10}
    assert world.vendor.asked(REDEMPTIONS)[0]["code"] == code.replace("-", "")


def test_a_mistyped_voucher_is_told_with_nobody_asked() -> None:
    world = make_running()
    code = world.vendor.center.sell(USERS)
    wrong = code[:-1] + ("2" if code[-1] != "2" else "3")

    with pytest.raises(Mistyped, match=r"look at group .*4"):
        world.pbx.redeem(wrong)

    assert world.vendor.asked(REDEMPTIONS) == []
    assert world.pbx.record.vouchers == ()


def test_after_a_lost_answer_the_pbx_asks_again_by_itself_and_gains_nothing_twice() -> (
    None
):
    world = make_running()
    code = world.vendor.center.sell(USERS)
    world.vendor.meddler = lose
    assert isinstance(world.pbx.redeem(code), Unreachable)
    assert world.pbx.record.vouchers == (code.replace("-", ""),)

    world.vendor.meddler = None
    world.pbx.live_for(2 * HOUR)

    asked = world.vendor.asked(REDEMPTIONS)
    assert len(asked) == 2
    assert asked[0]["code"] == asked[1]["code"]
    assert asked[0]["nonce"] != asked[1]["nonce"]
    assert len(world.vendor.center.released) == 1
    assert has(world) == {"users": 10}
    assert world.pbx.record.vouchers == ()


def test_vouchers_that_are_entered_without_network_are_redeemed_when_it_is_there() -> (
    None
):
    world = make_running()
    world.vendor.meddler = silence
    world.pbx.live_for(2 * DAY)
    for code in [world.vendor.center.sell(USERS) for _ in range(3)]:
        assert isinstance(world.pbx.redeem(code), Nothing)
        world.pbx.redeem(code)  # the admin is impatient
    world.reboot()

    world.vendor.meddler = None
    world.pbx.live_for(2 * HOUR)

    assert has(world) == {"users": 30}
    assert len(world.vendor.center.released) == 3


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "voucher-not-valid"),
        (409, "voucher-not-activated"),
        (409, "voucher-already-redeemed"),
        (409, "release-codes-exhausted"),
        (409, "a-refusal-of-later-years"),
        (400, "mistyped-code"),
    ],
)
def test_a_refusal_of_the_voucher_is_told_and_not_asked_about_again(
    status: int, code: str
) -> None:
    world = make_running()
    voucher = world.vendor.center.sell(USERS)
    world.vendor.meddler = only(REDEMPTIONS, lambda _, __: problem(status, code))

    refused = world.pbx.redeem(voucher)
    world.pbx.live_for(3 * DAY)

    assert isinstance(refused, Refused)
    assert refused.code == code
    assert Notice.NOT_REDEEMED in world.notices
    assert len(world.vendor.asked(REDEMPTIONS)) == 1
    assert world.pbx.record.vouchers == ()


@pytest.mark.parametrize(
    "answer",
    [
        problem(429, "too-many-requests", **{"retry-after": "1800"}),
        problem(503, "service-unavailable"),
        problem(403, "device-not-recognised"),
        problem(500, "internal-error"),
        Answer(status=404, headers={}, body=b"<h1>Not found: please log in</h1>"),
        Answer(status=302, headers={}, body=b""),
    ],
    ids=lambda answer: str(answer.status),
)
def test_any_other_answer_may_pass_and_the_voucher_waits(answer: Answer) -> None:
    world = make_running()
    voucher = world.vendor.center.sell(USERS)
    world.vendor.meddler = only(REDEMPTIONS, lambda _, __: answer)
    assert isinstance(world.pbx.redeem(voucher), Refused)
    world.pbx.live_for(5 * HOUR)
    assert 4 <= len(world.vendor.asked(REDEMPTIONS)) <= 12

    world.vendor.meddler = None
    world.pbx.live_for(2 * HOUR)

    assert has(world) == {"users": 10}


def test_a_pbx_asks_for_its_functions_after_each_boot_and_then_daily() -> None:
    world = make_running()
    assert len(world.vendor.asked(ENTITLEMENTS)) == 1

    world.reboot().live_for(HOUR)
    assert len(world.vendor.asked(ENTITLEMENTS)) == 2

    world.pbx.live_for(10 * DAY)
    assert len(world.vendor.asked(ENTITLEMENTS)) == 12


@pytest.mark.parametrize(
    ("next_sync_in", "times"),
    [
        pytest.param(6 * 3600, 4, id="four times a day"),
        pytest.param(0, 1440, id="at once is once a minute"),
        pytest.param(10**12, 0, id="never is once a week"),
    ],
)
def test_the_vendor_says_when_to_ask_again_within_reason(
    next_sync_in: int, times: int
) -> None:
    world = make_running()
    world.vendor.center.next_sync_in = next_sync_in
    world.pbx.sync()
    before = len(world.vendor.asked(ENTITLEMENTS))

    world.pbx.live_for(DAY - timedelta(minutes=1))

    assert len(world.vendor.asked(ENTITLEMENTS)) - before == pytest.approx(times, abs=2)


def test_what_was_sold_in_a_browser_arrives_with_the_next_sync_or_on_demand() -> None:
    world = make_running()
    world.vendor.center.release(USERS)
    assert has(world) == {}

    world.pbx.live_for(DAY + HOUR)
    assert has(world) == {"users": 10}

    world.vendor.center.release(USERS)
    assert isinstance(world.pbx.sync(), Entitlements)
    assert has(world) == {"users": 20}


def test_each_sync_has_a_nonce_of_its_own_and_shows_the_certificate() -> None:
    world = make_running()

    world.pbx.live_for(20 * DAY)

    syncs = [r for r, _ in world.vendor.requests if r.path.startswith(ENTITLEMENTS)]
    assert len({request.path for request in syncs}) == len(syncs) >= 20
    assert all(request.credentials for request in syncs)


def test_a_failed_sync_changes_neither_licence_nor_functions() -> None:
    world = make_running()
    world.pbx.redeem(world.vendor.center.sell(USERS))
    world.vendor.meddler = only(ENTITLEMENTS, silence)

    world.pbx.live_for(20 * DAY)

    assert world.stands() is Standing.RUNNING
    assert world.pbx.state.failed_attempts == 0
    assert has(world) == {"users": 10}
    assert Notice.NOT_SYNCED in world.notices


def test_while_the_vendor_is_silent_only_the_check_knocks_at_the_door() -> None:
    world = make_running()
    world.vendor.meddler = silence
    before = len(world.vendor.asked(ENTITLEMENTS))

    world.pbx.live_for(5 * DAY)

    assert len(world.vendor.asked(CHECK)) > 80
    assert len(world.vendor.asked(ENTITLEMENTS)) - before <= 1


def test_locked_there_are_no_functions_and_afterwards_all_that_were_there() -> None:
    world = make_running()
    center = world.vendor.center
    for offer in (USERS, Offer(5, day(300)), voicemail(day(200))):
        world.pbx.redeem(center.sell(offer))
    before = world.pbx.functions
    world.vendor.verdict = "locked"
    world.pbx.check()
    assert world.stands() is Standing.LOCKED
    assert world.pbx.functions == ()
    world.reboot()
    assert world.pbx.functions == ()

    world.pbx.initialise()

    assert world.stands() is Standing.RUNNING
    assert world.pbx.functions == before
    assert quantities(before) == {"users": 15, "voicemail": 1}


def test_what_was_sold_while_it_was_locked_is_there_with_the_unlocking() -> None:
    world = make_running()
    world.vendor.verdict = "locked"
    world.pbx.check()
    world.vendor.center.release(USERS)

    world.pbx.initialise()

    assert has(world) == {"users": 10}


def test_a_new_disk_gets_every_function_back_with_the_initialisation() -> None:
    world = make_running()
    codes = [world.vendor.center.release(USERS) for _ in range(3)]
    world.pbx.sync()
    before = world.pbx.functions

    world.memory.write(b"a new disk")
    world.reboot().live_for(HOUR)

    assert world.pbx.functions == before
    for code in codes:  # which is still on paper
        with pytest.raises(AlreadyCounted):
            world.pbx.enter_code(code)


@pytest.mark.parametrize("verdict", ["blocked", "replaced"])
def test_without_the_right_to_run_there_are_no_functions(verdict: str) -> None:
    world = make_running()
    world.pbx.redeem(world.vendor.center.sell(USERS))
    world.vendor.verdict = verdict

    world.pbx.live_for(3 * DAY)

    assert has(world) == {}
    assert len(world.vendor.asked(ENTITLEMENTS)) == 1


def test_a_locked_pbx_may_redeem_and_has_it_once_it_is_unlocked() -> None:
    world = make_running()
    world.vendor.verdict = "locked"
    world.pbx.check()

    assert isinstance(world.pbx.redeem(world.vendor.center.sell(USERS)), Released)
    assert has(world) == {}
    world.pbx.initialise()

    assert has(world) == {"users": 10}


def test_a_trial_is_had_once_and_ends_with_its_day() -> None:
    world = make_running()
    world.vendor.center.trials[19] = Offer(3, day(14), source="trial")

    assert isinstance(world.pbx.start_trial(19), Released)
    assert has(world) == {"users": 3}
    assert [each.source for each in world.pbx.functions] == ["trial"]
    again = world.pbx.start_trial(19)
    world.pbx.live_for(16 * DAY)

    assert isinstance(again, Refused)
    assert again.code == "trial-already-used"
    assert has(world) == {}
    assert Notice.FUNCTION_ENDED in world.notices


def test_a_function_ends_with_its_day_at_utc_minus_twelve_with_nobody_asked() -> None:
    world = make_running()
    world.pbx.redeem(world.vendor.center.sell(Offer(5, day(10))))
    world.pbx.redeem(world.vendor.center.sell(Offer(1, None, "voicemail", 20)))
    world.vendor.meddler = silence
    ends = datetime(2030, 1, 12, 12, tzinfo=UTC)

    world.pbx.live_for(ends - NOON - timedelta(seconds=1))
    assert has(world) == {"users": 5, "voicemail": 1}
    world.pbx.live_for(timedelta(seconds=1))

    assert has(world) == {"voicemail": 1}
    world.pbx.live_for(HOUR)
    assert world.notices.count(Notice.FUNCTION_ENDED) == 1
    assert world.pbx.functions_enabled


@pytest.mark.parametrize(
    "clock_set_to", [NOON - 5 * DAY, datetime(1970, 1, 1, tzinfo=UTC)]
)
def test_a_clock_that_is_turned_back_at_every_boot_brings_nothing_back(
    clock_set_to: datetime,
) -> None:
    world = make_running()
    world.pbx.redeem(world.vendor.center.sell(Offer(5, day(10))))
    world.vendor.meddler = silence

    for _ in range(13):
        world.pbx.live_for(DAY)
        world.clock.set(clock_set_to)
        world.reboot()

    assert has(world) == {}
    assert Notice.FUNCTION_ENDED in world.notices


def test_a_clock_that_leaps_ahead_ends_nothing_for_good() -> None:
    """Within the month that is believed, what ended comes back with signed time."""
    world = make_running()
    world.pbx.redeem(world.vendor.center.sell(Offer(5, day(10))))
    world.vendor.meddler = silence
    world.clock.set(NOON + 20 * DAY)
    world.reboot()
    assert has(world) == {}

    world.vendor.meddler = None
    world.pbx.live_for(HOUR)

    assert has(world) == {"users": 5}


def test_a_year_without_network_has_every_renewal_that_was_signed_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appliance, "PERSISTED_EVERY", DAY.total_seconds())
    world = make_running(grace=timedelta(days=1000), retry_in=86400)
    center = world.vendor.center
    center.release(renewing(10, day(90)))
    center.release(renewing(10, day(180)))  # renewed
    center.release(renewing(20, day(30)))  # more, for a month
    center.release(renewing(5, day(365)))  # and less, once the rest has ended
    center.release(voicemail(None))
    world.pbx.sync()
    world.vendor.meddler = silence
    seen = []
    for _ in range(380):
        seen.append(has(world).get("users", 0))
        world.pbx.live_for(DAY)

    # Each last day ends at noon UTC of the next, which is when a day is looked at.
    assert seen == [20] * 31 + [10] * 150 + [5] * 185 + [0] * 14
    assert has(world) == {"voicemail": 1}


def test_a_year_in_a_box_without_power_and_network_ends_nothing_early() -> None:
    world = make_running()
    world.pbx.redeem(world.vendor.center.sell(Offer(5, day(500))))
    world.pbx.redeem(world.vendor.center.sell(Offer(7, day(100))))
    world.vendor.meddler = silence

    world.reboot(off_for=timedelta(days=364)).live_for(HOUR)
    assert has(world)["users"] >= 5
    world.vendor.meddler = None
    world.pbx.live_for(2 * HOUR)

    assert has(world) == {"users": 5}
