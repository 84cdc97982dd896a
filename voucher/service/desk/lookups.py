# SPDX-License-Identifier: Apache-2.0
"""Finds vouchers for support, and for dealers their own.

By the code as somebody reads it out, by its last four symbols, the serial number
of the PBX, the order, the batch or the dealer. A ``dealer`` finds nothing but
what is that dealer's: all else is as if it did not exist.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Select, literal_column, or_, select
from sqlalchemy.orm import Session

from fleet.database import reading
from fleet.devices.models import Device
from fleet.web.paging import Order, Page
from voucher import release_code
from voucher.codes import SYMBOLS, canonical
from voucher.errors import UnknownVoucher
from voucher.models import Batch, Product, Voucher
from voucher.service.desk import histories, standings
from voucher.service.desk.histories import Happened, Refused, end_of
from voucher.service.desk.sentences import Known, sentence
from voucher.service.desk.standings import Released, Standing
from voucher.service.digests import digests_of
from voucher.service.trade.totals import state_column
from voucher.states import Life, State, state_of

_BY_ID = Order("vouchers", {Voucher.id: int})
# The same, and no reason for PostgreSQL to walk along all vouchers in their order
# until it meets those few of an order: it finds them by their indexes, then sorts.
_SORTED_BY_ID = Order("vouchers-of-order", {Voucher.id + literal_column("0"): int})
_BY_NUMBER = Order("vouchers-of-batch", {Voucher.number: int})

_READ_AS = str.maketrans("OIL", "011")


@dataclass(frozen=True, repr=False)
class VoucherFacts:
    """One voucher as its reader may see it; ``why`` says its state in a sentence.

    A dealer sees no ``serial_number``, and of an order only the voucher's own.
    """

    id: int
    batch_id: int
    number: int
    last_four: str
    state: State
    why: str
    product_number: int
    product_version: int
    names: Mapping[str, str]
    function: str
    unit: str
    quantity: int
    duration_days: int | None
    dealer: str
    order_reference: str
    created_at: datetime
    valid_until: datetime | None
    exported_at: datetime | None
    allocated_at: datetime | None
    activated_at: datetime | None
    redeemed_at: datetime | None
    revoked_at: datetime | None
    serial_number: str | None
    serial_last_four: str | None
    replaced_by: int | None


@dataclass(frozen=True, repr=False)
class VoucherDetail(VoucherFacts):
    """One voucher and all behind it, newest first; a dealer sees no release code.

    ``expires_on`` is the last day of what it gave, where that is not for ever.
    """

    expires_on: date | None
    releases: Sequence[Released]
    history: Sequence[Happened]
    refusals: Sequence[Refused]


class CodeKind(StrEnum):
    """What somebody has read out."""

    VOUCHER = "voucher-code"
    RELEASE = "release-code"


@dataclass(frozen=True, repr=False)
class Found:
    """What a code is: a voucher's, or that of a release, which may have no voucher."""

    kind: CodeKind
    voucher: VoucherDetail | None
    release: Released | None


@dataclass(frozen=True, repr=False)
class Wanted:
    """Which vouchers: those that agree with all that is given."""

    last_four: str | None = None
    serial_number: str | None = None
    order_reference: str | None = None
    batch_id: int | None = None
    dealer: str | None = None
    state: State | None = None


def vouchers(
    wanted: Wanted,
    *,
    limit: int,
    cursor: str | None,
    dealer: str = "",
    now: datetime,
) -> Page[VoucherFacts]:
    """List vouchers, the oldest first; to a ``dealer`` their own.

    Raises ``Invalid`` for a bad cursor.
    """
    in_batch = wanted.batch_id is not None
    order = _BY_NUMBER if in_batch else _BY_ID
    if wanted.order_reference is not None and not in_batch:
        order = _SORTED_BY_ID
    with reading() as session:
        query = (
            _rows()
            .where(order.after(cursor), *_conditions(session, wanted, dealer, now))
            .order_by(*order.by)
            .limit(limit + 1)
        )
        rows = session.execute(query).all()
    return order.page(
        rows,
        limit=limit,
        position=lambda row: (row[0].number if in_batch else row[0].id,),
        view=lambda row: _facts(*row, dealer=dealer, now=now),
    )


def voucher(voucher_id: int, *, dealer: str = "", now: datetime) -> VoucherDetail:
    """Return one voucher and all behind it; raise ``UnknownVoucher``."""
    with reading() as session:
        return _detail(session, Voucher.id == voucher_id, dealer=dealer, now=now)


def find(typed: str, *, dealer: str = "", now: datetime) -> Found:
    """Return what a code is, in any spelling: a voucher code or a release code.

    Raises ``MistypedCode``, which says where to look again, and ``UnknownVoucher``.
    """
    if _is_nearer_to_a_release(typed):
        return _find_release(release_code.canonical(typed), dealer=dealer, now=now)
    digests = digests_of(canonical(typed))
    with reading() as session:
        found = _detail(session, Voucher.digest.in_(digests), dealer=dealer, now=now)
    return Found(CodeKind.VOUCHER, found, None)


