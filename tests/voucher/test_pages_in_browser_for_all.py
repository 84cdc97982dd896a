# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: by keyboard, by ear, in any language, on any screen."""

import pytest
from browser import PHONE, Browser
from making import mistyped
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from stock import MINE

from voucher import codes

pytestmark = [
    pytest.mark.foreign("chromium"),
    pytest.mark.foreign("chromedriver"),
]


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_the_language_is_switched_before_and_after(
    browser: Browser, made: dict[str, str], *, script: bool
) -> None:
    browser.begin(language="fr", script=script)
    browser.open()
    assert browser.heading == "Utiliser un bon"
    browser.type("code", made["not-sold"])
    browser.type("serial_number", MINE)
    browser.leaves(browser.driver.find_element(By.LINK_TEXT, "Deutsch").click)
    assert browser.heading == "Voucher einlösen"
    # What was typed comes along where a script can carry it past the server.
    kept = (codes.shown(made["not-sold"]), MINE) if script else ("", "")
    assert (browser.value("code"), browser.value("serial_number")) == kept

    browser.redeem(made["not-sold"], MINE)
    assert browser.fault.startswith("Dieser Voucher ist noch nicht als verkauft")
    browser.press("English")
    assert browser.fault.startswith("This voucher has not been sold yet")
    assert browser.value("code") == codes.shown(made["not-sold"])

    browser.redeem(made["good"], MINE)
    code = browser.release_code
    browser.press("Français")
    assert browser.heading == "Ce bon a déjà été utilisé pour ce PBX"
    assert browser.release_code == code


def test_everything_is_reached_by_keyboard_in_the_order_of_reading(
    browser: Browser, made: dict[str, str]
) -> None:
    browser.open()
    keys = ActionChains(browser.driver)
    passed = []
    for _ in range(8):
        keys.send_keys(Keys.TAB).perform()
        element = browser.driver.switch_to.active_element
        passed.append(element.get_attribute("id") or element.text)
        if browser.focused == "code":
            element.send_keys(made["good"])
        if browser.focused == "serial_number":
            element.send_keys(MINE)

    assert passed == [
        "Skip to content",
        "Deutsch",
        "English",
        "Français",
        "code",
        "serial_number",
        "Redeem voucher",
        "Buy a voucher",
    ]
    back = keys.key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT)
    browser.leaves(back.send_keys(Keys.SPACE).perform)
    assert browser.release_code


def test_a_screen_reader_is_told_what_is_wrong_where(browser: Browser) -> None:
    browser.open()
    browser.redeem("abc", "")
    fields = browser.accessible("textbox")

    assert [each["name"] for each in fields] == [
        "Voucher code",
        "Serial number of the PBX",
    ]
    assert [each["invalid"] for each in fields] == ["true", "true"]
    assert all(each["required"] for each in fields)
    assert fields[0]["description"].startswith("Symbols are missing: 17 of 20.")
    assert fields[1]["description"].startswith("Enter the serial number.")
    assert browser.accessible("alert")


def test_a_screen_reader_spells_the_release_code(
    browser: Browser, made: dict[str, str]
) -> None:
    browser.open()
    browser.redeem(made["good"], MINE)
    spelt = ", ".join(" ".join(group) for group in browser.release_code.split())

    said = [each["name"] for each in browser.accessible("StaticText")]
    assert spelt in said
    assert not [each for each in said if each in browser.release_code.split()]
    levels = [int(each.tag_name[1]) for each in browser.all("h1, h2, h3")]
    assert levels == [1, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("language", ["de", "en", "fr"])
def test_nothing_is_cut_off_on_the_smallest_screen_or_at_double_size(
    browser: Browser, made: dict[str, str], language: str
) -> None:
    for size, larger in ((320, False), (640, True)):
        browser.begin(language=language, size=(size, 700))
        for code in ("", mistyped(made["good"]), made["a-year"]):
            browser.open()
            if code:
                browser.redeem(code, MINE)
            if larger:
                browser.ask("document.documentElement.style.fontSize = '200%'")
            width = browser.ask("return document.documentElement.scrollWidth")
            assert width <= size, (code, size)


def test_buttons_and_links_are_as_large_as_a_thumb(
    browser: Browser, made: dict[str, str]
) -> None:
    browser.begin(size=PHONE)
    browser.open()
    browser.redeem(made["good"], MINE)
    for button in browser.all("button"):
        assert button.size["height"] >= 40, button.text
