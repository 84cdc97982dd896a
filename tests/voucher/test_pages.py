# SPDX-License-Identifier: Apache-2.0
"""The page on which a person redeems a voucher: what it answers, and to whom."""

import html
import logging
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from freezegun import freeze_time
from make import make_device
from making import days, make_batch, make_product, make_voucher, release_rows
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from fleet.database import reading
from fleet.ground import ground
from fleet.web import access_log
from fleet.web.languages import Language
from fleet.web.models import AccessRecord, GuessCount
from voucher import codes
from voucher.page_words import words

HERE = "https://localhost:8443"
MINE, OTHERS = "CX1000000001", "CX1000000002"
NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


class Person:
    """Somebody with a browser and no script, who has opened the page."""

    def __init__(self, app: Flask, language: str = "en", address: str = "") -> None:
        self.client: FlaskClient = app.test_client()
        self.language = language
        self.place = {"REMOTE_ADDR": address or "192.0.2.7"}
        self.page = self.open()

    def open(self, path: str = "/voucher/") -> TestResponse:
        return self.see(
            self.client.get(
                path,
                base_url=HERE,
                headers={"Accept-Language": self.language},
                environ_overrides=self.place,
            )
        )

    def send(self, address: str = "", **fields: str) -> TestResponse:
        """Send the form of the page that is open, with ``fields`` typed in."""
        form = re.search(r'id="redeem" method="post" action="([^"]+)"', self.page.text)
        data = {"form_token": self.token} | fields
        return self.see(
            self.client.post(
                address or (form[1] if form else "/voucher/"),
                base_url=HERE,
                headers={"Accept-Language": self.language},
                environ_overrides=self.place,
                data=data,
            )
        )

    def redeem(self, code: str, serial_number: str = MINE) -> TestResponse:
        return self.send(code=code, serial_number=serial_number)

    def see(self, answer: TestResponse) -> TestResponse:
        self.page = answer
        return answer

    @property
    def token(self) -> str:
        found = re.search('name="form_token" value="([^"]+)"', self.page.text)
        return found[1] if found else ""


def headings(answer: TestResponse) -> list[str]:
    found = re.findall(r"<h[12][^>]*>(.*?)</h[12]>", answer.text, re.DOTALL)
    return [html.unescape(each) for each in found]


def typed(answer: TestResponse) -> dict[str, str]:
    """Return what stands in the two fields that a person sees."""
    found = re.findall(
        r'id="(\w+)" name="\w+" type="text" value="([^"]*)"', answer.text
    )
    return {name: html.unescape(value) for name, value in found}


def release_code(answer: TestResponse) -> str:
    found = re.search(r'id="release-code"[^>]*>(.*?)</p>', answer.text, re.DOTALL)
    return re.sub(r"<[^>]+>|\s", "", found[1]) if found else ""


@pytest.fixture
def person(app: Flask) -> Person:
    make_device(MINE)
    make_device(OTHERS)
    return Person(app)


def mistyped(code: str) -> str:
    return code[:7] + ("3" if code[7] != "3" else "4") + code[8:]


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


def test_every_page_forbids_scripts_of_strangers_and_keeps_to_itself(
    person: Person,
) -> None:
    code, _ = make_voucher()
    for answer in (person.page, person.redeem("x"), person.redeem(code)):
        policy = answer.headers["Content-Security-Policy"]
        assert {each.strip() for each in policy.split(";")} == {
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        }
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=", answer.text)
        assert not re.search(r"<[^>]*\son\w+=", answer.text)


def test_the_shop_is_linked_where_there_is_one(app: Flask) -> None:
    assert "shop" not in Person(app).page.text
    shop = "https://shop.example.com/?a=1&b=2"
    object.__setattr__(ground().settings, "shop_url", shop)

    assert f'href="{html.escape(shop)}"' in Person(app).page.text


def test_no_page_has_an_address_with_a_code_in_it(person: Person) -> None:
    code, _ = make_voucher()
    for answer in (person.redeem(mistyped(code)), person.redeem(code)):
        addresses = re.findall(r'(?:href|src|action)="([^"]+)"', answer.text)
        assert addresses
        for address in addresses:
            assert address.startswith("data:") or code[:5] not in address


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


