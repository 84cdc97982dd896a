# SPDX-License-Identifier: Apache-2.0
"""Tells every feature that one PBX takes another's place.

The licence check decides on a replacement; what belongs to the old PBX elsewhere
goes to its heir in the same transaction, so that both happen or neither.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from flask import Flask, current_app
from sqlalchemy.orm import Session

from fleet.devices.models import Device
from fleet.staff.roles import StaffMember


@dataclass(frozen=True, kw_only=True)
class Succession:
    """One PBX takes another's place; both rows are locked by the transaction."""

    old: Device
    heir: Device
    reason: str
    by: StaffMember
    now: datetime


TakeOver = Callable[[Session, Succession], None]
"""Moves what belongs to the old PBX; raises ``CannotReplace`` where that fails."""


def on_succession(app: Flask, take_over: TakeOver) -> None:
    """Let a feature of ``app`` take part in every replacement from now on."""
    app.extensions.setdefault("successions", []).append(take_over)


def succeed(session: Session, succession: Succession) -> None:
    """Let all features hand over, in the transaction of the replacement."""
    registered = current_app.extensions.get("successions", ())
    for take_over in cast("list[TakeOver]", registered):
        take_over(session, succession)
