# SPDX-License-Identifier: Apache-2.0
"""Something that was sold, and attempts on it by SQL, past all of our code."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from make import SERIAL, make_device
from making import make_batch, make_product, make_voucher

from fleet.database import Base, db, reading, writing
from voucher.models import Batch, LedgerEntry, Product, ReleaseCode, Voucher
from voucher.service.redemptions import Redeemed, Way, redeem

OTHER = "CX1000000002"
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)

KEPT = [
    kind.__tablename__ for kind in (ReleaseCode, LedgerEntry, Voucher, Batch, Product)
]

# What our triggers say, and nothing else that would refuse for the time being.
BY_TRIGGER = "is kept|is never|keeps its"

Snapshot = dict[str, list[tuple[Any, ...]]]


def make_sold() -> Redeemed:
    """Sell a voucher, and redeem it for the PBX ``SERIAL``; others stay unsold."""
    make_device(SERIAL)
    make_device(OTHER)
    until = NOON + timedelta(days=300)
    product = make_product(duration_days=365, device_types=["COMtrexx VM"])
    make_batch(product, 3, now=NOON)
    code, _ = make_voucher(product, valid_until=until, dealer="Funk", now=NOON)
    return redeem(
        code, serial_number=SERIAL, way=Way.PBX, address="192.0.2.1", now=NOON
    )


def stored() -> Snapshot:
    """Return every row of what is kept, and of the PBXs, in order."""
    found = {}
    with reading() as session:
        for name in (*KEPT, "device"):
            rows = sa.select(Base.metadata.tables[name]).order_by(sa.text("id"))
            found[name] = [tuple(row) for row in session.execute(rows)]
    return found


def attempt(*statements: str) -> None:
    """Try some SQL in one transaction; all of it happens, or a fault is raised."""
    with writing(db.engine) as connection:
        for each in statements:
            connection.execute(sa.text(each))


def refused(*statements: str) -> None:
    """Try some SQL, find it refused by a trigger, and nothing changed."""
    before = stored()
    with pytest.raises(sa.exc.IntegrityError, match=BY_TRIGGER):
        attempt(*statements)
    assert stored() == before
