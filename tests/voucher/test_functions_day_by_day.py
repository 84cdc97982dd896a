# SPDX-License-Identifier: Apache-2.0
"""Which functions a PBX has: day by day, against a naive calendar."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from voucher.errors import WithoutEffect
from voucher.functions import (
    Function,
    Source,
    Stacking,
    Term,
    ends_at,
    functions_of,
    last_day_of,
)

START = date(2027, 1, 1)
ADD, RENEW = Stacking.ADD, Stacking.RENEW


def day(number: int) -> date:
    return START + timedelta(days=number)


def on(number: int) -> datetime:
    """An instant at which everywhere on Earth it is that day, or the next."""
    return datetime.combine(day(number), time(18), tzinfo=UTC)


def line(quantity: int, until: int | None, source: Source = Source.VOUCHER) -> Function:
    return Function("users", quantity, None if until is None else day(until), source)


HORIZON = 400
FUNCTIONS = ("channels", "users")


@dataclass(frozen=True)
class Purchase:
    """Something bought on a day; a duration of None is for ever."""

    on: int
    function: str
    quantity: int
    duration: int | None
    stacking: Stacking


@dataclass
class Calendar:
    """The naive way: write on every single day what was bought for it."""

    renewed: list[dict[str, int]] = field(
        default_factory=lambda: [dict.fromkeys(FUNCTIONS, 0) for _ in range(HORIZON)]
    )
    added: list[dict[str, int]] = field(
        default_factory=lambda: [dict.fromkeys(FUNCTIONS, 0) for _ in range(HORIZON)]
    )

    def buy(self, bought: Purchase) -> bool:
        """Write a purchase down; return whether it had any effect."""
        begins = bought.on
        if bought.stacking is RENEW:
            while self.renewed[begins][bought.function] >= bought.quantity:
                begins += 1
                if begins == HORIZON:
                    return False
        # The day of the redemption itself is not counted.
        extra = begins == bought.on
        days = HORIZON if bought.duration is None else bought.duration + extra
        for number in range(begins, min(begins + days, HORIZON)):
            if bought.stacking is RENEW:
                today = self.renewed[number]
                today[bought.function] = max(today[bought.function], bought.quantity)
            else:
                self.added[number][bought.function] += bought.quantity
        return True

    def has(self, number: int) -> dict[str, int]:
        return {
            each: self.renewed[number][each] + self.added[number][each]
            for each in FUNCTIONS
        }


def totals(lines: Iterable[Function], at: datetime) -> dict[str, int]:
    """Read the lines as a PBX does: what has not ended counts."""
    found = dict.fromkeys(FUNCTIONS, 0)
    for each in lines:
        if each.expires_on is None or at < ends_at(each.expires_on):
            found[each.function] += each.quantity
    return found


PURCHASES = st.lists(
    st.builds(
        Purchase,
        on=st.integers(0, 60),
        function=st.sampled_from(FUNCTIONS),
        quantity=st.integers(1, 4),
        duration=st.none() | st.integers(1, 30),
        stacking=st.sampled_from(Stacking),
    ),
    max_size=10,
).map(lambda purchases: sorted(purchases, key=lambda each: each.on))


def bought_by(
    purchases: Iterable[Purchase],
) -> Iterable[tuple[Purchase, list[Term], Calendar]]:
    """Buy one after the other, by the rules and in the calendar alike."""
    terms: list[Term] = []
    calendar = Calendar()
    for each in purchases:
        effect = calendar.buy(each)
        try:
            last_day = last_day_of(
                each.function,
                each.quantity,
                duration_days=each.duration,
                stacking=each.stacking,
                held=terms,
                now=on(each.on),
            )
        except WithoutEffect:
            assert not effect
            continue
        assert effect
        terms.append(
            Term(each.function, each.quantity, last_day, each.stacking, Source.VOUCHER)
        )
        yield each, terms, calendar


@given(PURCHASES)
def test_every_day_has_what_a_naive_calendar_says(purchases: list[Purchase]) -> None:
    """And what is signed on one day is right for all days until the next purchase.

    So a PBX may be offline for as long as it likes, and loses no renewal.
    """
    for each, terms, calendar in bought_by(purchases):
        signed = functions_of(terms, on(each.on))
        for number in range(each.on, HORIZON, 3):
            assert totals(signed, on(number)) == calendar.has(number)
            assert totals(functions_of(terms, on(number)), on(number)) == (
                calendar.has(number)
            )


@given(PURCHASES)
def test_what_is_in_force_never_rises_by_itself(purchases: list[Purchase]) -> None:
    for each, terms, _ in bought_by(purchases):
        days = [totals(functions_of(terms, on(n)), on(n)) for n in range(each.on, 130)]
        for function in FUNCTIONS:
            assert all(a[function] >= b[function] for a, b in pairwise(days))


@given(PURCHASES)
def test_a_purchase_never_takes_anything_away(purchases: list[Purchase]) -> None:
    before: list[Term] = []
    for each, terms, _ in bought_by(purchases):
        for number in range(each.on, 130, 7):
            had, has = (
                totals(functions_of(held, on(number)), on(number))
                for held in (before, terms)
            )
            assert all(had[name] <= has[name] for name in FUNCTIONS)
        before = list(terms)


@given(PURCHASES, st.randoms(use_true_random=False))
def test_the_order_of_what_is_held_does_not_matter(
    purchases: list[Purchase], chance: random.Random
) -> None:
    for each, terms, _ in bought_by(purchases):
        shuffled = [
            Term(t.function, t.quantity, t.last_day, t.stacking, source)
            for t, source in zip(
                terms, chance.choices(list(Source), k=len(terms)), strict=True
            )
        ]
        told = functions_of(shuffled, on(each.on))
        chance.shuffle(shuffled)

        assert functions_of(shuffled, on(each.on)) == told
        lines = [(line.function, line.expires_on) for line in told]
        assert len(set(lines)) == len(lines)
