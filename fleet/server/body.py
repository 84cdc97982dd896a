# SPDX-License-Identifier: Apache-2.0
"""The body of a request as the application reads it.

A body that ends early, stalls or is wrongly chunked is the client's fault. gunicorn
says so by exceptions of its own, which no application expects; here they become
those of Werkzeug, which are answered like any other malformed request.
"""

from collections.abc import Callable, Iterator

from gunicorn.http.body import Body
from gunicorn.http.errors import LimitRequestHeaders, ParseException
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    RequestHeaderFieldsTooLarge,
    RequestTimeout,
)

FAULTS = (BadRequest, RequestTimeout, RequestHeaderFieldsTooLarge)
"""All that reading a body can raise; a client that is gone is a `BadRequest`."""


class RequestBody:
    """What PEP 3333 asks of ``wsgi.input``, over gunicorn's body.

    A fault is raised again by every later read: what follows it on the wire is
    no part of any request.
    """

    def __init__(self, body: Body) -> None:
        """Read from ``body``."""
        self._body = body
        self._fault: HTTPException | None = None

    def read(self, size: int = -1, /) -> bytes:
        """Read up to ``size`` bytes, or all; raise one of `FAULTS`."""
        return self._guarded(self._body.read, size)

    def readline(self, size: int = -1, /) -> bytes:
        """Read one line, of ``size`` bytes at most; raise one of `FAULTS`."""
        return self._guarded(self._body.readline, size)

    def readlines(self, _hint: int = -1, /) -> list[bytes]:
        """Read all lines; raise one of `FAULTS`."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        """Yield line by line; raise one of `FAULTS`."""
        return iter(self.readline, b"")

    def _guarded(self, read: Callable[[int], bytes], size: int) -> bytes:
        if self._fault is None:
            try:
                return read(size)
            except (OSError, ParseException) as error:
                self._fault = _translated(error)
        # Without its cause: that text quotes what the client sent.
        raise self._fault from None


def _translated(error: Exception) -> HTTPException:
    if isinstance(error, TimeoutError):
        return RequestTimeout()
    if isinstance(error, OSError):
        return ClientDisconnected()
    if isinstance(error, LimitRequestHeaders):
        return RequestHeaderFieldsTooLarge()  # the trailers (RFC 9112 section 7.1.2)
    return BadRequest()