def test_names_and_input_are_text_and_nothing_else(person: Person) -> None:
    bad = "<script>alert(1)</script>"
    product = make_product(names=dict.fromkeys(["de", "en", "fr"], bad))
    code, _ = make_voucher(product)

    for answer in (
        person.redeem(bad, f'"{bad}'),
        person.redeem(code, MINE),
        person.send(code=bad, serial_number=MINE, shown=bad),
    ):
        assert bad not in answer.text


def test_the_next_voucher_for_the_same_pbx_needs_no_serial_number(
    person: Person,
) -> None:
    code, _ = make_voucher()
    person.redeem(code)

    form = person.send(code="", serial_number=MINE, shown="form")

    assert form.status_code == 200
    assert typed(form) == {"code": "", "serial_number": MINE}
    assert 'role="alert"' not in form.text


def test_a_redemption_leaves_an_access_record_with_address_and_time_only(
    person: Person,
) -> None:
    person.redeem(make_voucher()[0])
    access_log.flush()

    with reading() as session:
        [record] = session.scalars(select(AccessRecord)).all()
    assert (record.service, record.address) == ("voucher", "192.0.2.7")
    assert (record.device_type, record.software_version) == (None, None)


# --- refusals -----------------------------------------------------------------


def _elsewhere(person: Person) -> str:
    code, _ = make_voucher()
    person.redeem(code, OTHERS)
    return code


def _without_effect(person: Person) -> str:
    product = make_product(stacking="renew")
    person.redeem(make_voucher(product)[0])
    return make_voucher(product)[0]


def _second_trial(person: Person) -> str:
    product = make_product(trial=True, duration_days=14)
    person.redeem(make_voucher(product)[0])
    return make_voucher(product)[0]


def _expired(_: Person) -> str:
    batch = make_batch(make_product(), valid_until=NOW - days(1), now=NOW - days(9))
    return make_voucher(batch=batch, now=NOW - days(8))[0]


REFUSALS: list[tuple[str, int, str, Callable[[Person], str]]] = [
    ("mistyped-code", 400, "The code is mistyped", lambda _: mistyped(codes.draw())),
    (
        "voucher-not-valid",
        404,
        "There is no valid voucher with this code",
        lambda _: codes.draw(),
    ),
    (
        "voucher-not-valid",
        404,
        "There is no valid voucher with this code",
        lambda _: make_voucher(revoked=True)[0],
    ),
    (
        "voucher-already-redeemed",
        409,
        "This voucher was already redeemed, for another PBX",
        _elsewhere,
    ),
    (
        "voucher-not-activated",
        409,
        "This voucher has not been sold yet",
        lambda _: make_voucher(activated=False)[0],
    ),
    ("voucher-expired", 409, "This voucher has expired", _expired),
    (
        "voucher-not-for-this-device",
        409,
        "This voucher is for another type of PBX",
        lambda _: make_voucher(make_product(device_types=["COMtrexx Next"]))[0],
    ),
    (
        "prerequisite-missing",
        409,
        "The PBX lacks a function that this one builds on",
        lambda _: make_voucher(make_product(prerequisites=["recording"]))[0],
    ),
    (
        "voucher-without-effect",
        409,
        "It would change nothing on this PBX",
        _without_effect,
    ),
    ("trial-already-used", 409, "This PBX has had its trial", _second_trial),
]


@pytest.mark.parametrize(("problem", "status", "title", "make"), REFUSALS)
def test_each_refusal_has_words_of_its_own_on_the_same_form(
    app: Flask,
    problem: str,
    status: int,
    title: str,
    make: Callable[[Person], str],
) -> None:
    with freeze_time(NOW):
        make_device(MINE)
        make_device(OTHERS)
        person = Person(app)
        code = make(person)
        person.open()
        answer = person.redeem(code)

        assert answer.status_code == status
        assert answer.mimetype == "text/html"
        assert headings(answer) == ["Redeem a voucher", title]
        assert f"<title>Problem: {title} · " in answer.text
        assert typed(answer) == {"code": codes.shown(code), "serial_number": MINE}
        assert f'href="/problems/{problem}?lang=en"' in answer.text
        # From there one can go on: the form that came back is a good one.
        good, _ = make_voucher(make_product(99))
        assert release_code(person.redeem(good))


