# SPDX-License-Identifier: Apache-2.0
"""Forms of pages: only those that a person sends from our own page are taken."""

import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Blueprint, Flask, Response
from flask.testing import FlaskClient
from freezegun import freeze_time
from marshmallow import Schema, fields

from fleet.app import assemble
from fleet.clock import utcnow
from fleet.feature import Feature
from fleet.ground import ground
from fleet.settings import Settings
from fleet.web import forms
from fleet.web.callers import open_to_all
from fleet.web.contract import says

OPENED = datetime(2026, 11, 22, 12, tzinfo=UTC)
HERE = "https://localhost:8443"
PUBLIC = "https://callhome.example.com"


class WishForm(Schema):
    """Somebody wishes for something."""

    wish = fields.String()
    form_token = fields.String(required=True)


wishes = Blueprint("wishes", __name__, url_prefix="/wishes")


@wishes.get("/<purpose>")
@open_to_all
@says("text/plain")
def page(purpose: str) -> Response:
    """Give a token."""
    response = Response(forms.token(purpose, utcnow()), mimetype="text/plain")
    forms.remember(response)
    return response


@wishes.post("/<purpose>")
@open_to_all
@says("text/plain")
@forms.accepts(WishForm)
def wish(purpose: str, *, wish: str, form_token: str) -> Response:
    """Grant a wish."""
    forms.check(form_token, purpose, utcnow())
    response = Response(f"granted: {wish}", mimetype="text/plain")
    forms.remember(response)
    return response


class Person:
    """Somebody with a browser of their own, who has opened the page."""

    def __init__(self, app: Flask, purpose: str = "wish") -> None:
        self.client: FlaskClient = app.test_client()
        opened = self.client.get(f"/wishes/{purpose}", base_url=HERE)
        self.token = opened.text
        self.cookie = opened.headers["Set-Cookie"]

    def send(
        self,
        body: Mapping[str, str] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **more: str,
    ) -> tuple[int, str]:
        """Send the form; return the status, and the problem or the text."""
        data = {"wish": "rain", "form_token": self.token}
        answer = self.client.post(
            "/wishes/wish",
            base_url=HERE,
            data=data if body is None else body,
            headers=headers or {},
            content_type=more.get("content_type", forms.MEDIA_TYPE),
        )
        if answer.status_code == 200:
            return 200, answer.text
        return answer.status_code, answer.get_json()["type"].rpartition("/")[2]


@pytest.fixture
def wishing_app(key_template: Path, tmp_path: Path) -> Iterator[Flask]:
    """An application with one page, which has a form; it asks no database."""
    data_dir = tmp_path / "var"
    shutil.copytree(key_template, data_dir)
    settings = Settings(data_dir=data_dir, public_url=PUBLIC)
    app = assemble(settings, [Feature("wishes", blueprints=(wishes,))])
    with app.app_context():
        yield app


@pytest.fixture
def person(wishing_app: Flask) -> Person:
    return Person(wishing_app)


EXPIRED, ELSEWHERE = (403, "form-expired"), (403, "form-from-elsewhere")
GRANTED = (200, "granted: rain")


def test_a_form_is_taken_from_the_browser_that_opened_it(person: Person) -> None:
    assert person.send() == GRANTED
    assert person.send() == GRANTED  # after a lost answer


def test_the_cookie_is_bound_to_this_host_and_no_script_reads_it(
    person: Person,
) -> None:
    name, _, rest = person.cookie.partition("=")
    value, *attributes = rest.split("; ")

    assert name == "__Host-form"
    assert len(value) == 24
    assert set(attributes) == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}
    assert value not in person.token


def test_a_second_tab_keeps_the_first_ones_form_good(person: Person) -> None:
    again = person.client.get("/wishes/wish", base_url=HERE)

    assert "Set-Cookie" not in again.headers
    assert again.text != person.token
    assert person.send() == GRANTED


def test_a_token_is_of_no_use_in_another_browser(
    wishing_app: Flask, person: Person
) -> None:
    stranger = Person(wishing_app)
    stranger.token = person.token

    assert stranger.send() == EXPIRED


def test_a_token_is_of_no_use_for_another_purpose(wishing_app: Flask) -> None:
    assert Person(wishing_app, "curse").send() == EXPIRED


@pytest.mark.parametrize("cookie", [None, "", "short", "a" * 24 + ";", "é" * 24])
def test_without_its_cookie_a_form_is_refused(
    person: Person, cookie: str | None
) -> None:
    person.client.delete_cookie(forms.COOKIE, domain="localhost")
    if cookie is not None:
        person.client.set_cookie(
            forms.COOKIE, cookie, domain="localhost", secure=True, path="/"
        )

    assert person.send() == EXPIRED


