# SPDX-License-Identifier: Apache-2.0
"""The one export of a batch's codes: drawn, digested, written and forgotten.

A code exists from here on, in the file that is written and nowhere else. File and
digests come into being in one transaction: where either fails, no code of this
export was ever good. What was exported is never shown again; a lost file is
answered by revoking its vouchers.
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import BinaryIO

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from fleet.clock import rfc3339
from fleet.database import reading, transaction
from fleet.errors import Invalid
from fleet.ground import ground
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from fleet.web.languages import Language
from voucher.codes import shown
from voucher.errors import AlreadyExported, UnknownBatch, VoucherStateConflict
from voucher.models import Batch, Product, Voucher
from voucher.service.ledger import Kind
from voucher.service.trade import batches, runs, sheets
from voucher.service.trade.batches import Progress
from voucher.service.trade.drawing import WITHOUT_CODE, draw
from voucher.service.trade.runs import Deed, Numbers
from voucher.service.trade.sealing import Seal
from voucher.service.trade.sheets import About, Card

REDEEM_PATH = "/voucher/"

MOST_CARDS = 5_000
"""Cards in one PDF: some eight seconds of work, and 500 sheets."""

_TOO_MANY_CARDS = (
    f"A PDF holds at most {MOST_CARDS} cards: choose csv, or a part of the batch "
    "by first and last."
)

COLUMNS = (
    "number",
    "code",
    "product_number",
    "product_name",
    "valid_until",
    "link",
)

# Lines that are joined.
_TOGETHER = 1_000


class Form(StrEnum):
    """What is made of the codes."""

    CSV = "csv"
    PDF = "pdf"


@dataclass(frozen=True)
class Wanted:
    """Which vouchers of a batch, in which form, for whom.

    Nothing for ``first`` and ``last`` is the batch's end. ``language`` is that of
    the product's name and of the cards.
    """

    form: Form
    seal: Seal
    language: Language = Language.ENGLISH
    first: int | None = None
    last: int | None = None

    @property
    def media_type(self) -> str:
        """What a browser is told that the file is."""
        opened = self.form is Form.PDF and not self.seal.closed
        return "application/pdf" if opened else "application/octet-stream"

    @property
    def suffix(self) -> str:
        """What the name of the file ends with."""
        return f".{self.form}.age" if self.seal.closed else f".{self.form}"


@dataclass(frozen=True)
class Exported:
    """What was exported; ``file_name`` is what the file may be called."""

    batch_id: int
    first: int
    last: int
    count: int
    file_name: str


def export(  # noqa: PLR0913 -- what, where to, who, why, when, and a bar
    batch_id: int,
    wanted: Wanted,
    *,
    stream: BinaryIO,
    reason: str,
    by: StaffMember,
    now: datetime,
    progress: Progress = lambda _count: None,
) -> Exported:
    """Write the codes of a batch, or of some of it, into ``stream``, once.

    The caller sees to it that the stream is safe before the transaction ends.
    ``progress`` is told how many more were written. Raises ``UnknownBatch``,
    ``AlreadyExported``, ``VoucherStateConflict`` where there is nothing that
    could be redeemed, and ``Invalid``.
    """

    def hand_over(about: About, cards: Iterator[Card]) -> None:
        if wanted.form is Form.CSV:
            wanted.seal.write(_csv(about, cards), stream)
            return
        file = io.BytesIO()
        sheets.write_pdf(about, cards, file)
        wanted.seal.write([file.getvalue()], stream)

    if wanted.form is Form.CSV and not wanted.seal.closed:
        fault = ["A CSV is encrypted: name a recipient, or give a passphrase."]
        raise Invalid(fields={"recipient": fault})
    with transaction() as session:
        task = _begin(session, batch_id, wanted, Deed(Kind.EXPORTED, by, reason, now))
        _check_size(wanted, task.count)
        task.carry_out(hand_over, progress)
        task.finish(wanted.form, wanted.seal.reader)
        return task.exported(wanted.suffix)


def preview(batch_id: int, wanted: Wanted, *, now: datetime) -> int:
    """Return how many codes would be exported; raises as ``export``."""
    with reading() as session:
        batch = session.get(Batch, batch_id)
        if batch is None:
            raise UnknownBatch
        _, count = _exportable(session, batch, wanted, now)
    _check_size(wanted, count)
    return count


def export_plain(
    batch_id: int,
    *,
    reason: str,
    by: StaffMember,
    now: datetime,
    progress: Progress = lambda _count: None,
) -> list[str]:
    """Return the codes of a whole batch, once, in order of their numbers.

    For the command line, and to be handed over before the transaction ends.
    Raises as ``export``.
    """
    drawn: list[str] = []

    def hand_over(_about: About, cards: Iterator[Card]) -> None:
        drawn.extend(card.code for card in cards)

    everything = Wanted(Form.PDF, Seal())
    with transaction() as session:
        deed = Deed(Kind.EXPORTED, by, reason, now)
        task = _begin(session, batch_id, everything, deed)
        task.carry_out(hand_over, progress)
        task.finish("plain", "standard output")
    return drawn


@dataclass
class _Task:
    """One export at work, in its transaction, with the batch locked."""

    session: Session
    batch: Batch
    about: About
    numbers: Numbers
    count: int
    deed: Deed
    drawn: int = 0

    def carry_out(
        self,
        hand_over: Callable[[About, Iterator[Card]], None],
        progress: Progress,
    ) -> None:
        """Write the ledger, and let each card be drawn as it is handed over."""
        runs.write(self.session, self.deed, self.numbers, WITHOUT_CODE)
        hand_over(self.about, self._counted(progress))
        if self.drawn != self.count:
            raise RuntimeError("an export was ended before all codes were drawn")
        self.session.expire_all()  # a voucher that was read before is another now

    def _counted(self, progress: Progress) -> Iterator[Card]:
        for card in draw(self.session, self.numbers, now=self.deed.now):
            yield card
            self.drawn += 1
            progress(1)

    def finish(self, form: str, reader: str) -> None:
        """Write the audit log."""
        audit.record(
            self.session,
            actor=self.deed.by,
            action="batch.export",
            subject=f"batch:{self.batch.id}",
            reason=self.deed.reason,
            before={},
            after={
                "first": self.numbers.first,
                "last": self.numbers.last,
                "exported": self.count,
                "format": form,
                "readable_by": reader,
            },
            now=self.deed.now,
        )

    def exported(self, suffix: str) -> Exported:
        """Return what was done."""
        first, last = self.numbers.first, self.numbers.last
        part = "" if (first, last) == (1, self.batch.count) else f"-{first}-{last}"
        name = f"vouchers-{self.batch.id}{part}{suffix}"
        return Exported(self.batch.id, first, last, self.count, name)


def _begin(session: Session, batch_id: int, wanted: Wanted, deed: Deed) -> _Task:
    batch, product = batches.locked(session, batch_id)
    numbers, count = _exportable(session, batch, wanted, deed.now)
    about = _about(batch, product, wanted.language)
    return _Task(session, batch, about, numbers, count, deed)


def _exportable(
    session: Session, batch: Batch, wanted: Wanted, now: datetime
) -> tuple[Numbers, int]:
    """Return which numbers are meant, and how many of them have no code yet.

    The revoked have none and get none. Raises as ``export``.
    """
    first, last = batches.check_range(wanted.first, wanted.last, most=batch.count)
    numbers = Numbers(batch.id, first, last)
    if batch.valid_until is not None and batch.valid_until <= now:
        raise VoucherStateConflict("These vouchers have expired.")
    before, possible = session.execute(
        select(_count(Voucher.exported_at.is_not(None)), _count(WITHOUT_CODE)).where(
            numbers.within
        )
    ).one()
    if before:
        raise AlreadyExported(
            f"{before} of these codes were exported before, and are never shown again."
        )
    if not possible:
        raise VoucherStateConflict("All of these vouchers are revoked.")
    return numbers, possible


def _check_size(wanted: Wanted, count: int) -> None:
    if wanted.form is Form.PDF and count > MOST_CARDS:
        raise Invalid(fields={"format": [_TOO_MANY_CARDS]})


def _count(which: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((which, 1), else_=0)), 0)


def _about(batch: Batch, product: Product, language: Language) -> About:
    return About(
        batch_id=batch.id,
        product_number=product.product_number,
        product_name=product.names[language.value],
        valid_until=batch.valid_until,
        page=ground().settings.public_url + REDEEM_PATH,
        language=language,
    )


def _csv(about: About, cards: Iterator[Card]) -> Iterator[bytes]:
    """Yield a CSV (RFC 4180) in pieces: a header, then a line for each card."""
    ends = "" if about.valid_until is None else rfc3339(about.valid_until)
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(COLUMNS)
    while some := list(islice(cards, _TOGETHER)):
        writer.writerows(
            (
                card.number,
                shown(card.code),
                about.product_number,
                about.product_name,
                ends,
                about.link(card.code),
            )
            for card in some
        )
        yield lines.getvalue().encode()
        lines.seek(0)
        lines.truncate()
