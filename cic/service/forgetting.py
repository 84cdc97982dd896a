# SPDX-License-Identifier: Apache-2.0
"""What the licence check forgets of a PBX that is erased, and what it needs to go on.

While the PBX is supported it must still know when the PBX was last in touch, whether it
is blocked, and how often it was initialised: by these it is licensed, and a thief is
found out. What the PBX said of itself, and why staff decided something, goes.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from cic.models import Activation, LifeEvent
from fleet.devices.models import Device

# What is cleared, and to what.
_CLEARED: Mapping[str, object] = {
    "hold_reason": "",
    "software_version": "",
    "failed_attempts": 0,
    "clock_skew_seconds": None,
    "last_check_at": None,
}


def forget(
    session: Session,
    device: Device,
    keep_contract: bool,  # noqa: FBT001 -- a hook of fleet.devices.forgetting
    now: datetime,  # noqa: ARG001 -- likewise
) -> Mapping[str, int]:
    """Clear what is not needed to license the PBX; without a contract, all goes."""
    return _clear(session, device) if keep_contract else _delete(session, device)


def _clear(session: Session, device: Device) -> Mapping[str, int]:
    cleared: Counter[str] = Counter()
    activation = session.get(
        Activation, device.id, with_for_update=True, populate_existing=True
    )
    if activation is not None:
        for name, empty in _CLEARED.items():
            if getattr(activation, name) != empty:
                setattr(activation, name, empty)
                cleared[f"activation.{name}"] += 1
    details = session.execute(
        update(LifeEvent)
        .where(LifeEvent.device_id == device.id, LifeEvent.detail != "")
        .values(detail="")
        .returning(LifeEvent.id)
    )
    cleared["life_event.detail"] = len(details.all())
    return cleared


def _delete(session: Session, device: Device) -> Mapping[str, int]:
    """Delete all; a PBX that this one has replaced stays replaced, by nobody."""
    session.execute(
        update(Activation)
        .where(Activation.replaced_by_id == device.id)
        .values(replaced_by_id=None)
    )
    events = session.execute(
        delete(LifeEvent)
        .where(LifeEvent.device_id == device.id)
        .returning(LifeEvent.id)
    )
    activations = session.execute(
        delete(Activation)
        .where(Activation.device_id == device.id)
        .returning(Activation.device_id)
    )
    return {"life_event": len(events.all()), "activation": len(activations.all())}
