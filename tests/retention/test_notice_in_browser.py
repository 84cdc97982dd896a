# SPDX-License-Identifier: Apache-2.0
"""The privacy notice in a real browser: read, opened, switched, printed."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from browser import PHONE, Browser, opened
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from service import Service

from fleet.web.languages import Language
from retention.notice import words
from retention.policies import load

pytestmark = [
    pytest.mark.foreign("chromium"),
    pytest.mark.foreign("chromedriver"),
]

RECORDS = "access-records"


@pytest.fixture(scope="module")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser before the service as an operator runs it."""
    service = Service(tmp_path_factory.mktemp("notice"), PBX_SERVER_LOCATION="Germany")
    with service, opened(tmp_path_factory.mktemp("browser"), service.url) as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """A browser of somebody new, who is sent nowhere else and told of no fault."""
    one_browser.begin()
    yield one_browser
    assert all(each.startswith(one_browser.url) for each in one_browser.requests())
    assert one_browser.complaints() == []


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_group_is_opened_and_read(browser: Browser, *, script: bool) -> None:
    browser.begin(script=script)
    browser.open("/retention/")
    contents = load()[RECORDS].contents[Language.ENGLISH]
    group = browser.at(RECORDS)
    assert contents not in group.text

    group.find_element(By.TAG_NAME, "summary").click()

    assert contents in group.text
    assert "at most 14 days (336 hours)" in group.text


def test_a_group_is_opened_by_keyboard(browser: Browser) -> None:
    browser.open("/retention/")
    group = browser.at(RECORDS)

    group.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)

    assert group.get_attribute("open")


def test_the_language_is_switched(browser: Browser) -> None:
    browser.begin(language="fr")
    browser.open("/retention/")
    assert browser.heading == words()[Language.FRENCH]["title"]

    browser.leaves(browser.driver.find_element(By.LINK_TEXT, "Deutsch").click)

    assert browser.heading == words()[Language.GERMAN]["title"]


def test_whoever_redeems_a_voucher_finds_it(browser: Browser) -> None:
    browser.begin(language="de")
    browser.open()
    browser.leaves(browser.driver.find_element(By.LINK_TEXT, "Datenschutz").click)

    assert browser.heading == "Datenschutz"
    assert "Germany" in browser.at("responsible").text


@pytest.mark.parametrize("language", [each.value for each in Language])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_cut_off_on_a_phone(
    browser: Browser, language: str, *, dark: bool
) -> None:
    browser.begin(language=language, size=PHONE, dark=dark)
    browser.open("/retention/")
    browser.ask("document.querySelectorAll('details').forEach(d => d.open = true)")

    wide = browser.ask("return document.documentElement.scrollWidth")
    assert wide <= PHONE[0]
    small = browser.ask(
        "return [...document.querySelectorAll('summary')]"
        ".filter(s => s.getBoundingClientRect().height < 44).length"
    )
    assert small == 0


def test_headings_go_down_one_step_at_a_time(browser: Browser) -> None:
    browser.open("/retention/")
    levels = [int(each.tag_name[1]) for each in browser.all("h1, h2, h3")]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_on_paper_every_group_is_open(browser: Browser) -> None:
    browser.open("/retention/")
    closed = browser.ask("return document.documentElement.scrollHeight")
    browser.on_paper()

    shown = browser.ask("return document.documentElement.scrollHeight")
    assert shown > 2 * closed
