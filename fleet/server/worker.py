# SPDX-License-Identifier: Apache-2.0
"""The gunicorn worker class of this service, and what it reads of the settings.

``gunicorn -k fleet.server.worker.CallhomeWorker``. Used of gunicorn's settings:
``certfile``, ``keyfile`` and ``ca_certs`` (here a folder, or one file; without
``certfile`` plain HTTP is spoken, for a proxy in front), ``threads`` (the fast
pool), ``worker_connections``, ``keepalive``, ``graceful_timeout``,
``max_requests`` and its jitter, the limits of a request, and the hooks. Not used:
``cert_reqs``, ``ciphers``, ``ssl_context`` and gunicorn's access log, for TLS is
made in `fleet.server.tls` and access is recorded by the application.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import ClassVar, Protocol
from wsgiref.types import WSGIEnvironment

from gunicorn.config import Config
from gunicorn.http.message import Request
from gunicorn.workers.base import Worker

from fleet.server.connection import Connection
from fleet.server.desks import Desks
from fleet.server.exchange import Exchange, Log
from fleet.server.intake import Intake
from fleet.server.options import ServerOptions
from fleet.server.reactor import Reactor
from fleet.server.response import HeldResponse
from fleet.server.tls import TlsContext, TlsError, TlsFiles

NOTIFY_EVERY = 1.0
"""Seconds between two signs of life to the arbiter, and looks for a parent."""

SWITCH_EVERY = 0.001
"""Seconds a thread may compute while another waits for the interpreter.

A fifth of Python's default: the reactor needs little, but needs it soon.
"""


COLLECT_EVERY = 10_000
"""New objects after which the garbage collector looks for cycles.

More than a whole round of requests makes, so that it seldom meets one under way.
"""


class Settings(Protocol):
    """As much of gunicorn's settings as is used here."""

    certfile: str | None
    keyfile: str | None
    ca_certs: str | None
    env: dict[str, str]
    threads: int
    worker_connections: int
    keepalive: int
    graceful_timeout: int
    proxy_protocol: str
    protocol: str


class ConfigurationError(RuntimeError):
    """A setting does not go with this worker; gunicorn prints it and exits."""


