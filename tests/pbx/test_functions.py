# SPDX-License-Identifier: Apache-2.0
"""How signed entitlements and release codes that were typed in go together."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pbx.simulated_center import CATALOGUE, Offer, lines_of

from fleet.pbx.functions import (
    TYPED_IN,
    AlreadyCounted,
    AlreadyEntered,
    Entitlements,
    Function,
    Holding,
    Product,
    Stacking,
    described,
    ends_at,
    quantities,
)
from fleet.pbx.release_codes import Release

NOW = datetime(2030, 1, 1, 18, tzinfo=UTC)
TODAY = date(2030, 1, 1)
USERS = Product("users", Stacking.ADD)
RENEWED = Product("users", Stacking.RENEW)


def day(number: int | None) -> date | None:
    return None if number is None else TODAY + timedelta(days=number)


def line(quantity: int, until: int | None = None, source: str = "voucher") -> Function:
    return Function("users", quantity, day(until), source)


def signed(*lines: Function, last_sequence: int | None = 0) -> Entitlements:
    return Entitlements(
        issued_at=NOW,
        functions=lines,
        ask_again_by=NOW + timedelta(days=7),
        last_sequence=last_sequence,
    )


def code(sequence: int, quantity: int = 10, until: int | None = None) -> Release:
    return Release(
        sequence=sequence, product_number=17, quantity=quantity, last_day=day(until)
    )


def test_a_new_pbx_has_nothing() -> None:
    assert Holding().at(NOW) == ()
    assert described(()) == "none"


def test_signed_lines_are_what_there_is() -> None:
    lines = (line(5, 9), line(10, None, "grant"))

    assert Holding().signed(signed(*lines)).at(NOW) == lines
    assert described(lines) == "5 users until 2030-01-10, 10 users"


@pytest.mark.parametrize(
    ("lines", "codes", "product", "there"),
    [
        pytest.param([], [(10, None)], USERS, [(10, None)], id="a code alone"),
        pytest.param(
            [(10, None)], [(5, None)], USERS, [(15, None)], id="ten and five more"
        ),
        pytest.param(
            [(10, None)],
            [(5, 9), (3, 19)],
            USERS,
            [(5, 9), (3, 19), (10, None)],
            id="in any order, each to its own day",
        ),
        pytest.param(
            [(10, 9)], [(10, 19)], RENEWED, [(10, 19)], id="a renewal is no sum"
        ),
        pytest.param(
            [(10, 9)], [(20, 4)], RENEWED, [(10, 4), (10, 9)], id="an upgrade at once"
        ),
        pytest.param(
            [(10, 9)], [(5, 19)], RENEWED, [(5, 9), (5, 19)], id="a downgrade after it"
        ),
        pytest.param(
            [(5, 9), (5, 19)],
            [(8, 14)],
            RENEWED,
            [(2, 9), (3, 14), (5, 19)],
            id="over a staircase",
        ),
        pytest.param(
            [(10, None)], [(10, 19)], RENEWED, [(10, None)], id="for ever is longer"
        ),
        pytest.param([(10, -1)], [(5, -1)], USERS, [], id="what has ended is gone"),
        pytest.param([(10, 0)], [(5, 0)], USERS, [(15, 0)], id="today still counts"),
    ],
)
def test_codes_are_added_to_what_was_signed(
    lines: list[tuple[int, int | None]],
    codes: list[tuple[int, int | None]],
    product: Product,
    there: list[tuple[int, int | None]],
) -> None:
    holding = Holding().signed(signed(*(line(q, until) for q, until in lines)))
    for sequence, (quantity, until) in enumerate(codes, 1):
        holding = holding.with_code(code(sequence, quantity, until), product)

    found = [(each.quantity, each.expires_on) for each in holding.at(NOW)]

    assert found == [(quantity, day(until)) for quantity, until in there]


def test_what_was_typed_in_says_so_until_it_is_signed() -> None:
    holding = Holding().with_code(code(1), USERS)
    assert [each.source for each in holding.at(NOW)] == [TYPED_IN]

    holding = holding.signed(signed(line(10), last_sequence=1))

    assert [each.source for each in holding.at(NOW)] == ["voucher"]


def test_signed_entitlements_are_the_truth_about_what_they_account_for() -> None:
    holding = Holding().with_code(code(1), USERS).with_code(code(2), USERS)

    taken_back = holding.signed(signed(last_sequence=2))
    half = holding.signed(signed(line(10), last_sequence=1))
    silent = holding.signed(signed(line(10), last_sequence=None))

    assert taken_back.at(NOW) == ()
    assert quantities(half.at(NOW)) == {"users": 20}
    assert quantities(silent.at(NOW)) == {"users": 10}


def test_a_code_counts_once() -> None:
    holding = Holding().with_code(code(3), USERS)

    with pytest.raises(AlreadyEntered):
        holding.with_code(code(3), USERS)
    with pytest.raises(AlreadyEntered):
        holding.signed(signed()).with_code(code(3), USERS)


def test_a_code_that_is_already_signed_is_not_counted_again() -> None:
    holding = Holding().signed(signed(line(10), last_sequence=4))

    with pytest.raises(AlreadyCounted):
        holding.with_code(code(4), USERS)
    assert quantities(holding.with_code(code(5), USERS).at(NOW)) == {"users": 20}


@pytest.mark.parametrize(
    ("last_day", "ends"),
    [
        (date(2027, 12, 31), datetime(2028, 1, 1, 12, tzinfo=UTC)),
        (date(2028, 2, 28), datetime(2028, 2, 29, 12, tzinfo=UTC)),
        (date(2064, 11, 8), datetime(2064, 11, 9, 12, tzinfo=UTC)),
    ],
)
def test_a_day_ends_at_utc_minus_twelve_to_the_second(
    last_day: date, ends: datetime
) -> None:
    tick = timedelta(microseconds=1)
    holding = Holding().signed(signed(Function("users", 1, last_day, "voucher")))

    assert ends_at(last_day) == ends
    assert holding.at(ends - tick)
    assert not holding.at(ends)


OFFERS = st.lists(
    st.builds(
        Offer,
        quantity=st.integers(1, 5),
        last_day=st.none() | st.dates(TODAY - timedelta(days=3), day(40)),
    )
    | st.builds(
        Offer,
        quantity=st.integers(1, 5),
        last_day=st.none() | st.dates(TODAY - timedelta(days=3), day(40)),
        function=st.just("voicemail"),
        product_number=st.just(20),
        stacking=st.just("renew"),
    ),
    max_size=8,
)


@given(OFFERS, st.integers(0, 8), st.randoms(use_true_random=False))
def test_typed_in_or_signed_it_is_the_same(
    offers: list[Offer], known: int, chance: random.Random
) -> None:
    """The first few are signed, the rest typed in later, in any order."""
    known = min(known, len(offers))
    functions = tuple(
        Function(
            each["function"],
            each["quantity"],
            date.fromisoformat(each["expires_on"]) if each["expires_on"] else None,
            each["source"],
        )
        for each in lines_of(offers[:known], NOW)
    )
    holding = Holding().signed(signed(*functions, last_sequence=known))
    rest = list(enumerate(offers[known:], known + 1))
    chance.shuffle(rest)
    for sequence, offer in rest:
        name, stacking = CATALOGUE[offer.product_number]
        release = Release(
            sequence=sequence,
            product_number=offer.product_number,
            quantity=offer.quantity,
            last_day=offer.last_day,
        )
        holding = holding.with_code(release, Product(name, Stacking(stacking)))

    for days in range(0, 45, 3):
        at = NOW + timedelta(days=days)
        wanted: dict[str, int] = {}
        for each in lines_of(offers, at):
            name = each["function"]
            wanted[name] = wanted.get(name, 0) + each["quantity"]
        assert quantities(holding.at(at)) == wanted
