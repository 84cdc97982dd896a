# SPDX-License-Identifier: Apache-2.0
"""A real browser, without a window, that knows no host but this machine.

Debian's chromium, driven by its chromedriver: a person who looks, types and
clicks. One browser serves many tests; what a test changed of it is forgotten.
"""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from programs import path_of
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

SECONDS = 10.0
PHONE = (360, 740)
DESKTOP = (1200, 900)

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--ignore-certificate-errors",
    # Whatever else it would ask for is not found.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost",
)


class Browser:
    """A browser with one tab, in which a person redeems a voucher."""

    def __init__(self, driver: Chrome, url: str) -> None:
        """Look at the service at ``url``."""
        self.driver = driver
        self.url = url

    def begin(
        self,
        *,
        language: str = "en",
        script: bool = True,
        dark: bool = False,
        size: tuple[int, int] = DESKTOP,
    ) -> None:
        """Be somebody new, with a language, a taste and a screen of their own."""
        self.driver.get("about:blank")
        self._tell("Network.enable")
        self._tell("Network.clearBrowserCookies")
        self._tell(
            "Network.setUserAgentOverride",
            userAgent=self.driver.execute_script("return navigator.userAgent"),
            acceptLanguage=language,
        )
        self._tell("Emulation.setScriptExecutionDisabled", value=not script)
        scheme = "dark" if dark else "light"
        self._tell(
            "Emulation.setEmulatedMedia",
            media="",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self._tell(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=size == PHONE,
        )
        self.requests()  # those of the person before are forgotten

    def open(self, path: str = "/voucher/") -> None:
        """Go to an address of the service."""
        self.driver.get(self.url + path)

    def redeem(self, code: str, serial_number: str) -> None:
        """Fill the form in, and send it with the return key."""
        self.type("code", code)
        self.type("serial_number", serial_number)
        self.leaves(lambda: self.at("serial_number").send_keys(Keys.ENTER))

    def type(self, field: str, text: str) -> None:
        """Put ``text`` into a field in the place of what is in it."""
        element = self.at(field)
        element.clear()
        element.send_keys(text)

    def press(self, words: str) -> None:
        """Click the button with these words, which leads to another page."""
        self.leaves(self.button(words).click)

    def leaves(self, act: Any) -> None:
        """Do something, and wait for the page that it leads to."""
        before = self.driver.find_element(By.TAG_NAME, "html")
        act()
        WebDriverWait(self.driver, SECONDS, 0.02).until(
            lambda driver: driver.find_element(By.TAG_NAME, "html") != before
        )

    def at(self, identifier: str) -> WebElement:
        """Return the element with this id."""
        return self.driver.find_element(By.ID, identifier)

    def all(self, selector: str) -> list[WebElement]:
        """Return the elements that a CSS selector finds."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def button(self, words: str) -> WebElement:
        """Return the button with these words."""
        found = [each for each in self.all("button") if each.text == words]
        assert len(found) == 1, [each.text for each in self.all("button")]
        return found[0]

    def value(self, field: str) -> str:
        """Return what stands in a field."""
        return self.at(field).get_property("value") or ""  # type: ignore[return-value] # of a text field

    @property
    def heading(self) -> str:
        """The heading of the page."""
        return self.driver.find_element(By.TAG_NAME, "h1").text

    @property
    def fault(self) -> str:
        """What the page says has gone wrong; "" where nothing has."""
        return " ".join(each.text for each in self.all("[role=alert]"))

    @property
    def focused(self) -> str:
        """The id of the element that has the focus."""
        return self.driver.switch_to.active_element.get_attribute("id") or ""

    @property
    def release_code(self) -> str:
        """The release code that a person reads, or "" where there is none."""
        return "".join(each.text for each in self.all("#release-code"))

    def wait_for(self, condition: Any) -> None:
        """Wait until ``condition()`` is true."""
        WebDriverWait(self.driver, SECONDS, 0.02).until(lambda _: condition())

    def requests(self) -> list[str]:
        """Return what was asked for since the last time, data addresses left out."""
        return [each["url"] for each in self._asked()]

    def sent(self) -> list[str]:
        """Return the methods of what was asked for since the last time."""
        return [each["method"] for each in self._asked()]

    def ask(self, script: str) -> Any:
        """Run a script in the page, as its developer would at the console."""
        return self.driver.execute_script(script)

    def complaints(self) -> list[str]:
        """Return what the browser has to say of a page's policy and script."""
        found = self.driver.get_log("browser")  # type: ignore[no-untyped-call] # of the library
        return [each["message"] for each in found if each["source"] != "network"]

    def may_read_the_clipboard(self) -> None:
        """Allow the page what a person at a keyboard may do anyway."""
        self._tell(
            "Browser.grantPermissions",
            permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
        )

    def on_paper(self) -> None:
        """Look at the page as it would be printed."""
        self._tell("Emulation.setEmulatedMedia", media="print", features=[])

    def accessible(self, role: str) -> list[dict[str, Any]]:
        """Return what a screen reader gets to know of the elements of a role."""
        nodes = self._tell("Accessibility.getFullAXTree")["nodes"]
        return [
            {
                "name": node.get("name", {}).get("value", ""),
                "description": node.get("description", {}).get("value", ""),
            }
            | {each["name"]: each["value"]["value"] for each in _plain(node)}
            for node in nodes
            if not node["ignored"] and node["role"]["value"] == role
        ]

    def picture(self, path: Path) -> None:
        """Keep a picture of the whole page, for somebody to look at."""
        path.parent.mkdir(parents=True, exist_ok=True)
        shot = self._tell("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _asked(self) -> list[dict[str, str]]:
        asked = []
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call] # of the library
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.append(message["params"]["request"])
        return [each for each in asked if not each["url"].startswith("data:")]

    def _tell(self, command: str, **parameters: object) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)


def _plain(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in node.get("properties", ()) if "value" in each["value"]]


@contextmanager
def opened(folder: Path, url: str) -> Iterator[Browser]:
    """Start a browser whose whole memory is in ``folder``; it ends with the block."""
    options = ChromeOptions()
    options.binary_location = path_of("chromium")
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability(
        "goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"}
    )
    service = ChromeService(
        executable_path=path_of("chromedriver"),
        log_output=str(folder / "chromedriver.log"),
        env=os.environ | {"HOME": str(folder)},
    )
    driver = Chrome(options=options, service=service)
    try:
        driver.set_page_load_timeout(SECONDS)
        yield Browser(driver, url)
    finally:
        driver.quit()
