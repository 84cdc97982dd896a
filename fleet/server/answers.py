# SPDX-License-Identifier: Apache-2.0
"""Answers that are given without the application, as ready-made bytes.

Problem documents as everywhere else (RFC 9457), in English only: their pages
under ``/problems/`` speak the other languages. Nothing in them repeats what the
client sent.
"""

import json
from http import HTTPStatus

_TEXTS = {
    HTTPStatus.BAD_REQUEST: "The request is not valid HTTP/1.1.",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The request line is too long.",
    HTTPStatus.EXPECTATION_FAILED: "This expectation is not known here.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The request head is too large.",
    HTTPStatus.NOT_IMPLEMENTED: "This transfer coding is not known here.",
}


def _problem(status: HTTPStatus, *, code: str, title: str, detail: str) -> bytes:
    document = {
        "type": f"/problems/{code}",
        "title": title,
        "status": status.value,
        "detail": detail,
    }
    return json.dumps(document).encode()


def _head(status: HTTPStatus, *, length: int, extra: str) -> bytes:
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {length}\r\n"
        "Cache-Control: no-store\r\n"
        f"{extra}\r\n"
    ).encode()


def _final(status: HTTPStatus, body: bytes) -> bytes:
    return _head(status, length=len(body), extra="Connection: close\r\n") + body


MALFORMED = {
    status: _final(
        status,
        _problem(
            status, code="malformed-request", title="Malformed request", detail=text
        ),
    )
    for status, text in _TEXTS.items()
}
"""By status, for requests that never become one; the connection ends with it."""

FAILED = _final(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    _problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        code="internal-error",
        title="Internal error",
        detail="The server failed. The fault has been recorded.",
    ),
)
"""For an application that failed before it answered."""

_BUSY = _problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    code="service-busy",
    title="Service busy",
    detail="Too much to do at the moment. Come again when Retry-After says so.",
)
_BUSY_HEADS = {
    lasting: _head(
        HTTPStatus.SERVICE_UNAVAILABLE,
        length=len(_BUSY),
        extra=f"Connection: {'keep-alive' if lasting else 'close'}\r\n"
        "Retry-After: %d\r\n",
    )
    for lasting in (True, False)
}


def busy(*, retry_after: int, lasting: bool, head_only: bool) -> bytes:
    """Say 503 and when to return, in seconds (RFC 9110 section 15.6.4)."""
    head = _BUSY_HEADS[lasting] % retry_after
    return head if head_only else head + _BUSY
