# SPDX-License-Identifier: Apache-2.0
"""Whose request it is: tables of peers, headers and trust."""

from collections.abc import Callable

import pytest
from flask import Flask

from fleet.settings import Networks, Settings
from fleet.web.addresses import (
    client_address,
    client_is_known,
    client_of,
    peer_is_trusted,
)

PROXIES = Networks.of("10.0.0.0/8 ::1 unix")
NOBODY = Networks()


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "trusted", "client"),
    [
        pytest.param("192.0.2.7", "", NOBODY, "192.0.2.7", id="no proxy at all"),
        pytest.param("192.0.2.7", "1.2.3.4", NOBODY, "192.0.2.7", id="nobody trusted"),
        pytest.param("192.0.2.7", "1.2.3.4", PROXIES, "192.0.2.7", id="a stranger"),
        pytest.param("10.0.0.1", "1.2.3.4", PROXIES, "1.2.3.4", id="one proxy"),
        pytest.param("10.0.0.1", "6.6.6.6, 1.2.3.4", PROXIES, "1.2.3.4", id="a lie"),
        pytest.param("10.0.0.1", "1.2.3.4,10.0.0.2", PROXIES, "1.2.3.4", id="two"),
        pytest.param("10.0.0.1", "", PROXIES, "10.0.0.1", id="it names nobody"),
        pytest.param("10.0.0.1", "10.0.0.3, 10.0.0.2", PROXIES, "10.0.0.3", id="own"),
        pytest.param("10.0.0.1", "1.2.3.4, unknown", PROXIES, "10.0.0.1", id="garbage"),
        pytest.param("10.0.0.1", "1.2.3.4, x, 10.0.0.2", PROXIES, "10.0.0.2", id="mid"),
        pytest.param("10.0.0.1", "1.2.3.4,", PROXIES, "10.0.0.1", id="an empty end"),
        pytest.param("10.0.0.1", "1.2.3.4:567", PROXIES, "1.2.3.4", id="a port"),
        pytest.param("10.0.0.1", "[2001:db8::1]:5", PROXIES, "2001:db8::1", id="v6"),
        pytest.param("10.0.0.1", "2001:db8::1", PROXIES, "2001:db8::1", id="v6 bare"),
        pytest.param("10.0.0.1", "2001:DB8:0::1", PROXIES, "2001:db8::1", id="spelt"),
        pytest.param("10.0.0.1", "fe80::1%eth0", PROXIES, "fe80::1", id="a zone"),
        pytest.param("::ffff:10.0.0.1", "1.2.3.4", PROXIES, "1.2.3.4", id="mapped"),
        pytest.param("::ffff:192.0.2.7", "", NOBODY, "192.0.2.7", id="mapped peer"),
        pytest.param("", "1.2.3.4", PROXIES, "1.2.3.4", id="a Unix socket"),
        pytest.param("", "", PROXIES, "", id="a Unix socket that names nobody"),
        pytest.param("", "1.2.3.4", NOBODY, "", id="a Unix socket nobody trusts"),
        pytest.param("::1", "1.2.3.4", PROXIES, "1.2.3.4", id="a v6 proxy"),
        pytest.param(
            "10.0.0.1", "1.2.3.4" + ",10.0.0.2" * 400, PROXIES, "10.0.0.2", id="a chain"
        ),
    ],
)
def test_the_client_is(
    peer: str, forwarded_for: str, trusted: Networks, client: str
) -> None:
    assert client_of(peer, forwarded_for, trusted) == client


@pytest.mark.parametrize(
    ("peer", "headers", "known"),
    [
        pytest.param("10.0.0.1", {"X-Forwarded-For": "1.2.3.4"}, True, id="proxied"),
        pytest.param("10.0.0.1", {}, False, id="the proxy names nobody"),
        pytest.param("192.0.2.7", {}, True, id="direct"),
        pytest.param("192.0.2.7", {"X-Forwarded-For": "1.2.3.4"}, False, id="unlisted"),
        pytest.param("192.0.2.7", {"Via": "1.1 x"}, False, id="unlisted, by Via"),
        pytest.param("192.0.2.7", {"Client-Cert": ":x:"}, False, id="unlisted, by TLS"),
    ],
)
def test_a_client_is_known(
    make_app: Callable[..., Flask], peer: str, headers: dict[str, str], known: bool
) -> None:
    settings = Settings(
        database_url="sqlite:///unused", trusted_proxies=Networks.of("10.0.0.1")
    )
    app = make_app(settings)

    with app.test_request_context(headers=headers, environ_base={"REMOTE_ADDR": peer}):
        assert client_is_known() is known
        assert peer_is_trusted() is (peer == "10.0.0.1")
        assert client_address()
