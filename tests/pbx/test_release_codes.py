# SPDX-License-Identifier: Apache-2.0
"""Codes as the PBX reads them, with nobody to ask."""

import json
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

import codes_by_the_text as by_the_text
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.pbx.codes import ALPHABET, Mistyped, NotAccepted, is_whole, read_symbols
from fleet.pbx.release_codes import (
    NotForThisPbx,
    OfALaterVersion,
    Release,
    read_release_code,
)

VECTORS = json.loads(
    (Path(__file__).parents[1] / "voucher" / "vectors" / "codes.json").read_text()
)
VOUCHER = "VJJFGDFEXACFEQPP9B4P"
SERIAL = "CX1000000001"
KEY = bytes(range(32))
TEN_USERS = by_the_text.Said(1, 1, 17, 10, None)

SAID = st.builds(
    by_the_text.Said,
    version=st.just(1),
    sequence=st.integers(1, 1023),
    product_number=st.integers(0, 16383),
    quantity=st.integers(0, 1023),
    expires_on=st.none() | st.dates(date(2020, 1, 2), date(2064, 11, 8)),
)


def release_of(said: by_the_text.Said) -> Release:
    return Release(
        sequence=said.sequence,
        product_number=said.product_number,
        quantity=said.quantity,
        last_day=said.expires_on,
    )


@pytest.mark.parametrize(
    "vector", VECTORS["release_codes"], ids=lambda v: v["sequence"]
)
def test_the_published_release_codes_are_read(vector: dict[str, Any]) -> None:
    last_day = vector["expires_on"]

    release = read_release_code(
        vector["release_code"],
        serial_number=vector["serial_number"],
        release_key=bytes.fromhex(vector["device_release_key_hex"]),
    )

    assert release == Release(
        sequence=vector["sequence"],
        product_number=vector["product_number"],
        quantity=vector["quantity"],
        last_day=date.fromisoformat(last_day) if last_day else None,
    )


@pytest.mark.parametrize("vector", VECTORS["voucher_codes"], ids=lambda v: v["data"])
def test_the_published_voucher_codes_are_read(vector: dict[str, str]) -> None:
    code = vector["code"].replace("-", "")

    assert read_symbols(vector["code"], symbols=20) == code


@given(SAID, st.binary(min_size=32, max_size=32))
def test_what_was_written_from_the_text_is_read(
    said: by_the_text.Said, key: bytes
) -> None:
    code = by_the_text.release_code(said, SERIAL, key)

    release = read_release_code(code, serial_number=SERIAL, release_key=key)

    assert release == release_of(said)


@given(SAID, st.integers(0, 24), st.sampled_from(ALPHABET))
def test_no_symbol_can_be_another(
    said: by_the_text.Said, place: int, symbol: str
) -> None:
    code = by_the_text.release_code(said, SERIAL, KEY)
    typed = code[:place] + symbol + code[place + 1 :]

    if typed != code:
        with pytest.raises(Mistyped, match=f"group .*{place // 5 + 1}"):
            read_release_code(typed, serial_number=SERIAL, release_key=KEY)


@given(SAID, st.integers(0, 22), st.sampled_from(ALPHABET))
def test_with_new_checks_it_is_still_not_genuine(
    said: by_the_text.Said, place: int, symbol: str
) -> None:
    """Whoever makes up a code must guess 64 bits; the checks are no secret."""
    code = by_the_text.release_code(said, SERIAL, KEY)
    made_up = by_the_text.checked((code[:place] + symbol + code[place + 1 :])[:23])

    if made_up != code:
        with pytest.raises((NotForThisPbx, OfALaterVersion)):
            read_release_code(made_up, serial_number=SERIAL, release_key=KEY)


