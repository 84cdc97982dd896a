# SPDX-License-Identifier: Apache-2.0
"""Which functions a PBX has: as tables, and day by day against a naive simulation."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
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
    in_force,
    lacking,
    last_day_of,
)
from voucher.release_code import LAST_DAY

START = date(2027, 1, 1)
NOW = datetime(2027, 1, 1, 18, tzinfo=UTC)
TICK = timedelta(microseconds=1)
ADD, RENEW = Stacking.ADD, Stacking.RENEW


def day(number: int) -> date:
    return START + timedelta(days=number)


def on(number: int) -> datetime:
    """An instant at which everywhere on Earth it is that day, or the next."""
    return datetime.combine(day(number), time(18), tzinfo=UTC)


def term(
    quantity: int,
    until: int | None,
    *,
    stacking: Stacking = RENEW,
    source: Source = Source.VOUCHER,
    function: str = "users",
) -> Term:
    last_day = None if until is None else day(until)
    return Term(function, quantity, last_day, stacking, source)


def line(quantity: int, until: int | None, source: Source = Source.VOUCHER) -> Function:
    return Function("users", quantity, None if until is None else day(until), source)


@pytest.mark.parametrize(
    ("last_day", "ends"),
    [
        pytest.param(
            date(2027, 12, 31),
            datetime(2028, 1, 1, 12, tzinfo=UTC),
            id="the end of a year",
        ),
        pytest.param(
            date(2028, 2, 28),
            datetime(2028, 2, 29, 12, tzinfo=UTC),
            id="before a leap day",
        ),
        pytest.param(
            date(2028, 2, 29), datetime(2028, 3, 1, 12, tzinfo=UTC), id="a leap day"
        ),
        pytest.param(
            date(2027, 3, 28),
            datetime(2027, 3, 29, 12, tzinfo=UTC),
            id="summer time begins in Europe",
        ),
        pytest.param(LAST_DAY, datetime(2064, 11, 9, 12, tzinfo=UTC), id="the latest"),
    ],
)
def test_a_day_ends_at_utc_minus_twelve_to_the_second(
    last_day: date, ends: datetime
) -> None:
    last = Term("users", 1, last_day, ADD, Source.VOUCHER)

    assert ends_at(last_day) == ends
    assert in_force(last, ends - TICK)
    assert not in_force(last, ends)
    assert functions_of([last], ends - TICK) == [
        Function("users", 1, last_day, Source.VOUCHER)
    ]
    assert functions_of([last], ends) == []


@pytest.mark.parametrize(
    ("terms", "functions"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([term(10, None)], [line(10, None)], id="ten for ever"),
        pytest.param(
            [term(10, None, stacking=ADD), term(5, None, stacking=ADD)],
            [line(15, None)],
            id="ten and five are fifteen",
        ),
        pytest.param(
            [term(10, 9, stacking=ADD), term(5, None, stacking=ADD)],
            [line(10, 9), line(5, None)],
            id="each added one ends for itself",
        ),
        pytest.param(
            [term(10, 9), term(10, 19)], [line(10, 19)], id="a renewal goes on"
        ),
        pytest.param(
            [term(10, 9), term(5, 19)],
            [line(5, 9), line(5, 19)],
            id="a downgrade at the end of the term",
        ),
        pytest.param(
            [term(5, 19), term(10, 9)],
            [line(5, 9), line(5, 19)],
            id="an upgrade, and then what was there",
        ),
        pytest.param(
            [term(20, 9), term(10, 19), term(15, 14), term(5, None)],
            [line(5, 9), line(5, 14), line(5, 19), line(5, None)],
            id="a staircase",
        ),
        pytest.param([term(5, 9), term(10, 19)], [line(10, 19)], id="wholly covered"),
        pytest.param(
            [term(3, 13, source=Source.TRIAL), term(10, 9, stacking=ADD)],
            [line(10, 9), line(3, 13, Source.TRIAL)],
            id="bought during a trial",
        ),
        pytest.param(
            [term(3, 9, source=Source.TRIAL), term(3, 9)],
            [line(3, 9)],
            id="the weightier source is named",
        ),
        pytest.param(
            [term(9, 9, source=Source.GRANT), term(3, 9)],
            [line(9, 9)],
            id="also where the lighter one gives more",
        ),
        pytest.param([term(10, -1)], [], id="what has ended is not told"),
        pytest.param([term(10, 0)], [line(10, 0)], id="the last day counts"),
    ],
)
def test_what_a_pbx_has(terms: list[Term], functions: list[Function]) -> None:
    assert functions_of(terms, NOW) == functions
    assert functions_of(terms[::-1], NOW) == functions


def test_functions_are_told_in_one_order() -> None:
    terms = [
        term(1, None, function="voicemail"),
        term(2, None, stacking=ADD),
        term(3, 20, stacking=ADD),
        term(4, 10, stacking=ADD),
        term(1, 5, function="channels"),
    ]

    told = [(each.function, each.expires_on) for each in functions_of(terms, NOW)]

    assert told == [
        ("channels", day(5)),
        ("users", day(10)),
        ("users", day(20)),
        ("users", None),
        ("voicemail", None),
    ]


@pytest.mark.parametrize(
    ("held", "quantity", "stacking", "last_day"),
    [
        pytest.param([], 10, RENEW, day(30), id="the first"),
        pytest.param([], 10, ADD, day(30), id="the first to be added"),
        pytest.param([term(10, 9)], 10, RENEW, day(39), id="a renewal, early"),
        pytest.param([term(10, 0)], 10, RENEW, day(30), id="on the last day"),
        pytest.param([term(10, -1)], 10, RENEW, day(30), id="too late to follow"),
        pytest.param([term(10, 9)], 20, RENEW, day(30), id="an upgrade at once"),
        pytest.param([term(10, 9)], 5, RENEW, day(39), id="a downgrade at term end"),
        pytest.param(
            [term(10, 9), term(10, 39)], 10, RENEW, day(69), id="a second renewal"
        ),
        pytest.param(
            [term(20, 9), term(10, 39)], 15, RENEW, day(39), id="after the larger one"
        ),
        pytest.param([term(10, 9)], 10, ADD, day(30), id="added beside a renewed one"),
        pytest.param(
            [term(10, 9, stacking=ADD)], 10, RENEW, day(30), id="beside an added one"
        ),
        pytest.param(
            [term(10, 9, function="channels")], 10, RENEW, day(30), id="of another"
        ),
        pytest.param(
            [term(10, None)], 20, RENEW, day(30), id="more than there is for ever"
        ),
    ],
)
def test_when_thirty_days_end(
    held: list[Term], quantity: int, stacking: Stacking, last_day: date
) -> None:
    found = last_day_of(
        "users", quantity, duration_days=30, stacking=stacking, held=held, now=NOW
    )

    assert found == last_day


def test_without_a_duration_it_is_for_ever() -> None:
    found = last_day_of(
        "users", 10, duration_days=None, stacking=RENEW, held=[term(10, 9)], now=NOW
    )

    assert found is None


@pytest.mark.parametrize("duration_days", [30, None])
@pytest.mark.parametrize("held", [10, 20])
def test_as_much_for_ever_leaves_nothing_to_gain(
    held: int, duration_days: int | None
) -> None:
    with pytest.raises(WithoutEffect):
        last_day_of(
            "users",
            10,
            duration_days=duration_days,
            stacking=RENEW,
            held=[term(held, None)],
            now=NOW,
        )


def test_no_day_is_later_than_a_release_code_can_say() -> None:
    near_the_end = datetime(2064, 11, 1, 12, tzinfo=UTC)
    until_then = Term("users", 10, LAST_DAY, RENEW, Source.VOUCHER)

    def last_day(*held: Term) -> date | None:
        return last_day_of(
            "users", 10, duration_days=30, stacking=RENEW, held=held, now=near_the_end
        )

    assert last_day() == LAST_DAY
    with pytest.raises(WithoutEffect):
        last_day(until_then)


@pytest.mark.parametrize("hour", range(24))
def test_a_term_is_never_shorter_than_its_duration(hour: int) -> None:
    redeemed_at = datetime(2027, 1, 1, hour, 59, 59, tzinfo=UTC)

    last = last_day_of(
        "users", 1, duration_days=30, stacking=ADD, held=[], now=redeemed_at
    )

    assert last is not None
    assert ends_at(last) - redeemed_at >= timedelta(days=30)


@pytest.mark.parametrize(
    ("prerequisites", "missing"),
    [
        ([], []),
        (["users"], []),
        (["users", "voicemail"], ["voicemail"]),
        (["voicemail", "fax"], ["voicemail", "fax"]),
        (["over"], ["over"]),
    ],
)
def test_prerequisites_must_be_in_force(
    prerequisites: list[str], missing: list[str]
) -> None:
    held = [term(1, 0), term(1, -1, function="over")]

    assert lacking(prerequisites, held, NOW) == missing


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
