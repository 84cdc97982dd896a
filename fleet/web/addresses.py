# SPDX-License-Identifier: Apache-2.0
"""Where a request came from, and whether its peer may say so for others.

The client's address is the peer's, or, where the peer is a trusted proxy, the
right-most entry of ``X-Forwarded-For`` that is not one (protocol, section 1).
Everything further left was written by somebody whom nobody vouches for.
"""

from typing import cast

from flask import Flask, current_app, request

from fleet.settings import Networks, Settings, plain_address

# More proxies than this stand in no row; the rest of the header is not read.
MOST_PROXIES = 16

FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"

# What a proxy adds. From a peer that is not trusted these headers mean nothing,
# except that somebody may have put a proxy in front and not told us.
PROXY_HEADERS = (
    FORWARDED_FOR,
    "HTTP_FORWARDED",
    "HTTP_VIA",
    "HTTP_X_REAL_IP",
    "HTTP_CLIENT_CERT",
    "HTTP_X_SSL_CLIENT_CERT",
)


def register(app: Flask, settings: Settings) -> None:
    """Tell ``app`` whose word about others it takes."""
    app.extensions["trusted_proxies"] = settings.trusted_proxies


def client_address() -> str:
    """Return the address of the client of the request in context.

    "" where there is none: a peer on a Unix socket that names nobody. A trusted
    proxy that names nobody stands for its clients itself (``client_is_known``).
    """
    environ = request.environ
    peer = cast("str", environ.get("REMOTE_ADDR") or "")
    return client_of(peer, environ.get(FORWARDED_FOR, ""), _trusted())


def peer_is_trusted() -> bool:
    """Whether the peer of the request in context is a trusted proxy."""
    trusted = _trusted()
    return bool(trusted) and (request.environ.get("REMOTE_ADDR") or "") in trusted


def client_is_known() -> bool:
    """Whether the client's address is the client's, and not some proxy's.

    It is not where a trusted proxy names nobody, nor where a proxy that we were
    not told of has left its marks.
    """
    environ = request.environ
    if peer_is_trusted():
        return bool(environ.get(FORWARDED_FOR))
    return not any(header in environ for header in PROXY_HEADERS)


def client_of(peer: str, forwarded_for: str, trusted: Networks) -> str:
    """Return the client's address behind ``peer``, in its usual spelling.

    The walk to the left ends at the first entry that is not a trusted proxy, or
    before one that is no address: then the proxy that wrote it is the last that
    anything is known of.
    """
    if not trusted and ":" not in peer:
        return peer  # the kernel's own spelling of an IPv4 address, or ""
    known = spelled(peer)
    if not trusted or not forwarded_for or peer not in trusted:
        return known
    for entry in reversed(forwarded_for.rsplit(",", MOST_PROXIES)):
        address = spelled(_without_port(entry.strip()))
        if not address:
            return known
        known = address
        if address not in trusted:
            return known
    return known


def spelled(address: str) -> str:
    """Return ``address`` in its usual spelling; "" for what is none.

    An IPv4 address inside an IPv6 one is the IPv4 address; a zone (``%eth0``)
    means something on the machine that wrote it, and is left out.
    """
    parsed = plain_address(address.partition("%")[0])
    return "" if parsed is None else str(parsed)


def _without_port(entry: str) -> str:
    """Return the address of ``1.2.3.4:567`` and ``[2001:db8::1]:567``."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    if entry.count(":") == 1:
        return entry.partition(":")[0]
    return entry


def _trusted() -> Networks:
    return cast("Networks", current_app.extensions["trusted_proxies"])
