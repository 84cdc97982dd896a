# SPDX-License-Identifier: Apache-2.0
"""Whether the books agree: vouchers with the ledger, and releases with both.

The rows of vouchers say how things are, and the ledger how they came to be; each
can be told from the other. Where they differ, something wrote past this service.
Batch after batch, in one state of the database, so that sales meanwhile make no
difference; what is held in memory is a byte or two for each voucher of one batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, literal, null, or_, select
from sqlalchemy.orm import aliased

from fleet.database import db
from voucher.models import Batch, LedgerEntry, ReleaseCode, Voucher
from voucher.service.ledger import BEGINS, LAST_SAID, Kind

# What the ledger says of ranges, and the mark on a voucher that follows from it.
_SETS = {
    Kind.CREATED: "created",
    Kind.EXPORTED: "exported",
    Kind.ALLOCATED: "allocated",
    Kind.ACTIVATED: "activated",
    Kind.REVOKED: "revoked",
    Kind.REPLACED: "revoked",
}
_CLEARS = {Kind.TAKEN_BACK: "allocated"}
_MARKS = ("created", "exported", "allocated", "activated", "revoked")

# Rows that are held at a time.
_TOGETHER = 5_000

_HANDS = (Kind.REDEEMED, Kind.MOVED_IN, Kind.REVERSED)
"""After these a voucher is with a PBX, or with none again."""


@dataclass(frozen=True)
class Difference:
    """One thing that does not agree: about a voucher, or about a release."""

    says: str
    batch_id: int | None = None
    number: int | None = None
    release_id: int | None = None


@dataclass(frozen=True)
class Report:
    """How much was compared, and what did not agree."""

    batches: int
    vouchers: int
    releases: int
    differences: Sequence[Difference]


def reconcile() -> Report:
    """Compare all vouchers and releases with the ledger."""
    batches = vouchers = 0
    found: list[Difference] = []
    with _one_state() as connection:
        for batch_id in connection.scalars(select(Batch.id).order_by(Batch.id)).all():
            count, differing = _compare_batch(connection, batch_id)
            batches, vouchers = batches + 1, vouchers + count
            found.extend(differing)
        found.extend(_releases_without_a_word(connection))
        releases = connection.scalar(select(func.count()).select_from(ReleaseCode))
    return Report(batches, vouchers, releases or 0, found)


@contextmanager
def _one_state() -> Iterator[Connection]:
    engine = db.engine
    if engine.dialect.name == "postgresql":
        # SQLite reads one state from the first statement on anyway.
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        yield connection


def _compare_batch(
    connection: Connection, batch_id: int
) -> tuple[int, list[Difference]]:
    """Return how many vouchers a batch has, and how they differ from the ledger."""
    said = _told_by_the_ledger(connection, batch_id)
    unseen = bytearray(said["created"])
    found: list[Difference] = []
    count = 0
    rows = select(
        Voucher.number,
        literal(value=True),
        Voucher.exported_at.is_not(None) & Voucher.digest.is_not(None),
        Voucher.allocated_at.is_not(None),
        Voucher.activated_at.is_not(None),
        Voucher.revoked_at.is_not(None),
    ).where(Voucher.batch_id == batch_id)
    some_at_a_time = rows.execution_options(yield_per=_TOGETHER)
    for number, *marks in connection.execute(some_at_a_time):
        count += 1
        for mark, is_so in zip(_MARKS, marks, strict=True):
            told = number < len(said[mark]) and bool(said[mark][number])
            if told != bool(is_so):
                found.append(_differs(batch_id, number, mark, told=told))
        if number < len(unseen):
            unseen[number] = 0
    found.extend(
        Difference("is in the ledger and nowhere else", batch_id, number)
        for number, created in enumerate(unseen)
        if created
    )
    found.extend(_wrong_hands(connection, batch_id))
    found.extend(_wrong_releases(connection, batch_id))
    return count, found


def _told_by_the_ledger(connection: Connection, batch_id: int) -> dict[str, bytearray]:
    """Return for each mark which numbers have it by the ledger: 1, at its place."""
    entries = connection.execute(
        select(LedgerEntry.kind, LedgerEntry.first_number, LedgerEntry.last_number)
        .where(LedgerEntry.batch_id == batch_id, LedgerEntry.first_number.is_not(None))
        .order_by(LedgerEntry.id)
    ).all()
    most = max((last for _, _, last in entries if last), default=0)
    said = {mark: bytearray(most + 1) for mark in _MARKS}
    for kind, first, last in entries:
        if first is None or last is None:
            continue
        if (mark := _SETS.get(Kind(kind))) is not None:
            said[mark][first : last + 1] = b"\1" * (last + 1 - first)
        elif (mark := _CLEARS.get(Kind(kind))) is not None:
            said[mark][first : last + 1] = bytes(last + 1 - first)
    return said


def _differs(batch_id: int, number: int, mark: str, *, told: bool) -> Difference:
    by_ledger, by_row = ("is", "is not") if told else ("is not", "is")
    says = f"{by_ledger} {mark} by the ledger, and {by_row} by its own row"
    return Difference(says, batch_id, number)


def _wrong_hands(connection: Connection, batch_id: int) -> Iterator[Difference]:
    """Yield the vouchers that are with another PBX than the ledger says last."""
    last = (
        select(func.max(LedgerEntry.id))
        .where(
            LedgerEntry.voucher_id == Voucher.id,
            LedgerEntry.kind.in_([*_HANDS]),
        )
        .correlate(Voucher)
        .scalar_subquery()
    )
    entry = aliased(LedgerEntry)
    holder = case((entry.kind == Kind.REVERSED, null()), else_=entry.device_id)
    rows = connection.execute(
        select(Voucher.number)
        .outerjoin(entry, entry.id == last)
        .where(
            Voucher.batch_id == batch_id,
            or_(
                Voucher.redeemed_by_id.is_distinct_from(holder),
                Voucher.redeemed_by_id.is_(None) != Voucher.redeemed_at.is_(None),
            ),
        )
        .order_by(Voucher.number)
    )
    for (number,) in rows:
        yield Difference("is not with the PBX that the ledger says", batch_id, number)


def _wrong_releases(connection: Connection, batch_id: int) -> Iterator[Difference]:
    """Yield what is released without a redeemed voucher, or the other way round."""
    holds = case((Voucher.redeemed_by_id == ReleaseCode.device_id, 1), else_=0)
    in_force = case((LAST_SAID.in_(BEGINS), 1), else_=0)
    released = connection.execute(
        select(Voucher.number, ReleaseCode.id, in_force)
        .join(ReleaseCode, ReleaseCode.voucher_id == Voucher.id)
        .where(Voucher.batch_id == batch_id, holds != in_force)
        .order_by(Voucher.number, ReleaseCode.id)
    )
    for number, release_id, is_in_force in released:
        says = (
            "has a release in force on a PBX that it is not redeemed for"
            if is_in_force
            else "is redeemed for a PBX on which its release is not in force"
        )
        yield Difference(says, batch_id, number, release_id)
    has_release = (
        select(ReleaseCode.id)
        .where(
            ReleaseCode.voucher_id == Voucher.id,
            ReleaseCode.device_id == Voucher.redeemed_by_id,
        )
        .exists()
    )
    without = connection.scalars(
        select(Voucher.number)
        .where(
            Voucher.batch_id == batch_id,
            Voucher.redeemed_by_id.is_not(None),
            ~has_release,
        )
        .order_by(Voucher.number)
    )
    for number in without:
        yield Difference("is redeemed, and nothing was released", batch_id, number)


def _releases_without_a_word(connection: Connection) -> Iterator[Difference]:
    rows = connection.scalars(select(ReleaseCode.id).where(LAST_SAID.is_(None)))
    for release_id in rows:
        yield Difference("was never begun in the ledger", release_id=release_id)
