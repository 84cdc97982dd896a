# SPDX-License-Identifier: Apache-2.0
"""Valid things of the Voucher Center for tests: products, batches, vouchers, PBXs.

Written by the models and not by the services, so that a test of one use case
does not stand on another one.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask
from make import SECRET, SERIAL, TestPbx, make_device
from sqlalchemy import func, select

from fleet.clock import utcnow
from fleet.database import reading, transaction
from voucher import codes
from voucher.models import Batch, LedgerEntry, Product, ReleaseCode, Voucher
from voucher.service import digests

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
USERS = "users"


def make_product(product_number: int = 17, **changed: Any) -> Product:
    """Make the next version of a product: ten users for ever, if not told otherwise."""
    with transaction() as session:
        latest = session.scalar(
            select(func.max(Product.version)).where(
                Product.product_number == product_number
            )
        )
        columns: dict[str, Any] = {
            "product_number": product_number,
            "version": (latest or 0) + 1,
            "names": {"de": "10 Teilnehmer", "en": "10 users", "fr": "10 usagers"},
            "function": USERS,
            "unit": "users",
            "quantity": 10,
            "duration_days": None,
            "device_types": [],
            "prerequisites": [],
            "stacking": "add",
            "trial": False,
            "created_at": utcnow(),
        }
        product = Product(**columns | changed)
        session.add(product)
    return product


def make_batch(
    product: Product,
    count: int = 1,
    *,
    dealer: str = "",
    valid_until: datetime | None = None,
    order_reference: str = "",
    now: datetime | None = None,
) -> Batch:
    """Make a batch with its vouchers, none of which has a code yet."""
    now = now or utcnow()
    with transaction() as session:
        batch = Batch(
            product_id=product.id,
            count=count,
            valid_until=valid_until,
            order_reference=order_reference,
            dealer=dealer,
            created_at=now,
            created_by="Paula Products",
        )
        session.add(batch)
        session.flush()
        for number in range(1, count + 1):
            session.add(
                Voucher(
                    batch_id=batch.id,
                    number=number,
                    digest=None,
                    key_version=0,
                    last_four="",
                    dealer=dealer,
                    allocated_at=now if dealer else None,
                )
            )
        _said(session, "created", batch, 1, count, now=now)
        if dealer:
            _said(session, "allocated", batch, 1, count, now=now)
    return batch


def make_voucher(
    product: Product | None = None,
    *,
    batch: Batch | None = None,
    activated: bool = True,
    revoked: bool = False,
    valid_until: datetime | None = None,
    dealer: str = "",
    code: str | None = None,
    digest: tuple[int, bytes] | None = None,
    now: datetime | None = None,
) -> tuple[str, int]:
    """Make a voucher that was exported and sold; return its code and its id.

    Of ``batch`` it is the first that has no code, and otherwise the only one of a
    batch of ``product``, or of any.
    """
    now = now or utcnow()
    if batch is None:
        batch = make_batch(
            product or make_product(), dealer=dealer, valid_until=valid_until, now=now
        )
    code = code or codes.draw()
    with transaction() as session:
        voucher = session.scalars(
            select(Voucher)
            .where(Voucher.batch_id == batch.id, Voucher.digest.is_(None))
            .order_by(Voucher.number)
            .limit(1)
        ).one()
        voucher.key_version, voucher.digest = digest or digests.digest_of(code)
        voucher.last_four = code[-4:]
        voucher.exported_at = now
        number = voucher.number
        _said(session, "exported", batch, number, number, now=now)
        if activated:
            voucher.activated_at = now
            _said(session, "activated", batch, number, number, now=now)
        if revoked:
            voucher.revoked_at = now
            _said(session, "revoked", batch, number, number, now=now)
        return code, voucher.id


def activate(voucher_id: int, *, now: datetime | None = None) -> None:
    """Sell a voucher."""
    with transaction() as session:
        voucher = session.get_one(Voucher, voucher_id)
        voucher.activated_at = now or utcnow()


def make_pbx(
    app: Flask,
    serial_number: str = SERIAL,
    *,
    device_type: str = "COMtrexx VM",
    initialised: bool = True,
) -> TestPbx:
    """Make a PBX of the factory list known; ``app`` must be behind a proxy."""
    make_device(serial_number, device_type=device_type)
    pbx = TestPbx(
        app.test_client(), serial_number, device_secret=SECRET, device_type=device_type
    )
    if initialised:
        answer = pbx.initialise()
        assert answer.status_code == 201, answer.json
    return pbx


def voucher_row(voucher_id: int) -> Voucher:
    """Return what is stored of a voucher."""
    with reading() as session:
        return session.get_one(Voucher, voucher_id)


def release_rows() -> list[ReleaseCode]:
    """Return all release codes, oldest first."""
    with reading() as session:
        return list(session.scalars(select(ReleaseCode).order_by(ReleaseCode.id)))


def ledger_rows(*, releases_only: bool = True) -> list[LedgerEntry]:
    """Return the entries of the ledger, oldest first."""
    query = select(LedgerEntry).order_by(LedgerEntry.id)
    if releases_only:
        query = query.where(LedgerEntry.release_id.is_not(None))
    with reading() as session:
        return list(session.scalars(query))


def mistyped(code: str) -> str:
    """Return a code with a slip of the pen in its second group."""
    return code[:7] + ("3" if code[7] != "3" else "4") + code[8:]


def days(number: int) -> timedelta:
    """Return so many days."""
    return timedelta(days=number)


def _said(
    session: Any, kind: str, batch: Batch, first: int, last: int, *, now: datetime
) -> None:
    session.add(
        LedgerEntry(
            happened_at=now,
            kind=kind,
            actor="Paula Products",
            batch_id=batch.id,
            first_number=first,
            last_number=last,
        )
    )
    session.flush()
