# SPDX-License-Identifier: Apache-2.0
"""The life of a voucher: created, exported, allocated, activated, redeemed.

Or revoked, or expired. A voucher stores when each of these happened, and the state
is what follows from that, so no job has to run for a voucher to be expired.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """How far a voucher has come."""

    CREATED = "created"
    EXPORTED = "exported"
    ALLOCATED = "allocated"
    ACTIVATED = "activated"
    REDEEMED = "redeemed"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Life:
    """When what happened to one voucher; ``valid_until`` is its batch's."""

    exported_at: datetime | None
    allocated_at: datetime | None
    activated_at: datetime | None
    redeemed_at: datetime | None
    revoked_at: datetime | None
    valid_until: datetime | None


def state_of(life: Life, now: datetime) -> State:
    """Return the state at ``now``: the furthest, and an end before all else."""
    if life.revoked_at is not None:
        return State.REVOKED
    if life.redeemed_at is not None:
        return State.REDEEMED
    if life.valid_until is not None and now >= life.valid_until:
        return State.EXPIRED
    if life.activated_at is not None:
        return State.ACTIVATED
    if life.allocated_at is not None:
        return State.ALLOCATED
    return State.CREATED if life.exported_at is None else State.EXPORTED
