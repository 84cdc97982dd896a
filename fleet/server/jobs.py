# SPDX-License-Identifier: Apache-2.0
"""The jobs process: whatever is done again and again, by one process at a time.

Any number of these may run, on any number of hosts; the one with the lease works.
Only a job that is also about its host (``Job.everywhere``) is done by each. What is due
is derived from the data by each job itself, so a tick that is missed, or one that comes
twice, does no harm; every job runs once as soon as the lease is taken, and again a
minute after it failed.

The scheduler goes by the wall clock. A clock that is set back by a month would stop
every job for a month, so a leap of it makes all jobs due at once; and what came due
meanwhile is one run, however far the leap. A scheduler that has died takes the
process with it: whoever started it starts it again (``fleet.server.serve``).
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NoReturn

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from fleet.clock import utcnow
from fleet.database import db
from fleet.feature import Job
from fleet.server import job_runs
from fleet.server.lease import RENEW_EVERY, Lease

log = logging.getLogger(__name__)

LEASE_NAME = "jobs"

RETRY_AFTER = timedelta(minutes=1)

# How long a process that must end waits for what is under way; serve waits longer.
PATIENCE_SECONDS = 20.0

# How far the wall clock may part from the monotonic one within a second: more is no
# slewing (at most 0.5 ms a second), but somebody or something that has set it.
LEAP = timedelta(seconds=5)


def run(app: Flask, jobs: Sequence[Job], *, until_gone: int | None = None) -> None:
    """Work until SIGTERM or SIGINT; a job that is under way is finished.

    ``until_gone`` is the process id of a parent: this process ends soon after it,
    even where the parent could not say so. Ends the process with exit code 1 where
    the scheduler has died.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with app.app_context():
        lease = Lease(db.engine, LEASE_NAME)
    worker = _Worker(app, jobs, lease)
    worker.begin_everywhere()
    clock = _LeapingClock()
    while not ended.is_set():
        worker.renew()
        for _ in range(int(RENEW_EVERY.total_seconds())):
            if ended.wait(1) or until_gone not in {None, os.getppid()}:
                ended.set()
                break
            if worker.is_dead():
                worker.give_way()
            if clock.has_leapt():
                log.warning("jobs: the clock was set; all jobs are due")
                worker.renew()  # what was claimed by the old clock may have run out
                worker.begin_anew()
    worker.stop()


class _LeapingClock:
    """Tells when the wall clock has been set, forward or back."""

    def __init__(self) -> None:
        self._wall, self._monotonic = utcnow(), time.monotonic()

    def has_leapt(self) -> bool:
        """Whether it was set since it was last asked."""
        wall, monotonic = utcnow(), time.monotonic()
        passed = timedelta(seconds=monotonic - self._monotonic)
        leapt = abs(wall - self._wall - passed) > LEAP
        self._wall, self._monotonic = wall, monotonic
        return leapt


class _Every(IntervalTrigger):  # type: ignore[misc] # the library has no types
    """Fires again an interval after it last did, however long that was ago.

    The library's own counts every interval of a gap one by one: after a leap of
    the clock by decades it would be busy for hours.
    """

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime:
        """Return the first instant after ``now`` that is due."""
        if previous_fire_time is None:
            return now
        due: datetime = previous_fire_time + self.interval
        return due if due > now else now + self.interval


class _Scheduler(BackgroundScheduler):  # type: ignore[misc] # the library has no types
    """A scheduler that says whether it lives: its own ``running`` does not tell."""

    def is_alive(self) -> bool:
        """Whether the thread that starts jobs is there."""
        thread = self._thread
        return thread is not None and thread.is_alive()


