# SPDX-License-Identifier: Apache-2.0
"""Who most tests of the Voucher Center need, and the time at which they begin."""

from collections.abc import Iterator

import pytest
import visiting
from browser import Browser, opened
from desk import Desk, Person
from flask import Flask
from freezegun import freeze_time
from make import TestPbx, make_device
from making import BIRTH, make_pbx
from redeeming import OTHER
from stock import Stock, stocked
from visiting import MINE, OTHERS


@pytest.fixture
def at_birth() -> Iterator[None]:
    """Let the clock stand still, unless a test moves it."""
    with freeze_time(BIRTH):
        yield


@pytest.fixture
def pbx(proxied_app: Flask) -> TestPbx:
    """A PBX that has its certificate."""
    with freeze_time(BIRTH):
        return make_pbx(proxied_app)


@pytest.fixture
def anna(proxied_app: Flask, pbx: TestPbx) -> Person:  # noqa: ARG001 -- there first
    """Somebody of support."""
    with freeze_time(BIRTH):
        return Desk(proxied_app).person()


@pytest.fixture
def two_pbxs(app: Flask) -> None:  # noqa: ARG001 -- where they are made
    """Two of the factory list, for what asks services and not routes."""
    make_device()
    make_device(OTHER)


@pytest.fixture
def person(app: Flask) -> visiting.Person:
    """Somebody who has opened the page, before two PBXs."""
    make_device(MINE)
    make_device(OTHERS)
    return visiting.Person(app)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    """The service as operators run it, and what is sold there."""
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
    """A browser that is started once."""
    with opened(tmp_path_factory.mktemp("browser"), stock.service.url) as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """A browser of somebody new; nothing was asked of any other host at the end."""
    one_browser.begin()
    yield one_browser
    for address in one_browser.requests():
        assert address.startswith((one_browser.url, "http://stranger.localhost:"))
