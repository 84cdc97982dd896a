# SPDX-License-Identifier: Apache-2.0
"""A third party may read what is stored about a PBX, if its owner wants (Data Act, 5).

By a token that is shown once and kept only as a keyed digest. It ends at an instant,
when it is revoked, and with the PBX: one that was replaced, blocked or erased shares
nothing, nor does one whose data is only kept (GDPR, article 18), until that is over.
For one recipient there is one token at a time, so whoever lost an answer asks again,
and the token that got lost is good no more.
"""

import base64
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from fleet.database import reading, transaction
from fleet.devices import registry
from fleet.devices.errors import UnknownDevice
from fleet.devices.models import Device
from fleet.devices.serial_numbers import normalise_serial
from fleet.ground import ground
from fleet.identity.guard import is_held
from fleet.keys.errors import MissingKey
from fleet.keys.keyring import VersionedKey, keyed_digest
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from fleet.web import throttle
from fleet.web.paging import Order, Page
from retention.errors import ShareTokenRequired, TooManyShares, UnknownShare
from retention.models import DataShare
from retention.service.requests import BY_DEVICE, Kind, note_own

PURPOSE = "data-share"
MOST_DAYS = 365
MOST_SHARES = 20
LONGEST_RECIPIENT = 200
USE_IS_NOTED_EVERY = timedelta(minutes=1)

_ORDER = Order("shares", {DataShare.id: int}, descending=True)

READ_TOKEN = throttle.Guessing("data-share")

# The version of the key that it is digested under, and 32 random bytes.
_TOKEN = re.compile(r"chs_([1-9][0-9]{0,8})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class ShareFacts:
    """Who may read, since when and until when; never the token."""

    id: int
    recipient: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class Shared(ShareFacts):
    """A new share; only here is its token."""

    token: str = field(repr=False)


def share_by_itself(
    serial_number: str, *, recipient: str, days: int, now: datetime
) -> Shared:
    """Let somebody read what is stored about a PBX, as it asks itself.

    Raises ``UnknownDevice``, ``TooManyShares``, and ``TooMany`` for one that does so
    over and over.
    """
    with transaction() as session:
        device = registry.locked(session, serial_number)
        note_own(session, device.id, Kind.SHARE, answer="shared", now=now)
        return share(
            session, device, recipient=recipient, days=days, by=BY_DEVICE, now=now
        )


def share(
    session: Session,
    device: Device,
    *,
    recipient: str,
    days: int,
    by: str,
    now: datetime,
) -> Shared:
    """Let ``recipient`` read, in the place of a token that it had before.

    Raises ``TooManyShares``.
    """
    session.execute(
        update(DataShare)
        .where(
            *_in_force(device.id, now=now),
            DataShare.recipient == recipient,
        )
        .values(revoked_at=now)
    )
    others = session.scalar(
        select(func.count())
        .select_from(DataShare)
        .where(*_in_force(device.id, now=now))
    )
    if (others or 0) >= MOST_SHARES:
        raise TooManyShares
    key = ground().keyring.current(PURPOSE)
    random = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    token = f"chs_{key.version}_{random}"
    row = DataShare(
        device_id=device.id,
        digest=_digest(key, token),
        key_version=key.version,
        recipient=recipient,
        created_at=now,
        created_by=by,
        expires_at=now + timedelta(days=days),
    )
    session.add(row)
    session.flush()
    return Shared(**vars(_facts(row)), token=token)


def listed(
    serial_number: str, *, limit: int, cursor: str | None = None
) -> Page[ShareFacts]:
    """List the shares of a PBX, also those that are over, newest first.

    Raises ``UnknownDevice``, and ``Invalid`` for a bad cursor.
    """
    device = registry.find(serial_number)
    if device is None:
        raise UnknownDevice
    with reading() as session:
        rows = session.scalars(
            select(DataShare)
            .where(DataShare.device_id == device.id, _ORDER.after(cursor))
            .order_by(*_ORDER.by)
            .limit(limit + 1)
        ).all()
    return _ORDER.page(rows, limit=limit, position=lambda row: (row.id,), view=_facts)


def revoke(
    serial_number: str, share_id: int, *, by: StaffMember | None, now: datetime
) -> ShareFacts:
    """End a share of a PBX at once; one that is over stays as it is.

    ``by`` is None for the PBX itself. Raises ``UnknownDevice`` and ``UnknownShare``.
    """
    with transaction() as session:
        device = registry.locked(session, normalise_serial(serial_number))
        row = session.scalars(
            select(DataShare)
            .where(DataShare.id == share_id, DataShare.device_id == device.id)
            .with_for_update()
        ).one_or_none()
        if row is None:
            raise UnknownShare
        if row.revoked_at is None:
            row.revoked_at = now
            if by is not None:
                audit.record(
                    session,
                    actor=by,
                    action="data-share.revoke",
                    subject=f"device:{device.serial_number}",
                    reason="",
                    before={"share": row.id, "revoked_at": None},
                    after={"share": row.id, "revoked_at": now},
                    now=now,
                )
        return _facts(row)


def serial_of(token: str, *, address: str, now: datetime) -> str:
    """Return whose data a read token is for, and note its use.

    One answer for every token that is not good: ``ShareTokenRequired``. Wrong ones
    count against the address, up to ``TooMany``.
    """
    found = _find(token, now=now)
    if found is None:
        throttle.check(READ_TOKEN, address, now=now)
        throttle.wrong(READ_TOKEN, address, now=now)
        raise ShareTokenRequired
    share, serial_number = found
    last = share.last_used_at
    if last is None or now - last >= USE_IS_NOTED_EVERY:
        _note_use(share.id, now)
    return serial_number


def _find(token: str, *, now: datetime) -> tuple[DataShare, str] | None:
    spelled = _TOKEN.fullmatch(token)
    if spelled is None:
        return None
    try:
        key = ground().keyring.get(PURPOSE, int(spelled[1]))
    except MissingKey:
        return None
    with reading() as session:
        row = session.execute(
            select(DataShare, Device.serial_number, Device.restricted_at)
            .join(Device, Device.id == DataShare.device_id)
            .where(DataShare.digest == _digest(key, token))
        ).one_or_none()
        if row is None or row[0].revoked_at is not None or now >= row[0].expires_at:
            return None
        if row[2] is not None:
            return None
        if is_held(session.connection(), row[0].device_id, now=now):
            return None
        return row[0], row[1]


def _in_force(device_id: int, *, now: datetime) -> list[ColumnElement[bool]]:
    return [
        DataShare.device_id == device_id,
        DataShare.revoked_at.is_(None),
        DataShare.expires_at > now,
    ]


def _note_use(share_id: int, now: datetime) -> None:
    """Note the use, if nobody else just has; a busy database is no reason to fail."""
    latest = DataShare.last_used_at
    with suppress(OperationalError), transaction() as session:
        session.execute(
            update(DataShare)
            .where(DataShare.id == share_id)
            .where(or_(latest.is_(None), latest <= now - USE_IS_NOTED_EVERY))
            .values(last_used_at=now)
        )


def _digest(key: VersionedKey, token: str) -> bytes:
    return keyed_digest(key, token.encode("ascii"))


def _facts(row: DataShare) -> ShareFacts:
    return ShareFacts(
        id=row.id,
        recipient=row.recipient,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
