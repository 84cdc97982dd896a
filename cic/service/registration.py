# SPDX-License-Identifier: Apache-2.0
"""One PBX registered by hand, where no factory list names it."""

from datetime import datetime

from sqlalchemy import select

from fleet.database import transaction
from fleet.devices import registry
from fleet.devices.models import Device
from fleet.devices.registry import DeviceFacts, NewDevice
from fleet.devices.serial_numbers import normalise_serial
from fleet.ground import ground
from fleet.staff import audit
from fleet.staff.roles import StaffMember


def register(new: NewDevice, *, by: StaffMember, now: datetime) -> DeviceFacts:
    """Register a PBX and note who did; the very same again changes nothing.

    Raises what ``fleet.devices.registry.register`` raises.
    """
    with transaction() as session:
        wanted = normalise_serial(new.serial_number)
        registry.keep_others_out(session)  # or two would note that they came first
        known = session.scalar(select(Device.id).where(Device.serial_number == wanted))
        facts = registry.register(new, keyring=ground().keyring, now=now)
        if known is None:
            audit.record(
                session,
                actor=by,
                action="device.register",
                subject=f"device:{facts.serial_number}",
                reason="",
                before={},
                after={"device_type": facts.device_type},
                now=now,
            )
        return facts
