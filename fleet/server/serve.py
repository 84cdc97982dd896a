# SPDX-License-Identifier: Apache-2.0
"""``callhome serve``: gunicorn with our worker, and the jobs process beside it.

The process that is started is gunicorn's arbiter, so signals and supervisors
find what they know. It looks after the jobs process as well, and starts it
again should it die; both end with the arbiter, however it ends.
"""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from flask import Flask
from gunicorn.app.base import BaseApplication
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fleet.database import db
from fleet.server import pulse
from fleet.server.metrics_folder import claim_folder
from fleet.server.options import LICENCE_CHECK, ServerOptions
from fleet.server.worker import CallhomeWorker
from fleet.settings import Settings
from fleet.web import access_log, logs, metrics

log = logging.getLogger(__name__)

# A boot sequence (check, entitlements, look-up) uses one connection.
KEEP_ALIVE_SECONDS = 75
MOST_CONNECTIONS = 4000
GRACEFUL_SECONDS = 25
STUCK_SECONDS = 60
RESTART_JOBS_AFTER_SECONDS = 2.0


class Arbiter(Protocol):
    """As much of gunicorn's arbiter as its hooks are handed."""

    pid: int


class Child(Protocol):
    """As much of gunicorn's worker as its hooks are handed."""

    pid: int


def restart_with_metrics(settings: Settings) -> None:
    """Begin this process anew with the environment that metrics need.

    The metrics library decides when it is imported whether there are several
    processes, and by now it has been. The process id stays the same. To be
    called last before `serve`, so that a start that fails leaves nothing behind.
    Raises ``OSError`` where the data directory cannot be written.
    """
    if metrics.DIRECTORY_VARIABLE in os.environ:
        return
    folder = claim_folder(settings.data_dir.absolute() / "metrics")
    environment = os.environ | metrics.prepare_directory(folder)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 -- ourselves, without a shell


def serve(
    settings: Settings,
    make_app: Callable[[Settings], Flask],
    before_serving: Sequence[Callable[[], None]] = (),
) -> None:
    """Serve until SIGTERM or SIGINT.

    ``make_app`` is called in each web process. ``before_serving`` is done before
    anybody is listened to, in the context of an application that is gone before the
    first web process begins. Raises ``TlsError`` and the like where what is
    configured cannot be served.
    """
    if before_serving:
        _prepare(make_app(settings), before_serving)
    CallhomeWorker.options = ServerOptions(
        bulk_threads=settings.bulk_threads, joint_paths=LICENCE_CHECK
    )
    _Service(settings, make_app).run()


def _prepare(app: Flask, before_serving: Sequence[Callable[[], None]]) -> None:
    """Do what must be done first; a database that is away may come back later.

    Then the jobs do it, at their first run. Web processes are forked from here, and
    must find no connection.
    """
    with app.app_context():
        try:
            for each in before_serving:
                each()
        except (OperationalError, InterfaceError, PoolTimeoutError) as fault:
            log.warning("not prepared: %s", type(fault).__name__)
        finally:
            db.session.remove()
            db.engine.dispose()


def worker_count(settings: Settings) -> int:
    """Return how many web processes serve.

    SQLite has one writer at a time: more processes would only wait for it.
    """
    if settings.web_workers:
        return settings.web_workers
    return 1 if settings.sqlite else max(2, os.cpu_count() or 1)


class _Service(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    """Our settings, in gunicorn's words."""

    def __init__(
        self, settings: Settings, make_app: Callable[[Settings], Flask]
    ) -> None:
        self._settings = settings
        self._make_app = make_app
        self._jobs = _JobsProcess()
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        for name, value in {
            "bind": [settings.bind],  # a text would be split at commas
            "worker_class": "fleet.server.worker.CallhomeWorker",
            "workers": worker_count(settings),
            "threads": settings.web_threads,
            "worker_connections": MOST_CONNECTIONS,
            "keepalive": KEEP_ALIVE_SECONDS,
            "graceful_timeout": GRACEFUL_SECONDS,
            "timeout": STUCK_SECONDS,
            "logconfig_dict": logs.configuration(settings),
            "accesslog": None,
            "proc_name": "callhome",
            "worker_exit": _flush,
            "child_exit": _forget,
            "when_ready": self._begin,
            "on_exit": self._end,
            "control_socket_disable": True,
        }.items():
            self.cfg.set(name, value)
        if settings.tls:
            self.cfg.set("certfile", str(settings.server_certificate))
            self.cfg.set("ca_certs", str(settings.data_dir / "device-ca"))

    def load(self) -> Flask:
        app = self._make_app(self._settings)
        logs.configure(self._settings)
        self.app = app
        pulse.start(app)
        return app

    def _begin(self, _arbiter: Arbiter) -> None:
        self._jobs.start()
        log.info(
            "serving on %s, reached as %s",
            self._settings.bind,
            self._settings.public_url,
        )

    def _end(self, _arbiter: Arbiter) -> None:
        self._jobs.stop()


def _flush(_arbiter: Arbiter, worker: object) -> None:
    """Write the last access records of a web process that ends."""
    app = cast("Flask | None", getattr(worker, "wsgi", None))
    if app is None:
        return
    with app.app_context():
        access_log.flush()


def _forget(_arbiter: Arbiter, worker: Child) -> None:
    metrics.forget_process(worker.pid)


class _JobsProcess:
    """The jobs process, started again whenever it ends before its time."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and keep it running."""
        threading.Thread(target=self._keep_running, name="jobs", daemon=True).start()

    def stop(self) -> None:
        """End it, and wait for it."""
        self._ended.set()
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(GRACEFUL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def _keep_running(self) -> None:
        command = [
            sys.executable,
            "-c",
            "from wsgi import callhome; callhome()",
            "jobs",
            "--until-gone",
            str(os.getpid()),
        ]
        while not self._ended.is_set():
            self._process = subprocess.Popen(command)  # noqa: S603 -- ourselves
            self._process.wait()
            if not self._ended.wait(RESTART_JOBS_AFTER_SECONDS):
                log.warning("the jobs process ended; starting it again")
