# SPDX-License-Identifier: Apache-2.0
"""Batches: vouchers that are made together, all of them or none.

A batch is rows only. No code exists before it is exported
(``voucher.service.trade.exporting``), so a batch that nobody exports has nothing that
could be stolen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import (
    Integer,
    Select,
    func,
    insert,
    literal,
    null,
    select,
)
from sqlalchemy.orm import Session

from fleet.database import UTCDateTime, reading, transaction
from fleet.errors import Invalid
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from fleet.web.paging import Order, Page
from voucher.errors import UnknownBatch
from voucher.models import Batch, Product, Voucher
from voucher.service import ledger
from voucher.service.trade import products
from voucher.service.trade.products import ProductFacts

MOST_VOUCHERS = 100_000

# Rows that are written by one statement: far below what a database allows one to
# take, and enough that a bar moves.
_TOGETHER = 5_000

_ORDER = Order("voucher-batches", {Batch.id: int}, descending=True)

Progress = Callable[[int], object]


@dataclass(frozen=True)
class NewBatch:
    """What is asked for; ``valid_until`` None is never."""

    product_number: int
    count: int
    dealer: str = ""
    order_reference: str = ""
    valid_until: datetime | None = None


@dataclass(frozen=True)
class BatchFacts:
    """A batch, for readers; its product is the version that it was made of."""

    id: int
    product: ProductFacts
    count: int
    dealer: str
    order_reference: str
    valid_until: datetime | None
    created_at: datetime
    created_by: str


def create(
    new: NewBatch,
    *,
    reason: str,
    by: StaffMember,
    now: datetime,
    progress: Progress = lambda _count: None,
) -> BatchFacts:
    """Make a batch of vouchers without codes, numbered from 1.

    ``progress`` is told how many more were made. Raises ``UnknownProduct``,
    ``ProductRetired``, and ``Invalid`` for a count or an end out of bounds.
    """
    _check(new, now)
    with transaction() as session:
        product = products.for_sale(session, new.product_number)
        batch = Batch(
            product_id=product.id,
            count=new.count,
            valid_until=new.valid_until,
            order_reference=new.order_reference,
            dealer=new.dealer,
            created_at=now,
            created_by=by.owner,
        )
        session.add(batch)
        session.flush()
        for first in range(1, new.count + 1, _TOGETHER):
            last = min(first + _TOGETHER - 1, new.count)
            _insert_vouchers(session, batch, first, last, now=now)
            progress(last - first + 1)
        _write_down(session, batch, reason=reason, by=by, now=now)
        return _facts(batch, product)


def show(batch_id: int, *, dealer: str = "") -> BatchFacts:
    """Return one batch; raise ``UnknownBatch``.

    A ``dealer`` is shown batches of which it has a voucher, and no more of them
    than that.
    """
    statement = _seen_by(dealer).where(Batch.id == batch_id)
    with reading() as session:
        row = session.execute(statement).one_or_none()
    if row is None:
        raise UnknownBatch
    return _shown(*row, dealer=dealer)


def listed(
    *, limit: int, cursor: str | None = None, dealer: str = ""
) -> Page[BatchFacts]:
    """List batches, newest first; a ``dealer`` is shown its own.

    Raises ``Invalid`` for a bad cursor.
    """
    statement = _seen_by(dealer).where(_ORDER.after(cursor))
    with reading() as session:
        rows = session.execute(statement.order_by(*_ORDER.by).limit(limit + 1)).all()
    return _ORDER.page(
        rows,
        limit=limit,
        position=lambda row: (row[0].id,),
        view=lambda row: _shown(*row, dealer=dealer),
    )


def locked(session: Session, batch_id: int) -> tuple[Batch, Product]:
    """Return a batch and its product, the batch locked; raise ``UnknownBatch``.

    Whoever exports or sells from a batch takes this lock first, then the
    vouchers in order of their ids.
    """
    row = session.execute(
        select(Batch, Product)
        .join(Product, Product.id == Batch.product_id)
        .where(Batch.id == batch_id)
        .with_for_update(of=Batch, key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise UnknownBatch
    return row[0], row[1]


def check_range(first: int | None, last: int | None, *, most: int) -> tuple[int, int]:
    """Return the first and last number that are meant; nothing is the end of all.

    Raises ``Invalid`` for numbers that there are not.
    """
    begin = 1 if first is None else first
    end = most if last is None else last
    if not 1 <= begin <= end <= most:
        fault = [f"The batch has the numbers 1 to {most}, first before last."]
        raise Invalid(fields={"first": fault, "last": fault})
    return begin, end


def _seen_by(dealer: str) -> Select[Batch, Product, int]:
    """Return a query of batches, with the number of vouchers that may be seen."""
    if not dealer:
        return select(Batch, Product, Batch.count).join(
            Product, Product.id == Batch.product_id
        )
    own = select(func.count()).where(
        Voucher.batch_id == Batch.id, Voucher.dealer == dealer
    )
    batches = select(Voucher.batch_id).where(Voucher.dealer == dealer)
    return (
        select(Batch, Product, own.correlate(Batch).scalar_subquery())
        .join(Product, Product.id == Batch.product_id)
        .where(Batch.id.in_(batches))
    )


def check(new: NewBatch, *, now: datetime) -> ProductFacts:
    """Return the product that a batch would be made of; raises as ``create``."""
    _check(new, now)
    with reading() as session:
        return products.facts(products.for_sale(session, new.product_number))


def _check(new: NewBatch, now: datetime) -> None:
    faults = {}
    if not 1 <= new.count <= MOST_VOUCHERS:
        faults["count"] = [f"1 to {MOST_VOUCHERS} vouchers."]
    if new.valid_until is not None and new.valid_until <= now:
        faults["valid_until"] = ["Lies in the past."]
    if faults:
        raise Invalid(fields=faults)


def _insert_vouchers(
    session: Session, batch: Batch, first: int, last: int, *, now: datetime
) -> None:
    """Let the database count: no row goes through this process."""
    numbers = select(literal(first, Integer).label("number")).cte(recursive=True)
    following = select(numbers.c.number + 1).where(numbers.c.number < last)
    numbers = numbers.union_all(following)
    allocated_at = literal(now, UTCDateTime) if batch.dealer else null()
    columns = {
        "batch_id": literal(batch.id),
        "number": numbers.c.number,
        "key_version": literal(0),
        "last_four": literal(""),
        "dealer": literal(batch.dealer),
        "order_reference": literal(""),
        "allocated_at": allocated_at,
    }
    session.execute(
        insert(Voucher).from_select(
            list(columns), select(*columns.values()), include_defaults=False
        )
    )


def _write_down(
    session: Session, batch: Batch, *, reason: str, by: StaffMember, now: datetime
) -> None:
    kinds = [ledger.Kind.CREATED, *([ledger.Kind.ALLOCATED] if batch.dealer else [])]
    for kind in kinds:
        ledger.write(
            session,
            kind,
            actor=by.owner,
            now=now,
            reason=reason,
            batch_id=batch.id,
            first_number=1,
            last_number=batch.count,
        )
    audit.record(
        session,
        actor=by,
        action="batch.create",
        subject=f"batch:{batch.id}",
        reason=reason,
        before={},
        after={
            "product_id": batch.product_id,
            "count": batch.count,
            "valid_until": batch.valid_until,
            "order_reference": batch.order_reference,
            "dealer": batch.dealer,
        },
        now=now,
    )


def _shown(batch: Batch, product: Product, count: int, *, dealer: str) -> BatchFacts:
    """Return a batch as its dealer may see it, or as it is."""
    shown = replace(_facts(batch, product), count=count)
    if not dealer:
        return shown
    shown = replace(shown, created_by="")  # who on the staff is the vendor's to know
    if dealer == batch.dealer:
        return shown
    # Some vouchers of a batch that was made for somebody else, or for nobody.
    return replace(shown, dealer=dealer, order_reference="")


def _facts(batch: Batch, product: Product) -> BatchFacts:
    return BatchFacts(
        id=batch.id,
        product=products.facts(product),
        count=batch.count,
        dealer=batch.dealer,
        order_reference=batch.order_reference,
        valid_until=batch.valid_until,
        created_at=batch.created_at,
        created_by=batch.created_by,
    )
