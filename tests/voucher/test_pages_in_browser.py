# SPDX-License-Identifier: Apache-2.0
"""A person redeems vouchers in a real browser, at the service as operators run it."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import PHONE, Browser, opened
from programs import path_of
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from stock import BLOCKED, FULL, MINE, OTHERS, SHOP, UNKNOWN, Stock, stocked

from voucher import codes

pytestmark = [
    pytest.mark.foreign("chromium"),
    pytest.mark.foreign("chromedriver"),
]

DONE, DONE_AGAIN = (
    "The voucher is redeemed",
    "This voucher is redeemed for this PBX already",
)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    with stocked(tmp_path_factory.mktemp("stock")) as stock:
        yield stock


@pytest.fixture(scope="module")
def made(stock: Stock) -> dict[str, str]:
    """Codes, by what is the matter with them."""
    return stock.make()


@pytest.fixture(scope="module")
def one_browser(
    stock: Stock, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("browser"), stock.service.url) as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """A browser of somebody new; nothing was asked of any other host at the end."""
    one_browser.begin()
    yield one_browser
    for address in one_browser.requests():
        assert address.startswith((one_browser.url, "http://stranger.localhost:"))


def mistyped(code: str) -> str:
    return code[:7] + ("3" if code[7] != "3" else "4") + code[8:]


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


# --- language, keyboard, screen reader, small screens ---------------------------


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


# --- safety -------------------------------------------------------------------


def test_the_qr_code_of_a_card_fills_the_form_and_tells_no_server(
    browser: Browser, made: dict[str, str], stock: Stock
) -> None:
    code = made["spare"]
    browser.open(f"/voucher/#{codes.shown(code)}")

    assert browser.value("code") == codes.shown(code)
    assert browser.driver.current_url == f"{browser.url}/voucher/"
    assert browser.focused == "serial_number"
    assert browser.at("filled-in").is_displayed()

    # Another card, scanned in the same tab.
    browser.ask(f"location.hash = '{made['good']}'")
    browser.wait_for(lambda: browser.value("code") == codes.shown(made["good"]))
    assert browser.driver.current_url == f"{browser.url}/voucher/"

    asked = browser.requests()
    assert asked
    assert not [each for each in asked if code[:5] in each.partition("#")[0]]
    assert code[:5] not in stock.service.logged()


def test_a_pasted_address_of_a_card_is_read_as_its_code(
    browser: Browser, made: dict[str, str]
) -> None:
    browser.open()
    browser.type("code", f"{browser.url}/voucher/#{made['good']}")
    browser.type("serial_number", MINE)

    assert browser.value("code") == codes.shown(made["good"])


def test_without_script_the_qr_code_of_a_card_leads_to_the_form(
    browser: Browser, made: dict[str, str]
) -> None:
    browser.begin(script=False)
    browser.open(f"/voucher/#{made['good']}")
    browser.redeem(made["good"], MINE)

    assert browser.release_code
    assert made["good"] not in browser.driver.current_url


FORGERY = """<!doctype html><title>Free cake</title>
<form method="post" action="{url}/voucher/">
<input name="code" value="{code}"><input name="serial_number" value="{serial}">
<input name="form_token" value="{token}"><button id="bait">Free cake</button></form>
<iframe src="{url}/voucher/"></iframe>"""


@pytest.fixture
def stranger(browser: Browser, made: dict[str, str]) -> Iterator[str]:
    """The address of a page that would like to send our form."""
    browser.open()
    [hidden, *_] = browser.all("input[name=form_token]")
    page = FORGERY.format(
        url=browser.url,
        code=made["spare"],
        serial=OTHERS,
        token=hidden.get_property("value"),
    ).encode()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://stranger.localhost:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_another_site_cannot_redeem_in_ones_name_even_with_a_good_token(
    browser: Browser, made: dict[str, str], stranger: str
) -> None:
    browser.driver.get(stranger)
    browser.leaves(browser.at("bait").click)

    assert browser.driver.current_url.startswith(f"{browser.url}/voucher/")
    assert browser.fault.startswith("This form was sent from another site")
    assert (browser.value("code"), browser.value("serial_number")) == ("", "")
    browser.redeem(made["spare"], UNKNOWN)  # it was not redeemed meanwhile
    assert browser.fault.startswith("There is no PBX with this serial number")


def test_another_site_cannot_frame_the_form(browser: Browser, stranger: str) -> None:
    browser.driver.get(stranger)
    browser.driver.switch_to.frame(browser.all("iframe")[0])

    assert not browser.all("#redeem")
    browser.driver.switch_to.default_content()


def test_the_browser_has_nothing_to_complain_about(
    browser: Browser, made: dict[str, str]
) -> None:
    """No violation of the policy, no fault of the script; and a link to the shop."""
    browser.complaints()
    browser.open()
    assert (
        browser.driver.find_element(By.LINK_TEXT, "Buy a voucher").get_attribute("href")
        == SHOP
    )
    browser.redeem(made["good"], MINE)

    assert browser.complaints() == []
    # An inline script, which somebody might smuggle in, does not run.
    browser.ask(
        "const s = document.createElement('script'); s.textContent = 'window.x = 1';"
        "document.body.append(s)"
    )
    assert browser.ask("return window.x") is None
    assert browser.complaints()
