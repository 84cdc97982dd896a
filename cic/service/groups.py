# SPDX-License-Identifier: Apache-2.0
"""The PBXs that share a grace: for each such group a lock is a range of silence.

``lock_at`` never falls when the silence began later, so what is asked of locks
is, group by group, one range of ``silent_since`` in an index; and a fleet has
few graces.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from cic.models import Activation
from cic.standing import Hold, Policy, first_silence_to_lock_at, lock_at


@dataclass(frozen=True)
class Group:
    """The PBXs of one type with one grace, on no hold, that have initialised."""

    device_type: str
    grace_days: int
    grace: timedelta

    def members(self) -> ColumnElement[bool]:
        """Return the condition for being in the group."""
        return and_(
            Activation.hold == Hold.NONE.value,
            Activation.device_type == self.device_type,
            Activation.grace_days == self.grace_days,
            Activation.silent_since.is_not(None),
        )

    def lock_at(self, silent_since: datetime, policy: Policy) -> datetime:
        """Return when a member locks that is silent since then."""
        return lock_at(silent_since=silent_since, grace=self.grace, policy=policy)

    def first_silence(self, instant: datetime, policy: Policy) -> datetime:
        """Return the earliest silence that locks at ``instant`` or later."""
        return first_silence_to_lock_at(instant, grace=self.grace, policy=policy)


def groups(session: Session, policy: Policy) -> Iterator[Group]:
    """Walk over the graces in use, by leaps through the index."""
    last: tuple[str, int] | None = None
    while (found := _next(session, last)) is not None:
        last = found
        yield Group(*found, grace=policy.grace_of(*found))


def _next(session: Session, last: tuple[str, int] | None) -> tuple[str, int] | None:
    """Return the group after ``last``: of the same device type, or of the next.

    In two questions, since SQLite reads a comparison of whole rows as a range of
    its first column alone, and would walk through all PBXs of that type.
    """
    query = (
        select(Activation.device_type, Activation.grace_days)
        .where(Activation.hold == Hold.NONE.value)
        .order_by(Activation.device_type, Activation.grace_days)
        .limit(1)
    )
    if last is None:
        leaps = [query]
    else:
        same = Activation.device_type == last[0]
        leaps = [
            query.where(same, Activation.grace_days > last[1]),
            query.where(Activation.device_type > last[0]),
        ]
    for leap in leaps:
        row = session.execute(leap).one_or_none()
        if row is not None:
            return row
    return None
