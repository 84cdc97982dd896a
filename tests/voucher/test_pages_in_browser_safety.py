# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: what neither servers nor other sites can get at."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser import Browser
from selenium.webdriver.common.by import By
from stock import MINE, OTHERS, SHOP, UNKNOWN, Stock

from voucher import codes

pytestmark = [
    pytest.mark.foreign("chromium"),
    pytest.mark.foreign("chromedriver"),
]


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
