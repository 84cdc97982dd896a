# SPDX-License-Identifier: Apache-2.0
"""One run of retention: seal what is over, delete what is too old, and say so.

The job, the command line and the staff's route all call ``run``. Any number may try
at once, on any number of hosts: one has the lease, and each of its changes is
committed together with a renewal of it. What is due is read from the data, so a run
that is killed anywhere is gone on with by the next.
"""

import logging
import time
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from fleet.clock import utcnow
from fleet.database import db
from fleet.server.lease import Lease, LeaseLost
from retention.countries import countries
from retention.errors import RunUnderWay
from retention.service.reports import IDLE, OK, PARTIAL, Progress, RunReport, Tell
from retention.service.working import Work

__all__ = ["IDLE", "OK", "PARTIAL", "Progress", "RunReport", "run"]

log = logging.getLogger(__name__)

LEASE_NAME = "retention"

_LOOK_AGAIN = timedelta(seconds=0.5)
_NEXT_TRY_IN = timedelta(seconds=10)


def run(
    *,
    by: str,
    wait: timedelta | None,
    progress: Tell | None = None,
) -> RunReport:
    """Seal and delete all that is due; the one function of job, CLI and route.

    ``by`` is ``job``, ``cli`` or ``staff:<role>``, and no name. ``wait`` is how long to
    wait for a run that is under way elsewhere: ``timedelta(0)`` not at all, None for
    as long as it takes. Raises ``RunUnderWay`` where that was not enough, or where
    another took over meanwhile, and SQLAlchemy's error where the database fails.
    """
    lease = Lease(db.engine, LEASE_NAME)
    _wait_for(lease, wait, progress)
    try:
        return Work(db.engine, lease, countries(), by=by, tell=progress).do()
    except LeaseLost:
        raise RunUnderWay(
            "Another process has taken over this run.",
            retry_after=int(_NEXT_TRY_IN.total_seconds()),
        ) from None
    finally:
        _give_up(lease)


def _wait_for(lease: Lease, wait: timedelta | None, tell: Tell | None) -> None:
    waited = timedelta(0)
    while not lease.claim(utcnow()):
        if wait is not None and waited >= wait:
            raise RunUnderWay(retry_after=int(_NEXT_TRY_IN.total_seconds()))
        if tell is not None:
            tell(Progress("waiting", done=int(waited.total_seconds())))
        time.sleep(_LOOK_AGAIN.total_seconds())
        waited += _LOOK_AGAIN


def _give_up(lease: Lease) -> None:
    try:
        lease.give_up()
    except SQLAlchemyError as fault:
        log.warning("retention: lease not given up: %s", type(fault).__name__)