def test_a_serial_number_is_looked_at_once_the_code_is_good(person: Person) -> None:
    code, _ = make_voucher()

    assert person.redeem(codes.draw(), "CX9999999999").status_code == 404
    assert headings(person.page)[1] == "There is no valid voucher with this code"
    assert person.redeem(code, "CX9999999999").status_code == 404
    assert headings(person.page)[1] == "There is no PBX with this serial number"
    assert release_code(person.redeem(code))


@pytest.mark.parametrize(
    ("code", "serial_number", "title", "said"),
    [
        (
            "",
            "",
            "Something is still missing",
            ["Enter the voucher code.", "Enter the serial"],
        ),
        ("good", "", "Something is still missing", ["Enter the serial number."]),
        ("good", "12", "The serial number cannot be right", ["6 to 32 letters"]),
        (
            "bad",
            "12",
            "Something is still missing",
            ["Look at group 2 of 4", "6 to 32"],
        ),
        ("short", MINE, "The code is mistyped", ["Symbols are missing: 3 of 20."]),
        ("release", MINE, "This is not the voucher code", ["This is a release code"]),
        ("swapped", "good", "The two are mixed up", ["stand in each other"]),
        (
            "U",
            MINE,
            "The code is mistyped",
            ["no U; perhaps it is a V.", "group 1 of 4"],
        ),
        ("§", MINE, "The code is mistyped", ["only digits and letters"]),
    ],
)
def test_all_that_is_wrong_is_said_at_once_beside_its_field(
    person: Person, code: str, serial_number: str, title: str, said: list[str]
) -> None:
    good = codes.draw()
    spelt = {
        "good": good,
        "bad": mistyped(good),
        "short": good[:17],
        "release": codes.with_checks(range(23)),
        "swapped": MINE,
        "U": "U" + good[1:],
        "§": "§" + good[1:],
    }

    answer = person.redeem(
        spelt.get(code, code), spelt.get(serial_number, serial_number)
    )

    assert answer.status_code == 400
    assert headings(answer)[1] == title
    text = html.unescape(answer.text)
    for each in said:
        assert text.count(each) == 2  # at the top, and at its field
    # The first field that is wrong is gone to, and is described by what is wrong.
    [focused] = re.findall(r'id="(\w+)"[^>]*? autofocus', answer.text)
    assert (
        f'aria-describedby="{focused}-wrong {focused}-hint" aria-invalid' in answer.text
    )


def test_slips_of_the_pen_are_never_counted(person: Person) -> None:
    for _ in range(100):
        assert person.redeem(mistyped(codes.draw())).status_code == 400

    with reading() as session:
        assert session.scalar(select(func.count()).select_from(GuessCount)) == 0


def test_a_nat_of_honest_people_is_not_throttled(app: Flask, person: Person) -> None:
    """Mistyped, redeemed elsewhere, not sold, and repeats: none is a guess."""
    elsewhere, unsold = _elsewhere(person), make_voucher(activated=False)[0]
    for _ in range(40):
        assert person.redeem(elsewhere).status_code == 409
        assert person.redeem(unsold).status_code == 409
        assert person.redeem(elsewhere, OTHERS).status_code == 200

    assert release_code(Person(app).redeem(make_voucher()[0]))


def test_who_guesses_is_told_when_to_come_back(app: Flask) -> None:
    with freeze_time(NOW) as clock:
        make_device(MINE)
        make_device(OTHERS)
        person = Person(app)
        code, _ = make_voucher()
        for _ in range(10):
            assert person.redeem(codes.draw()).status_code == 404

        wrong = codes.draw()
        answer = person.redeem(wrong)

        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) == 601
        assert headings(answer)[1] == "Too many codes that do not exist"
        assert "Come back in 10 minutes" in answer.text
        assert typed(answer)["code"] == codes.shown(wrong)
        # Neither a code that exists is concerned, nor another PBX, nor another place.
        assert release_code(person.redeem(code))
        assert release_code(person.redeem(make_voucher()[0], OTHERS))
        assert release_code(Person(app, address="192.0.2.8").redeem(code))
        clock.tick(timedelta(minutes=10))
        assert person.redeem(wrong).status_code == 404


