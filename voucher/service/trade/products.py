# SPDX-License-Identifier: Apache-2.0
"""What is sold: products and their versions.

A product is known by its number, which stands in every release code. What it is
never changes: a change makes the next version, and each batch keeps the one that
it was made of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Select, select, text, update
from sqlalchemy.orm import Session, aliased

from fleet.database import reading, transaction
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from fleet.web.paging import Order, Page
from voucher.errors import ProductAlreadyExists, ProductRetired, UnknownProduct
from voucher.functions import Stacking
from voucher.models import Product

FEATURE = "feature"
"""The unit of what a PBX has or has not, rather than how many of."""

_ORDER = Order("products", {Product.product_number: int})

# "produ" in ASCII: whoever makes versions on PostgreSQL holds this number, so that
# no two of them make the same one.
_LOCK = 0x70726F6475


@dataclass(frozen=True)
class Terms:
    """What one version of a product is.

    ``duration_days`` None is for ever, no ``device_types`` is all, and
    ``prerequisites`` are functions that a PBX must have before.
    """

    names: Mapping[str, str]
    function: str
    unit: str
    quantity: int
    duration_days: int | None = None
    device_types: tuple[str, ...] = ()
    prerequisites: tuple[str, ...] = ()
    stacking: Stacking = Stacking.ADD
    trial: bool = False


@dataclass(frozen=True)
class ProductFacts:
    """One version of a product, for readers."""

    product_number: int
    version: int
    terms: Terms
    created_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True)
class Made:
    """A version, and whether it was made just now."""

    product: ProductFacts
    is_new: bool


def add(
    product_number: int, terms: Terms, *, reason: str, by: StaffMember, now: datetime
) -> Made:
    """Make a product; the very same again is found and left as it is.

    Raises ``ProductAlreadyExists`` where the number is another product's.
    """
    with transaction() as session:
        _keep_others_out(session)
        first = session.scalar(_versions(product_number).limit(1))
        if first is not None:
            if terms_of(first) != terms:
                raise ProductAlreadyExists
            return Made(facts(first), is_new=False)
        made = _insert(session, product_number, terms, version=1, now=now)
        _note(session, "product.add", made, before={}, reason=reason, by=by)
        return Made(made, is_new=True)


def add_version(
    product_number: int, terms: Terms, *, reason: str, by: StaffMember, now: datetime
) -> Made:
    """Make the next version; the same as the present one changes nothing.

    Raises ``UnknownProduct`` and ``ProductRetired``.
    """
    with transaction() as session:
        _keep_others_out(session)
        present = facts(for_sale(session, product_number))
        if present.terms == terms:
            return Made(present, is_new=False)
        version = present.version + 1
        made = _insert(session, product_number, terms, version=version, now=now)
        before = _for_audit(present)
        _note(session, "product.version", made, before=before, reason=reason, by=by)
        return Made(made, is_new=True)


def retire(
    product_number: int, *, reason: str, by: StaffMember, now: datetime
) -> ProductFacts:
    """Let nothing new be made of a product; what was sold of it stays.

    Raises ``UnknownProduct``. Repeated, it changes nothing.
    """
    with transaction() as session:
        _keep_others_out(session)
        present = _latest(session, product_number)
        if present.retired_at is not None:
            return facts(present)
        session.execute(
            update(Product)
            .where(Product.product_number == product_number)
            .values(retired_at=now)
        )
        audit.record(
            session,
            actor=by,
            action="product.retire",
            subject=f"product:{product_number}",
            reason=reason,
            before={"retired_at": None},
            after={"retired_at": now},
            now=now,
        )
        return facts(_latest(session, product_number))


def versions(product_number: int) -> Sequence[ProductFacts]:
    """List all versions of a product, oldest first; raise ``UnknownProduct``."""
    with reading() as session:
        found = [facts(each) for each in session.scalars(_versions(product_number))]
    if not found:
        raise UnknownProduct
    return found


def listed(*, limit: int, cursor: str | None = None) -> Page[ProductFacts]:
    """List the present version of each product, by number.

    Raises ``Invalid`` for a bad cursor.
    """
    later = aliased(Product)
    outdated = select(later.id).where(
        later.product_number == Product.product_number, later.version > Product.version
    )
    statement = select(Product).where(~outdated.exists(), _ORDER.after(cursor))
    with reading() as session:
        rows = session.scalars(statement.order_by(*_ORDER.by).limit(limit + 1)).all()
    return _ORDER.page(
        rows, limit=limit, position=lambda row: (row.product_number,), view=facts
    )


def for_sale(session: Session, product_number: int) -> Product:
    """Return the present version, of which something new may be made.

    Raises ``UnknownProduct`` and ``ProductRetired``.
    """
    present = _latest(session, product_number)
    if present.retired_at is not None:
        raise ProductRetired
    return present


def facts(row: Product) -> ProductFacts:
    """Return a row as readers get it."""
    return ProductFacts(
        product_number=row.product_number,
        version=row.version,
        terms=terms_of(row),
        created_at=row.created_at,
        retired_at=row.retired_at,
    )


def terms_of(row: Product) -> Terms:
    """Return what a version says."""
    return Terms(
        names=row.names,
        function=row.function,
        unit=row.unit,
        quantity=row.quantity,
        duration_days=row.duration_days,
        device_types=tuple(row.device_types),
        prerequisites=tuple(row.prerequisites),
        stacking=Stacking(row.stacking),
        trial=row.trial,
    )


def _latest(session: Session, product_number: int) -> Product:
    newest_first = _versions(product_number).order_by(None)
    row = session.scalar(
        newest_first.order_by(Product.version.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise UnknownProduct
    return row


def _versions(product_number: int) -> Select[Product]:
    return (
        select(Product)
        .where(Product.product_number == product_number)
        .order_by(Product.version)
    )


def _insert(
    session: Session, product_number: int, terms: Terms, *, version: int, now: datetime
) -> ProductFacts:
    row = Product(
        product_number=product_number,
        version=version,
        names=dict(terms.names),
        function=terms.function,
        unit=terms.unit,
        quantity=terms.quantity,
        duration_days=terms.duration_days,
        device_types=list(terms.device_types),
        prerequisites=list(terms.prerequisites),
        stacking=terms.stacking,
        trial=terms.trial,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return facts(row)


def _note(
    session: Session,
    action: str,
    made: ProductFacts,
    *,
    before: Mapping[str, object],
    reason: str,
    by: StaffMember,
) -> None:
    audit.record(
        session,
        actor=by,
        action=action,
        subject=f"product:{made.product_number}",
        reason=reason,
        before=before,
        after=_for_audit(made),
        now=made.created_at,
    )


def _for_audit(product: ProductFacts) -> dict[str, object]:
    return {"version": product.version, **asdict(product.terms)}


def _keep_others_out(session: Session) -> None:
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