class CallhomeWorker(Worker):  # type: ignore[misc] # gunicorn has no types
    """One process: a reactor in its main thread, and two pools of threads."""

    options: ClassVar[ServerOptions | None] = None
    """For a subclass to set; None reads the environment and ``raw_env``."""

    # In the arbiter; every worker inherits it by the fork.
    _tls: ClassVar[TlsContext | None] = None

    cfg: Settings
    alive: bool

    @classmethod
    def check_config(cls, cfg: Settings, log: Log) -> None:
        """Refuse to start with settings that would not do what they say.

        Raises `ConfigurationError` or `TlsError`, before anything is forked.
        """
        if cfg.proxy_protocol not in (False, "off") or cfg.protocol != "http":
            raise ConfigurationError(
                "proxy_protocol and protocol: this worker speaks HTTP/1.1 only."
            )
        if cfg.worker_connections <= cfg.threads:
            raise ConfigurationError("worker_connections must be more than threads.")
        if cls.options is None:
            _options(cfg)
        CallhomeWorker._tls = _tls_context(tls_files(cfg), log)

    def __init__(self, *args: object) -> None:
        """Prepare in the arbiter, before the fork, what a reload must not lose.

        A reload (SIGHUP) with files that cannot be used keeps the context there
        is: to end a running service for it would be worse.
        """
        super().__init__(*args)
        CallhomeWorker._tls = _renewed(self._tls, tls_files(self.cfg), self.log)
        self._numbers = count(1)
        self._looked_at = 0.0
        self._reactor: Reactor | None = None
        self._pre_request = _own_hook(self.cfg, "pre_request")
        self._post_request = _own_hook(self.cfg, "post_request")

    def run(self) -> None:
        """Serve until told to stop, then finish what has begun."""
        sys.setswitchinterval(SWITCH_EVERY)
        _spare_the_collector()
        reactor, desks = self._assemble()
        while self.alive:
            self._show_life()
            reactor.turn(longest=NOTIFY_EVERY)
        reactor.stop()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while reactor.connections and time.monotonic() < deadline:
            self._show_life()
            reactor.turn(longest=NOTIFY_EVERY)
        reactor.publish()
        desks.stop()
        reactor.close()

    def _assemble(self) -> tuple[Reactor, Desks]:
        options = self.options or _options(self.cfg)
        tls = self._tls
        intake = Intake(
            options, context=None if tls is None else lambda now: tls.current(now=now)
        )
        serve = Exchange(self, application=self.wsgi, options=options).serve

        def give_back(served: Sequence[Connection]) -> None:
            reactor.returns.take_back(served)

        desks = Desks(
            options,
            fast_threads=self.cfg.threads,
            serve=serve,
            give_back=give_back,
        )
        reactor = self._reactor = Reactor(
            options=options,
            intake=intake,
            desks=desks,
            limit=self.cfg.worker_connections,
            keepalive=self.cfg.keepalive,
        )
        reactor.open(self.sockets, signals=self.PIPE[0])
        return reactor, desks

    def _show_life(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < NOTIFY_EVERY:
            return
        self._looked_at = now
        self.notify()
        if self.ppid != os.getppid():
            self.log.info("The arbiter is gone, stopping: %s", self)
            self.alive = False

    def count_request(self) -> None:
        """Stop after ``max_requests``, so that the arbiter starts a fresh worker."""
        self.nr = next(self._numbers)
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Restarting after %d requests.", self.nr)
            self.alive = False
            if self._reactor is not None:
                self._reactor.ring()

    def before(self, request: Request) -> None:
        """Call ``pre_request``, if set: gunicorn's own would log the path."""
        if self._pre_request is not None:
            self._pre_request(self, request)

    def after(
        self, request: Request, environ: WSGIEnvironment, response: HeldResponse
    ) -> None:
        """Call ``post_request``, if set; its failure is logged by its name only."""
        if self._post_request is None:
            return
        try:
            self._post_request(self, request, environ, response)
        except Exception as error:  # noqa: BLE001 -- a hook must not spoil an answer
            # Without traceback: it would end in a text that may name the client.
            self.log.warning("The post_request hook failed: %s", type(error).__name__)

    def handle_error(
        self, _req: object, _client: object, _addr: object, exc: BaseException
    ) -> None:
        """Never log a peer; gunicorn's own would log its address."""
        self.log.error("Error outside of a request: %s", type(exc).__name__)


def _spare_the_collector() -> None:
    """Take what was loaded until now out of the garbage collector's sight.

    It stays to the end anyway. Else the collector would go through all of it, some
    sixty milliseconds in which nobody is answered, after each thousand requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)


def _options(cfg: Settings) -> ServerOptions:
    try:
        return ServerOptions.read({**os.environ, **cfg.env})
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def tls_files(cfg: Settings) -> TlsFiles | None:
    """Read the TLS files from gunicorn's settings; None where TLS is off.

    Raises `ConfigurationError` where a half of them is missing.
    """
    if cfg.certfile is None:
        if cfg.keyfile is not None or cfg.ca_certs is not None:
            raise ConfigurationError("keyfile and ca_certs need certfile.")
        return None
    return TlsFiles(
        certfile=Path(cfg.certfile),
        keyfile=Path(cfg.keyfile) if cfg.keyfile else None,
        ca_certs=Path(cfg.ca_certs) if cfg.ca_certs else None,
    )


def _tls_context(files: TlsFiles | None, log: Log) -> TlsContext | None:
    if files is None:
        return None
    return TlsContext(files, now=time.monotonic(), complain=log.error)


def _renewed(
    old: TlsContext | None, files: TlsFiles | None, log: Log
) -> TlsContext | None:
    if old is None or files is None or old.files != files:
        try:
            return _tls_context(files, log)
        except TlsError as error:
            if old is None:
                raise
            log.error("TLS files not taken over, the old ones stay. %s", error)  # noqa: TRY400 -- the text says it all
    old.current(now=time.monotonic())
    return old


def _own_hook(cfg: Settings, name: str) -> Callable[..., object] | None:
    hook: Callable[..., object] = getattr(cfg, name)
    return None if hook == Config().settings[name].get() else hook
