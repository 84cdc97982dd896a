# SPDX-License-Identifier: Apache-2.0
"""How somebody on the telephone finds a PBX: with what they have, as they type it.

A part of the serial number with spaces or hyphens, a part of the MAC address in
any spelling, words of the customer's name or of a note: all in one field, in
capitals or not, with umlauts or without. Each PBX carries a ``search_text`` that
is folded once when it is written, since neither database folds umlauts alike.
"""

import re
import unicodedata
from collections.abc import Iterable

from sqlalchemy import ColumnElement, Integer, and_, case, false, literal, or_, true

from fleet.devices.models import Device

# No agent types more words; each is one more look at every row.
MOST_WORDS = 8

# What a form or a label prints before a number, and who reads it out says too.
_LABELS = re.compile(
    r"(?<!\S)(?:s/n|sn|serial(?: (?:number|no))?|seriennummer|mac(?: address)?)"
    r"(?=[\s:.#=]|$)"
)

# Beside the letters whose marks Unicode takes off. An apostrophe joins.
_PLAIN = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
        "æ": "ae",
        "œ": "oe",
    }
    | dict.fromkeys("'\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}")
)
_WRITTEN_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe"})
_LETTER_AND_E = re.compile(r"([aou])e")


def sought(typed: str) -> str:
    """Return what is looked for, in one line of small letters; may be empty.

    Words that only say what the next one is ("SN:", "MAC") are left out, unless
    there is nothing else.
    """
    line = _one_line(typed)
    named = _one_line(_LABELS.sub(" ", line))
    return named if _plain(named) else line


def searchable(
    serial_number: str, mac_address: str | None, *, customer: str = "", notes: str = ""
) -> str:
    """Return the ``search_text`` of a PBX: each thing to look for in its lines.

    A text stands there as it is without marks and, where that differs, with its
    umlauts written out (``mueller``) and with the written-out ones taken for
    umlauts (``muller``): whichever way it is typed, it is met.
    """
    lines = [serial_number.lower(), (mac_address or "").replace(":", "")]
    for text in (customer, notes):
        plain = _plain(text)
        lines += [plain, _written_out(text), _LETTER_AND_E.sub(r"\1", plain)]
    return "\n".join(dict.fromkeys(filter(None, lines)))


def matching(typed: str) -> ColumnElement[bool]:
    """Return the condition for the PBXs that ``typed`` may mean.

    Either all of it, without grouping, is part of one line; or each word is, in
    whichever. What is empty means every PBX; nothing but punctuation, none.
    """
    wanted = sought(typed)
    if not wanted:
        return true()
    words = [found for word in wanted.split(" ") if (found := _spellings(word))]
    if not words:
        return false()
    each = and_(*(_holds(spellings) for spellings in words[:MOST_WORDS]))
    return or_(_holds([_joined(wanted)]), each)


def rank(typed: str) -> ColumnElement[int]:
    """Return 0 for the very serial number, 1 for its beginning, 2 for the rest."""
    serial = _joined(sought(typed)).upper()
    number = Device.serial_number
    return case(
        (number == serial, literal(0, Integer)),
        (number.startswith(serial, autoescape=True), literal(1, Integer)),
        else_=literal(2, Integer),
    )


def _one_line(text: str) -> str:
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(plain.split())


def _plain(text: str) -> str:
    """Return the words of ``text`` without marks, with nothing between them."""
    if not text:
        return text
    letters = unicodedata.normalize("NFKD", _one_line(text).translate(_PLAIN))
    kept = (each for each in letters if not unicodedata.combining(each))
    return " ".join("".join(c if c.isalnum() else " " for c in kept).split())


def _written_out(text: str) -> str:
    return _plain(_one_line(text).translate(_WRITTEN_OUT))


def _joined(text: str) -> str:
    """Leave out what is left out when a number is read aloud."""
    return _plain(text).replace(" ", "")


def _spellings(word: str) -> list[str]:
    """Return how a word may stand in a line; none if it is only punctuation."""
    spelled = (_plain(word), _joined(word), _written_out(word))
    return list(dict.fromkeys(filter(None, spelled)))


def _holds(texts: Iterable[str]) -> ColumnElement[bool]:
    return or_(*(Device.search_text.contains(each, autoescape=True) for each in texts))
