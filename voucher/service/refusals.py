# SPDX-License-Identifier: Apache-2.0
"""What was refused, kept a while: for somebody who asks support why.

Never a code: of a voucher that exists, which one it is, and of any other nothing.
The same refusal is noted once in a while only, so that nobody fills the database
with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, delete, insert, select

from fleet.database import transaction
from voucher.models import RedemptionRefusal

KEPT = timedelta(days=14)
NOTED_AGAIN_AFTER = timedelta(minutes=10)
MOST_FORGOTTEN_TOGETHER = 1_000


@dataclass(frozen=True)
class Refused:
    """One refusal; a PBX or a voucher is None where there is none that is known."""

    problem: str
    way: str
    device_id: int | None
    voucher_id: int | None
    now: datetime


def note(connection: Connection, refused: Iterable[Refused]) -> None:
    """Write refusals down, but none that was a moment ago, nor one about nothing."""
    for each in refused:
        if each.device_id is None and each.voucher_id is None:
            continue
        if connection.scalar(_noted(each)) is None:
            connection.execute(
                insert(RedemptionRefusal).values(
                    happened_at=each.now,
                    problem=each.problem,
                    way=each.way,
                    device_id=each.device_id,
                    voucher_id=each.voucher_id,
                )
            )


def forget(now: datetime) -> int:
    """Delete what is older than it is kept; return how many (a job)."""
    old = (
        select(RedemptionRefusal.id)
        .where(RedemptionRefusal.happened_at < now - KEPT)
        .limit(MOST_FORGOTTEN_TOGETHER)
    )
    forgotten = 0
    while True:
        with transaction() as session:
            gone = session.connection().execute(
                delete(RedemptionRefusal).where(RedemptionRefusal.id.in_(old))
            )
        forgotten += gone.rowcount
        if gone.rowcount < MOST_FORGOTTEN_TOGETHER:
            return forgotten


def _noted(each: Refused) -> Select[int]:
    """Return the query for the same refusal, a moment ago."""
    return (
        select(RedemptionRefusal.id)
        .where(
            RedemptionRefusal.device_id == each.device_id,
            RedemptionRefusal.voucher_id == each.voucher_id,
            RedemptionRefusal.problem == each.problem,
            RedemptionRefusal.way == each.way,
            RedemptionRefusal.happened_at > each.now - NOTED_AGAIN_AFTER,
        )
        .limit(1)
    )
