# SPDX-License-Identifier: Apache-2.0
"""Functions, vouchers and codes over a power cut and a firmware update."""

import json
from contextlib import suppress

import pytest
from pbx.power import FailingPower, PowerCut
from pbx.simulated import DAY, problem, silence
from pbx.simulated_center import USERS, Offer
from pbx.world import World, has, make_entitled, make_world

from fleet.pbx.functions import AlreadyEntered
from fleet.pbx.record import read_record, write_record


def redeem_all(world: World, codes: list[str]) -> None:
    for code in codes:
        world.pbx.redeem(code)
    world.pbx.sync()


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("writes", range(5))
def test_power_cut_at_any_write_loses_no_voucher(writes: int, *, kept: bool) -> None:
    memory = FailingPower()
    world = make_world(memory=memory)
    world.pbx.initialise()
    codes = [world.vendor.center.sell(Offer(each)) for each in (10, 20)]
    memory.writes_left, memory.keeps_the_last = writes, kept
    with pytest.raises(PowerCut):
        redeem_all(world, codes)

    memory.writes_left = None
    world.reboot().live_for(DAY / 24)
    redeemed = sum(each.quantity for each in world.vendor.center.released)
    assert has(world).get("users", 0) == redeemed
    redeem_all(world, codes)  # what was not written down, the person enters again

    assert has(world) == {"users": 30}
    assert len(world.vendor.center.released) == 2


def enter_all(world: World, codes: list[str]) -> None:
    for code in codes:
        with suppress(AlreadyEntered):
            world.pbx.enter_code(code)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("writes", range(3))
def test_power_cut_at_any_write_counts_no_code_twice(
    writes: int, *, kept: bool
) -> None:
    memory = FailingPower()
    world = make_world(memory=memory)
    world.pbx.initialise()
    codes = [world.vendor.center.release(Offer(each)) for each in (1, 2, 4)]
    memory.writes_left, memory.keeps_the_last = writes, kept
    with pytest.raises(PowerCut):
        enter_all(world, codes)

    memory.writes_left = None
    world.vendor.meddler = silence
    world.reboot()
    enter_all(world, codes)

    assert has(world) == {"users": 7}


def test_what_is_held_comes_back_as_it_was() -> None:
    world = make_entitled()
    center = world.vendor.center
    world.pbx.redeem(center.sell(Offer(3, world.clock.now().date(), "voicemail", 20)))
    world.vendor.meddler = lambda _, __: problem(503, "service-unavailable")
    world.pbx.redeem(center.sell(USERS))
    world.pbx.enter_code(center.release(Offer(1, world.clock.now().date())))

    record = world.pbx.record

    assert record.vouchers
    assert record.state.holding.entered
    assert record.state.holding.used == (1, 2, 3)
    assert read_record(write_record(record)) == record


def test_the_record_of_firmware_that_knew_no_vouchers_is_read() -> None:
    """An update must cost nobody the certificate."""
    world = make_entitled()
    document = json.loads(write_record(world.pbx.record))
    del document["vouchers"], document["state"]["holding"], document["state"]["sync_at"]
    world.memory.write(json.dumps(document).encode())
    credentials = world.pbx.record.credentials

    world.reboot()
    assert world.pbx.record.credentials == credentials
    assert has(world) == {}
    world.pbx.live_for(DAY / 24)

    assert has(world) == {"users": 10}
    assert world.vendor.generation == 1
