# SPDX-License-Identifier: Apache-2.0
"""Lets every room forget one PBX, in the transaction of its erasure.

What the law or a contract keeps stays while the PBX is supported: the factory's
facts, what was sold for it, its certificates. All else about whoever has it goes
(GDPR, article 17). After the end of support nothing stays, the registry's row included.
What goes and what stays is said, column by column, by the registry of retention, and a
test compares.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

from flask import Flask, current_app
from sqlalchemy.orm import Session

from fleet.devices.models import Device
from fleet.devices.search import searchable

Forget = Callable[[Session, Device, bool, datetime], Mapping[str, int]]
"""Forgets a PBX: ``forget(session, device, keep_contract, now)``.

Returns how many rows of a ``table`` were deleted, and in how many a ``table.column``
was cleared. To be done again at any time: what is gone is not counted twice.
"""

# A day ends twelve hours after UTC's in the last place on Earth, and there too the
# database keeps what was sold until it has (migration 0003).
LAST_ZONE = timedelta(hours=12)


def on_forgetting(app: Flask, forget: Forget) -> None:
    """Let a room of ``app`` take part in every erasure from now on."""
    app.extensions.setdefault("forgetters", []).append(forget)


def is_supported(device: Device, now: datetime) -> bool:
    """Whether what was sold for this PBX must be kept; without an end, for ever."""
    ends_on = device.support_ends_on
    return ends_on is None or ends_on >= (now.astimezone(UTC) - LAST_ZONE).date()


def forget(
    session: Session, device: Device, *, keep_contract: bool, now: datetime
) -> dict[str, int]:
    """Let all rooms forget a PBX whose row is locked; return what went, and how much.

    Without ``keep_contract`` the row itself goes last; whatever else refers to it must
    be gone before.
    """
    gone: Counter[str] = Counter()
    registered = current_app.extensions.get("forgetters", ())
    for each in cast("list[Forget]", registered):
        gone.update(each(session, device, keep_contract, now))
    if keep_contract:
        gone.update(_clear(device))
    else:
        session.delete(device)
        gone["device"] += 1
    session.flush()
    return {name: count for name, count in sorted(gone.items()) if count}


def _clear(device: Device) -> dict[str, int]:
    """Take what is about people off the registry's row."""
    cleared = {
        "device.customer": int(device.customer != ""),
        "device.notes": int(device.notes != ""),
    }
    device.customer = device.notes = ""
    device.search_text = searchable(device.serial_number, device.mac_address)
    return cleared
