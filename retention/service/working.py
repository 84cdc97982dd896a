# SPDX-License-Identifier: Apache-2.0
"""The work of a run that has the lease.

Days that have expired records are sealed first, then these are deleted, and the other
days come last: no deletion waits for more than it must. Weeks that are over are closed
before the deletion, which takes what their sources are counted from, and again at the
end. Whatever fails in sealing, what is over its age goes.
"""

import logging
import random
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from importlib.metadata import PackageNotFoundError, version

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from fleet.clock import utcnow
from fleet.database import writing
from fleet.server.lease import Lease, LeaseLost
from fleet.web.models import AccessRecord
from retention.countries import Countries
from retention.service import (
    closing,
    deleting_rooms,
    deleting_rows,
    ledger,
    plans,
    states,
)
from retention.service.deadlines import DAY, OFF, Deadlines, begin_of, deadlines
from retention.service.deleting import Deletion, Gone, newest, oldest
from retention.service.periods import monday_of
from retention.service.reports import (
    IDLE,
    OK,
    PARTIAL,
    Progress,
    RunReport,
    Tell,
    facts_of,
)
from retention.service.sealing import Sealer

log = logging.getLogger(__name__)

# A day whose records would be lost next is tried again, since a fault may pass.
TRIES_TO_SEAL = 3

_RENEW_AFTER_SECONDS = 5.0


