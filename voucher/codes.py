# SPDX-License-Identifier: Apache-2.0
"""Voucher codes as people type them (protocol, section 3).

Twenty symbols of Crockford's Base32, shown in four groups of five. Eighteen are
random, together 90 bits, and two are checks: the symbols are the coefficients of
a polynomial over GF(32), first symbol highest, that has the roots a and a² (a = 2), a
Reed-Solomon code of distance 3. So one or two wrong symbols, and any two that
were swapped, are always noticed; where one is wrong, it can be told which.
"""

import secrets
from collections.abc import Sequence

from voucher.errors import MistypedCode

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's Base32: no I, L, O and U."""

RANDOM_SYMBOLS = 18
CHECK_SYMBOLS = 2
SYMBOLS = RANDOM_SYMBOLS + CHECK_SYMBOLS
GROUP = 5

LONGEST_INPUT = 64
"""More than a code with any spaces that a person would type."""

_MODULUS = 0b100101  # x⁵ + x² + 1
_ORDER = 31
_VALUES = {symbol: value for value, symbol in enumerate(ALPHABET)}
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": "", " ": ""})


def _powers() -> list[int]:
    value, powers = 1, []
    for _ in range(_ORDER):
        powers.append(value)
        value <<= 1
        if value & 0b100000:
            value ^= _MODULUS
    return powers


_POWER = _powers()
_LOG = {value: exponent for exponent, value in enumerate(_POWER)}


def draw() -> str:
    """Return a new code, 20 symbols without hyphens, from the system's CSPRNG."""
    number = secrets.randbits(5 * RANDOM_SYMBOLS)
    values = [number >> 5 * place & 31 for place in reversed(range(RANDOM_SYMBOLS))]
    return with_checks(values)


def with_checks(values: Sequence[int]) -> str:
    """Return the symbols of ``values`` (0 to 31) with their two check symbols."""
    # Chosen so that both syndromes are zero: h·a + l = s₁ and h·a² + l = s₂.
    first, second = (_evaluated([*values, 0, 0], root) for root in (1, CHECK_SYMBOLS))
    high = _times(first ^ second, _inverse(_POWER[1] ^ _POWER[2]))
    low = first ^ _times(high, _POWER[1])
    return "".join(ALPHABET[value] for value in (*values, high, low))


def canonical(typed: str) -> str:
    """Return the 20 symbols of a code as typed, in any usual spelling.

    Raises ``MistypedCode``, which says which group to look at where that can be
    told.
    """
    text = typed.upper().translate(_READ_AS)
    text = "".join(text.split())
    strange = sorted({each for each in text if each not in _VALUES})
    if strange or len(text) != SYMBOLS:
        raise _mistyped(_shape(strange, text))
    fault = wrong_place([_VALUES[each] for each in text])
    if fault is None:
        return text
    if fault < 0:
        raise _mistyped("Compare the code with the card, group by group.")
    raise _mistyped(f"Look at group {fault // GROUP + 1} of 4 again.")


def wrong_place(values: Sequence[int]) -> int | None:
    """Return the place of the one wrong symbol, from 0.

    None where all are right, and -1 where more than one symbol is wrong. With
    two wrong ones it may also be some place: then nobody can tell.
    """
    first, second = (_evaluated(values, root) for root in (1, CHECK_SYMBOLS))
    if not first and not second:
        return None
    if not first or not second:
        return -1
    # One error e at exponent p has the syndromes e·αᵖ and e·α²ᵖ.
    exponent = (_LOG[second] - _LOG[first]) % _ORDER
    return len(values) - 1 - exponent if exponent < len(values) else -1


def shown(code: str) -> str:
    """Return a code in groups of five, as it is printed."""
    return "-".join(code[start : start + GROUP] for start in range(0, len(code), GROUP))


def _shape(strange: list[str], text: str) -> str:
    if "U" in strange:
        return "A code has no U; perhaps it is a V."
    if strange:
        return "A code has digits and capital letters only."
    if len(text) < SYMBOLS:
        return f"A code has 20 symbols; {SYMBOLS - len(text)} are missing."
    return f"A code has 20 symbols; {len(text) - SYMBOLS} are too many."


def _mistyped(advice: str) -> MistypedCode:
    return MistypedCode(f"The code is mistyped. {advice}", fields={"code": [advice]})


def _evaluated(values: Sequence[int], root: int) -> int:
    """Return the polynomial's value at 2 to the power ``root``, by Horner's rule."""
    result = 0
    for value in values:
        result = _times(result, _POWER[root]) ^ value
    return result


def _times(left: int, right: int) -> int:
    if not left or not right:
        return 0
    return _POWER[(_LOG[left] + _LOG[right]) % _ORDER]


def _inverse(value: int) -> int:
    return _POWER[-_LOG[value] % _ORDER]
