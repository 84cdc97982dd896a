# SPDX-License-Identifier: Apache-2.0
"""Reading the factory list: every fault of every line, and never a secret."""

import io
import tracemalloc
from datetime import date

import pytest

from fleet.devices.factory_lines import (
    COLUMNS,
    LONGEST_LINE,
    FactoryRow,
    LineFault,
    read_rows,
)

HEADER = ",".join(COLUMNS) + "\n"
SECRET = "correct-horse-battery"
GOOD = f"ABC-123,58-9E-C6-0D-8C-73,P1,COMtrexx VM,A1,{SECRET},2036-12-31\n"


def read(text: str | bytes) -> list[FactoryRow | list[LineFault]]:
    raw = text.encode() if isinstance(text, str) else text
    return list(read_rows(io.BytesIO(raw)))


def one_fault(text: str | bytes) -> LineFault:
    (faults,) = (each for each in read(text) if not isinstance(each, FactoryRow))
    (fault,) = faults
    return fault


def test_a_line_is_read_in_the_spelling_that_is_stored() -> None:
    (row,) = read(HEADER + GOOD)
    assert isinstance(row, FactoryRow)
    assert row.line == 2
    assert row.serial_number == "ABC123"
    assert row.mac_address == "58:9e:c6:0d:8c:73"
    assert row.device_type == "COMtrexx VM"
    assert row.device_secret == SECRET
    assert row.support_ends_on == date(2036, 12, 31)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\xef\xbb\xbf" + (HEADER + GOOD).encode(), id="a BOM"),
        pytest.param((HEADER + GOOD).replace("\n", "\r\n"), id="CRLF"),
        pytest.param((HEADER + GOOD).replace("\n", "\r"), id="CR alone"),
        pytest.param((HEADER + GOOD).rstrip("\n"), id="no line break at the end"),
        pytest.param("\n\n" + HEADER + "\n" + GOOD + "  \n", id="empty lines"),
        pytest.param(HEADER.upper() + GOOD, id="a header in capitals"),
        pytest.param(
            HEADER + GOOD.replace("COMtrexx VM", '"COMtrexx VM"'), id="a quoted field"
        ),
    ],
)
def test_what_programs_make_of_a_csv_file_is_understood(text: str | bytes) -> None:
    (row,) = read(text)
    assert isinstance(row, FactoryRow)
    assert row.device_type == "COMtrexx VM"


def test_the_columns_may_stand_in_any_order() -> None:
    names, fields = HEADER.strip().split(","), GOOD.strip().split(",")
    text = ",".join(reversed(names)) + "\n" + ",".join(reversed(fields)) + "\n"
    (row,) = read(text)
    assert isinstance(row, FactoryRow)
    assert row.serial_number == "ABC123"


def test_what_only_helps_people_may_be_empty() -> None:
    (row,) = read(f"{HEADER}ABC123,,,T,,{SECRET},\n")
    assert isinstance(row, FactoryRow)
    assert (row.mac_address, row.part_number, row.support_ends_on) == (None, "", None)


