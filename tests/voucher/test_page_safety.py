# SPDX-License-Identifier: Apache-2.0
"""What the page keeps from strangers: other sites, scripts, and readers of logs."""

import logging
import re
from datetime import timedelta

import pytest
from flask import Flask
from freezegun import freeze_time
from make import make_device
from making import make_product, make_voucher, mistyped, release_rows
from sqlalchemy import select
from visiting import HERE, MINE, NOW, OTHERS, Person, headings, release_code, typed

from fleet.database import reading
from fleet.web import access_log
from fleet.web.models import AccessRecord
from voucher import codes


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


def test_no_page_has_an_address_with_a_code_in_it(person: Person) -> None:
    code, _ = make_voucher()
    for answer in (person.redeem(mistyped(code)), person.redeem(code)):
        addresses = re.findall(r'(?:href|src|action)="([^"]+)"', answer.text)
        assert addresses
        for address in addresses:
            assert address.startswith("data:") or code[:5] not in address


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


def test_a_redemption_leaves_an_access_record_with_address_and_time_only(
    person: Person,
) -> None:
    person.redeem(make_voucher()[0])
    access_log.flush()

    with reading() as session:
        [record] = session.scalars(select(AccessRecord)).all()
    assert (record.service, record.address) == ("voucher", "192.0.2.7")
    assert (record.device_type, record.software_version) == (None, None)


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
