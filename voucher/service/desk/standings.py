# SPDX-License-Identifier: Apache-2.0
"""The releases of a PBX or of a voucher, and what has become of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from fleet.database import reading
from fleet.devices.models import Device
from voucher import codes
from voucher.errors import UnknownRelease
from voucher.functions import ends_at
from voucher.models import LedgerEntry, Product, ReleaseCode
from voucher.service.desk.reversals import REQUEST_LASTS
from voucher.service.ledger import BEGINS, ENDS, Kind


class Standing(StrEnum):
    """What has become of a release; "ended" is by its own last day."""

    IN_FORCE = "in-force"
    ENDED = "ended"
    MOVED = "moved"
    REVERSED = "reversed"


@dataclass(frozen=True, repr=False)
class Released:
    """One release of one PBX; ``release_code`` is as a person types it.

    ``reversal_requested_by`` is there as long as somebody else can confirm it.
    """

    id: int
    serial_number: str
    sequence: int
    source: str
    voucher_id: int | None
    product_number: int
    product_version: int
    names: Mapping[str, str]
    function: str
    unit: str
    quantity: int
    expires_on: date | None
    release_code: str
    released_at: datetime
    standing: Standing
    reversal_requested_by: str | None
    reversal_requested_at: datetime | None


def of_device_id(
    session: Session, device_id: int, *, now: datetime
) -> Sequence[Released]:
    """Return all releases of a PBX, the newest first."""
    return _where(session, ReleaseCode.device_id == device_id, now)


def of_voucher_id(
    session: Session, voucher_id: int, *, now: datetime
) -> Sequence[Released]:
    """Return all releases that came of a voucher, the newest first."""
    return _where(session, ReleaseCode.voucher_id == voucher_id, now)


def shown(release_id: int, *, now: datetime) -> Released:
    """Return one release; raise ``UnknownRelease``."""
    with reading() as session:
        found = _where(session, ReleaseCode.id == release_id, now)
    if not found:
        raise UnknownRelease
    return found[0]


def with_code(session: Session, code: str, *, now: datetime) -> Sequence[Released]:
    """Return the release that has a code, which is canonical; none, or one."""
    return _where(session, ReleaseCode.code == code, now)


def _where(
    session: Session, condition: ColumnElement[bool], now: datetime
) -> list[Released]:
    rows = session.execute(
        select(ReleaseCode, Product, Device.serial_number)
        .join(Product, Product.id == ReleaseCode.product_id)
        .join(Device, Device.id == ReleaseCode.device_id)
        .where(condition)
        .order_by(ReleaseCode.id.desc())
    ).all()
    last = _last_entries(session, [row[0].id for row in rows])
    return [_released(*row, last=last.get(row[0].id), now=now) for row in rows]


def _last_entries(
    session: Session, release_ids: Sequence[int]
) -> dict[int, LedgerEntry]:
    """Return the last that the ledger says of each release."""
    kinds = [*BEGINS, *ENDS, Kind.REVERSAL_REQUESTED]
    entries = session.scalars(
        select(LedgerEntry)
        .where(LedgerEntry.release_id.in_(release_ids), LedgerEntry.kind.in_(kinds))
        .order_by(LedgerEntry.id)
    )
    return {each.release_id: each for each in entries if each.release_id is not None}


def _released(
    row: ReleaseCode,
    product: Product,
    serial_number: str,
    *,
    last: LedgerEntry | None,
    now: datetime,
) -> Released:
    is_asked = (
        last is not None
        and last.kind == Kind.REVERSAL_REQUESTED
        and now - last.happened_at < REQUEST_LASTS
    )
    return Released(
        id=row.id,
        serial_number=serial_number,
        sequence=row.sequence,
        source=row.source,
        voucher_id=row.voucher_id,
        product_number=row.product_number,
        product_version=product.version,
        names=product.names,
        function=product.function,
        unit=product.unit,
        quantity=row.quantity,
        expires_on=row.last_day,
        release_code=codes.shown(row.code),
        released_at=row.released_at,
        standing=_standing(row, last, now),
        reversal_requested_by=last.actor if last and is_asked else None,
        reversal_requested_at=last.happened_at if last and is_asked else None,
    )


def _standing(row: ReleaseCode, last: LedgerEntry | None, now: datetime) -> Standing:
    if last is None or last.kind == Kind.REVERSED:
        return Standing.REVERSED  # what no entry begins is not in force
    if last.kind == Kind.MOVED_OUT:
        return Standing.MOVED
    if row.last_day is not None and now >= ends_at(row.last_day):
        return Standing.ENDED
    return Standing.IN_FORCE
