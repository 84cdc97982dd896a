# SPDX-License-Identifier: Apache-2.0
"""Selling: some vouchers are activated, revoked or given to a dealer.

Which ones is said by one code, one voucher, or a batch and a range of its numbers.
A range is changed by a few statements, however long it is, and the ledger gets an
entry for each run of numbers that really changed: what was done before is not
written down again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from fleet.database import transaction
from fleet.errors import Invalid
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from voucher.codes import canonical
from voucher.errors import UnknownVoucher, VoucherStateConflict
from voucher.models import Batch, Voucher
from voucher.service.digests import digests_of
from voucher.service.ledger import Kind
from voucher.service.trade import batches, runs
from voucher.service.trade.runs import Deed, Numbers
from voucher.service.trade.totals import state_column
from voucher.states import State

# Numbers that one statement changes: far below what a database allows one to take.
_TOGETHER = 10_000


@dataclass(frozen=True)
class Selection:
    """Which vouchers: exactly one of a code as typed, a voucher, and a batch.

    Of a batch all, or those from ``first`` to ``last``.
    """

    code: str | None = field(default=None, repr=False)
    voucher_id: int | None = None
    batch_id: int | None = None
    first: int | None = None
    last: int | None = None

    def __post_init__(self) -> None:
        """Raise ``Invalid`` where it is not said which, or said twice."""
        ways = {"code": self.code, "voucher_id": self.voucher_id}
        given = [each for each in (*ways.values(), self.batch_id) if each is not None]
        if len(given) != 1:
            fault = ["Exactly one of code, voucher_id and batch_id is needed."]
            raise Invalid(fields=dict.fromkeys((*ways, "batch_id"), fault))
        if self.batch_id is None and (self.first, self.last) != (None, None):
            raise Invalid(fields={"first": ["Only with batch_id."]})


@dataclass(frozen=True)
class Outcome:
    """How many changed, were so before, or could not be, by the state they are in."""

    changed: int
    unchanged: int
    refused: Mapping[State, int]


@dataclass(frozen=True)
class _Change:
    """A deed, and what it means for a row; the conditions are about one voucher."""

    deed: Deed
    verb: str
    possible: ColumnElement[bool]
    done_before: ColumnElement[bool]
    values: Mapping[str, object]


def activate(
    selection: Selection,
    *,
    reason: str,
    by: StaffMember,
    now: datetime,
    order_reference: str = "",
    dry_run: bool = False,
) -> Outcome:
    """Let vouchers be redeemed from now on: they are sold.

    ``order_reference`` is that of the sale, where it is not the batch's. A code
    must have been exported, or nobody could have been sold it. A ``dry_run`` only
    says what would be done. Raises ``Invalid``,
    ``MistypedCode``, ``UnknownBatch``, ``UnknownVoucher``, and for a single
    voucher ``VoucherStateConflict``.
    """
    sold_with = {"order_reference": order_reference} if order_reference else {}
    change = _Change(
        deed=Deed(Kind.ACTIVATED, by, reason, now),
        verb="activate",
        possible=_is_alive(now)
        & Voucher.exported_at.is_not(None)
        & Voucher.activated_at.is_(None),
        done_before=Voucher.activated_at.is_not(None) & Voucher.revoked_at.is_(None),
        values={"activated_at": now, **sold_with},
    )
    return _apply(change, selection, dry_run=dry_run)


def revoke(
    selection: Selection,
    *,
    reason: str,
    by: StaffMember,
    now: datetime,
    dry_run: bool = False,
) -> Outcome:
    """Make vouchers void for good, but for those that were redeemed.

    What was redeemed is taken back by two people (a reversal). Raises as
    ``activate``.
    """
    change = _Change(
        deed=Deed(Kind.REVOKED, by, reason, now),
        verb="revoke",
        possible=Voucher.revoked_at.is_(None) & Voucher.redeemed_at.is_(None),
        done_before=Voucher.revoked_at.is_not(None),
        values={"revoked_at": now},
    )
    return _apply(change, selection, dry_run=dry_run)


def allocate(
    selection: Selection,
    *,
    dealer: str,
    reason: str,
    by: StaffMember,
    now: datetime,
    dry_run: bool = False,
) -> Outcome:
    """Give vouchers to a dealer, or to another one; with "" take them back.

    Raises as ``activate``.
    """
    is_so: ColumnElement[bool] = Voucher.allocated_at.is_(None)
    if dealer:
        is_so = Voucher.allocated_at.is_not(None) & (Voucher.dealer == dealer)
    change = _Change(
        deed=Deed(Kind.ALLOCATED if dealer else Kind.TAKEN_BACK, by, reason, now),
        verb="allocate" if dealer else "take-back",
        possible=_is_alive(now) & ~is_so,
        done_before=is_so & Voucher.revoked_at.is_(None),
        values={"allocated_at": now if dealer else None, "dealer": dealer},
    )
    return _apply(change, selection, dry_run=dry_run)


def _is_alive(now: datetime) -> ColumnElement[bool]:
    """Neither revoked nor redeemed nor expired."""
    return (
        Voucher.revoked_at.is_(None)
        & Voucher.redeemed_at.is_(None)
        & (state_column(now) != State.EXPIRED.value)
    )


def _apply(change: _Change, selection: Selection, *, dry_run: bool) -> Outcome:
    with transaction() as session:
        numbers, voucher_id = _locked(session, selection)
        outcome = _judged(session, change, numbers)
        if voucher_id is not None and outcome.refused:
            [state] = outcome.refused
            raise VoucherStateConflict(
                f"This voucher is {state.value}; that cannot be done to it."
            )
        if outcome.changed and not dry_run:
            runs.write(session, change.deed, numbers, change.possible)
            _change(session, change, numbers)
            subject = f"batch:{numbers.batch_id}"
            if voucher_id is not None:
                subject = f"voucher:{voucher_id}"
            _note(session, change, numbers, subject=subject, changed=outcome.changed)
        return outcome


def _locked(session: Session, selection: Selection) -> tuple[Numbers, int | None]:
    """Lock the batch and the vouchers, in the order that everybody does."""
    voucher_id = None
    if selection.batch_id is not None:
        batches.locked(session, selection.batch_id)
        numbers = _range(session, selection, selection.batch_id)
    else:
        voucher = _one(session, selection)
        voucher_id = voucher.id
        numbers = Numbers(voucher.batch_id, voucher.number, voucher.number)
        batches.locked(session, voucher.batch_id)
    # Only those that can change: what was redeemed or revoked stays so, and locked
    # it would hold up a repeat of its redemption, and all that share its commit.
    in_order = (
        select(Voucher.id)
        .where(
            numbers.within, Voucher.redeemed_at.is_(None), Voucher.revoked_at.is_(None)
        )
        .order_by(Voucher.id)
    )
    taken = in_order.with_for_update(key_share=True).subquery()
    session.execute(select(func.count()).select_from(taken))
    return numbers, voucher_id


def _range(session: Session, selection: Selection, batch_id: int) -> Numbers:
    """Return the numbers that are meant; cards made as replacements come last."""
    highest = select(func.max(Voucher.number)).where(Voucher.batch_id == batch_id)
    first, last = batches.check_range(
        selection.first, selection.last, most=session.scalar(highest) or 0
    )
    return Numbers(batch_id, first, last)


def _one(session: Session, selection: Selection) -> Voucher:
    if selection.code is not None:
        digests = digests_of(canonical(selection.code))
        statement = select(Voucher).where(Voucher.digest.in_(digests))
    else:
        statement = select(Voucher).where(Voucher.id == selection.voucher_id)
    voucher = session.scalar(statement)
    if voucher is None:
        raise UnknownVoucher
    return voucher


def _judged(session: Session, change: _Change, numbers: Numbers) -> Outcome:
    """Count what can be changed, what need not be, and what cannot."""
    state, changed, unchanged = state_column(change.deed.now), 0, 0
    refused: dict[State, int] = {}
    rows = session.execute(
        select(change.possible, change.done_before, state, func.count())
        .select_from(Voucher)
        .join(Batch, Batch.id == Voucher.batch_id)
        .where(numbers.within)
        .group_by(change.possible, change.done_before, state)
    )
    for possible, done_before, named, count in rows:
        if possible:
            changed += count
        elif done_before:
            unchanged += count
        else:
            refused[State(named)] = refused.get(State(named), 0) + count
    return Outcome(changed, unchanged, refused)


def _change(session: Session, change: _Change, numbers: Numbers) -> None:
    for first in range(numbers.first, numbers.last + 1, _TOGETHER):
        last = min(first + _TOGETHER - 1, numbers.last)
        part = Numbers(numbers.batch_id, first, last)
        possible = (
            select(Voucher.id)
            .join(Batch, Batch.id == Voucher.batch_id)
            .where(part.within, change.possible)
        )
        session.execute(
            update(Voucher)
            .where(Voucher.id.in_(possible))
            .values(change.values)
            .execution_options(synchronize_session=False)
        )
    session.expire_all()  # a voucher that was read before is another now


def _note(
    session: Session, change: _Change, numbers: Numbers, *, subject: str, changed: int
) -> None:
    deed = change.deed
    told = {key: value for key, value in change.values.items() if value != deed.now}
    audit.record(
        session,
        actor=deed.by,
        action=f"voucher.{change.verb}",
        subject=subject,
        reason=deed.reason,
        before={},
        after={
            "batch_id": numbers.batch_id,
            "first": numbers.first,
            "last": numbers.last,
            "changed": changed,
            **told,
        },
        now=deed.now,
    )