class Work:
    """A run that has the lease."""

    def __init__(
        self,
        engine: Engine,
        lease: Lease,
        places: Countries,
        *,
        by: str,
        tell: Tell | None,
    ) -> None:
        """Do nothing yet."""
        self._engine = engine
        self._lease = lease
        self._places = places
        self._origin: dict[str, object] = {"by": by, "version": _code_version()}
        self._tell = tell
        self._renewed_at = time.monotonic()
        self._unsealed: list[date] = []
        self._open: list[date] = []
        self._sealer: Sealer | None = None

    def do(self) -> RunReport:
        """Do all that is due, and write it down."""
        began_at = utcnow()
        with self._engine.connect() as connection:
            due = deadlines(connection, began_at)
            days = list(plans.unsealed(connection, due.closed))
            weeks = closing.weeks_over(connection, due)
            first, last = oldest(connection), newest(connection)
        expired = first is not None and first <= due.cutoff
        misdated = last is not None and last > due.ceiling
        report = RunReport(
            number=None,
            state=IDLE,
            began_at=began_at,
            ended_at=began_at,
            cutoff=due.cutoff,
            oldest=first,
            clock=due.clock,
        )
        if not (days or weeks or expired or misdated):
            return self._rest(report, due)
        number = self._begin(due)
        try:
            return self._all(replace(report, number=number), due, days)
        except LeaseLost:
            raise
        except Exception as fault:
            self._fail(number, fault)
            raise

    def _all(self, report: RunReport, due: Deadlines, days: list[date]) -> RunReport:
        # With the rest of their week, which is closed while its records are there.
        pressing = [day for day in days if begin_of(monday_of(day)) <= due.cutoff]
        rest = days[len(pressing) :]
        report = self._seal(report, due, pressing, of=len(days))
        self._close_weeks(due, [*self._unsealed, *rest])
        gone = self._delete(due)
        report = self._seal(report, due, rest, of=len(days))
        self._close_weeks(due, self._unsealed)
        swept = self._sweep()
        overdue = self._count_overdue(due)
        with self._engine.connect() as connection:
            first = oldest(connection)
        done = not (self._unsealed or self._open or gone.left or overdue) and swept
        report = replace(
            report,
            state=OK if done else PARTIAL,
            ended_at=utcnow(),
            deleted=gone.deleted,
            late=gone.late,
            lost=gone.lost,
            misdated=gone.misdated,
            batches=gone.batches,
            oldest=first,
            overdue=overdue,
        )
        self._end(report, gone)
        return report

    # Sealing

    def _seal(
        self, report: RunReport, due: Deadlines, days: list[date], *, of: int
    ) -> RunReport:
        sealed, records = report.sealed_days, report.sealed_records
        for day in days:
            self._told(Progress("sealing", done=sealed, total=of, day=day))
            done = self._patiently(day, due)
            if done is not None:
                sealed, records = sealed + 1, records + done
        return replace(report, sealed_days=sealed, sealed_records=records)

    def _patiently(self, day: date, due: Deadlines) -> int | None:
        """Seal a day, or note that it could not be sealed; return its records.

        Whatever the reason: a fault in counting must not keep what is too old.
        """
        for tried in range(TRIES_TO_SEAL):
            if tried:
                time.sleep(random.uniform(0.05, 0.2))  # noqa: S311 -- only to get out of step
            try:
                if self._sealer is None:
                    self._sealer = Sealer(
                        self._engine, self._places, fence=self._fence, now=due.now
                    )
                done = self._sealer.seal(day, between=self._keep)
            except LeaseLost:
                raise
            except Exception as fault:  # noqa: BLE001 -- see above
                log.error("retention: %s not sealed: %s", day, type(fault).__name__)  # noqa: TRY400 -- the fault's text may hold a value
                continue
            return None if done is None else done.records
        self._unsealed.append(day)
        return None

    def _close_weeks(self, due: Deadlines, unsealed: list[date]) -> None:
        """Close the weeks that are over, but those with days still to be sealed.

        A week that cannot be closed is noted, and kept for the next run.
        """
        with self._engine.connect() as connection:
            weeks = closing.weeks_over(connection, due)
        self._open = []
        for monday in weeks:
            if not closing.may_close(monday, due, unsealed):
                continue
            try:
                closing.close(
                    self._engine, monday, fence=self._fence, between=self._keep
                )
            except LeaseLost:
                raise
            except Exception as fault:  # noqa: BLE001 -- as in sealing
                log.error(  # noqa: TRY400 -- the fault's text may hold a value
                    "retention: week of %s not closed: %s", monday, type(fault).__name__
                )
                self._open.append(monday)

    # Deleting

    def _delete(self, due: Deadlines) -> Gone:
        rooms = self._engine.dialect.name == "postgresql"
        expire: Deletion = deleting_rooms.expire if rooms else deleting_rows.expire
        total = self._count_overdue(due) if self._tell else 0
        gone = Gone()
        self._told(Progress("deleting", total=total))
        for step in expire(self._engine, due, fence=self._fence):
            gone += step
            self._told(Progress("deleting", done=gone.deleted, total=total))
        return gone

    def _count_overdue(self, due: Deadlines) -> int:
        with self._engine.connect() as connection:
            return plans.count(connection, AccessRecord.accessed_at <= due.cutoff)

    def _told(self, step: Progress) -> None:
        if self._tell is not None:
            self._tell(step)

    def _sweep(self) -> bool:
        if self._engine.dialect.name == "postgresql":
            return True
        return deleting_rows.sweep(self._engine)

    # The lease

    def _fence(self, connection: Connection) -> None:
        self._lease.fence(connection, utcnow())
        self._renewed_at = time.monotonic()

    def _keep(self) -> None:
        """Renew the lease where nothing has for a while."""
        if time.monotonic() - self._renewed_at > _RENEW_AFTER_SECONDS:
            with writing(self._engine) as connection:
                self._fence(connection)

    # The ledger

    def _begin(self, due: Deadlines) -> int:
        facts = self._origin | {"cutoff": due.cutoff, "clock": due.clock}
        with writing(self._engine) as connection:
            self._fence(connection)
            if due.clock != OFF:  # later runs must not go by a clock that is ahead
                states.deletes(connection, cutoff=due.cutoff)
            number = ledger.next_run(connection)
            ledger.append(
                connection, run=number, event=ledger.BEGAN, facts=facts, now=utcnow()
            )
        return number

    def _end(self, report: RunReport, gone: Gone) -> None:
        number = report.number or 0
        facts = facts_of(report) | _left(self._unsealed, self._open, gone)
        with writing(self._engine) as connection:
            self._fence(connection)
            if report.state == OK:
                states.succeeded(connection, at=report.ended_at)
            ledger.append(
                connection,
                run=number,
                event=ledger.ENDED,
                facts=facts,
                now=report.ended_at,
            )

    def _fail(self, number: int, fault: Exception) -> None:
        facts = {"fault": type(fault).__name__}
        try:
            with writing(self._engine) as connection:
                self._fence(connection)
                ledger.append(
                    connection,
                    run=number,
                    event=ledger.FAILED,
                    facts=facts,
                    now=utcnow(),
                )
        except (SQLAlchemyError, LeaseLost) as another:
            log.warning("retention: failure not noted: %s", type(another).__name__)

    def _rest(self, report: RunReport, due: Deadlines) -> RunReport:
        """There was nothing to do: note only that it was looked for."""
        for _ in self._expire_nothing(due):
            pass
        swept = self._sweep()
        report = replace(report, state=IDLE if swept else PARTIAL, ended_at=utcnow())
        with writing(self._engine) as connection:
            self._fence(connection)
            if swept:
                states.succeeded(connection, at=report.ended_at)
            last = ledger.last_written(connection)
            if last is None or report.ended_at - last >= DAY:
                number = ledger.next_run(connection)
                report = replace(report, number=number)
                ledger.append(
                    connection,
                    run=number,
                    event=ledger.IDLE,
                    facts=self._origin | facts_of(report),
                    now=report.ended_at,
                )
        return report

    def _expire_nothing(self, due: Deadlines) -> Iterable[Gone]:
        """Let empty rooms go, which nobody would miss, nor find."""
        if self._engine.dialect.name != "postgresql":
            return ()
        return deleting_rooms.expire(self._engine, due, fence=self._fence)


def _left(
    unsealed: list[date], weeks_open: list[date], gone: Gone
) -> dict[str, object]:
    left: dict[str, object] = {
        "not_sealed": unsealed,
        "not_closed": weeks_open,
        "not_deleted": gone.left,
    }
    return {name: value for name, value in left.items() if value}


def _code_version() -> str:
    try:
        return version("callhome")
    except PackageNotFoundError:
        return "unknown"
