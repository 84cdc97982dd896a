# SPDX-License-Identifier: Apache-2.0
"""What the pages say is whole in every language, and can be read by everybody."""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from string import Formatter

import pytest

import fleet
from fleet.devices.errors import UnknownDevice
from fleet.errors import TooMany, Unavailable
from fleet.identity.guard import DeviceNotPermitted
from fleet.web.forms import FormExpired, FormFromElsewhere
from fleet.web.languages import Language
from fleet.web.problem_pages import ProblemPage
from fleet.web.problems import DatabaseUnavailable
from voucher import codes, errors
from voucher.page_words import FIELD_OF, Fault, Typed, day_in_words, fault_of, words

PAGE = ProblemPage("Title", "It happened.", "Do this.\n\nOr that.")

# What a person can be told on the form.
TOLD = [
    errors.VoucherNotValid,
    errors.VoucherAlreadyRedeemed,
    errors.VoucherNotActivated,
    errors.VoucherExpired,
    errors.VoucherNotForThisDevice,
    errors.PrerequisiteMissing,
    errors.WithoutEffect,
    errors.TrialAlreadyUsed,
    errors.ReleaseCodesExhausted,
    UnknownDevice,
    DeviceNotPermitted,
    TooMany,
    FormExpired,
    FormFromElsewhere,
]


def texts(of: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text and where it stands."""
    if isinstance(of, Mapping):
        for name, each in of.items():
            yield from texts(each, f"{path}/{name}")
    elif isinstance(of, list):
        for number, each in enumerate(of):
            yield from texts(each, f"{path}/{number}")
    else:
        assert isinstance(of, str)
        yield path, of


def filled_in(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", [Language.GERMAN, Language.FRENCH])
def test_every_text_is_there_in_every_language(language: Language) -> None:
    english = dict(texts(words(Language.ENGLISH)))
    there = dict(texts(words(language)))

    assert there.keys() == english.keys()
    for path, text in english.items():
        assert filled_in(there[path]) == filled_in(text), path
        assert there[path].strip() == there[path] or path.endswith("/or")


@pytest.mark.parametrize("refusal", TOLD)
@pytest.mark.parametrize("language", list(Language))
def test_each_refusal_has_a_title_and_a_next_step_of_its_own(
    refusal: type, language: Language
) -> None:
    fault = told(refusal.code, language=language)

    assert fault.title not in {"Title", ""}
    assert all(fault.text)
    if refusal.code in FIELD_OF:
        assert fault.fields[FIELD_OF[refusal.code]]
    titles = [each["title"] for each in words(language)["refused"].values()]
    assert titles.count(fault.title) == 1


def told(problem: str, language: Language = Language.ENGLISH, **more: int) -> Fault:
    return fault_of(
        problem,
        status=more.get("status", 409),
        typed=Typed("x", "y"),
        retry_after=more.get("retry_after"),
        said=words(language),
        page=PAGE,
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1, "in a minute"),
        (61, "in a minute"),
        (62, "in 2 minutes"),
        (600, "in 10 minutes"),
        (601, "in 10 minutes"),
    ],
)
def test_whoever_must_wait_is_told_how_long(seconds: int, said: str) -> None:
    fault = told(TooMany.code, status=429, retry_after=seconds)

    assert said in fault.text[0]


@pytest.mark.parametrize("problem", [Unavailable.code, DatabaseUnavailable.code, "x"])
def test_whatever_is_missing_here_is_told_in_one_way(problem: str) -> None:
    fault = told(problem, status=503)

    assert (fault.code, fault.title) == (problem, "The service is busy")


def test_a_problem_without_words_here_is_told_in_those_of_its_page() -> None:
    fault = told("internal-error", status=500)

    assert fault.title == "Title"
    assert fault.text == ["It happened.", "Do this.", "Or that."]


@pytest.mark.parametrize("slip", list(codes.Slip))
def test_every_slip_of_the_pen_has_words(slip: codes.Slip) -> None:
    for language in Language:
        assert words(language)["faults"][slip.value]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("abcde fghjk-mnpqr—stvwx", "abcde fghjk-mnpqr—stvwx"),
        ("abcdefghjkmnpqrstvwx", "ABCDE-FGHJK-MNPQR-STVWX"),
        (" abcDE-FGHJK MNPQR  ST", "ABCDE-FGHJK-MNPQR-ST"),
        ("cx1000000001", "cx1000000001"),
        ("", ""),
        ("<b>", "<b>"),
        ("a" * 500, "a" * 128),
    ],
)
def test_what_was_typed_comes_back_in_groups(typed: str, shown: str) -> None:
    assert Typed(typed).shown_code == shown


@pytest.mark.parametrize(
    ("language", "spelt"),
    [
        (Language.ENGLISH, "1 August 2027"),
        (Language.GERMAN, "1. August 2027"),
        (Language.FRENCH, "1 août 2027"),
    ],
)
def test_a_day_is_spelt_out(language: Language, spelt: str) -> None:
    told = day_in_words(date(2027, 8, 1), words(language))

    assert told == spelt.replace(" ", "\N{NO-BREAK SPACE}")


def test_no_line_begins_with_a_mark_or_ends_with_a_quotation_begun() -> None:
    for path, text in texts(words(Language.FRENCH)):
        assert not re.search(r" [;:?!»]|« ", text), path


# --- colours (WCAG 2.2, 1.4.3 and 1.4.11) ---------------------------------------

STYLE = (Path(fleet.__file__).parent / "web" / "static" / "page.css").read_text("utf-8")
TEXT, SHAPE = 4.5, 3.0


def colours(dark: bool) -> dict[str, str]:
    """Return the colours of one scheme; the dark ones are the later ones."""
    declared = re.findall(
        r"--([\w-]+): (#[0-9a-f]{6});", STYLE.split("@media print")[0]
    )
    half = len(declared) // 2
    assert [name for name, _ in declared[:half]] == [
        name for name, _ in declared[half:]
    ]
    return dict(declared[half:] if dark else declared[:half])


def luminance(colour: str) -> float:
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4
        for each in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


def test_the_measure_is_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [
        ("ink", "paper", TEXT),
        ("quiet", "paper", TEXT),
        ("accent", "paper", TEXT),
        ("wrong", "paper", TEXT),
        ("on-accent", "accent", TEXT),
        ("ink", "soft", TEXT),
        ("quiet", "soft", TEXT),
        ("accent", "soft", TEXT),
        ("ink", "wrong-soft", TEXT),
        ("wrong", "wrong-soft", TEXT),
        ("accent", "wrong-soft", TEXT),
        ("quiet", "paper", SHAPE),  # the edge of a field
        ("wrong", "paper", SHAPE),  # of a faulty one
        ("accent", "paper", SHAPE),  # of a button, and of what has the focus
        ("accent", "soft", SHAPE),
    ],
)
def test_everything_stands_out_from_what_is_behind_it(
    front: str, back: str, least: float, *, dark: bool
) -> None:
    found = colours(dark)

    assert contrast(found[front], found[back]) >= least
