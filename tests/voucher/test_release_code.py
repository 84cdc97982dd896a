# SPDX-License-Identifier: Apache-2.0
"""Release codes: written as the protocol says, and only for what fits into them."""

import json
from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import codes_by_the_text as by_the_text
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.keys.keyring import VersionedKey, device_release_key
from voucher import codes, release_code
from voucher.codes import ALPHABET, Mistake, Slip, mistake_in
from voucher.errors import MistypedCode
from voucher.release_code import EPOCH, LAST_DAY, Release

VECTORS = json.loads((Path(__file__).parent / "vectors" / "codes.json").read_text())
PUBLISHED = VECTORS["release_codes"]
CODE = PUBLISHED[1]["release_code"].replace("-", "")
SERIAL = "CX1000000001"
KEY = bytes(range(32))
TEN_USERS = Release(sequence=1, product_number=17, quantity=10, last_day=None)

RELEASES = st.builds(
    Release,
    sequence=st.integers(1, 1023),
    product_number=st.integers(0, 16383),
    quantity=st.integers(0, 1023),
    last_day=st.none() | st.dates(EPOCH + timedelta(days=1), LAST_DAY),
)


def said_by(release: Release) -> by_the_text.Said:
    return by_the_text.Said(
        1,
        release.sequence,
        release.product_number,
        release.quantity,
        release.last_day,
    )


@pytest.mark.parametrize("vector", PUBLISHED, ids=lambda v: v["release_code"])
def test_the_published_vectors_hold(vector: dict[str, Any]) -> None:
    serial, last_day = vector["serial_number"], vector["expires_on"]
    master = bytes.fromhex(vector["master_key_hex"])
    key = device_release_key(VersionedKey(1, master), serial)
    release = Release(
        sequence=vector["sequence"],
        product_number=vector["product_number"],
        quantity=vector["quantity"],
        last_day=date.fromisoformat(last_day) if last_day else None,
    )

    code = release_code.encode(release, serial_number=serial, release_key=key)

    assert key.hex() == vector["device_release_key_hex"]
    assert by_the_text.release_key(master, serial) == key
    assert codes.shown(code) == vector["release_code"]
    assert by_the_text.read(code, serial, key) == said_by(release)


@given(RELEASES, st.binary(min_size=32, max_size=32))
def test_code_written_from_the_text_reads_what_was_written(
    release: Release, key: bytes
) -> None:
    code = release_code.encode(release, serial_number=SERIAL, release_key=key)

    assert by_the_text.read(code, SERIAL, key) == said_by(release)
    assert by_the_text.release_code(said_by(release), SERIAL, key) == code
    assert release_code.canonical(codes.shown(code).lower()) == code


@given(RELEASES, RELEASES)
def test_two_releases_never_share_a_code(one: Release, other: Release) -> None:
    written = {
        release_code.encode(each, serial_number=SERIAL, release_key=KEY)
        for each in (one, other)
    }

    assert len(written) == len({one, other})


def test_a_release_code_is_for_one_pbx() -> None:
    code = release_code.encode(TEN_USERS, serial_number=SERIAL, release_key=KEY)

    assert by_the_text.read(code, SERIAL, KEY) is not None
    assert by_the_text.read(code, "CX1000000002", KEY) is None
    assert by_the_text.read(code, SERIAL, KEY[::-1]) is None


def test_the_same_release_has_the_same_code_for_ever() -> None:
    """As published; what is written down on paper must not change."""
    vector = PUBLISHED[0]
    key = bytes.fromhex(vector["device_release_key_hex"])
    code = release_code.encode(TEN_USERS, serial_number=SERIAL, release_key=key)

    assert codes.shown(code) == "40404-82G00-C1SQF-M4XR0-2D3EC"


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("sequence", 0),
        ("sequence", 1024),
        ("product_number", -1),
        ("product_number", 16384),
        ("quantity", -1),
        ("quantity", 1024),
        ("last_day", EPOCH),
        ("last_day", EPOCH - timedelta(days=1)),
        ("last_day", LAST_DAY + timedelta(days=1)),
    ],
)
def test_what_does_not_fit_is_not_written(part: str, value: object) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        replace(TEN_USERS, **{part: value})  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("sequence", 1023),
        ("product_number", 0),
        ("product_number", 16383),
        ("quantity", 0),
        ("quantity", 1023),
        ("last_day", EPOCH + timedelta(days=1)),
        ("last_day", date(2064, 11, 8)),
    ],
)
def test_what_just_fits_is_written(part: str, value: object) -> None:
    release = replace(TEN_USERS, **{part: value})  # type: ignore[arg-type]  # a table
    code = release_code.encode(release, serial_number=SERIAL, release_key=KEY)

    assert by_the_text.read(code, SERIAL, KEY) == said_by(release)


def test_every_single_error_is_noticed_and_its_group_named() -> None:
    for place in range(25):
        for symbol in ALPHABET.replace(CODE[place], ""):
            mistake = mistake_in(CODE[:place] + symbol + CODE[place + 1 :], symbols=25)

            assert mistake is not None
            assert place // 5 + 1 in mistake.groups


def test_every_double_error_is_noticed() -> None:
    values, unnoticed, tried = [ALPHABET.index(each) for each in CODE], 0, 0
    for one, other in combinations(range(25), 2):
        for error in range(1, 32):
            for second_error in range(1, 32):
                wrong = list(values)
                wrong[one] ^= error
                wrong[other] ^= second_error
                tried += 1
                unnoticed += codes.is_whole(wrong)
    assert (tried, unnoticed) == (300 * 31 * 31, 0)


@pytest.mark.parametrize("shown", [each["release_code"] for each in PUBLISHED])
def test_every_swap_is_noticed(shown: str) -> None:
    code = shown.replace("-", "")
    for one, other in combinations(range(25), 2):
        wrong = list(code)
        wrong[one], wrong[other] = wrong[other], wrong[one]
        noticed = mistake_in("".join(wrong), symbols=25)

        assert (noticed is not None) == (code[one] != code[other])


@pytest.mark.parametrize(
    ("typed", "mistake"),
    [
        ("VJJFG-DFEXA-CFEQP-P9B4P", Mistake(Slip.MISSING, count=5)),
        ("40404-82G00-C1SQF-M4XR-2D3EC", Mistake(Slip.MISSING, (4,), 1)),
        ("40404-82G00-C1SQF-M4XRU-2D3EC", Mistake(Slip.LETTER_U, (4,))),
    ],
)
def test_a_mistake_is_told_as_for_a_voucher_code(typed: str, mistake: Mistake) -> None:
    assert mistake_in(typed, symbols=25) == mistake
    with pytest.raises(MistypedCode) as refused:
        release_code.canonical(typed)
    assert "25 symbols" in refused.value.detail or "of 5 again" in refused.value.detail
