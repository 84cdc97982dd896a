# SPDX-License-Identifier: Apache-2.0
"""Ranges of vouchers in the ledger: an entry for each run of numbers without a gap.

The database finds the runs, however many vouchers there are.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, insert, literal, select
from sqlalchemy.orm import Session

from fleet.database import UTCDateTime
from fleet.staff.roles import StaffMember
from voucher.models import Batch, LedgerEntry, Voucher
from voucher.service.ledger import Kind


@dataclass(frozen=True)
class Numbers:
    """The vouchers of one batch from ``first`` to ``last``."""

    batch_id: int
    first: int
    last: int

    @property
    def within(self) -> ColumnElement[bool]:
        """The condition for being one of them."""
        return and_(
            Voucher.batch_id == self.batch_id,
            Voucher.number.between(self.first, self.last),
        )


@dataclass(frozen=True)
class Deed:
    """What somebody on the staff does to vouchers, why and when."""

    kind: Kind
    by: StaffMember
    reason: str
    now: datetime


def write(
    session: Session, deed: Deed, numbers: Numbers, which: ColumnElement[bool]
) -> None:
    """Write a deed down, before it is done, for those of ``numbers`` it changes.

    ``which`` is a condition on a voucher and its batch.
    """
    # Along a run, number and rank rise together: their difference tells runs apart.
    rank = func.row_number().over(order_by=Voucher.number)
    changing = (
        select(Voucher.number, (Voucher.number - rank).label("run"))
        .join(Batch, Batch.id == Voucher.batch_id)
        .where(numbers.within, which)
        .subquery()
    )
    first = func.min(changing.c.number)
    columns: dict[str, ColumnElement[object]] = {
        "happened_at": literal(deed.now, UTCDateTime),
        "kind": literal(deed.kind.value),
        "actor": literal(deed.by.owner),
        "reason": literal(deed.reason),
        "batch_id": literal(numbers.batch_id),
        "first_number": first,
        "last_number": func.max(changing.c.number),
    }
    runs = select(*columns.values()).group_by(changing.c.run).order_by(first)
    session.execute(
        insert(LedgerEntry).from_select(list(columns), runs, include_defaults=False)
    )
