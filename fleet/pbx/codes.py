# SPDX-License-Identifier: Apache-2.0
"""Codes that a person types, and which slips of the pen are noticed (section 3).

The symbols are Crockford's Base32, and a code is a polynomial over GF(32) that is
divisible by (x + a)(x + a²), the first symbol highest. A code that is not was
mistyped, which is told to the person here and at once, with nobody asked.
"""

from collections.abc import Sequence
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
GROUP: Final = 5
VOUCHER_SYMBOLS: Final = 20
RELEASE_SYMBOLS: Final = 25

MODULUS: Final = 0b100101  # x⁵ + x² + 1
ALPHA: Final = 2
READ_AS: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": " "})


class NotAccepted(Exception):  # noqa: N818 -- an answer to the person who typed
    """A code was typed that is of no use here; ``reason`` is a sentence for people.

    It never repeats the code.
    """

    def __init__(self, reason: str) -> None:
        """Remember the ``reason``."""
        super().__init__(reason)
        self.reason = reason


class Mistyped(NotAccepted):
    """The code is not one, whoever made it: a slip of the pen."""


def read_symbols(typed: str, *, symbols: int) -> str:
    """Return a code as it is printed, without hyphens; any usual spelling will do.

    Raises ``Mistyped``, which names the group to look at where one symbol was wrong.
    """
    text = "".join(typed.upper().translate(READ_AS).split())
    if "U" in text:
        raise Mistyped("no code has a U in it; perhaps it is a V")
    if not set(text) <= set(ALPHABET):
        raise Mistyped("a code has only digits and letters")
    if len(text) != symbols:
        raise Mistyped(f"this code has {symbols} symbols, and {len(text)} were typed")
    values = [ALPHABET.index(each) for each in text]
    if not is_whole(values):
        groups = " and ".join(map(str, _groups_of_one_slip(values)))
        where = f"look at group {groups}" if groups else "compare every group"
        raise Mistyped(f"the code is mistyped: {where}")
    return text


def is_whole(values: Sequence[int]) -> bool:
    """Return whether the two check symbols fit the others."""
    return not any(_checks(values))


def evaluated(values: Sequence[int], at: int) -> int:
    """Return the value of the polynomial ``at`` an element, by Horner's rule."""
    result = 0
    for value in values:
        result = times(result, at) ^ value
    return result


def times(left: int, right: int) -> int:
    """Multiply in GF(32)."""
    result = 0
    while right:
        if right & 1:
            result ^= left
        left <<= 1
        if left & 0b100000:
            left ^= MODULUS
        right >>= 1
    return result


def _checks(values: Sequence[int]) -> tuple[int, int]:
    return evaluated(values, ALPHA), evaluated(values, times(ALPHA, ALPHA))


def _groups_of_one_slip(values: Sequence[int]) -> list[int]:
    """Return the groups, from 1, where one slip explains the checks.

    A slip is one wrong symbol or two neighbours that changed places; sometimes either
    would explain them. An error e at exponent p leaves e·aᵖ and e·a²ᵖ.
    """
    first, second = _checks(values)
    power = 1
    suspects = set()
    for place in reversed(range(len(values))):
        if first and times(first, power) == second:
            suspects.add(place)
        power = times(power, ALPHA)
        swapped = [*values[: place - 1], *values[place - 1 : place + 1][::-1]]
        if place and is_whole([*swapped, *values[place + 1 :]]):
            suspects |= {place - 1, place}
    return sorted({place // GROUP + 1 for place in suspects})