@pytest.mark.parametrize("token", ["", ".", "a.b.c", "é", "x" * 5_000])
def test_what_is_no_token_is_refused(person: Person, token: str) -> None:
    person.token = token

    assert person.send() == EXPIRED


def test_a_token_that_was_changed_is_refused(person: Person) -> None:
    nonce, signed_at, signature = person.token.split(".")
    later = signed_at[:-1] + ("A" if signed_at[-1] != "A" else "B")
    for changed in (
        f"{'0' * 16}.{signed_at}.{signature}",
        f"{nonce}.{later}.{signature}",
        f"{nonce}.{signed_at}.{signature[:-2]}AA",
    ):
        person.token = changed
        assert person.send() == EXPIRED


@pytest.mark.parametrize(
    ("after", "answer"),
    [
        pytest.param(timedelta(days=1), GRANTED, id="a day"),
        pytest.param(timedelta(hours=47), GRANTED, id="nearly two days"),
        pytest.param(timedelta(hours=49), EXPIRED, id="over two days"),
        pytest.param(timedelta(minutes=-4), GRANTED, id="a node behind"),
        pytest.param(timedelta(minutes=-6), EXPIRED, id="from the future"),
    ],
)
def test_a_form_is_good_for_two_days(
    wishing_app: Flask, after: timedelta, answer: tuple[int, str]
) -> None:
    with freeze_time(OPENED):
        person = Person(wishing_app)
    with freeze_time(OPENED + after):
        assert person.send() == answer


def test_a_form_outlives_a_change_of_the_key(person: Person) -> None:
    ground().keyring.rotate(forms.KEY_PURPOSE)

    assert person.send() == GRANTED


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        pytest.param({"Sec-Fetch-Site": "same-origin"}, GRANTED, id="our page"),
        pytest.param(
            {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
            GRANTED,
            id="our page, which sends no referrer",
        ),
        pytest.param({"Sec-Fetch-Site": "none"}, GRANTED, id="a tab brought back"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, ELSEWHERE, id="another site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, ELSEWHERE, id="a sister host"),
        pytest.param({"Origin": HERE}, GRANTED, id="an old browser"),
        pytest.param({"Origin": "null"}, GRANTED, id="an old browser, silent"),
        pytest.param({"Origin": "https://evil.example"}, ELSEWHERE, id="elsewhere"),
        pytest.param({"Origin": "https://localhost"}, ELSEWHERE, id="another port"),
        pytest.param({"Origin": "https://["}, ELSEWHERE, id="no address"),
    ],
)
def test_a_form_of_another_site_is_refused(
    person: Person, headers: dict[str, str], answer: tuple[int, str]
) -> None:
    assert person.send(headers=headers) == answer


def test_a_proxy_that_hides_the_hosts_name_does_not_lock_people_out(
    wishing_app: Flask, person: Person
) -> None:
    cookie = person.cookie.partition(";")[0]
    person.client = wishing_app.test_client(use_cookies=False)
    passed_on = {"Host": "backend", "Cookie": cookie, "Origin": PUBLIC}

    assert person.send(headers=passed_on) == GRANTED
    assert person.send(headers=passed_on | {"Origin": HERE}) == ELSEWHERE


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        pytest.param(b"wish=sun&wish=rain", (400, "invalid-request"), id="twice"),
        pytest.param(b"wish=%00", (400, "invalid-request"), id="NUL"),
        pytest.param(b"wish=%ff", (400, "invalid-request"), id="no UTF-8"),
        pytest.param(b"wish=\xff", (400, "invalid-request"), id="no ASCII"),
        pytest.param(b"&".join([b"a=b"] * 33), (400, "invalid-request"), id="many"),
        pytest.param(b"wish=" + b"a" * 8192, (413, "request-too-large"), id="large"),
        pytest.param(b"", EXPIRED, id="empty"),
    ],
)
def test_a_form_that_no_browser_would_send_is_refused(
    person: Person, body: bytes, answer: tuple[int, str]
) -> None:
    assert person.send(body) == answer


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", ""])
def test_another_media_type_is_refused(person: Person, media_type: str) -> None:
    refused = person.send(content_type=media_type)

    assert refused == (415, "unsupported-media-type")


def test_fields_that_we_do_not_know_are_ignored(person: Person) -> None:
    data = {"wish": "ra in+é", "form_token": person.token, "utm": "x"}

    assert person.send(data) == (200, "granted: ra in+é")


def test_the_form_is_described(wishing_app: Flask) -> None:
    described = wishing_app.test_client().get("/openapi.json").get_json()
    body = described["paths"]["/wishes/{purpose}"]["post"]["requestBody"]

    assert list(body["content"]) == [forms.MEDIA_TYPE]
    assert re.search("wish", str(described["components"]["schemas"]["WishForm"]))