class _Worker:
    """Runs the jobs while the lease is held, and those for every host at any time."""

    def __init__(self, app: Flask, jobs: Sequence[Job], lease: Lease) -> None:
        self._app = app
        self._jobs = jobs
        self._lease = lease
        self._scheduler: _Scheduler | None = None
        self._everywhere: _Scheduler | None = None
        self._guard = threading.Lock()
        self._under_way: set[str] = set()
        with app.app_context():
            self._engine = db.engine

    def begin_everywhere(self) -> None:
        """Begin with the jobs that need no lease."""
        jobs = [each for each in self._jobs if each.everywhere]
        if jobs:
            self._everywhere = self._scheduled(jobs)

    def renew(self) -> None:
        """Take or renew the lease, and begin or cease to work by it."""
        holds = self._claim()
        if holds and self._scheduler is None:
            log.info("jobs: working")
            self._scheduler = self._begin()
        elif not holds and self._scheduler is not None:
            log.warning("jobs: the lease is lost; waiting")
            # What is under way is not waited for: it could hang, and the lease be
            # free again meanwhile.
            self._scheduler.shutdown(wait=False)
            self._scheduler = None

    def is_dead(self) -> bool:
        """Whether jobs ought to be started, and nothing starts them any more."""
        return any(not each.is_alive() for each in self._schedulers())

    def begin_anew(self) -> None:
        """Make every job due now."""
        for job in self._jobs:
            self._due(job, utcnow())

    def give_way(self) -> NoReturn:
        """End this process with exit code 1, after what is under way if it ends soon.

        Not by an exception: Python would wait for ever for a job that hangs.
        """
        log.error("jobs: the scheduler has died; this process ends")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._under_way and time.monotonic() < deadline:
            time.sleep(0.1)
        self._give_up()
        logging.shutdown()
        os._exit(1)

    def stop(self) -> None:
        """Finish what is under way and let another process have the lease."""
        for each in self._schedulers():
            each.shutdown(wait=True)
        self._give_up()

    def _schedulers(self) -> list[_Scheduler]:
        both = (self._scheduler, self._everywhere)
        return [each for each in both if each is not None]

    def _give_up(self) -> None:
        try:
            self._lease.give_up()
        except SQLAlchemyError as fault:
            log.warning("jobs: lease not given up: %s", type(fault).__name__)

    def _claim(self) -> bool:
        try:
            return self._lease.claim(utcnow())
        except SQLAlchemyError as fault:
            log.warning("jobs: no lease: %s", type(fault).__name__)
            return self._lease.held(utcnow())

    def _begin(self) -> _Scheduler:
        try:
            job_runs.keep_only(self._engine, [each.name for each in self._jobs])
        except SQLAlchemyError as fault:
            log.warning("jobs: not noted: %s", type(fault).__name__)
        return self._scheduled([each for each in self._jobs if not each.everywhere])

    def _scheduled(self, jobs: Sequence[Job]) -> _Scheduler:
        # A job that still runs when it is due again asks in ``_do`` for another turn.
        threads = ThreadPoolExecutor(max(1, 2 * len(jobs)))
        scheduler = _Scheduler(timezone="UTC", executors={"default": threads})
        for job in jobs:
            scheduler.add_job(
                self._do,
                _Every(seconds=job.every.total_seconds(), timezone="UTC"),
                args=[job],
                next_run_time=utcnow(),
                max_instances=2,
                coalesce=True,
                misfire_grace_time=None,
                id=job.name,
            )
        scheduler.start()
        return scheduler

    def _due(self, job: Job, at: datetime) -> None:
        scheduler = self._everywhere if job.everywhere else self._scheduler
        if scheduler is None:
            return
        try:
            scheduler.modify_job(job.name, next_run_time=at)
        except JobLookupError:
            return  # it has been shut down meanwhile

    def _do(self, job: Job) -> None:
        """Do a job, unless another process may or this one still does it."""
        if not self._take(job):
            self._due(job, utcnow() + min(RETRY_AFTER, job.every))
            return
        try:
            if not self._attempt(job):
                self._due(job, utcnow() + min(RETRY_AFTER, job.every))
        finally:
            with self._guard:
                self._under_way.discard(job.name)

    def _take(self, job: Job) -> bool:
        with self._guard:
            may = job.everywhere or self._lease.held(utcnow())
            if job.name in self._under_way or not may:
                return False
            self._under_way.add(job.name)
            return True

    def _attempt(self, job: Job) -> bool:
        now = utcnow()
        self._note(job_runs.began, job, now)
        try:
            with self._app.app_context():
                job.work(now)
        except Exception as fault:  # noqa: BLE001 -- one job must not end the others
            kind = type(fault).__name__
            log.error("job %s failed: %s", job.name, kind)  # noqa: TRY400 -- the fault's text may hold a value
            self._note(job_runs.ended, job, utcnow(), fault=kind)
            return False
        self._note(job_runs.ended, job, utcnow())
        return True

    def _note(
        self, note: Callable[..., None], job: Job, now: datetime, **more: str
    ) -> None:
        try:
            note(self._engine, job.name, now, **more)
        except SQLAlchemyError as fault:
            log.warning("job %s not noted: %s", job.name, type(fault).__name__)
