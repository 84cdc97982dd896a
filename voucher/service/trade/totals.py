# SPDX-License-Identifier: Apache-2.0
"""How many vouchers are in which state: every voucher in exactly one.

The database counts, by the same rule as ``voucher.states``; a test holds the two
against each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Row, case, func, literal, select

from fleet.database import reading
from voucher.models import Batch, Product, Voucher
from voucher.states import State


@dataclass(frozen=True)
class Total:
    """The vouchers of one product that are with one dealer; "" is with none."""

    product_number: int
    dealer: str
    states: Mapping[State, int]

    @property
    def vouchers(self) -> int:
        """How many there are."""
        return sum(self.states.values())


def totals(
    *,
    now: datetime,
    product_number: int | None = None,
    batch_id: int | None = None,
    dealer: str | None = None,
) -> Sequence[Total]:
    """Count vouchers by product, dealer and state; all of them, or some.

    In order of product and dealer. Each total names all states.
    """
    state = state_column(now)
    statement = (
        select(Product.product_number, Voucher.dealer, state, func.count())
        .select_from(Voucher)
        .join(Batch, Batch.id == Voucher.batch_id)
        .join(Product, Product.id == Batch.product_id)
        .group_by(Product.product_number, Voucher.dealer, state)
    )
    for column, value in (
        (Product.product_number, product_number),
        (Voucher.batch_id, batch_id),
        (Voucher.dealer, dealer),
    ):
        if value is not None:
            statement = statement.where(column == value)
    with reading() as session:
        return _by_place(session.execute(statement).all())


def in_all(some: Sequence[Total]) -> dict[State, int]:
    """Add totals up: how many vouchers are in each state."""
    return {state: sum(each.states[state] for each in some) for state in State}


def state_column(now: datetime) -> ColumnElement[str]:
    """Return the state of a voucher at ``now``, for a query that joins its batch."""
    ended = Batch.valid_until.is_not(None) & (Batch.valid_until <= now)
    unsold = case(
        (Voucher.allocated_at.is_not(None), literal(State.ALLOCATED.value)),
        (Voucher.exported_at.is_not(None), literal(State.EXPORTED.value)),
        else_=literal(State.CREATED.value),
    )
    return case(
        (Voucher.revoked_at.is_not(None), literal(State.REVOKED.value)),
        (Voucher.redeemed_at.is_not(None), literal(State.REDEEMED.value)),
        (ended, literal(State.EXPIRED.value)),
        (Voucher.activated_at.is_not(None), literal(State.ACTIVATED.value)),
        else_=unsold,
    )


def _by_place(rows: Sequence[Row[int, str, str, int]]) -> list[Total]:
    found: dict[tuple[int, str], dict[State, int]] = {}
    for product_number, dealer, state, count in rows:
        states = found.setdefault((product_number, dealer), dict.fromkeys(State, 0))
        states[State(state)] += count
    return [Total(*place, states=found[place]) for place in sorted(found)]