def test_while_something_is_missing_here_nobody_loses_anything(
    person: Person,
) -> None:
    code, _ = make_voucher()
    keys = ground().settings.data_dir / "keys" / "release-master"
    shutil.move(keys, keys.with_name("gone"))

    answer = person.redeem(code)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert headings(answer)[1] == "The service is busy"
    assert "Your voucher is safe" in answer.text
    assert typed(answer)["code"] == codes.shown(code)
    shutil.move(keys.with_name("gone"), keys)
    assert release_code(person.redeem(code))


def test_without_the_key_of_forms_there_is_a_problem_document(app: Flask) -> None:
    shutil.rmtree(ground().settings.data_dir / "keys" / "page-form")

    answer = app.test_client().get("/voucher/", base_url=HERE)

    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")


# --- safety -------------------------------------------------------------------


def test_a_form_that_was_open_for_long_is_sent_once_more(app: Flask) -> None:
    with freeze_time(NOW) as clock:
        make_device(MINE)
        code, _ = make_voucher()
        person = Person(app)
        clock.tick(timedelta(days=3))

        answer = person.redeem(code)

        assert answer.status_code == 403
        assert headings(answer)[1] == "Please send the form once more"
        assert typed(answer) == {"code": codes.shown(code), "serial_number": MINE}
        assert not release_rows()
        assert release_code(person.redeem(code))


def test_another_site_can_neither_redeem_nor_fill_the_form_in(person: Person) -> None:
    code, _ = make_voucher()

    answer = person.client.post(
        "/voucher/",
        base_url=HERE,
        headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        data={"code": code, "serial_number": MINE, "form_token": person.token},
    )

    assert answer.status_code == 403
    assert headings(answer)[1] == "This form was sent from another site"
    assert typed(answer) == {"code": "", "serial_number": ""}
    assert not release_rows()


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"code=" + b"A" * 10_000, "application/x-www-form-urlencoded", 413),
        (b"{}", "application/json", 415),
        (b"code=a&code=b", "application/x-www-form-urlencoded", 400),
    ],
)
def test_what_no_browser_would_send_gets_a_page_too(
    person: Person, body: bytes, media_type: str, status: int
) -> None:
    answer = person.client.post(
        "/voucher/", base_url=HERE, data=body, content_type=media_type
    )

    assert (answer.status_code, answer.mimetype) == (status, "text/html")
    assert len(headings(answer)) == 2


def test_neither_codes_nor_serial_numbers_get_into_the_log(
    person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    code, _ = make_voucher()
    with caplog.at_level(logging.DEBUG):
        person.redeem(mistyped(code))
        person.redeem(code, OTHERS)
        person.redeem(code)

    [made] = release_rows()
    for secret in (code, code[:10], MINE, OTHERS, made.code):
        assert secret not in caplog.text


# --- another language, after something was sent -------------------------------


def test_a_refusal_is_told_in_another_language_without_trying_again(
    person: Person,
) -> None:
    code = codes.draw()
    person.redeem(code)
    assert '<button class="link" formaction="/voucher/?lang=fr"' in person.page.text
    [shown] = re.findall('name="shown" value="([^"]+)"', person.page.text)

    answer = person.send(
        "/voucher/?lang=fr", code=code, serial_number=MINE, shown=shown
    )

    assert answer.status_code == 200
    assert headings(answer)[1] == "Aucun bon valable ne porte ce code"
    assert typed(answer) == {"code": codes.shown(code), "serial_number": MINE}
    with reading() as session:
        assert set(session.scalars(select(GuessCount.wrong))) == {1}


def test_a_result_is_shown_in_another_language(person: Person) -> None:
    code, _ = make_voucher()
    first = person.redeem(code)

    answer = person.send("/voucher/?lang=de", code=code, serial_number=MINE, shown="")

    assert headings(answer)[0] == "Dieser Voucher ist für diese Anlage schon eingelöst"
    assert release_code(answer) == release_code(first)
