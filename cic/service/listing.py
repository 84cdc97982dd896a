# SPDX-License-Identifier: Apache-2.0
"""Lists of PBXs for support: found by a search, in one state, of one type."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    literal,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session

from cic.models import Activation
from cic.service.groups import groups
from cic.service.locks import locking, suspected
from cic.service.standings import Overview, overview, policy_in
from cic.standing import Policy, Verdict
from fleet.database import reading
from fleet.devices.models import Device
from fleet.devices.search import matching, rank, sought
from fleet.errors import Invalid
from fleet.web.paging import Order, Page

NOT_WITH_A_STATE = (
    "Lists active PBXs only, those that will lock by then; it is not combined with "
    "another state."
)

BY_SERIAL = Order("devices", {Device.serial_number: str})


def devices(  # noqa: PLR0913 -- the filters of the protocol's list
    *,
    q: str = "",
    state: Verdict | None = None,
    device_type: str | None = None,
    locks_before: datetime | None = None,
    clone_suspected: bool | None = None,
    limit: int,
    cursor: str | None,
    now: datetime,
) -> Page[Overview]:
    """List PBXs: the likeliest of a search first, then by serial number.

    With ``locks_before`` only those still active that will have locked by then,
    the next first.

    Raises ``Invalid`` for a bad cursor, and for ``locks_before`` together with
    another state: nobody would be in that list, which reads like good news.
    """
    if locks_before is not None:
        if state not in {None, Verdict.ACTIVE}:
            raise Invalid(fields={"locks_before": [NOT_WITH_A_STATE]})
        return locking(
            before=locks_before,
            q=q,
            device_type=device_type,
            clone_suspected=clone_suspected,
            limit=limit,
            cursor=cursor,
            now=now,
        )
    return _found(
        sought(q),
        state=state,
        device_type=device_type,
        clone_suspected=clone_suspected,
        limit=limit,
        cursor=cursor,
        now=now,
    )


def _found(  # noqa: PLR0913 -- the filters of the protocol's list
    wanted: str,
    *,
    state: Verdict | None,
    device_type: str | None,
    clone_suspected: bool | None,
    limit: int,
    cursor: str | None,
    now: datetime,
) -> Page[Overview]:
    """List PBXs whatever their silence; ``wanted`` is what a search looks for."""
    # As large as any number that a cursor may hold, though the rank is not.
    likeliness = type_coerce(rank(wanted), BigInteger)
    order = Order("found", {likeliness: int, Device.serial_number: str})
    if not wanted:
        order, likeliness = BY_SERIAL, type_coerce(literal(0), BigInteger)
    filters = _filters(wanted, device_type=device_type, clone_suspected=clone_suspected)
    query = (
        select(Device, Activation, likeliness)
        .outerjoin(Activation, Activation.device_id == Device.id)
        .where(order.after(cursor), *filters)
        .order_by(*order.by)
        .limit(limit + 1)
    )
    with reading() as session:
        policy = policy_in(session)
        if state is not None:
            query = query.where(_in_state(session, state, policy, now))
        rows = session.execute(query).all()

    def position(row: tuple[Device, Activation, int]) -> tuple[int | str, ...]:
        serial = row[0].serial_number
        return (row[2], serial) if wanted else (serial,)

    return order.page(
        rows,
        limit=limit,
        position=position,
        view=lambda row: overview(row[0], row[1], policy=policy, now=now),
    )


def _filters(
    wanted: str, *, device_type: str | None, clone_suspected: bool | None
) -> Iterator[ColumnElement[bool]]:
    if wanted:
        yield matching(wanted)
    if device_type is not None:
        yield Device.device_type == device_type
    if clone_suspected is not None:
        yield suspected(wanted=clone_suspected)


def _in_state(
    session: Session, state: Verdict, policy: Policy, now: datetime
) -> ColumnElement[bool]:
    if state in {Verdict.BLOCKED, Verdict.REPLACED}:
        return Activation.hold == state.value
    if state is Verdict.UNINITIALISED:
        return or_(
            Activation.device_id.is_(None),
            and_(Activation.hold == "", Activation.silent_since.is_(None)),
        )
    ranges = []
    for group in groups(session, policy):
        locked = Activation.silent_since < group.first_silence(now, policy)
        ranges.append(
            and_(group.members(), locked if state is Verdict.LOCKED else ~locked)
        )
    return or_(*ranges) if ranges else Device.id < 0
