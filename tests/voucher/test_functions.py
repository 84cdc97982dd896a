# SPDX-License-Identifier: Apache-2.0
"""Which functions a PBX has, and until when: tables of cases."""

from datetime import UTC, date, datetime, timedelta

import pytest

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
