# SPDX-License-Identifier: Apache-2.0
"""One request answered by the application, in a thread of a pool.

Nothing about the peer is logged here: no address, no path, no text of an
exception, for a text may quote what the client sent.
"""

import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from types import SimpleNamespace
from typing import Protocol
from wsgiref.types import StartResponse, WSGIEnvironment

from gunicorn.config import Config
from gunicorn.http import errors, wsgi
from gunicorn.http.message import Request

from fleet.server import answers
from fleet.server.admission import Lane
from fleet.server.body import FAULTS, RequestBody
from fleet.server.connection import Connection
from fleet.server.framing import names_host
from fleet.server.options import ServerOptions
from fleet.server.response import HeldResponse, InboxUnreader

Application = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]

PIECE = 64 * 1024
"""Bytes that a reader must take within the stall time of a bulk connection."""

_STATUSES = (
    (errors.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG),
    (errors.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    (errors.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED),
    (errors.ExpectationFailed, HTTPStatus.EXPECTATION_FAILED),
    (errors.ParseException, HTTPStatus.BAD_REQUEST),
)
# What gunicorn counts as malformed though the application sent it.
_OUR_FAULT = (
    errors.InvalidResponseHeader,
    errors.InvalidResponseHeaderName,
    errors.ConfigurationProblem,
)


class Log(Protocol):
    """As much of gunicorn's logger as is used."""

    def info(self, msg: str, *args: object) -> None:
        """Log what an operator may like to know."""

    def warning(self, msg: str, *args: object) -> None:
        """Log what an operator should know."""

    def error(self, msg: str, *args: object) -> None:
        """Log what an operator must look at."""


class Worker(Protocol):
    """As much of the worker as one request needs."""

    cfg: Config
    alive: bool
    log: Log

    def count_request(self) -> None:
        """Take note of one more request, for ``max_requests``."""

    def before(self, request: Request) -> None:
        """Call gunicorn's ``pre_request`` hook, if one is set."""

    def after(
        self, request: Request, environ: WSGIEnvironment, response: HeldResponse
    ) -> None:
        """Call gunicorn's ``post_request`` hook, if one is set."""


class Exchange:
    """Answers requests by means of a WSGI application."""

    def __init__(
        self, worker: Worker, *, application: Application, options: ServerOptions
    ) -> None:
        """Serve ``application`` as ``worker`` is configured."""
        self._worker = worker
        self._settings = snapshot(worker.cfg)
        self._application = application
        self._options = options

    def serve(self, connection: Connection) -> None:
        """Answer one request; ``connection.keep`` says if another may follow."""
        connection.keep = connection.answering = connection.lost = False
        bulk = connection.lane is Lane.BULK
        try:
            if bulk:
                connection.sock.settimeout(self._options.stall_seconds)
            connection.keep = self._serve(connection, bulk=bulk)
            if bulk:
                connection.sock.setblocking(False)  # noqa: FBT003 -- as in socket
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- the last resort
            self._give_up(connection, error)

    def _serve(self, connection: Connection, *, bulk: bool) -> bool:
        unreader = InboxUnreader(
            connection, bulk=bulk, patience=self._options.stall_seconds
        )
        connection.requests += 1
        worker = self._worker
        settings = self._settings
        request = Request(settings, unreader, connection.client, connection.requests)
        if not names_host(request.headers, version=request.version):
            raise errors.InvalidHeader("HOST")
        if request._expected_100_continue:  # noqa: SLF001 -- gunicorn has no other way
            # Not before the application asks for the body: it may refuse first.
            request._expected_100_continue = False  # noqa: SLF001 -- see above
            unreader.promises_continue = True
        worker.before(request)
        response = HeldResponse(
            request, connection, settings, worker, unreader, self._sender(connection)
        )
        _, environ = wsgi.create(
            request,
            connection.sock,
            connection.client,
            connection.server,
            settings,
            response_class=lambda *_: response,
        )
        environ["wsgi.multithread"] = True
        environ["wsgi.input"] = RequestBody(request.body)
        worker.count_request()
        try:
            self._apply(environ, response)
        finally:
            worker.after(request, environ, response)
        if response.should_close():
            return False
        request.body.read()  # what the application left; all of it is here
        connection.inbox = bytearray(unreader.take_buffered())
        return True

    def _sender(self, connection: Connection) -> Callable[[bytes], None]:
        stall = self._options.stall_seconds
        if connection.lane is Lane.BULK:
            return partial(_send_all, connection)

        def send(data: bytes) -> None:
            connection.queue(data)
            connection.wait_until_flushed(seconds=stall)

        return send

    def _apply(self, environ: WSGIEnvironment, response: HeldResponse) -> None:
        chunks = self._application(environ, response.start_response)
        try:
            if isinstance(chunks, wsgi.FileWrapper):
                response.write_file(chunks)
            else:
                for chunk in chunks:
                    response.write(chunk)
            response.close()
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _give_up(self, connection: Connection, error: BaseException) -> None:
        """Answer what can still be answered; the connection ends."""
        if connection.lost or isinstance(error, StopIteration | errors.NoMoreData):
            return  # the client is gone
        answer = self._last_words(error)
        if not connection.answering:
            with suppress(OSError):
                connection.sock.setblocking(False)  # noqa: FBT003 -- as in socket
                connection.queue(answer)

    def _last_words(self, error: BaseException) -> bytes:
        name = type(error).__name__
        if isinstance(error, FAULTS):  # an application that left it to us
            return answers.MALFORMED[HTTPStatus(error.code)]
        ours = isinstance(error, _OUR_FAULT)
        if isinstance(error, errors.ParseException) and not ours:
            self._worker.log.info("Malformed request: %s", name)
            return answers.MALFORMED[_status(error)]
        frames = "".join(traceback.format_tb(error.__traceback__))
        self._worker.log.error("The application failed: %s\n%s", name, frames)
        return answers.FAILED


def _send_all(connection: Connection, data: bytes) -> None:
    """Send and wait; the timeout counts for each piece, not for a huge whole."""
    view = memoryview(data)
    for start in range(0, len(view), PIECE):
        connection.sock.sendall(view[start : start + PIECE])


def snapshot(cfg: Config) -> SimpleNamespace:
    """Copy gunicorn's settings into plain attributes.

    gunicorn looks each of them up in a dictionary of objects, some twenty times
    a request; that is a tenth of what its parser costs. They never change in a
    worker.
    """
    plain = {name: setting.get() for name, setting in cfg.settings.items()}
    computed = {
        name: getattr(cfg, name)
        for name in (
            "is_ssl",
            "forwarded_allow_networks",
            "proxy_allow_networks",
            "sendfile",
        )
    }
    return SimpleNamespace(**plain | computed)


def _status(error: Exception) -> HTTPStatus:
    return next(status for kind, status in _STATUSES if isinstance(error, kind))
