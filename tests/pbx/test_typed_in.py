# SPDX-License-Identifier: Apache-2.0
"""Release codes that a person types into a PBX, with and without a network."""

from datetime import date, timedelta

import pytest
from pbx.simulated import DAY, silence
from pbx.simulated_center import USERS, Offer, voicemail
from pbx.world import has, make_running, make_world

from fleet.pbx.codes import Mistyped, NotAccepted
from fleet.pbx.errors import Nothing
from fleet.pbx.functions import AlreadyCounted, AlreadyEntered, UnknownProduct
from fleet.pbx.life import Notice, Standing
from fleet.pbx.release_codes import NotForThisPbx
from fleet.pbx.voucher_center import Released

HOUR = timedelta(hours=1)


def day(number: int) -> date:
    return date(2030, 1, 1) + timedelta(days=number)


def test_release_codes_are_typed_in_without_network_in_any_order_and_once() -> None:
    world = make_running()
    center = world.vendor.center
    codes = [
        center.release(each) for each in (USERS, Offer(5, day(40)), voicemail(None))
    ]
    world.vendor.meddler = silence
    asked = len(world.vendor.requests)

    for code in (codes[2], codes[0].lower().replace("-", " "), codes[1]):
        world.pbx.enter_code(code)

    assert has(world) == {"users": 15, "voicemail": 1}
    for code in codes:
        with pytest.raises(AlreadyEntered, match="already entered"):
            world.pbx.enter_code(code)
    world.reboot()
    with pytest.raises(AlreadyEntered):
        world.pbx.enter_code(codes[1])
    assert has(world) == {"users": 15, "voicemail": 1}
    assert len(world.vendor.requests) == asked
    assert world.notices.count(Notice.CODE_ENTERED) == 3


def test_with_the_network_the_signed_functions_take_the_place_of_the_codes() -> None:
    world = make_running()
    center = world.vendor.center
    codes = [center.release(USERS) for _ in range(3)]
    world.pbx.enter_code(codes[0])
    world.pbx.enter_code(codes[1])
    center.take_back(2)

    world.pbx.sync()

    assert has(world) == {"users": 20}  # the first and the third
    for code, refusal in zip(
        codes, (AlreadyEntered, AlreadyEntered, AlreadyCounted), strict=True
    ):
        with pytest.raises(refusal):
            world.pbx.enter_code(code)
    assert has(world) == {"users": 20}


def test_a_voucher_that_the_pbx_redeemed_itself_needs_no_typing() -> None:
    world = make_running()
    world.vendor.center.tells_last_sequence = False
    heard = world.pbx.redeem(world.vendor.center.sell(USERS))
    assert isinstance(heard, Released)
    assert heard.release_code is not None

    with pytest.raises(AlreadyEntered):
        world.pbx.enter_code(heard.release_code)

    assert has(world) == {"users": 10}


def test_from_a_server_that_does_not_count_codes_the_next_sync_puts_it_right() -> None:
    world = make_running()
    world.vendor.center.tells_last_sequence = False
    code = world.vendor.center.release(USERS)
    world.pbx.sync()
    world.pbx.enter_code(code)
    assert has(world) == {"users": 20}

    world.pbx.live_for(DAY + HOUR)

    assert has(world) == {"users": 10}


def test_a_code_typed_in_while_locked_counts_once_the_pbx_is_unlocked() -> None:
    world = make_running()
    code = world.vendor.center.release(USERS)
    world.vendor.meddler = silence
    world.pbx.live_for(40 * DAY)
    assert world.stands() is Standing.LOCKED_BY_ITSELF

    world.pbx.enter_code(code)

    assert has(world) == {}
    world.vendor.meddler = None
    world.pbx.live_for(2 * HOUR)
    assert has(world) == {"users": 10}


def test_codes_that_are_of_no_use_change_nothing() -> None:
    world = make_running()
    center = world.vendor.center
    good = center.release(USERS)
    unknown = center.release(Offer(1, None, "fax", 999))
    center.serial_number = "OTHERPBX01"
    foreign = center.release(USERS)
    before = world.pbx.record

    for code, refusal in (
        (good[:-1] + ("2" if good[-1] != "2" else "3"), Mistyped),
        (foreign, NotForThisPbx),
        (unknown, UnknownProduct),
        ("", Mistyped),
    ):
        with pytest.raises(refusal):
            world.pbx.enter_code(code)

    assert world.pbx.record == before


def test_an_uninitialised_pbx_has_no_key_for_codes_and_waits_with_vouchers() -> None:
    world = make_world()
    code = world.vendor.center.sell(USERS)

    with pytest.raises(NotAccepted, match="initialised"):
        world.pbx.enter_code(world.vendor.center.release(Offer(5)))
    assert isinstance(world.pbx.redeem(code), Nothing)
    assert isinstance(world.pbx.sync(), Nothing)
    assert isinstance(world.pbx.start_trial(17), Nothing)
    world.pbx.live_for(HOUR)

    assert has(world) == {"users": 15}
