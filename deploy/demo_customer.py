# SPDX-License-Identifier: Apache-2.0
"""The customer of the demo: redeems a voucher in a browser, without the PBX."""

import http.cookiejar
import re
import ssl
import urllib.parse
import urllib.request

FORM_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')
RELEASE_CODE = re.compile(r"\b(?:[0-9A-Z]{5}-){4}[0-9A-Z]{5}\b")


def redeem(url: str, code: str, serial_number: str, *, trust: ssl.SSLContext) -> str:
    """Fill in the form at ``url``; return the release code on the page that comes.

    Raises ``ValueError`` where there is none, ``OSError`` where the page refuses.
    """
    browser = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=trust),
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
    )
    with browser.open(url) as page:
        token = _found(FORM_TOKEN, page.read().decode())[1]
    form = {"form_token": token, "code": code, "serial_number": serial_number}
    with browser.open(url, urllib.parse.urlencode(form).encode()) as page:
        return _found(RELEASE_CODE, page.read().decode())[0]


def _found(pattern: re.Pattern[str], page: str) -> re.Match[str]:
    found = pattern.search(page)
    if found is None:
        raise ValueError("the page is not what was expected")
    return found
