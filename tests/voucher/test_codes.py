# SPDX-License-Identifier: Apache-2.0
"""Voucher codes: how they are written, and which slips of the pen are noticed."""

import json
import random
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import codes_by_the_text as by_the_text
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucher import codes
from voucher.codes import ALPHABET, Mistake, Slip, mistake_in
from voucher.errors import MistypedCode

VECTORS = json.loads((Path(__file__).parent / "vectors" / "codes.json").read_text())
PUBLISHED = [each["code"] for each in VECTORS["voucher_codes"]]
CODE = "VJJFGDFEXACFEQPP9B4P"
DATA = st.text(ALPHABET, min_size=18, max_size=18)


def values_of(symbols: str) -> list[int]:
    return [ALPHABET.index(each) for each in symbols]


def changed(code: str, **symbols: str) -> str:
    """Return ``code`` with other symbols at places such as ``at_3``."""
    letters = list(code)
    for place, symbol in symbols.items():
        letters[int(place.removeprefix("at_"))] = symbol
    return "".join(letters)


def swapped(code: str, one: int, other: int) -> str:
    return changed(code, **{f"at_{one}": code[other], f"at_{other}": code[one]})


def group_of(place: int) -> int:
    return place // 5 + 1


@pytest.mark.parametrize("vector", VECTORS["voucher_codes"], ids=lambda v: v["data"])
def test_the_published_vectors_hold(vector: dict[str, str]) -> None:
    code = codes.with_checks(values_of(vector["data"]))

    assert codes.shown(code) == vector["code"]
    assert codes.canonical(vector["code"]) == code
    assert by_the_text.checked(vector["data"]) == code


@given(DATA)
def test_the_checks_are_those_of_code_written_from_the_text(data: str) -> None:
    code = codes.with_checks(values_of(data))

    assert code == by_the_text.checked(data)
    assert codes.canonical(codes.shown(code).lower()) == code


def test_codes_are_drawn_whole_and_never_twice() -> None:
    drawn = [codes.draw() for _ in range(2000)]

    assert len(set(drawn)) == len(drawn)
    assert all(by_the_text.is_whole(each) for each in drawn)
    # Every symbol turns up at every place that is random, so nothing is left out.
    assert all(len({code[at] for code in drawn}) == 32 for at in range(20))


@pytest.mark.parametrize("shown", PUBLISHED)
def test_every_single_error_is_noticed_and_its_group_named(shown: str) -> None:
    code = shown.replace("-", "")
    exactly = 0
    for place in range(20):
        for symbol in ALPHABET.replace(code[place], ""):
            mistake = mistake_in(changed(code, **{f"at_{place}": symbol}))

            assert mistake is not None
            assert mistake.slip is Slip.CHECKS
            assert group_of(place) in mistake.groups
            exactly += mistake.groups == (group_of(place),)
    # The others could as well be two neighbours that were swapped elsewhere.
    assert exactly > 20 * 31 * 0.95


def test_every_double_error_is_noticed() -> None:
    """The code is linear: what is noticed in one code is noticed in each."""
    values, unnoticed, tried = values_of(CODE), 0, 0
    for one, other in combinations(range(20), 2):
        for error in range(1, 32):
            for second_error in range(1, 32):
                wrong = list(values)
                wrong[one] ^= error
                wrong[other] ^= second_error
                tried += 1
                unnoticed += codes.is_whole(wrong)
    assert (tried, unnoticed) == (182_590, 0)


def test_every_swap_is_noticed_and_that_of_neighbours_named() -> None:
    chance = random.Random(3)
    for _ in range(50):
        code = by_the_text.checked("".join(chance.choices(ALPHABET, k=18)))
        for one, other in combinations(range(20), 2):
            if code[one] == code[other]:
                continue
            mistake = mistake_in(swapped(code, one, other))

            assert mistake is not None
            if other == one + 1:
                assert {group_of(one), group_of(other)} <= set(mistake.groups)


@given(DATA, st.text(ALPHABET, min_size=20, max_size=20))
def test_a_code_is_good_where_the_text_says_so(data: str, anything: str) -> None:
    assert mistake_in(by_the_text.checked(data)) is None
    assert (mistake_in(anything) is None) == by_the_text.is_whole(anything)


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param("VJJFG-DFEXA-CFEQP-P9B4P", id="as printed"),
        pytest.param("vjjfg-dfexa-cfeqp-p9b4p", id="small letters"),
        pytest.param("VJJFGDFEXACFEQPP9B4P", id="no hyphens"),
        pytest.param("  VJJFG DFEXA  CFEQP\tP9B4P\n", id="spaces, a tab, a line end"),
        pytest.param("V J J F G D F E X A C F E Q P P 9 B 4 P", id="spelt out"),
        pytest.param("VJJFG\u2013DFEXA\u2014CFEQP\u2011P9B4P", id="dashes of a PDF"),
        pytest.param("VJJFG\u2212DFEXA\u00adCFEQP\u200bP9B4P", id="minus, soft, none"),
        pytest.param("VJJFG\u00a0DFEXA\u202fCFEQP\u3000P9B4P", id="wide spaces"),
        pytest.param("\ufeffVJJFG-DFEXA-CFEQP-P9B4P", id="a byte-order mark"),
    ],
)
def test_a_code_is_read_in_any_usual_spelling(typed: str) -> None:
    assert codes.canonical(typed) == CODE