def test_a_secret_may_hold_commas_and_quotes() -> None:
    (row,) = read(HEADER + GOOD.replace(SECRET, '"sixteen, ""quoted"" ones"'))
    assert isinstance(row, FactoryRow)
    assert row.device_secret == 'sixteen, "quoted" ones'


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="an empty file"),
        pytest.param("\ufeff", id="nothing but a BOM"),
        pytest.param(GOOD, id="no header"),
        pytest.param(HEADER.replace("mac_address", "mac") + GOOD, id="another name"),
        pytest.param(HEADER.replace("mac_address,", "") + GOOD, id="one missing"),
        pytest.param(HEADER.strip() + ",more\n" + GOOD, id="one too many"),
        pytest.param(HEADER.replace("mac_", "device_") + GOOD, id="wrong again"),
        pytest.param(HEADER.replace(",", ";") + GOOD, id="semicolons"),
        pytest.param((HEADER + GOOD).encode("utf-16"), id="UTF-16"),
    ],
)
def test_without_our_header_nothing_is_read(header: str | bytes) -> None:
    fault = one_fault(header)
    assert fault.field == "header"
    assert SECRET not in fault.fault


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        pytest.param("ABC-123", "AB-12", "serial_number", id="short serial"),
        pytest.param("ABC-123", "", "serial_number", id="no serial"),
        pytest.param("ABC-123", "ABC\x00123", "serial_number", id="NUL in the serial"),
        pytest.param("58-9E", "58-9", "mac_address", id="short MAC"),
        pytest.param("P1", "P" * 65, "part_number", id="long part number"),
        pytest.param("P1", "P\0", "part_number", id="NUL"),
        pytest.param("P1", "P\u202e1", "part_number", id="a turned direction"),
        pytest.param("COMtrexx VM", "  ", "device_type", id="no device type"),
        pytest.param(SECRET, "short", "device_secret", id="short secret"),
        pytest.param(SECRET, "", "device_secret", id="no secret"),
        pytest.param(SECRET, "x" * 201, "device_secret", id="long secret"),
        pytest.param(SECRET, "Müller" * 4, "device_secret", id="umlauts in the secret"),
        pytest.param(SECRET, SECRET + " ", "device_secret", id="a space nobody sees"),
        pytest.param("2036-12-31", "2036-02-30", "support_ends_on", id="no such day"),
        pytest.param("2036-12-31", "31.12.2036", "support_ends_on", id="German day"),
        pytest.param("2036-12-31", "20361231", "support_ends_on", id="compact day"),
        pytest.param("2036-12-31", "2036-12-31,", "line", id="a field too many"),
        pytest.param(",2036-12-31", "", "line", id="a field too few"),
        pytest.param("P1", 'P"1', None, id="a quote inside: a character like others"),
        pytest.param("P1", '"P1', "line", id="an unclosed quote"),
        pytest.param("P1", '"P"1', "line", id="text after a quote"),
        pytest.param("P1", "P" * LONGEST_LINE, "line", id="a long line"),
    ],
)
def test_a_fault_is_named_by_line_and_field(
    old: str, new: str, field: str | None
) -> None:
    text = HEADER + GOOD + GOOD.replace(old, new) + GOOD
    readings = read(text)
    assert [type(each) for each in readings[::2]] == [FactoryRow, FactoryRow]
    if field is None:
        assert isinstance(readings[1], FactoryRow)
        return
    fault = one_fault(text)
    assert (fault.line, fault.field) == (3, field)


def test_what_is_not_utf_8_spoils_its_line_only() -> None:
    bad = GOOD.encode().replace(b"P1", b"P\xff")
    fault = one_fault(HEADER.encode() + bad + GOOD.encode())
    assert (fault.line, fault.field) == (2, "part_number")


def test_all_faults_of_a_line_are_named() -> None:
    (faults,) = read(HEADER + "1,2,,,,3,4\n")
    assert not isinstance(faults, FactoryRow)
    assert [each.field for each in faults] == [
        "serial_number",
        "mac_address",
        "device_type",
        "device_secret",
        "support_ends_on",
    ]


def test_no_fault_repeats_what_stands_in_the_file() -> None:
    # One comma too many, and the secret is in another column.
    shifted = GOOD.replace("A1,", "A1,,").replace(",2036-12-31", "")
    (faults,) = read(HEADER + shifted)
    assert not isinstance(faults, FactoryRow)
    assert faults
    assert SECRET not in str(faults)


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    text = (HEADER + "x" * 20_000_000 + "\n" + GOOD).encode()
    stream = io.BytesIO(text)
    tracemalloc.start()
    try:
        fault, row = read_rows(stream)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(fault, list)
    assert isinstance(row, FactoryRow)
    assert row.line == 3
    assert peak < 1_000_000
