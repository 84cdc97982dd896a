# SPDX-License-Identifier: Apache-2.0
"""The privacy notice: the registry, told to people."""

import re
import tomllib
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner

from fleet.ground import ground
from fleet.settings import Settings
from fleet.web.languages import Language
from retention.cli import retention
from retention.notice import WORDS, markdown, notice, words
from retention.policies import load

LANGUAGES = list(Language)
GDPR = [
    "6",
    "7",
    "11",
    "12",
    "15",
    "16",
    "17",
    "18",
    "19",
    "20",
    "21",
    "22",
    "28",
    "77",
]
DATA_ACT = ["3", "4", "5", "38"]


def page(client: FlaskClient, path: str = "/retention/", accept: str = "en") -> str:
    answer = client.get(path, headers={"Accept-Language": accept})
    assert answer.status_code == 200
    return unescape(answer.text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_category_is_told(client: FlaskClient, language: Language) -> None:
    text = page(client, f"/retention/?lang={language.value}")

    assert f'<html lang="{language.value}">' in text
    for each in load():
        assert each.title[language] in text
        assert each.contents[language] in text
        assert each.purpose[language] in text
        assert each.erasure_why.says[language] in text
        assert load().duration(each, language) in text
        assert all(term.says[language] in text for term in each.basis)
        assert all(term.says[language] in text for term in each.recipients)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_right_is_named_with_its_article(language: Language) -> None:
    text = markdown(notice(Settings(), language))
    rights = text.partition(words()[language]["data_act"])[0]

    named = set(re.findall(r"[Aa]rt\. (\d+)", text))
    assert set(GDPR) | set(DATA_ACT) <= named
    for article in ("15", "16", "17", "18", "19", "20", "21", "77"):
        assert re.search(rf"[Aa]rt\. {article}\b", rights), article


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_right_to_object_stands_by_itself_before_the_rest(
    client: FlaskClient, language: Language
) -> None:
    """Article 21 (4): clearly, and apart from any other information."""
    text = page(client, f"/retention/?lang={language.value}")
    own = text.index('<section id="object" class="notable"')

    assert own < text.index('<section id="rights"')
    assert own < text.index('<section id="stored"')


def test_what_only_the_operator_knows_is_in_brackets_until_it_is_set(
    app: Flask, client: FlaskClient
) -> None:
    said = {
        "controller": "Example Telephony GmbH, Example Street 1, 12345 Example",
        "privacy_contact": "privacy@example.com",
        "supervisory_authority": "The authority of Example & <Sons>",
        "server_location": "Germany",
    }
    before = page(client)
    for name in said:
        assert f"[to be filled in by the operator: PBX_{name.upper()}]" in before
    for name, value in said.items():
        object.__setattr__(ground().settings, name, value)

    answer = app.test_client().get("/retention/", headers={"Accept-Language": "en"})

    assert "to be filled in" not in answer.text
    assert "Example & <Sons>" not in answer.text
    for value in said.values():
        assert value in unescape(answer.text)


def test_the_page_is_safe_and_loads_nothing_of_others(client: FlaskClient) -> None:
    answer = client.get("/retention/")

    assert "script" not in answer.text
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "Set-Cookie" not in answer.headers
    loaded = re.findall(r'<(?:link|img)[^>]* (?:href|src)="([^"]+)"', answer.text)
    assert loaded
    for address in loaded:
        assert client.get(unescape(address)).status_code == 200
        assert address.startswith("/")
    assert 'style="' not in answer.text


def test_there_is_no_other_file_of_the_page(client: FlaskClient) -> None:
    assert client.get("/retention/assets/notice.css").status_code == 200
    assert client.get("/retention/assets/notice.toml").status_code == 404


@pytest.mark.parametrize(
    "path", ["/voucher/", "/problems/", "/problems/invalid-request"]
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_for_people_leads_there(
    client: FlaskClient, path: str, language: Language
) -> None:
    text = page(client, f"{path}?lang={language.value}")
    [link] = re.findall(r"<footer>\s*<p[^>]*><a href=\"([^\"]+)\">", text)

    assert link == f"/retention/?lang={language.value}"
    assert words()[language]["title"] in page(client, link)


def test_a_language_that_we_do_not_speak_gets_another(client: FlaskClient) -> None:
    assert '<html lang="fr">' in page(client, "/retention/?lang=xx", "fr")
    assert '<html lang="en">' in page(client, "/retention/", "ja")


# --- by hand ------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_operator_prints_it_as_markdown(
    runner: FlaskCliRunner, language: Language
) -> None:
    done = runner.invoke(retention, ["notice", "--language", language.value])

    assert done.exit_code == 0
    assert done.output.startswith(f"# {words()[language]['title']}\n")
    lines = done.output.splitlines()
    assert sum(line.startswith("#### ") for line in lines) == len(load().categories)
    assert not re.search(r"(?<!\\)[\[\]<>`]", done.output)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_operator_prints_it_as_a_page_of_its_own(
    runner: FlaskCliRunner, language: Language
) -> None:
    words_ = ["notice", "--language", language.value, "--format", "html"]
    done = runner.invoke(retention, words_)

    assert done.exit_code == 0
    assert done.output.startswith("<!doctype html>")
    assert f'<html lang="{language.value}">' in done.output
    assert "<link" not in done.output
    assert "src=" not in done.output
    assert done.output.count("<details") == len(load().categories)
    # The style sheet is style, not text that was made harmless.
    assert "&#34;" not in done.output.partition("</style>")[0]


def test_what_an_operator_sets_cannot_be_markup_in_markdown() -> None:
    settings = Settings(controller="A*B* <script> [x](http://example.com) `c`")

    text = markdown(notice(settings, Language.ENGLISH))

    assert r"A\*B\* \<script\> \[x\](http://example.com) \`c\`" in text


# --- the words ----------------------------------------------------------------------


def shape(said: Any) -> Any:
    if isinstance(said, dict):
        return {key: shape(each) for key, each in said.items()}
    return len(said) if isinstance(said, list) else type(said).__name__


def test_the_words_are_complete_in_every_language() -> None:
    said = tomllib.loads(WORDS.read_text("utf-8"))

    assert list(said) == [each.value for each in (Language.GERMAN, *LANGUAGES[1:])]
    assert shape(said["de"]) == shape(said["en"]) == shape(said["fr"])


def test_no_word_is_left_that_nothing_says() -> None:
    told = {each: markdown(notice(Settings(), each)) for each in Language}
    for language, said in words().items():
        for key, text in said.items():
            some = text if isinstance(text, list) else [text]
            if key not in {"facts", "volume", "to_fill_in"}:
                for each in some:
                    assert re.sub(r"([\[\]<>_*`#|])", r"\\\1", each) in told[language]
