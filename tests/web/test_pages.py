# SPDX-License-Identifier: Apache-2.0
"""What people see: problem pages in three languages, and the description."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask

from fleet.web.languages import Language
from fleet.web.problem_pages import COMMON, PagesFault, Problems
from fleet.web.routes import Web

PAGE = "/problems/device-not-recognised"


@pytest.mark.parametrize(
    ("accepted", "asked", "language", "said"),
    [
        pytest.param("de-CH, en;q=0.5", "", "de", "Telefonanlage", id="a region"),
        pytest.param("fr", "", "fr", "reconnu", id="French"),
        pytest.param("ja", "", "en", "recognised", id="one that we do not speak"),
        pytest.param("", "", "en", "recognised", id="none"),
        pytest.param("de;q=0", "", "en", "recognised", id="one that is refused"),
        pytest.param("fr", "de", "de", "Telefonanlage", id="switched by hand"),
        pytest.param("fr", "xx", "fr", "reconnu", id="switched to nothing known"),
    ],
)
def test_the_page_is_in_the_language_that_is_wanted(
    small_app: Flask, accepted: str, asked: str, language: str, said: str
) -> None:
    answer = small_app.test_client().get(
        PAGE,
        query_string={"lang": asked} if asked else {},
        headers={"Accept-Language": accepted, "Accept": "text/html"},
    )

    assert answer.status_code == 200
    assert f'<html lang="{language}">' in answer.text
    assert said in answer.text
    assert answer.headers["Content-Language"] == language
    assert {"accept", "accept-language"} <= {each.lower() for each in answer.vary}


def test_the_page_switches_languages_and_needs_no_script(small_app: Flask) -> None:
    answer = small_app.test_client().get(PAGE)

    for language in Language:
        assert f'href="?lang={language.value}"' in answer.text
    assert "<script" not in answer.text
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_the_same_is_told_in_json(small_app: Flask) -> None:
    answer = small_app.test_client().get(
        f"{PAGE}?lang=de", headers={"Accept": "application/json"}
    )

    assert answer.json is not None
    assert set(answer.json) == {"code", "language", "title", "happened", "do"}
    assert answer.json["title"] == "Die Telefonanlage wird nicht erkannt"


def test_an_unknown_code_has_a_page_that_says_so(small_app: Flask) -> None:
    client = small_app.test_client()

    page = client.get("/problems/%3Cscript%3E?lang=fr")
    data = client.get("/problems/nothing", headers={"Accept": "application/json"})

    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "a rien ici</h1>" in page.text
    assert "<script" not in page.text
    assert (data.status_code, data.mimetype) == (404, "application/problem+json")


def test_all_pages_are_listed(small_app: Flask) -> None:
    client = small_app.test_client()

    page = client.get("/problems/?lang=en")
    data = client.get("/problems/", headers={"Accept": "application/json"})

    assert data.json is not None
    codes = [each["code"] for each in data.json["items"]]
    assert "tea-is-sold" in codes
    assert codes == sorted(codes)
    for code in codes:
        assert f'href="/problems/{code}?lang=en"' in page.text


def test_a_rooms_own_problems_are_explained_in_paragraphs(small_app: Flask) -> None:
    answer = small_app.test_client().get("/problems/tea-is-sold")

    assert "<p>Drink water.</p>" in answer.text
    assert "<p>Or coffee.</p>" in answer.text


class _Loads(HTMLParser):
    """Collects what a browser would load for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = "href" if tag == "link" else "src"
        if tag in {"link", "script", "img"} and given.get(name):
            self.found.append(str(given[name]))


@pytest.mark.parametrize("path", ["/docs", PAGE, "/problems/"])
def test_a_page_loads_nothing_from_elsewhere(small_app: Flask, path: str) -> None:
    client = small_app.test_client()
    page = client.get(path)
    reader = _Loads()
    reader.feed(page.text)

    assert reader.found
    for address in reader.found:
        assert address.startswith("/")
        asset = client.get(address)
        assert asset.status_code == 200
        assert "max-age=31536000" in asset.headers["Cache-Control"]
    assert not re.search(r"https?://|unsafe", page.headers["Content-Security-Policy"])


def test_the_description_is_shown_without_inline_script(small_app: Flask) -> None:
    client = small_app.test_client()
    page = client.get("/docs")

    assert not re.search(r"<script(?![^>]* src=)", page.text)
    assert "validatorUrl: null" in client.get("/docs/docs.js").text
    assert client.get("/docs/index.html").status_code == 404
    assert client.get("/docs/..%2fdocs.py").status_code == 404


def test_every_common_code_is_explained() -> None:
    problems = Problems.load([COMMON])

    assert {"service-busy", "malformed-request"} <= set(problems.pages)
    for texts in problems.pages.values():
        assert len({page.title for page in texts.values()}) == len(Language)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param('[a.en]\ntitle="t"\nhappened="h"\ndo="d"', "german", id="one"),
        pytest.param(
            "".join(
                f'[a.{each}]\ntitle="t"\nhappened=" "\ndo="d"\n'
                for each in ("de", "en", "fr")
            ),
            "happened",
            id="blank",
        ),
        pytest.param(
            "".join(
                f'[a.{each}]\ntitle="t"\nhappened="h"\ndo="d"\ndoo="d"\n'
                for each in ("de", "en", "fr")
            ),
            "more than",
            id="a slip of the pen",
        ),
    ],
)
def test_incomplete_texts_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "problems.toml"
    path.write_text(text, "utf-8")

    with pytest.raises(PagesFault, match=fault):
        Problems.load([path])


def test_every_refusal_of_the_whole_service_is_explained(app: Flask) -> None:
    web: Web = app.extensions["web"]

    assert set(web.problems.unexplained()) <= {"tea-is-sold"}  # of these tests


def test_a_code_is_explained_once() -> None:
    with pytest.raises(PagesFault, match="twice"):
        Problems.load([COMMON, COMMON])
