# SPDX-License-Identifier: Apache-2.0
"""Somebody visits the page on which vouchers are redeemed, and reads what it says."""

import html
import re
from datetime import UTC, datetime

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

HERE = "https://localhost:8443"
MINE, OTHERS = "CX1000000001", "CX1000000002"
NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


class Person:
    """Somebody with a browser and no script, who has opened the page."""

    def __init__(self, app: Flask, language: str = "en", address: str = "") -> None:
        self.client: FlaskClient = app.test_client()
        self.language = language
        self.place = {"REMOTE_ADDR": address or "192.0.2.7"}
        self.page = self.open()

    def open(self, path: str = "/voucher/") -> TestResponse:
        return self.see(
            self.client.get(
                path,
                base_url=HERE,
                headers={"Accept-Language": self.language},
                environ_overrides=self.place,
            )
        )

    def send(self, address: str = "", **fields: str) -> TestResponse:
        """Send the form of the page that is open, with ``fields`` typed in."""
        form = re.search(r'id="redeem" method="post" action="([^"]+)"', self.page.text)
        data = {"form_token": self.token} | fields
        return self.see(
            self.client.post(
                address or (form[1] if form else "/voucher/"),
                base_url=HERE,
                headers={"Accept-Language": self.language},
                environ_overrides=self.place,
                data=data,
            )
        )

    def redeem(self, code: str, serial_number: str = MINE) -> TestResponse:
        return self.send(code=code, serial_number=serial_number)

    def see(self, answer: TestResponse) -> TestResponse:
        self.page = answer
        return answer

    @property
    def token(self) -> str:
        found = re.search('name="form_token" value="([^"]+)"', self.page.text)
        return found[1] if found else ""


def headings(answer: TestResponse) -> list[str]:
    found = re.findall(r"<h[12][^>]*>(.*?)</h[12]>", answer.text, re.DOTALL)
    return [html.unescape(each) for each in found]


def typed(answer: TestResponse) -> dict[str, str]:
    """Return what stands in the two fields that a person sees."""
    found = re.findall(
        r'id="(\w+)" name="\w+" type="text" value="([^"]*)"', answer.text
    )
    return {name: html.unescape(value) for name, value in found}


def release_code(answer: TestResponse) -> str:
    found = re.search(r'id="release-code"[^>]*>(.*?)</p>', answer.text, re.DOTALL)
    return re.sub(r"<[^>]+>|\s", "", found[1]) if found else ""
