# SPDX-License-Identifier: Apache-2.0
"""Which functions a PBX has: the fold over what was released for it.

A product stacks in one of two ways. With ``add``, every release counts for itself
and quantities sum: ten users and five are fifteen. With ``renew``, releases of one
function follow one another: more than there is begins at once (an upgrade), as
much or less begins where the present one ends (a renewal, or a downgrade at the
end of the term). What is in force of a function therefore never rises with time,
so a list of quantities, each with its last day, says all of it, and a PBX that is
offline for a year loses no renewal.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import StrEnum

from voucher.errors import WithoutEffect
from voucher.release_code import LAST_DAY

LAST_ZONE = timezone(timedelta(hours=-12))
"""The zone where each day ends last on Earth."""


class Stacking(StrEnum):
    """How several releases of one function go together."""

    ADD = "add"
    RENEW = "renew"


class Source(StrEnum):
    """What a release came from, the weightiest last."""

    TRIAL = "trial"
    GRANT = "grant"
    VOUCHER = "voucher"


@dataclass(frozen=True)
class Term:
    """One release that is in force by the ledger; ``last_day`` None is for ever."""

    function: str
    quantity: int
    last_day: date | None
    stacking: Stacking
    source: Source


@dataclass(frozen=True)
class Function:
    """How much of a function a PBX has, and the last day that it does."""

    function: str
    quantity: int
    expires_on: date | None
    source: Source


def ends_at(day: date) -> datetime:
    """Return the instant at which ``day`` ends everywhere on Earth (UTC-12)."""
    return datetime.combine(
        day + timedelta(days=1), time(), tzinfo=LAST_ZONE
    ).astimezone(UTC)


def in_force(term: Term, now: datetime) -> bool:
    """Whether a release has not ended at ``now``."""
    return term.last_day is None or now < ends_at(term.last_day)


def functions_of(terms: Iterable[Term], now: datetime) -> list[Function]:
    """Return what a PBX may use, one line for each function and last day.

    In order of function and last day, the endless ones last. Where several
    sources make up one line, it names the weightiest.
    """
    lines: dict[tuple[str, date | None], tuple[int, Source]] = {}
    living = [term for term in terms if in_force(term, now)]
    added = [term for term in living if term.stacking is Stacking.ADD]
    for term in (*added, *_layers(living)):
        key = (term.function, term.last_day)
        quantity, source = lines.get(key, (0, term.source))
        lines[key] = (quantity + term.quantity, _weightier(source, term.source))
    return [
        Function(function, quantity, last_day, source)
        for (function, last_day), (quantity, source) in sorted(
            lines.items(), key=lambda line: (line[0][0], line[0][1] or date.max)
        )
    ]


def last_day_of(
    function: str,
    quantity: int,
    *,
    duration_days: int | None,
    stacking: Stacking,
    held: Sequence[Term],
    now: datetime,
) -> date | None:
    """Return the last day of a new release beside those that are ``held``.

    A day more than the duration says is never less than it: the day of the
    redemption is not counted. No day is later than a release code can say.

    Raises ``WithoutEffect`` where the PBX already has as much for ever, or until
    that latest day.
    """
    begins = now.astimezone(UTC).date()
    if stacking is Stacking.RENEW:
        for term in held:
            follows = term.function == function and term.quantity >= quantity
            if not follows or term.stacking is not stacking or not in_force(term, now):
                continue
            if term.last_day is None:
                raise WithoutEffect
            begins = max(begins, term.last_day)
    if duration_days is None:
        return None
    if begins >= LAST_DAY:
        raise WithoutEffect
    return min(begins + timedelta(days=duration_days), LAST_DAY)


def lacking(
    prerequisites: Iterable[str], held: Iterable[Term], now: datetime
) -> list[str]:
    """Return the functions that are needed and not in force."""
    there = {term.function for term in held if in_force(term, now)}
    return [function for function in prerequisites if function not in there]


def _layers(living: Iterable[Term]) -> list[Term]:
    """Turn the renewed terms of each function into layers that can be summed.

    At any instant the largest of them holds. From the last to end to the first,
    each adds what it has more than those that outlive it; among those that end
    together, the smallest first, so that none of them is left unnamed.
    """
    renewed = [term for term in living if term.stacking is Stacking.RENEW]
    highest: dict[str, int] = {}
    layers = []
    for term in sorted(renewed, key=_longest_first):
        more = term.quantity - highest.get(term.function, 0)
        if more > 0:
            highest[term.function] = term.quantity
            layers.append(
                Term(term.function, more, term.last_day, term.stacking, term.source)
            )
    return layers


def _longest_first(term: Term) -> tuple[int, int, int]:
    last_day = term.last_day or date.max
    return -last_day.toordinal(), term.quantity, -list(Source).index(term.source)


def _weightier(one: Source, other: Source) -> Source:
    weights = list(Source)
    return max(one, other, key=weights.index)
