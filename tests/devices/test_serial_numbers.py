# SPDX-License-Identifier: Apache-2.0
"""Serial numbers and MAC addresses, in the spellings that people use."""

import pytest

from fleet.devices.serial_numbers import normalise_mac, normalise_serial
from fleet.errors import Invalid

MAC = "58:9e:c6:0d:8c:73"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        pytest.param("ABC123", "ABC123", id="the shortest"),
        pytest.param("A" * 32, "A" * 32, id="the longest"),
        pytest.param("abc-123 def", "ABC123DEF", id="small letters and grouping"),
        pytest.param("  7 0-0 1 2 3 ", "700123", id="digits, spread out"),
    ],
)
def test_a_serial_number_has_one_spelling(typed: str, expected: str) -> None:
    assert normalise_serial(typed) == expected


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param("", id="nothing"),
        pytest.param("ABC12", id="too short"),
        pytest.param("A" * 33, id="too long"),
        pytest.param("ABC 12-", id="too short without grouping"),
        pytest.param(" " * 1_000_000 + "ABC123", id="a megabyte of spaces"),
        pytest.param("ABC_123", id="an underscore"),
        pytest.param("ABC123\n", id="a line break"),
        pytest.param("ABC\t123", id="a tab"),
        pytest.param("ABC\x00123", id="a NUL"),
        pytest.param("ABC\u00a0123", id="a space that is none"),
        pytest.param("\u0410\u0412\u0421123", id="Cyrillic letters that look alike"),
        pytest.param("ma\u0131n123", id="a dotless i, whose capital is an I"),
        pytest.param("stra\u00dfe1", id="a sharp s, whose capital is SS"),
        pytest.param("\u0661\u0662\u0663\u0664\u0665\u0666", id="Arabic digits"),
    ],
)
def test_anything_else_is_no_serial_number(typed: str) -> None:
    with pytest.raises(Invalid) as refused:
        normalise_serial(typed)
    assert refused.value.fields is not None
    assert set(refused.value.fields) == {"serial_number"}


@pytest.mark.parametrize(
    "typed",
    [
        "58:9e:c6:0d:8c:73",
        "58-9E-C6-0D-8C-73",
        "58 9e c6 0d 8c 73",
        "58.9e.c6.0d.8c.73",
        "589e.c60d.8c73",
        "589e-c60d-8c73",
        "589EC6-0D8C73",
        "589ec60d8c73",
        " 589EC60D8C73 ",
    ],
)
def test_a_mac_address_has_one_spelling(typed: str) -> None:
    assert normalise_mac(typed) == MAC


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "58:9e:c6:0d:8c",
        "58:9e:c6:0d:8c:73:00",
        "58:9e:c6:0d:8c:7g",
        "58:9e-c6:0d-8c:73",
        "589:ec6:0d8:c73",
        "58:9e:c6:0d:8c:73\n",
        "\u0665\u0668:9e:c6:0d:8c:73",
        ":" * 100_000,
    ],
)
def test_anything_else_is_no_mac_address(typed: str) -> None:
    with pytest.raises(Invalid):
        normalise_mac(typed)
