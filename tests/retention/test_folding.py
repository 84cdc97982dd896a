# SPDX-License-Identifier: Apache-2.0
"""Small groups of a day become parts of larger ones, and no request is dropped."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.folding import THRESHOLD, Cell, Group, fold


def cell(
    device_type: str,
    version: str,
    country: str,
    requests: int,
    sources: int | Iterable[str],
) -> Cell:
    if isinstance(sources, int):
        label = f"{device_type}/{version}/{country}"
        sources = [f"{label}-{each}" for each in range(sources)]
    return Cell(Group(device_type, version, country), requests, frozenset(sources))


def told(cells: Iterable[Cell]) -> dict[tuple[str, str, str], int]:
    return {tuple(each.group): each.requests for each in cells}


@pytest.mark.parametrize(
    ("cells", "folded"),
    [
        # Ten are enough, nine are not.
        ([cell("T", "1", "", 10, 10)], {("T", "1", ""): 10}),
        ([cell("T", "1", "", 900, 9)], {}),
        ([], {}),
        # The version goes first.
        (
            [cell("T", "1", "DE", 50, 50), *(cell("T", v, "DE", 5, 5) for v in "234")],
            {("T", "1", "DE"): 50, ("T", "other", "DE"): 15},
        ),
        # What is left over by itself takes its smallest neighbour along.
        (
            [
                cell("T", "1", "DE", 50, 50),
                cell("T", "2", "DE", 20, 20),
                cell("T", "3", "DE", 5, 5),
            ],
            {("T", "1", "DE"): 50, ("T", "other", "DE"): 25},
        ),
        # Then the country.
        (
            [
                cell("T", "1", "DE", 50, 50),
                cell("T", "1", "AT", 6, 6),
                cell("T", "1", "CH", 7, 7),
            ],
            {("T", "1", "DE"): 50, ("T", "other", "ZZ"): 13},
        ),
        # And the type at last, together with a neighbour if it must be.
        (
            [cell("A", "1", "DE", 50, 50), cell("B", "1", "AT", 6, 6)],
            {("other", "other", "ZZ"): 56},
        ),
        (
            [
                cell("A", "1", "DE", 50, 50),
                cell("B", "1", "AT", 6, 6),
                cell("C", "1", "AT", 6, 6),
            ],
            {("A", "1", "DE"): 50, ("other", "other", "ZZ"): 12},
        ),
        # Where no country is looked up, there is none to be other.
        (
            [cell("A", "1", "", 50, 50), cell("B", "1", "", 10, 9)],
            {("other", "other", ""): 60},
        ),
        # A service that is asked for nothing says nothing.
        ([cell("", "", "", 10, 10)], {("", "", ""): 10}),
        (
            [
                cell("", "", "DE", 10, 10),
                cell("", "", "AT", 5, 5),
                cell("", "", "CH", 5, 5),
            ],
            {("", "", "DE"): 10, ("", "", "ZZ"): 10},
        ),
    ],
)
def test_what_is_small_loses_version_country_and_type(
    cells: list[Cell], folded: dict[tuple[str, str, str], int]
) -> None:
    assert told(fold(cells)) == folded


def test_sources_that_two_groups_share_count_once() -> None:
    same = [f"192.0.2.{each}" for each in range(6)]
    cells = [
        cell("T", "1", "", 6, same),
        cell("T", "2", "", 6, same),
        cell("U", "1", "", 30, 30),
    ]
    # Six and six are six: too few for the type T, so U goes along.
    assert told(fold(cells)) == {("other", "other", ""): 42}
    assert fold(cells[:2]) == []


def test_the_same_group_twice_is_one() -> None:
    halves = [cell("T", "1", "", 5, [f"{half}{n}" for n in range(5)]) for half in "ab"]
    assert told(fold(halves)) == {("T", "1", ""): 10}


sources = st.frozensets(st.integers(0, 60).map(str), min_size=1, max_size=25)
groups = st.builds(
    Group,
    st.sampled_from(["A", "B", "C", "other"]),
    st.sampled_from(["1", "2", "3", "other"]),
    st.sampled_from(["DE", "AT", "FR", "ZZ"]),
)


@st.composite
def days(draw: st.DrawFn) -> list[Cell]:
    """Cells whose requests are powers of two: a sum says which of them it is of."""
    chosen = draw(st.lists(groups, unique=True, max_size=24))
    return [Cell(each, 1 << n, draw(sources)) for n, each in enumerate(chosen)]


def _parts(folded: Cell, day: list[Cell]) -> list[Cell]:
    return [each for each in day if each.requests & folded.requests]


@given(days())
def test_the_sum_is_the_days_and_no_group_has_too_few_sources(day: list[Cell]) -> None:
    result = fold(day)
    everybody = frozenset[str]().union(*(each.sources for each in day))
    if len(everybody) < THRESHOLD:
        assert result == []
        return
    assert sum(each.requests for each in result) == sum(each.requests for each in day)
    assert sorted(n.requests for each in result for n in _parts(each, day)) == [
        each.requests for each in day
    ]
    for each in result:
        behind = frozenset[str]().union(*(n.sources for n in _parts(each, day)))
        assert len(behind) >= THRESHOLD
        assert each.sources == behind


@given(days())
def test_a_group_is_told_as_itself_or_as_something_coarser(day: list[Cell]) -> None:
    for each in fold(day):
        for part in _parts(each, day):
            for told_as, was in zip(each.group, part.group, strict=True):
                assert told_as in {was, "other", "ZZ"}


@given(days(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_folded_does_not_matter(
    day: list[Cell], shuffler: random.Random
) -> None:
    shuffled = list(day)
    shuffler.shuffle(shuffled)
    assert fold(shuffled) == fold(day)


@given(days())
def test_folding_again_changes_nothing(day: list[Cell]) -> None:
    assert fold(fold(day)) == fold(day)


@given(days())
def test_knowing_ten_sources_of_each_group_is_as_good_as_all(day: list[Cell]) -> None:
    some = [
        Cell(each.group, each.requests, frozenset(sorted(each.sources)[:THRESHOLD]))
        for each in day
    ]
    assert told(fold(some)) == told(fold(day))


@given(days())
def test_nothing_is_folded_that_has_enough_and_no_small_neighbour(
    day: list[Cell],
) -> None:
    enough = [each for each in day if len(each.sources) >= THRESHOLD]
    assert fold(enough) == sorted(enough, key=lambda each: each.group)
