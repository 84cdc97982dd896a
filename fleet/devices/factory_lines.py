# SPDX-License-Identifier: Apache-2.0
"""Reads the factory list, line by line, and says what is wrong with each line.

One line of the file is one row: a quoted field cannot hold a line break, so an
unclosed quote spoils its own line and no other, and line numbers are those that
an editor shows. Memory does not grow with the file, nor with a line in it. No
fault repeats what stands in a field: one comma too many, and it is the secret.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import BinaryIO

from fleet.devices import secret
from fleet.devices.serial_numbers import normalise_mac, normalise_serial
from fleet.errors import Invalid

COLUMNS = (
    "serial_number",
    "mac_address",
    "part_number",
    "device_type",
    "hardware_revision",
    "device_secret",
    "support_ends_on",
)

LONGEST_LINE = 4096
LONGEST_TEXT = 64

# How the first bytes of a file in UTF-16 come out of the reading below.
_UTF_16_MARKS = ("\udcff\udcfe", "\udcfe\udcff")

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True, repr=False)
class FactoryRow:
    """One PBX as the factory lists it; silent in tracebacks, it holds the secret."""

    line: int
    serial_number: str
    mac_address: str | None
    part_number: str
    device_type: str
    hardware_revision: str
    device_secret: str
    support_ends_on: date | None


@dataclass(frozen=True, slots=True, order=True)
class LineFault:
    """What is wrong in one field of one line; ``line`` counts from 1."""

    line: int
    field: str
    fault: str


def read_rows(stream: BinaryIO) -> Iterator[FactoryRow | list[LineFault]]:
    """Yield, for each line from the start of ``stream``, its row or its faults.

    Empty lines are passed over. With a header that is not understood, that is
    the only fault: nothing below it would mean anything.
    """
    with _as_text(stream) as text:
        lines = _lines(text)
        header = next(lines, None)
        if header is None:
            yield [LineFault(1, "header", "is missing: the file is empty")]
            return
        number, line = header
        columns = _columns(line)
        if columns is None:
            yield [LineFault(number, "header", _header_fault(line))]
            return
        for number, line in lines:
            yield _row(number, line, columns)


@contextmanager
def _as_text(stream: BinaryIO) -> Iterator[io.TextIOWrapper]:
    stream.seek(0)
    # What is not UTF-8 becomes characters that no field may hold.
    text = io.TextIOWrapper(
        stream, encoding="utf-8-sig", errors="surrogateescape", newline=""
    )
    try:
        yield text
    finally:
        text.detach()


def _lines(text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    number = 0
    while line := text.readline(LONGEST_LINE + 1):
        number += 1
        rest = line
        while len(line) > LONGEST_LINE and rest and rest[-1] not in "\r\n":
            rest = text.readline(LONGEST_LINE)
        if line.strip():
            yield number, line


def _columns(line: str) -> tuple[int, ...] | None:
    """Return where each of our columns stands, whatever their order."""
    names = [name.strip().lower() for name in _fields(line) or ()]
    if sorted(names) != sorted(COLUMNS):
        return None
    return tuple(names.index(name) for name in COLUMNS)


def _header_fault(line: str) -> str:
    expected = f"is not the expected one: {','.join(COLUMNS)}"
    if "\0" in line or line.startswith(_UTF_16_MARKS):
        return "is not in UTF-8 but in UTF-16; save as UTF-8 (Excel: CSV UTF-8)"
    if line.count(";") >= len(COLUMNS) - 1:
        return f"{expected} (this file separates by semicolons; commas are needed)"
    return expected


def _fields(line: str) -> Sequence[str] | None:
    try:
        return next(csv.reader((line,), strict=True))
    except csv.Error:
        return None


def _row(
    number: int, line: str, columns: tuple[int, ...]
) -> FactoryRow | list[LineFault]:
    if len(line) > LONGEST_LINE:
        return [LineFault(number, "line", f"is longer than {LONGEST_LINE} characters")]
    fields = _fields(line)
    if fields is None:
        return [
            LineFault(number, "line", "has a quote that is not closed or not alone")
        ]
    if len(fields) != len(columns):
        fault = f"has {len(fields)} fields; {len(columns)} were expected"
        return [LineFault(number, "line", fault)]
    return _Reading(number).row([fields[at] for at in columns])


class _Reading:
    """One line being read: collects what is wrong, so that all of it is said."""

    __slots__ = ("faults", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.faults: list[LineFault] = []

    def row(self, fields: Sequence[str]) -> FactoryRow | list[LineFault]:
        serial, mac, part, kind, revision, given_secret, ends = fields
        row = FactoryRow(
            line=self.number,
            serial_number=self._serial(serial),
            mac_address=self._mac(mac) or None if mac.strip() else None,
            part_number=self._text("part_number", part),
            device_type=self._text("device_type", kind, needed=True),
            hardware_revision=self._text("hardware_revision", revision),
            device_secret=self._secret(given_secret),
            support_ends_on=self._date(ends),
        )
        return self.faults or row

    def _fault(self, field: str, fault: str) -> None:
        self.faults.append(LineFault(self.number, field, fault))

    def _serial(self, value: str) -> str:
        if not value.strip():
            self._fault("serial_number", "is missing")
            return ""
        expected = "is not a serial number: 6 to 32 letters A-Z and digits"
        return self._spelled("serial_number", normalise_serial, value, expected)

    def _mac(self, value: str) -> str:
        expected = "is not a MAC address: twelve hexadecimal digits"
        return self._spelled("mac_address", normalise_mac, value, expected)

    def _spelled(
        self, field: str, read: Callable[[str], str], value: str, expected: str
    ) -> str:
        try:
            return read(value.strip())
        except Invalid:
            self._fault(field, expected)
            return ""

    def _text(self, field: str, value: str, *, needed: bool = False) -> str:
        text = value.strip()
        if needed and not text:
            self._fault(field, "is missing")
        elif len(text) > LONGEST_TEXT:
            self._fault(field, f"is longer than {LONGEST_TEXT} characters")
        elif not text.isprintable():
            self._fault(field, "holds a character that is not printable, or no UTF-8")
        return text

    def _secret(self, value: str) -> str:
        fault = secret.fault_of(value) if value else "is missing"
        if fault is not None:
            self._fault("device_secret", fault)
        return value

    def _date(self, value: str) -> date | None:
        text = value.strip()
        day = _day(text) if text else None
        if text and day is None:
            self._fault("support_ends_on", "is not a day such as 2036-12-31")
        return day


@lru_cache(maxsize=256)
def _day(text: str) -> date | None:
    """Read a day; a list has few different ones."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
