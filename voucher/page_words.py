# SPDX-License-Identifier: Apache-2.0
"""What the pages for people say, in three languages, and how they tell a refusal.

A refusal is told by what a person can do about it: which field it concerns, which
group of the code to look at, when to come back.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from fleet.devices.errors import UnknownDevice
from fleet.devices.serial_numbers import normalise_serial
from fleet.errors import Invalid, TooMany, Unavailable
from fleet.identity.guard import DeviceNotPermitted
from fleet.web.languages import Language
from fleet.web.problem_pages import ProblemPage
from voucher import codes
from voucher.codes import Mistake, Slip
from voucher.errors import (
    MistypedCode,
    VoucherAlreadyRedeemed,
    VoucherExpired,
    VoucherNotActivated,
    VoucherNotForThisDevice,
    VoucherNotValid,
)

Words = Mapping[str, Any]
"""The texts of one language, as they stand in ``pages.toml``."""

CODE, SERIAL_NUMBER = "code", "serial_number"

# Of which field a refusal speaks; the others concern both, or neither.
FIELD_OF = {
    VoucherNotValid.code: CODE,
    VoucherAlreadyRedeemed.code: CODE,
    VoucherNotActivated.code: CODE,
    VoucherExpired.code: CODE,
    VoucherNotForThisDevice.code: SERIAL_NUMBER,
    UnknownDevice.code: SERIAL_NUMBER,
    DeviceNotPermitted.code: SERIAL_NUMBER,
}

# What a person corrects where they stand: the first such field is gone to.
SLIPS = frozenset({MistypedCode.code, Invalid.code})

RELEASE_SYMBOLS = 25
LONGEST_SHOWN = 128

# What is shown in groups of five, whatever the spelling it was typed in.
_NEARLY_A_CODE = re.compile(r"[0-9A-Z]{16,25}")
_GROUPED = re.compile(r"\w{5}(-\w{5}){3}")
_BUSY = 503

# Neither lets a line end.
_SPACE, _NARROW_SPACE = "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class Typed:
    """What somebody typed into the form."""

    code: str = ""
    serial_number: str = ""

    @property
    def shown_code(self) -> str:
        """The code in groups of five, for comparing it with a card."""
        text = self.code.strip()[:LONGEST_SHOWN]
        symbols = re.sub(r"[\s-]", "", text.upper())
        return codes.shown(symbols) if _NEARLY_A_CODE.fullmatch(symbols) else text


@dataclass(frozen=True)
class Fault:
    """A refusal as the form tells it.

    ``fields`` says what is wrong with a field; ``goes_to`` is the field that is
    focused, "" for the fault itself. ``group`` is the one group of the code to
    look at, or None.
    """

    code: str
    title: str
    text: list[str]
    fields: Mapping[str, str] = field(default_factory=dict)
    goes_to: str = ""
    group: int | None = None


@cache
def words(language: Language) -> Words:
    """Return the texts in ``language``."""
    text = Path(__file__).with_name("pages.toml").read_text("utf-8")
    # French sets spaces before some marks, where no line may end.
    text = re.sub(r" (?=[;:?!»][ \"])|(?<=«) ", _NARROW_SPACE, text)
    found: Words = tomllib.loads(text)[language.value]
    return found


def day_in_words(day: date, said: Words) -> str:
    """Spell a day out, on one line: nobody wonders which number is the month."""
    month = said["months"][day.month - 1]
    text: str = said["day"].format(day=day.day, month=month, year=day.year)
    return text.replace(" ", _SPACE)


def fault_of(
    problem: str,
    *,
    status: int,
    typed: Typed | None,
    retry_after: int | None,
    said: Words,
    page: ProblemPage | None,
) -> Fault:
    """Tell the refusal with the code ``problem``.

    ``typed`` is None where nothing could be read; ``page`` is the problem's own
    page, for one that we have no words for.
    """
    if problem in SLIPS and typed is not None:
        return _slips(problem, typed, said)
    told = said["refused"].get(problem)
    if status == _BUSY and told is None:
        told = said["refused"][Unavailable.code]
    if problem == Invalid.code or told is None:
        return _by_its_page(problem, page)
    text = [*told["text"]]
    if problem == TooMany.code and retry_after is not None:
        minutes = max(1, -(-(retry_after - 1) // 60))
        after = told["after"] if minutes > 1 else told["after_one"]
        text.insert(0, after.format(minutes=minutes))
    where = FIELD_OF.get(problem)
    return Fault(problem, told["title"], text, {where: told["field"]} if where else {})


def _by_its_page(problem: str, page: ProblemPage | None) -> Fault:
    if page is None:
        return Fault(problem, problem, [])
    return Fault(problem, page.title, [page.happened, *page.advice])


def _slips(problem: str, typed: Typed, said: Words) -> Fault:
    """Tell everything at once that is wrong with what was typed."""
    faults = said["faults"]
    mistake = codes.mistake_in(typed.code)
    fields = {}
    if mistake is not None:
        fields[CODE] = _said_of_code(mistake, typed, said)
    if serial := _said_of_serial(typed.serial_number, faults):
        fields[SERIAL_NUMBER] = serial
    goes_to = next(iter(fields), "")
    if len(fields) > 1 or not (typed.code.strip() and typed.serial_number.strip()):
        text = [faults["incomplete_text"]]
        return Fault(problem, faults["incomplete"], text, fields, goes_to)
    group = _group_of(mistake, typed)
    other = _other_code(typed) if mistake is not None else ""
    if other:
        title = faults[f"{other}_title"]
        return Fault(problem, title, [], fields, goes_to)
    told = said["refused"][problem]
    return Fault(problem, told["title"], told["text"], fields, goes_to, group)


def _said_of_code(mistake: Mistake, typed: Typed, said: Words) -> str:
    faults = said["faults"]
    if not typed.code.strip():
        return str(faults["code_empty"])
    if other := _other_code(typed):
        return str(faults[other])
    text = faults[mistake.slip.value].format(count=mistake.count)
    if not mistake.groups:
        return str(text)
    groups = faults["or"].join(map(str, mistake.groups))
    where = faults["groups"].format(groups=groups)
    return where if mistake.slip is Slip.CHECKS else f"{text} {where}"


def _other_code(typed: Typed) -> str:
    """Say what stands in the place of the voucher code, where that is plain."""
    if codes.mistake_in(typed.serial_number) is None:
        return "swapped"
    if codes.mistake_in(typed.code, symbols=RELEASE_SYMBOLS) is None:
        return "release_code"
    return ""


def _said_of_serial(typed: str, faults: Words) -> str:
    if not typed.strip():
        return str(faults["serial_number_empty"])
    try:
        normalise_serial(typed)
    except Invalid:
        return str(faults["serial_number_shape"])
    return ""


def _group_of(mistake: Mistake | None, typed: Typed) -> int | None:
    """Return the one group to look at, where it stands in its place."""
    if mistake is None or len(mistake.groups) != 1:
        return None
    return mistake.groups[0] if _GROUPED.fullmatch(typed.shown_code) else None
