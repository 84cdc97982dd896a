# SPDX-License-Identifier: Apache-2.0
"""Voucher codes as people type them (protocol, section 3).

Twenty symbols of Crockford's Base32, shown in four groups of five. Eighteen are
random, together 90 bits, and two are checks: the symbols are the coefficients of
a polynomial over GF(32), first symbol highest, that has the roots a and a² (a = 2), a
Reed-Solomon code of distance 3. So one or two wrong symbols, and any two that
were swapped, are always noticed; where it was one slip, it can be told where.

The same alphabet, spelling and checks serve a release code of 25 symbols.
"""

import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1"})

# Spaces, dashes and what cannot be seen: a code copied out of a PDF or a mail has
# them in many forms. The minus sign is none of these to Unicode.
_SEPARATORS = {"Zs", "Zl", "Zp", "Pd", "Cf", "Cc"}
_MINUS = "\N{MINUS SIGN}"


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


class Slip(StrEnum):
    """What may be wrong with a code as typed."""

    LETTER_U = "letter-u"
    STRANGE = "strange"
    MISSING = "missing"
    TOO_MANY = "too-many"
    CHECKS = "checks"


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a code as typed, and where as far as that can be told.

    ``groups`` count from 1 and are empty where nobody can tell; ``count`` says
    how many symbols are missing or too many.
    """

    slip: Slip
    groups: tuple[int, ...] = ()
    count: int = 0


def draw() -> str:
    """Return a new code, 20 symbols without hyphens, from the system's CSPRNG."""
    number = secrets.randbits(5 * RANDOM_SYMBOLS)
    values = [number >> 5 * place & 31 for place in reversed(range(RANDOM_SYMBOLS))]
    return with_checks(values)


def with_checks(values: Sequence[int]) -> str:
    """Return the symbols of ``values`` (0 to 31) with their two check symbols."""
    # Chosen so that both syndromes are zero: h·a + l = s₁ and h·a² + l = s₂.
    first, second = _syndromes([*values, 0, 0])
    high = _times(first ^ second, _inverse(_POWER[1] ^ _POWER[2]))
    low = first ^ _times(high, _POWER[1])
    return "".join(ALPHABET[value] for value in (*values, high, low))


def canonical(typed: str, *, symbols: int = SYMBOLS) -> str:
    """Return the symbols of a code as typed, in any usual spelling.

    Raises ``MistypedCode``, which says which group to look at where that can be
    told (``mistake_in`` says the same to a program).
    """
    mistake = mistake_in(typed, symbols=symbols)
    if mistake is None:
        return "".join(_groups(typed))
    advice = _advice(mistake, symbols)
    raise MistypedCode(f"The code is mistyped. {advice}", fields={"code": [advice]})


def mistake_in(typed: str, *, symbols: int = SYMBOLS) -> Mistake | None:
    """Return what is wrong with a code as typed, or None where nothing is."""
    groups = _groups(typed)
    text = "".join(groups)
    strange = [place for place, each in enumerate(text) if each not in _VALUES]
    if strange:
        return _strange(text, strange, symbols)
    if len(text) != symbols:
        slip = Slip.MISSING if len(text) < symbols else Slip.TOO_MANY
        return Mistake(slip, _uneven(groups, symbols), abs(symbols - len(text)))
    values = [_VALUES[each] for each in text]
    if is_whole(values):
        return None
    return Mistake(Slip.CHECKS, suspects(values))


def is_whole(values: Sequence[int]) -> bool:
    """Return whether the check symbols fit the others."""
    return not any(_syndromes(values))


def suspects(values: Sequence[int]) -> tuple[int, ...]:
    """Return the groups, from 1, where one slip would explain failing checks.

    A slip is one wrong symbol, or two neighbours that were swapped; a swap often
    looks like one wrong symbol elsewhere, so that there may be two answers. None
    is given where no single slip explains it. Where there were two slips, an
    answer may be wrong: then nobody can tell.
    """
    first, second = _syndromes(values)
    if not first or not second:
        return ()
    found = set()
    # One error e at exponent p has the syndromes e·aᵖ and e·a²ᵖ.
    exponent = (_LOG[second] - _LOG[first]) % _ORDER
    if exponent < len(values):
        found.add(exponent)
    # Neighbours p and p+1 that differ by d: d·aᵖ(1+a) and d·a²ᵖ(1+a)².
    exponent = (exponent - _LOG[_POWER[0] ^ _POWER[1]]) % _ORDER
    if exponent + 1 < len(values):
        one, other = values[-1 - exponent], values[-2 - exponent]
        if one ^ other == _times(_times(first, first), _inverse(second)):
            found |= {exponent, exponent + 1}
    places = (len(values) - 1 - exponent for exponent in found)
    return tuple(sorted({place // GROUP + 1 for place in places}))


def shown(code: str) -> str:
    """Return a code in groups of five, as it is printed."""
    return "-".join(code[start : start + GROUP] for start in range(0, len(code), GROUP))


def _groups(typed: str) -> list[str]:
    """Return the groups as somebody set them off, each spelt as it is printed."""
    spaced = "".join(" " if _separates(each) else each for each in typed.upper())
    return spaced.translate(_READ_AS).split()


def _separates(character: str) -> bool:
    return unicodedata.category(character) in _SEPARATORS or character == _MINUS


def _strange(text: str, strange: list[int], symbols: int) -> Mistake:
    letters_u = [place for place in strange if text[place] == "U"]
    places = (letters_u or strange) if len(text) == symbols else []
    groups = tuple(sorted({place // GROUP + 1 for place in places}))
    return Mistake(Slip.LETTER_U if letters_u else Slip.STRANGE, groups)


def _uneven(groups: list[str], symbols: int) -> tuple[int, ...]:
    """Return the groups of another length, where all of them were set off."""
    if len(groups) * GROUP != symbols:
        return ()
    return tuple(n for n, group in enumerate(groups, 1) if len(group) != GROUP)


def _advice(mistake: Mistake, symbols: int) -> str:
    count = f"{mistake.count} {'is' if mistake.count == 1 else 'are'}"
    advice = {
        Slip.LETTER_U: "A code has no U; perhaps it is a V.",
        Slip.STRANGE: "A code has digits and capital letters only.",
        Slip.MISSING: f"A code has {symbols} symbols; {count} missing.",
        Slip.TOO_MANY: f"A code has {symbols} symbols; {count} too many.",
        Slip.CHECKS: "",
    }[mistake.slip]
    if not mistake.groups:
        return advice or "Compare the code with the card, group by group."
    *others, last = map(str, mistake.groups)
    where = f"groups {', '.join(others)} and {last}" if others else f"group {last}"
    return f"{advice} Look at {where} of {symbols // GROUP} again.".strip()


def _syndromes(values: Sequence[int]) -> tuple[int, int]:
    """Return the polynomial's values at a and a², by Horner's rule."""
    first = second = 0
    for value in values:
        first = _times(first, _POWER[1]) ^ value
        second = _times(second, _POWER[2]) ^ value
    return first, second


def _times(left: int, right: int) -> int:
    if not left or not right:
        return 0
    return _POWER[(_LOG[left] + _LOG[right]) % _ORDER]


def _inverse(value: int) -> int:
    return _POWER[-_LOG[value] % _ORDER]
