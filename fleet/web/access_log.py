# SPDX-License-Identifier: Apache-2.0
"""One access record for each device request, written behind the answer.

A record holds exactly what protocol section 6 promises for its service, and
never a serial number. It is the one thing here that is not durable before the
answer: records wait in memory for at most a second, in a queue with an end, and
go to the database many at a time. While the database is away the newest are
kept and the oldest are dropped and counted. They are not wanted enough to stop
a licence check.
"""

import atexit
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from time import monotonic
from typing import NamedTuple, cast

from flask import Flask, current_app, request
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fleet.clock import utcnow
from fleet.database import db, writing
from fleet.web.access_rooms import Rooms
from fleet.web.addresses import client_address
from fleet.web.metrics import ACCESS_RECORDS_DROPPED
from fleet.web.models import AccessRecord

log = logging.getLogger(__name__)

# Services whose promise names the device type and the software version, too.
WITH_DEVICE = frozenset(["cic", "updates", "backup"])
# The service whose promise is address and time only.
WITHOUT_DEVICE = frozenset(["voucher"])

FLUSH_SECONDS = 0.5
FLUSH_SECONDS_AFTER_FAILURE = 5.0
MOST_WAITING = 50_000  # about 15 MB
MOST_TOGETHER = 2_000  # rows in one transaction
LONGEST_TEXT = 64

# Where a request says that it is to be left out.
_LEFT_OUT = "callhome.left_out"


class Access(NamedTuple):
    """A device request as it may be remembered; the fields are columns."""

    service: str
    accessed_at: datetime
    address: str
    device_type: str | None = None
    software_version: str | None = None


def access(
    service: str,
    *,
    address: str,
    now: datetime,
    device_type: str | None = None,
    software_version: str | None = None,
) -> Access:
    """Return what may be remembered of a request to ``service``.

    What the service's promise does not name is left out, whoever hands it in.
    Raises ``ValueError`` for a service that has promised nothing.
    """
    if service in WITHOUT_DEVICE:
        return Access(service, now, address)
    if service not in WITH_DEVICE:
        raise ValueError(f"{service} has not said what its access records hold")
    return Access(service, now, address, _cut(device_type), _cut(software_version))


def rows_of(records: Iterable[Access]) -> list[dict[str, object]]:
    """Return rows for ``insert(AccessRecord)``, for a batch in its own transaction."""
    return [each._asdict() for each in records]


def leave_out() -> None:
    """Write no record of the request in context: its PBX is to be left out.

    A record names no PBX, so it could never be found again to be left out later
    (GDPR, articles 18 and 21).
    """
    request.environ[_LEFT_OUT] = True


def note(
    service: str,
    *,
    device_type: str | None = None,
    software_version: str | None = None,
) -> None:
    """Remember the request in context; never waits, never fails for the database.

    Nothing is remembered of one that is to be left out (``leave_out``).
    """
    if _LEFT_OUT in request.environ:
        return
    access_log().add(
        access(
            service,
            address=client_address(),
            now=utcnow(),
            device_type=device_type,
            software_version=software_version,
        )
    )


def flush() -> bool:
    """Write what is waiting; say whether all of it is in the database."""
    return access_log().flush()


def register(app: Flask) -> None:
    """Give ``app`` its access log; its database must be registered before."""
    with app.app_context():
        app.extensions["access_log"] = AccessLog(db.engine)


def access_log() -> "AccessLog":
    """Return the access log of the application in context."""
    return cast("AccessLog", current_app.extensions["access_log"])


class AccessLog:
    """The records that wait for the database, and the thread that takes them there.

    The thread lives only while there is something to write, so none outlives
    its application, and a forked process starts its own.
    """

    def __init__(self, engine: Engine) -> None:
        """Write to ``engine``, which is connected to when there is a record."""
        self._engine = engine
        self.rooms = Rooms(engine)
        self._begin()
        _all_logs.add(self)

    def _begin(self) -> None:
        self._waiting: deque[Access] = deque()
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._flusher: threading.Thread | None = None
        self._failing = False

    def add(self, record: Access) -> None:
        """Queue ``record``; the oldest goes where the queue is full."""
        with self._guard:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.popleft()
                ACCESS_RECORDS_DROPPED.inc()
            self._waiting.append(record)
            if self._flusher is None:
                self._flusher = threading.Thread(
                    target=self._work, name="access-log", daemon=True
                )
                self._flusher.start()

    def add_later(self, records: Iterable[Access]) -> None:
        """Queue records that found no room in the database, so that one is made."""
        self.rooms.forget()
        for each in records:
            self.add(each)

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return len(self._waiting)

    def flush(self) -> bool:
        """Write what is waiting now; say whether all of it is in the database."""
        deadline = monotonic() + FLUSH_SECONDS_AFTER_FAILURE
        with self._writing:
            while batch := self._take():
                if not self._write(batch):
                    self._put_back(batch)
                    return False
                if monotonic() > deadline:
                    break
            return not self._waiting

    def _work(self) -> None:
        pause = threading.Event()  # never set: only waits, without a clock to mock
        while True:
            pause.wait(FLUSH_SECONDS_AFTER_FAILURE if self._failing else FLUSH_SECONDS)
            self.flush()
            with self._guard:
                if not self._waiting:
                    self._flusher = None
                    return

    def _take(self) -> list[Access]:
        with self._guard:
            count = min(len(self._waiting), MOST_TOGETHER)
            return [self._waiting.popleft() for _ in range(count)]

    def _put_back(self, batch: Sequence[Access]) -> None:
        with self._guard:
            room = max(0, MOST_WAITING - len(self._waiting))
            kept = batch[len(batch) - room :] if room < len(batch) else batch
            self._waiting.extendleft(reversed(kept))
        ACCESS_RECORDS_DROPPED.inc(len(batch) - len(kept))

    def _write(self, batch: Sequence[Access]) -> bool:
        try:
            try:
                self._insert(batch)
            except IntegrityError:
                self.rooms.forget()  # one that was there has gone
                self._insert(batch)
        except (OperationalError, InterfaceError, PoolTimeoutError) as fault:
            if not self._failing:
                log.warning("access records wait: %s", type(fault).__name__)
            self._failing = True
            return False
        except Exception as fault:  # noqa: BLE001 -- one bad record must not hold up all others for ever
            log.error("access records were refused: %s", type(fault).__name__)  # noqa: TRY400 -- the fault's text may hold an address
            ACCESS_RECORDS_DROPPED.inc(len(batch))
            return True
        if self._failing:
            log.warning("access records are written again")
        self._failing = False
        return True

    def _insert(self, batch: Sequence[Access]) -> None:
        self.rooms.prepare(each.accessed_at for each in batch)
        with writing(self._engine) as connection:
            connection.execute(insert(AccessRecord), rows_of(batch))


def _cut(text: str | None) -> str | None:
    """Return ``text`` as any database takes it."""
    if text is None:
        return None
    return text[:LONGEST_TEXT].replace("\0", "").encode("utf-8", "replace").decode()


# A process that is forked inherits the queue, but the records in it are its
# parent's to write, and the parent's thread and locks are not its own.
_all_logs: "weakref.WeakSet[AccessLog]" = weakref.WeakSet()


def _begin_anew() -> None:
    for each in _all_logs:
        each._begin()  # noqa: SLF001 -- the class's own module


def flush_all() -> None:
    """Write what waits in this process: at its exit, or when a worker ends."""
    for each in list(_all_logs):
        each.flush()


os.register_at_fork(after_in_child=_begin_anew)
atexit.register(flush_all)