@pytest.mark.parametrize("typed", ["OOOOO-ooooo-0O0O0-O0L68", "0000000000000000oI68"])
def test_letters_that_look_like_digits_are_read_as_such(typed: str) -> None:
    assert codes.canonical(typed) == "00000000000000000168"


@pytest.mark.parametrize(
    ("typed", "mistake"),
    [
        pytest.param("", Mistake(Slip.MISSING, count=20), id="nothing"),
        pytest.param("VJJFGDFEX", Mistake(Slip.MISSING, count=11), id="half a code"),
        pytest.param(
            "VJJFG-DFEA-CFEQP-P9B4P",
            Mistake(Slip.MISSING, (2,), 1),
            id="a symbol left out of a group that was set off",
        ),
        pytest.param(
            "VJJFG-DFEXXA-CFEQP-P9B4P",
            Mistake(Slip.TOO_MANY, (2,), 1),
            id="a symbol typed twice",
        ),
        pytest.param(
            "VJJFGDFEXXACFEQPP9B4P",
            Mistake(Slip.TOO_MANY, count=1),
            id="a symbol too many, and no groups",
        ),
        pytest.param(
            "40404-82G00-C1SQF-M4XR0-2D3EC",
            Mistake(Slip.TOO_MANY, count=5),
            id="a release code",
        ),
        pytest.param("VJJFG-DFEXA-CFEQP-P9U4P", Mistake(Slip.LETTER_U, (4,)), id="a U"),
        pytest.param(
            "UJJFG-DFEXA-CFE?P-P9B4P",
            Mistake(Slip.LETTER_U, (1,)),
            id="a U before all else",
        ),
        pytest.param("U", Mistake(Slip.LETTER_U), id="nothing but a U"),
        pytest.param(
            "VJJFG-DFEXA-C*EQP-P9.4P",
            Mistake(Slip.STRANGE, (3, 4)),
            id="signs that no code has",
        ),
        pytest.param(
            "https://example/#VJJFG", Mistake(Slip.STRANGE), id="something else"
        ),
        pytest.param(
            "VJJFG-DFEXA-CFEPQ-P9B4P",
            Mistake(Slip.CHECKS, (3,)),
            id="neighbours swapped, which fits nothing else",
        ),
        pytest.param(
            "JVJFG-DFEXA-CFEQP-P9B4P",
            Mistake(Slip.CHECKS, (1, 3)),
            id="neighbours swapped, or one symbol wrong",
        ),
        pytest.param(
            "VJJFD-GFEXA-CFEQP-P9B4P",
            Mistake(Slip.CHECKS, (1, 2, 4)),
            id="neighbours of two groups swapped",
        ),
        pytest.param(
            "VJJFG-DFEXA-CFPEQ-P9B4P", Mistake(Slip.CHECKS), id="too much to tell"
        ),
    ],
)
def test_a_mistake_is_told_as_precisely_as_can_be(typed: str, mistake: Mistake) -> None:
    assert mistake_in(typed) == mistake
    with pytest.raises(MistypedCode):
        codes.canonical(typed)


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("VJJFG-DFEXA-CFEQP-P9B4Q", "Look at group 4 of 4 again."),
        ("JVJFG-DFEXA-CFEQP-P9B4P", "Look at groups 1 and 3 of 4 again."),
        (
            "VJJFG-DFEXA-CFPEQ-P9B4P",
            "Compare the code with the card, group by group.",
        ),
        (
            "VJJFG-DFEXA-CFEQP-P9U4P",
            "A code has no U; perhaps it is a V. Look at group 4 of 4 again.",
        ),
        (
            "VJJFD-GFEXA-CFEQP-P9B4P",
            "Look at groups 1, 2 and 4 of 4 again.",
        ),
        ("VJJFG", "A code has 20 symbols; 15 are missing."),
        (
            "VJJFG-DFEXA-CFEQP-P9B4",
            "A code has 20 symbols; 1 is missing. Look at group 4 of 4 again.",
        ),
        ("VJJFGDFEXACFEQPP9B4PV", "A code has 20 symbols; 1 is too many."),
        ("VJJFG DFEXA CFEQP P9B4!", "A code has digits and capital letters only. "),
    ],
)
def test_the_refusal_says_what_to_look_at(typed: str, advice: str) -> None:
    with pytest.raises(MistypedCode) as refused:
        codes.canonical(typed)

    assert advice in refused.value.detail
    assert refused.value.fields is not None
    assert advice in str(refused.value.fields["code"])


@given(st.text(max_size=codes.LONGEST_INPUT))
def test_whatever_is_typed_gets_a_code_or_a_refusal(typed: str) -> None:
    with suppress(MistypedCode):
        assert by_the_text.is_whole(codes.canonical(typed))


def test_a_refusal_does_not_repeat_the_code() -> None:
    with pytest.raises(MistypedCode) as refused:
        codes.canonical("VJJFG-DFEXA-CFEQP-P9B4Q")

    assert "VJJFG" not in repr(refused.value) + str(refused.value.fields)
