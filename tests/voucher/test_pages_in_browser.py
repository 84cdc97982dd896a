# SPDX-License-Identifier: Apache-2.0
"""A person redeems vouchers in a real browser, at the service as operators run it."""

import subprocess
from pathlib import Path

import pytest
from browser import PHONE, Browser
from making import mistyped
from programs import path_of
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from stock import BLOCKED, FULL, MINE, OTHERS, UNKNOWN, Stock

from voucher import codes

pytestmark = [
    pytest.mark.foreign("chromium"),
    pytest.mark.foreign("chromedriver"),
]

DONE, DONE_AGAIN = (
    "The voucher is redeemed",
    "This voucher is redeemed for this PBX already",
)


# --- redeeming ----------------------------------------------------------------


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_person_redeems_a_voucher_on_a_phone(
    browser: Browser, made: dict[str, str], *, script: bool
) -> None:
    browser.begin(script=script, size=PHONE)
    browser.open()
    browser.redeem(made["one" if script else "two"], MINE)

    assert browser.heading == DONE
    assert browser.focused == "done"
    assert len("".join(browser.release_code.split())) == 25
    assert codes.mistake_in(browser.release_code, symbols=25) is None
    [picture] = browser.all("figure img")
    assert picture.get_property("naturalWidth")
    assert browser.at("copy").is_displayed() == script
    assert browser.at("print").is_displayed() == script


def test_the_release_code_is_copied_and_the_page_printed(
    browser: Browser, made: dict[str, str]
) -> None:
    browser.open()
    browser.redeem(made["good"], MINE)
    browser.may_read_the_clipboard()
    browser.button("Copy").click()

    browser.wait_for(lambda: browser.at("copied").text)
    assert browser.at("copied").text == "The release code is copied."
    copied = browser.ask("return navigator.clipboard.readText()")
    assert copied == "-".join(browser.release_code.split())

    browser.ask("window.print = () => { window.printed = true; }")
    browser.button("Print").click()
    assert browser.ask("return window.printed")


@pytest.mark.foreign("zbarimg")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_release_code_is_scanned_off_the_screen(
    browser: Browser, made: dict[str, str], tmp_path: Path, *, dark: bool
) -> None:
    browser.begin(size=PHONE, dark=dark)
    browser.open()
    browser.redeem(made["good"], MINE)
    photo = tmp_path / "photo.png"
    browser.picture(photo)

    command = [path_of("zbarimg"), "--quiet", "--raw", str(photo)]
    scanned = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert scanned.strip() == "-".join(browser.release_code.split())


def test_what_is_printed_has_the_code_and_no_buttons(
    browser: Browser, made: dict[str, str]
) -> None:
    browser.begin(dark=True)
    browser.open()
    browser.redeem(made["good"], MINE)
    browser.on_paper()

    for identifier in ("release-code", "release", "done"):
        assert browser.at(identifier).is_displayed()
    assert not [
        each for each in browser.all("button, nav, form") if each.is_displayed()
    ]
    paper = browser.ask("return getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_double_click_redeems_once(
    browser: Browser, made: dict[str, str], *, script: bool
) -> None:
    code = made["three" if script else "four"]
    browser.begin(script=script)
    browser.open()
    browser.type("code", code)
    browser.type("serial_number", MINE)
    twice = ActionChains(browser.driver).double_click(browser.button("Redeem voucher"))
    browser.leaves(twice.perform)
    browser.wait_for(lambda: browser.release_code)

    first = browser.release_code
    browser.open()
    browser.redeem(code, MINE)
    assert (browser.heading, browser.release_code) == (DONE_AGAIN, first)
    sent = [each for each in browser.sent() if each == "POST"]
    assert len(sent) <= (2 if script else 3)


def test_the_next_voucher_for_the_same_pbx_needs_only_its_code(
    browser: Browser, made: dict[str, str]
) -> None:
    browser.open()
    browser.redeem(made["good"], MINE)
    browser.press("Redeem another voucher for this PBX")

    assert (browser.value("code"), browser.value("serial_number")) == ("", MINE)
    assert not browser.fault


# --- refusals -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "serial_number", "title", "focused"),
    [
        ("mistyped", MINE, "The code is mistyped", "code"),
        ("good", "12", "The serial number cannot be right", "serial_number"),
        ("", "", "Something is still missing", "code"),
        ("no voucher", MINE, "There is no valid voucher with this code", "fault"),
        ("revoked", MINE, "There is no valid voucher with this code", "fault"),
        ("elsewhere", OTHERS, "This voucher was already redeemed", "fault"),
        ("not-sold", MINE, "This voucher has not been sold yet", "fault"),
        ("expired", MINE, "This voucher has expired", "fault"),
        ("foreign", MINE, "This voucher is for another type of PBX", "fault"),
        ("needs-more", MINE, "The PBX lacks a function", "fault"),
        ("feature-2", MINE, "It would change nothing on this PBX", "fault"),
        ("trial-2", MINE, "This PBX has had its trial", "fault"),
        ("spare", UNKNOWN, "There is no PBX with this serial number", "fault"),
        ("spare", BLOCKED, "Nothing can be redeemed for this PBX", "fault"),
        ("spare", FULL, "This PBX has used all its release codes", "fault"),
    ],
)
def test_each_refusal_is_told_and_gone_to(
    browser: Browser,
    made: dict[str, str],
    case: str,
    serial_number: str,
    title: str,
    focused: str,
) -> None:
    redeemed_before = {
        "elsewhere": made["a-year"],
        "feature-2": made["feature-1"],
        "trial-2": made["trial-1"],
    }
    if case in redeemed_before:
        browser.open()
        browser.redeem(redeemed_before[case], MINE)
    code = {
        "": "",
        "mistyped": mistyped(made["good"]),
        "no voucher": codes.draw(),
        "elsewhere": made["a-year"],
    }.get(case) or made.get(case, "")

    browser.open()
    browser.redeem(code, serial_number)

    assert browser.fault.startswith(title)
    assert browser.focused == focused
    assert browser.driver.title.startswith(f"Problem: {title}")
    assert browser.value("code") == codes.shown(code)
    assert browser.value("serial_number") == serial_number
    browser.leaves(
        browser.driver.find_element(By.LINK_TEXT, "More about this message").click
    )
    assert browser.driver.current_url.startswith(f"{browser.url}/problems/")
    assert browser.heading


def test_the_group_that_is_mistyped_is_selected(
    browser: Browser, made: dict[str, str]
) -> None:
    browser.open()
    browser.redeem(mistyped(made["good"]), MINE)

    selected = browser.ask("return getSelection().toString()")
    assert selected == codes.shown(mistyped(made["good"])).split("-")[1]
    assert "Look at group 2 of 4 again." in browser.fault


def test_who_tried_too_many_codes_is_told_when_to_come_back(
    browser: Browser, made: dict[str, str]
) -> None:
    browser.open()
    for _ in range(11):
        browser.redeem(codes.draw(), "CX5777777777")

    assert browser.fault.startswith("Too many codes that do not exist")
    assert "Come back in " in browser.fault
    browser.redeem(made["good"], MINE)  # another PBX is not concerned
    assert browser.release_code


def test_while_something_is_missing_here_the_form_can_be_sent_again(
    browser: Browser, made: dict[str, str], stock: Stock
) -> None:
    keys = stock.service.data_dir / "keys" / "release-master"
    browser.open()
    keys.rename(keys.with_name("gone"))
    try:
        browser.redeem(made["late"], MINE)
    finally:
        keys.with_name("gone").rename(keys)

    assert browser.fault.startswith("The service is busy")
    browser.press("Redeem voucher")
    assert browser.release_code