@pytest.mark.parametrize(
    ("serial", "key"),
    [
        pytest.param("CX1000000002", KEY, id="of another PBX"),
        pytest.param(SERIAL, KEY[::-1], id="under another key"),
    ],
)
def test_a_code_of_another_pbx_is_refused(serial: str, key: bytes) -> None:
    code = by_the_text.release_code(TEN_USERS, serial, key)

    with pytest.raises(NotForThisPbx):
        read_release_code(code, serial_number=SERIAL, release_key=KEY)


def test_a_code_of_a_later_version_asks_for_newer_firmware() -> None:
    code = by_the_text.release_code(TEN_USERS._replace(version=2), SERIAL, KEY)

    with pytest.raises(OfALaterVersion):
        read_release_code(code, serial_number=SERIAL, release_key=KEY)


@pytest.mark.parametrize(
    "code", [VOUCHER, by_the_text.release_code(TEN_USERS, "A", KEY)]
)
def test_every_single_error_is_noticed_and_its_group_named(code: str) -> None:
    for place in range(len(code)):
        for symbol in ALPHABET.replace(code[place], ""):
            with pytest.raises(Mistyped, match=f"look at group .*{place // 5 + 1}"):
                read_symbols(
                    code[:place] + symbol + code[place + 1 :], symbols=len(code)
                )


@pytest.mark.parametrize("length", [20, 25])
def test_every_double_error_is_noticed(length: int) -> None:
    """As the code is linear, it is enough to look at the errors themselves."""
    tried = 0
    for one, other in combinations(range(length), 2):
        for error in range(1, 32):
            for second_error in range(1, 32):
                wrong = [0] * length
                wrong[one], wrong[other] = error, second_error
                assert not is_whole(wrong)
                tried += 1
    assert tried == {20: 182_590, 25: 288_300}[length]


@pytest.mark.parametrize(
    "code", [VOUCHER, by_the_text.release_code(TEN_USERS, "A", KEY)]
)
def test_every_swap_is_noticed(code: str) -> None:
    for one, other in combinations(range(len(code)), 2):
        wrong = list(code)
        wrong[one], wrong[other] = wrong[other], wrong[one]
        if code[one] == code[other]:
            continue
        with pytest.raises(Mistyped) as refused:
            read_symbols("".join(wrong), symbols=len(code))
        if other == one + 1:
            assert str(one // 5 + 1) in refused.value.reason
            assert str(other // 5 + 1) in refused.value.reason


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "has 20 symbols, and 0 were typed"),
        ("VJJFG-DFEXA-CFEQP-P9B4", "has 20 symbols, and 19 were typed"),
        ("UJJFG-DFEXA-CFEQP-P9B4P", "perhaps it is a V"),
        ("VJJFG-DFEXA-CFEQP-P9B4?", "only digits and letters"),
        ("VJJFG-DFEXA-CFEQP-P9B4É", "only digits and letters"),
        ("VJJFG-DFEXA-CFEQP-P9B4Q", "look at group 4"),
        ("JVJFG-DFEXA-CFEQP-P9B4P", "look at group 1 and 3"),
        ("VJJFG-DFEXA-CFPEQ-P9B4P", "compare every group"),
    ],
)
def test_a_person_is_told_what_is_wrong(typed: str, reason: str) -> None:
    with pytest.raises(Mistyped) as refused:
        read_symbols(typed, symbols=20)

    assert reason in refused.value.reason
    assert "VJJFG" not in refused.value.reason


@pytest.mark.parametrize(
    "typed",
    [
        "vjjfg-dfexa-cfeqp-p9b4p",
        " VJJFG DFEXA CFEQP P9B4P ",
        "VJJFGDFEXACFEQPP9B4P\n",
        "VJJ-FGDF-EXAC-FEQP-P9B4-P",
    ],
)
def test_any_usual_spelling_will_do(typed: str) -> None:
    assert read_symbols(typed, symbols=20) == VOUCHER


@given(st.text())
def test_whatever_is_typed_gets_an_answer(typed: str) -> None:
    with pytest.raises(NotAccepted):
        read_release_code(typed, serial_number=SERIAL, release_key=KEY)
