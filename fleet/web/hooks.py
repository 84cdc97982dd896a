# SPDX-License-Identifier: Apache-2.0
"""What happens before and after each request: one function each, kept cheap.

Before: the request gets its id. After: it is counted and timed, the answer gets
its id and the headers that no answer goes without, and a line is logged if it
failed or was slow, which names the route and never what was asked.
"""

import logging
import os
import re
from time import perf_counter
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from fleet.settings import Settings
from fleet.web.addresses import peer_is_trusted
from fleet.web.metrics import count_request

log = logging.getLogger(__name__)

SLOW_SECONDS = 5.0
FAILED = 500

# What proxies make: nginx's 32 hexadecimal digits, or a UUID. Nothing that a
# client would choose freely, since it gets into the log.
_PROXY_REQUEST_ID = re.compile(
    r"[0-9a-f]{16,64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)

# A year (RFC 6797). Not sent for localhost: a browser would from then on refuse
# plain HTTP to everything else that its owner runs on that machine.
STRICT_TRANSPORT = ("Strict-Transport-Security", "max-age=31536000")

# What an answer has where its view did not say otherwise. The policy is for
# answers that are no pages: nothing may be loaded, and nobody may frame them.
DEFAULTS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)


def register(app: Flask, settings: Settings) -> None:
    """Attach both functions to ``app``."""
    app.before_request(_before)
    app.after_request(_After(settings))


def _before() -> None:
    g.began = perf_counter()
    given = request.environ.get("HTTP_X_REQUEST_ID")
    if given and peer_is_trusted() and _PROXY_REQUEST_ID.fullmatch(given):
        g.request_id = given
    else:
        g.request_id = os.urandom(8).hex()


class _After:
    """The one function that looks at every answer."""

    def __init__(self, settings: Settings) -> None:
        defaults = [*DEFAULTS]
        public = urlsplit(settings.public_url)
        if public.scheme == "https" and public.hostname != "localhost":
            defaults.append(STRICT_TRANSPORT)
        self._defaults = [(name, name.lower(), value) for name, value in defaults]

    def __call__(self, response: Response) -> Response:
        seconds = perf_counter() - g.began
        headers = response.headers
        present = {name.lower() for name, _ in headers}
        for name, lowered, value in self._defaults:
            if lowered not in present:
                headers.add(name, value)
        headers.add("X-Request-Id", g.request_id)
        status = response.status_code
        count_request(request.endpoint, status=status, seconds=seconds)
        if status >= FAILED or seconds > SLOW_SECONDS:
            _report(request.endpoint, status, seconds)
        return response


def _report(endpoint: str | None, status: int, seconds: float) -> None:
    facts = {"endpoint": endpoint, "status": status, "seconds": round(seconds, 3)}
    message = "request failed" if status >= FAILED else "request was slow"
    log.warning(message, extra={"facts": facts})
