# SPDX-License-Identifier: Apache-2.0
"""Folds small groups of a day into larger ones, until each can be told to anybody.

A group is small where fewer than a threshold of sources (an IPv4 address, the /48 of
an IPv6 one) asked for it: who knows one of them would learn something of the others.
What is small loses its version first, then its country, then its device type. No
request is dropped: the sum of all groups is the day's, before and after.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

# Fewer sources than this are not told of by themselves.
THRESHOLD = 10

OTHER = "other"
"""A device type or version that is not named: unknown, or of too few."""

ELSEWHERE = "ZZ"
"""A country that is not named (a code that ISO 3166 leaves to its users)."""


class Group(NamedTuple):
    """What is told of a request; an attribute nobody asks for is empty."""

    device_type: str
    software_version: str
    country: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A group of a day: how many requests, and which sources they came from.

    ``sources`` are all of them, or as many as the threshold: whether a union of
    such sets reaches the threshold is exact all the same.
    """

    group: Group
    requests: int
    sources: frozenset[str]


def fold(cells: Iterable[Cell], threshold: int = THRESHOLD) -> list[Cell]:
    """Return the cells that may be told, ordered; each has enough sources.

    The list is empty where all together have fewer: such a day is not told by
    itself. The same cells, in any order, always fold in the same way.
    """
    known = _merged(cells)
    coarse = _coarsest(known)
    for region, target in (
        (_of_type_and_country, lambda each: each._replace(software_version=coarse[1])),
        (_of_type, lambda each: coarse._replace(device_type=each.device_type)),
        (_of_all, lambda _: coarse),
    ):
        known = _folded(known, region, target, threshold)
    return [known[group] for group in sorted(known) if _enough(known[group], threshold)]


Cells = dict[Group, Cell]


def _of_type_and_country(group: Group) -> tuple[str, ...]:
    return (group.device_type, group.country)


def _of_type(group: Group) -> tuple[str, ...]:
    return (group.device_type,)


def _of_all(_group: Group) -> tuple[str, ...]:
    return ()


def _folded(
    cells: Cells,
    region: Callable[[Group], tuple[str, ...]],
    target: Callable[[Group], Group],
    threshold: int,
) -> Cells:
    """Let the small cells of each region join in its ``target``.

    Where that is small still, the smallest of its neighbours joins, too. One is
    always enough, since a neighbour that is left has enough by itself.
    """
    result: Cells = {}
    regions: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells.values():
        regions.setdefault(region(cell.group), []).append(cell)
    for inside in regions.values():
        small = [each for each in inside if not _enough(each, threshold)]
        large = [each for each in inside if _enough(each, threshold)]
        if small:
            group = target(small[0].group)
            small += [each for each in large if each.group == group]
            large = [each for each in large if each.group != group]
            large.sort(key=lambda each: (each.requests, each.group))
            joined = _joined(group, small)
            if large and not _enough(joined, threshold):
                joined = _joined(group, [joined, large.pop(0)])
            large.append(joined)
        result.update((each.group, each) for each in large)
    return result


def _enough(cell: Cell, threshold: int) -> bool:
    return len(cell.sources) >= threshold


def _joined(group: Group, cells: Iterable[Cell]) -> Cell:
    requests, sources = 0, frozenset[str]()
    for cell in cells:
        requests += cell.requests
        sources |= cell.sources
    return Cell(group, requests, sources)


def _merged(cells: Iterable[Cell]) -> Cells:
    merged: Cells = {}
    for cell in cells:
        before = merged.get(cell.group)
        merged[cell.group] = _joined(cell.group, [before, cell] if before else [cell])
    return merged


def _coarsest(cells: Iterable[Group]) -> Group:
    """Return the group that everything fits in: what nobody asks for stays empty."""
    groups = list(cells)
    return Group(
        OTHER if any(each.device_type for each in groups) else "",
        OTHER if any(each.software_version for each in groups) else "",
        ELSEWHERE if any(each.country for each in groups) else "",
    )
