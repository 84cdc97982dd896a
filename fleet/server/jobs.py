# SPDX-License-Identifier: Apache-2.0
"""The jobs process: whatever is done again and again, by one process at a time.

Any number of these may run, on any number of hosts; the one with the lease
works. What is due is derived from the data by each job itself, so a tick that
is missed, or one that comes twice, does no harm; every job runs once as soon as
the lease is taken.
"""

import logging
import os
import signal
import threading
from collections.abc import Sequence

from apscheduler.schedulers.background import BackgroundScheduler
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from fleet.clock import utcnow
from fleet.database import db
from fleet.feature import Job
from fleet.server.lease import RENEW_EVERY, Lease

log = logging.getLogger(__name__)

LEASE_NAME = "jobs"


def run(app: Flask, jobs: Sequence[Job], *, until_gone: int | None = None) -> None:
    """Work until SIGTERM or SIGINT; a job that is under way is finished.

    ``until_gone`` is the process id of a parent: this process ends soon after it,
    even where the parent could not say so.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with app.app_context():
        lease = Lease(db.engine, LEASE_NAME)
    worker = _Worker(app, jobs, lease)
    while not ended.is_set():
        worker.renew()
        for _ in range(int(RENEW_EVERY.total_seconds())):
            if ended.wait(1) or until_gone not in {None, os.getppid()}:
                ended.set()
                break
    worker.stop()


class _Worker:
    """Runs the jobs while the lease is held."""

    def __init__(self, app: Flask, jobs: Sequence[Job], lease: Lease) -> None:
        self._app = app
        self._jobs = jobs
        self._lease = lease
        self._scheduler: BackgroundScheduler | None = None

    def renew(self) -> None:
        """Take or renew the lease, and begin or cease to work by it."""
        try:
            holds = self._lease.claim(utcnow())
        except SQLAlchemyError as fault:
            log.warning("jobs: no lease: %s", type(fault).__name__)
            holds = self._lease.held(utcnow())
        if holds and self._scheduler is None:
            log.info("jobs: working")
            self._scheduler = self._begin()
        elif not holds and self._scheduler is not None:
            log.warning("jobs: the lease is lost; waiting")
            self._scheduler.shutdown(wait=True)
            self._scheduler = None

    def stop(self) -> None:
        """Finish what is under way and let another process have the lease."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=True)
        try:
            self._lease.give_up(utcnow())
        except SQLAlchemyError as fault:
            log.warning("jobs: lease not given up: %s", type(fault).__name__)

    def _begin(self) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(timezone="UTC")
        for job in self._jobs:
            scheduler.add_job(
                self._do,
                "interval",
                args=[job],
                seconds=job.every.total_seconds(),
                next_run_time=utcnow(),
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
                id=job.name,
            )
        scheduler.start()
        return scheduler

    def _do(self, job: Job) -> None:
        now = utcnow()
        if not self._lease.held(now):
            return
        try:
            with self._app.app_context():
                job.work(now)
        except Exception as fault:  # noqa: BLE001 -- one job must not end the others
            log.error("job %s failed: %s", job.name, type(fault).__name__)  # noqa: TRY400 -- the fault's text may hold a value
