# SPDX-License-Identifier: Apache-2.0
"""A world for one PBX: its vendor, its clock, and the time that is true."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pbx.simulated import NOON, SECRET, SERIAL, SimulatedVendor
from pbx.simulated_center import CATALOGUE, USERS

from fleet.pbx.appliance import ReferencePbx
from fleet.pbx.clocks import AcceleratedClock
from fleet.pbx.factory import Firmware, Identity
from fleet.pbx.functions import Product, Stacking, quantities
from fleet.pbx.lease import Lease
from fleet.pbx.life import Announce, Notice, Standing
from fleet.pbx.memory import Memory, VolatileMemory
from fleet.pbx.surroundings import Surroundings
from fleet.pbx.voucher_center import Released


@dataclass
class World:
    """A PBX, its vendor, and the time that is true whatever any clock says."""

    clock: AcceleratedClock
    vendor: SimulatedVendor
    memory: Memory
    pbx: ReferencePbx
    said: list[Announce]
    built_at: datetime

    @property
    def notices(self) -> list[Notice]:
        return [announced.notice for announced in self.said]

    def stands(self) -> Standing:
        return self.pbx.standing

    def reboot(self, *, off_for: timedelta = timedelta(0)) -> ReferencePbx:
        self.clock.switch_off(off_for.total_seconds())
        self.pbx = make_pbx(self)
        self.pbx.boot()
        return self.pbx


def make_world(
    *,
    memory: Memory | None = None,
    built_at: datetime = NOON - timedelta(days=10),
    rtc: datetime = NOON,
    boots: bool = True,
    **vendor: Any,
) -> World:
    clock = AcceleratedClock(rtc)

    def true_time() -> datetime:
        return NOON + timedelta(seconds=clock.elapsed)

    world = World(
        clock=clock,
        vendor=SimulatedVendor(true_time, **vendor),
        memory=memory or VolatileMemory(),
        pbx=None,  # type: ignore[arg-type]  # put together two lines below
        said=[],
        built_at=built_at,
    )
    world.pbx = make_pbx(world)
    if boots:
        world.pbx.boot()
    return world


def make_pbx(
    world: World,
    *,
    draw: Callable[[], float] = lambda: 0.5,
    firmware: Firmware | None = None,
) -> ReferencePbx:
    return ReferencePbx(
        Identity(serial_number=SERIAL, device_secret=SECRET),
        firmware or make_firmware(world),
        transport=world.vendor,
        memory=world.memory,
        surroundings=Surroundings(clock=world.clock, draw=draw, tell=world.said.append),
    )


def make_firmware(world: World, *, issuer: str | None = None) -> Firmware:
    return Firmware(
        device_type="pbx-one",
        software_version="1.0",
        root_key=world.vendor.root.public_key(),
        built_at=world.built_at,
        issuer=issuer,
        catalogue={
            number: Product(function, Stacking(stacking))
            for number, (function, stacking) in CATALOGUE.items()
        },
    )


def make_running(**options: Any) -> World:
    """A PBX that is initialised and runs."""
    world = make_world(**options)
    assert isinstance(world.pbx.initialise(), Lease)
    return world


def make_entitled() -> World:
    """A PBX that runs, with ten users by a voucher."""
    world = make_running()
    assert isinstance(world.pbx.redeem(world.vendor.center.sell(USERS)), Released)
    assert has(world) == {"users": 10}
    return world


def has(world: World) -> dict[str, int]:
    """How much the PBX may use of each function."""
    return dict(quantities(world.pbx.functions))