def _find_release(code: str, *, dealer: str, now: datetime) -> Found:
    with reading() as session:
        releases = standings.with_code(session, code, now=now)
        if not releases:
            raise UnknownVoucher("There is no release with this code.")
        release = releases[0]
        found = None
        if release.voucher_id is not None:
            mine = Voucher.id == release.voucher_id
            found = _detail(session, mine, dealer=dealer, now=now)
        elif dealer:
            raise UnknownVoucher
    return Found(CodeKind.RELEASE, found, None if dealer else release)


def _is_nearer_to_a_release(typed: str) -> bool:
    """Whether what was typed is nearer to 25 symbols than to 20."""
    symbols = sum(each.isalnum() for each in typed)
    return 2 * symbols > SYMBOLS + release_code.SYMBOLS


def _rows() -> Select[Voucher, Batch, Product, str | None]:
    return (
        select(Voucher, Batch, Product, Device.serial_number)
        .join(Batch, Batch.id == Voucher.batch_id)
        .join(Product, Product.id == Batch.product_id)
        .outerjoin(Device, Device.id == Voucher.redeemed_by_id)
    )


def _conditions(
    session: Session, wanted: Wanted, dealer: str, now: datetime
) -> Iterator[ColumnElement[bool]]:
    if dealer:
        yield Voucher.dealer == dealer
    if wanted.dealer is not None:
        yield Voucher.dealer == wanted.dealer
    if wanted.last_four is not None:
        yield Voucher.last_four == wanted.last_four.upper().translate(_READ_AS)
    if wanted.batch_id is not None:
        yield Voucher.batch_id == wanted.batch_id
    if wanted.serial_number is not None:
        serial_is = Device.serial_number == wanted.serial_number
        device_id = session.scalar(select(Device.id).where(serial_is))
        yield Voucher.redeemed_by_id == (device_id or 0)
    if wanted.order_reference is not None:
        yield _of_order(session, wanted.order_reference, dealer)
    if wanted.state is not None:
        yield state_column(now) == wanted.state.value


def _of_order(
    session: Session, order_reference: str, dealer: str
) -> ColumnElement[bool]:
    """Return the condition for vouchers of an order: their own, or their batch's."""
    batches = select(Batch.id).where(Batch.order_reference == order_reference)
    if dealer:
        batches = batches.where(Batch.dealer == dealer)
    ids = session.scalars(batches).all()
    own = Voucher.order_reference == order_reference
    return or_(own, Voucher.batch_id.in_(ids)) if ids else own


def _detail(
    session: Session, condition: ColumnElement[bool], *, dealer: str, now: datetime
) -> VoucherDetail:
    row = session.execute(_rows().where(condition)).one_or_none()
    if row is None or (dealer and row[0].dealer != dealer):
        raise UnknownVoucher
    history, refusals = histories.of_voucher(session, row[0], dealer=dealer)
    releases = standings.of_voucher_id(session, row[0].id, now=now)
    given = (Standing.IN_FORCE, Standing.ENDED)
    facts = _facts(*row, dealer=dealer, now=now, history=history)
    return VoucherDetail(
        **vars(facts),
        expires_on=next(
            (each.expires_on for each in releases if each.standing in given), None
        ),
        releases=() if dealer else releases,
        history=history,
        refusals=refusals,
    )


def _facts(  # noqa: PLR0913 -- the columns of a row, and who reads it
    found: Voucher,
    batch: Batch,
    product: Product,
    serial_number: str | None,
    *,
    dealer: str,
    now: datetime,
    history: Sequence[Happened] = (),
) -> VoucherFacts:
    order_reference = found.order_reference
    if not order_reference and dealer in {"", batch.dealer}:
        order_reference = batch.order_reference
    known = Known(
        life=life_of(found, batch),
        dealer=found.dealer,
        order_reference=order_reference,
        serial_number=end_of(serial_number) if dealer else serial_number,
        is_masked=bool(dealer),
        replaced_by=found.replaced_by_id,
        history=history,
    )
    return VoucherFacts(
        id=found.id,
        batch_id=batch.id,
        number=found.number,
        last_four=found.last_four,
        state=state_of(known.life, now),
        why=sentence(known, now),
        product_number=product.product_number,
        product_version=product.version,
        names=product.names,
        function=product.function,
        unit=product.unit,
        quantity=product.quantity,
        duration_days=product.duration_days,
        dealer=found.dealer,
        order_reference=order_reference,
        created_at=batch.created_at,
        valid_until=batch.valid_until,
        exported_at=found.exported_at,
        allocated_at=found.allocated_at,
        activated_at=found.activated_at,
        redeemed_at=found.redeemed_at,
        revoked_at=found.revoked_at,
        serial_number=None if dealer else serial_number,
        serial_last_four=end_of(serial_number),
        replaced_by=found.replaced_by_id,
    )


def life_of(found: Voucher, batch: Batch) -> Life:
    """Return what the state of a voucher follows from."""
    return Life(
        exported_at=found.exported_at,
        allocated_at=found.allocated_at,
        activated_at=found.activated_at,
        redeemed_at=found.redeemed_at,
        revoked_at=found.revoked_at,
        valid_until=batch.valid_until,
    )
