# SPDX-License-Identifier: Apache-2.0
"""Who locks before an instant: for support, before the customers call.

A lock is stored nowhere, so "who locks before Friday" cannot be a column. It is
one range of an index for each group of PBXs that share a grace; the ranges are
read page by page and merged by the instant of the lock: a million PBXs cost as
much as a thousand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import ColumnElement, column, literal, select, tuple_
from sqlalchemy.orm import Session

from cic.models import Activation
from cic.service.groups import Group, groups
from cic.service.standings import Overview, overview, policy_in
from cic.standing import EARLIEST, LATEST, Policy
from fleet.database import reading
from fleet.devices.models import Device
from fleet.devices.search import matching, sought
from fleet.errors import Invalid
from fleet.web.paging import Order, Page

# A position among those that will lock: the lock, the silence, the PBX.
BY_LOCK = Order(
    "locks",
    {
        column("lock_at"): datetime,
        Activation.silent_since: datetime,
        Activation.device_id: int,
    },
)

Position = tuple[datetime, datetime, int]


def suspected(*, wanted: bool) -> ColumnElement[bool]:
    """Return the condition for the PBXs that may have a clone, or for the others."""
    at = Activation.clone_suspected_at
    return at.is_not(None) if wanted else at.is_(None)


def locking(  # noqa: PLR0913 -- the filters of the protocol's list
    *,
    before: datetime,
    q: str = "",
    device_type: str | None = None,
    clone_suspected: bool | None = None,
    limit: int,
    cursor: str | None,
    now: datetime,
) -> Page[Overview]:
    """List PBXs that are active and will lock before an instant, the next first.

    Raises ``Invalid`` for a bad cursor.
    """
    after = _read(cursor) if cursor is not None else None
    with reading() as session:
        policy = policy_in(session)
        filters = _Filters(sought(q), clone_suspected)
        ranges = [
            _range(group, policy, now=now, before=before, after=after)
            for group in groups(session, policy)
            if device_type in {None, group.device_type}
        ]
        found = sorted(
            position
            for each in ranges
            for position in each.read(session, filters, limit=limit + 1)
        )[: limit + 1]
        rows = _loaded(session, [device_id for _, _, device_id in found[:limit]])
    more = len(found) > limit
    return Page(
        items=[
            overview(*rows[device_id], policy=policy, now=now)
            for _, _, device_id in found[:limit]
        ],
        next_cursor=BY_LOCK.cursor(found[limit - 1]) if more else None,
    )


def _read(cursor: str) -> Position:
    """Return the position of a cursor; raise ``Invalid`` where none can be."""
    position = cast("Position", tuple(BY_LOCK.read(cursor)))
    if not all(EARLIEST <= each <= LATEST for each in position[:2]):
        raise Invalid(fields={"cursor": ["Not a cursor that this list has given out."]})
    return position


@dataclass(frozen=True)
class _Filters:
    """Whom of a range to list."""

    wanted: str
    clone_suspected: bool | None


@dataclass(frozen=True)
class _Range:
    """The part of a group that locks in a time: a range of the index.

    ``beyond`` is where the page before ended within the range, if it did.
    """

    group: Group
    policy: Policy
    since: datetime
    until: datetime
    beyond: tuple[datetime, int] | None

    def read(
        self, session: Session, filters: _Filters, *, limit: int
    ) -> list[Position]:
        """Return the first positions of the range, in order."""
        query = (
            select(Activation.silent_since, Activation.device_id)
            .where(
                self.group.members(),
                Activation.silent_since >= self.since,
                Activation.silent_since < self.until,
            )
            .order_by(Activation.silent_since, Activation.device_id)
            .limit(limit)
        )
        if filters.wanted:
            query = query.join(Device, Device.id == Activation.device_id).where(
                matching(filters.wanted)
            )
        if filters.clone_suspected is not None:
            query = query.where(suspected(wanted=filters.clone_suspected))
        if self.beyond is not None:
            here = tuple_(Activation.silent_since, Activation.device_id)
            since, device_id = self.beyond
            there = tuple_(
                literal(since, Activation.silent_since.type), literal(device_id)
            )
            query = query.where(here > there)
        return [
            (self.group.lock_at(each, self.policy), each, whose)
            for each, whose in session.execute(query)
            if each is not None
        ]


def _range(
    group: Group,
    policy: Policy,
    *,
    now: datetime,
    before: datetime,
    after: Position | None,
) -> _Range:
    """Return the range of those that lock from now on and before an instant."""

    def first(instant: datetime) -> datetime:
        return group.first_silence(instant, policy)

    since, beyond = first(now), None
    if after is not None:
        locked_at, silent_since, device_id = after
        mine = group.lock_at(silent_since, policy)
        if mine == locked_at:
            beyond = (silent_since, device_id)
            since = max(since, silent_since)
        elif mine > locked_at:
            since = max(since, first(locked_at + timedelta(microseconds=1)))
        else:
            since = max(since, first(locked_at))
    return _Range(group, policy, since, first(before), beyond)


def _loaded(
    session: Session, ids: Sequence[int]
) -> dict[int, tuple[Device, Activation]]:
    query = (
        select(Device, Activation)
        .join(Activation, Activation.device_id == Device.id)
        .where(Device.id.in_(ids))
    )
    return {row[0].id: row for row in session.execute(query)}
