# SPDX-License-Identifier: Apache-2.0
"""The page on which a person redeems a voucher, and what they get there."""

import html
import re

import pytest
from flask import Flask
from freezegun import freeze_time
from make import make_device
from making import make_product, make_voucher, release_rows
from visiting import HERE, MINE, NOW, Person, headings, release_code, typed

from fleet.ground import ground
from fleet.web.languages import Language
from voucher import codes
from voucher.page_words import words

# --- the form -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "path", "language"),
    [
        ("de-CH, en;q=0.5", "/voucher/", "de"),
        ("fr", "/voucher/", "fr"),
        ("ja", "/voucher/", "en"),
        ("fr", "/voucher/?lang=de", "de"),
        ("fr", "/voucher/?lang=xx", "fr"),
    ],
)
def test_the_form_is_in_the_language_that_is_wanted(
    app: Flask, accepted: str, path: str, language: str
) -> None:
    page = Person(app, accepted).open(path)

    assert page.status_code == 200
    assert f'<html lang="{language}">' in page.text
    assert headings(page) == [words(Language(language))["title"]]
    # The language that was chosen stays through the sending.
    assert f'action="/voucher/?lang={language}"' in page.text
    for each in Language:
        assert f'href="?lang={each.value}"' in page.text


def test_the_shop_is_linked_where_there_is_one(app: Flask) -> None:
    assert "shop" not in Person(app).page.text
    shop = "https://shop.example.com/?a=1&b=2"
    object.__setattr__(ground().settings, "shop_url", shop)

    assert f'href="{html.escape(shop)}"' in Person(app).page.text


def test_what_a_page_loads_is_light_and_ours(person: Person) -> None:
    code, _ = make_voucher()
    page = person.redeem(code)
    loaded = re.findall(r'<(?:link|script|img)[^>]* (?:href|src)="([^"]+)"', page.text)
    sizes = {"": len(page.data)}
    for address in loaded:
        if address.startswith("data:"):
            continue
        assert address.startswith(("/assets/", "/voucher/assets/"))
        file = person.client.get(address, base_url=HERE)
        assert file.status_code == 200
        assert "max-age=31536000" in file.headers["Cache-Control"]
        sizes[address] = len(file.data)

    assert len(sizes) == 5
    assert sum(sizes.values()) < 30_000
    assert person.client.get("/voucher/assets/pages.toml").status_code == 404


# --- redeeming ----------------------------------------------------------------


def test_a_person_redeems_a_voucher(person: Person) -> None:
    code, _ = make_voucher()

    answer = person.redeem(codes.shown(code).lower(), "cx 1000-000001")

    [made] = release_rows()
    assert answer.status_code == 200
    assert headings(answer)[0] == "The voucher is redeemed"
    assert release_code(answer) == made.code
    assert "10 users" in answer.text
    assert "without end" in answer.text
    assert MINE in answer.text
    assert codes.shown(made.code) in answer.text  # to be copied
    assert 'src="data:image/svg+xml' in answer.text


def test_the_same_again_is_the_same_again(person: Person) -> None:
    code, _ = make_voucher()
    first = person.redeem(code)
    person.open()

    again = person.redeem(code)

    assert again.status_code == 200
    assert release_code(again) == release_code(first)
    assert headings(again)[0] == "This voucher is redeemed for this PBX already"
    assert len(release_rows()) == 1


@pytest.mark.parametrize(
    ("language", "until"),
    [
        ("en", "until the end of 29 February 2028"),
        ("de", "bis zum Ende des 29. Februar 2028"),
        ("fr", "la fin du 29 février 2028"),
    ],
)
def test_the_result_says_what_and_until_when_in_ones_language(
    app: Flask, language: str, until: str
) -> None:
    with freeze_time(NOW):
        make_device(MINE)
        names = {"de": "Sprachbox", "en": "Voicemail", "fr": "Messagerie"}
        product = make_product(names=names, duration_days=365)
        code, _ = make_voucher(product)
        answer = Person(app, language).redeem(code)

    assert names[language] in answer.text
    assert until in answer.text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_next_voucher_for_the_same_pbx_needs_no_serial_number(
    person: Person,
) -> None:
    code, _ = make_voucher()
    person.redeem(code)

    form = person.send(code="", serial_number=MINE, shown="form")

    assert form.status_code == 200
    assert typed(form) == {"code": "", "serial_number": MINE}
    assert 'role="alert"' not in form.text


def test_a_result_is_shown_in_another_language(person: Person) -> None:
    code, _ = make_voucher()
    first = person.redeem(code)

    answer = person.send("/voucher/?lang=de", code=code, serial_number=MINE, shown="")

    assert headings(answer)[0] == "Dieser Voucher ist für diese Anlage schon eingelöst"
    assert release_code(answer) == release_code(first)
