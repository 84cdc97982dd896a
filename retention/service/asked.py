# SPDX-License-Identifier: Apache-2.0
"""Runs by whoever begins them: the job every ten minutes, and the staff.

Who of the staff asked, and why, is noted before it begins, in a transaction of its own:
the run has many, and on SQLite nobody else could write during one around them all.
"""

from datetime import datetime, timedelta

from fleet.database import transaction
from fleet.staff import audit, idempotency
from fleet.staff.roles import StaffMember
from retention.errors import RunUnderWay
from retention.service import plans, runs
from retention.service.runs import RunReport

EVERY = timedelta(minutes=10)
"""How often the job begins a run."""

WELL = frozenset(["ok", "idle"])
"""The states of a run that has done all there was to do."""

PATIENCE = timedelta(seconds=10)
"""How long a request waits for a run that is under way elsewhere."""


class RunIncomplete(Exception):  # noqa: N818 -- a fault of the data or the database
    """A run has left something; the ledger says how much."""


def run_by_job(_now: datetime) -> RunReport | None:
    """Seal and delete all that is due, unless another process is at it (a job).

    Raises ``RunIncomplete``, so that the job counts as failing and is soon repeated.
    """
    try:
        report = runs.run(by="job", wait=timedelta(0))
    except RunUnderWay:
        return None
    if report.state not in WELL:
        raise RunIncomplete
    return report


def rehearse(now: datetime) -> RunReport:
    """Return what a run would do, as the report of one whose state is ``planned``."""
    plan = plans.plan(now)
    return RunReport(
        number=None,
        state="planned",
        began_at=now,
        ended_at=now,
        cutoff=plan.cutoff,
        sealed_days=len(plan.to_seal),
        sealed_records=sum(sum(day.records.values()) for day in plan.to_seal),
        deleted=sum(plan.too_old.values()) + plan.misdated,
        misdated=plan.misdated,
        clock=plan.clock,
    )


def run_for(member: StaffMember, *, reason: str, now: datetime) -> RunReport:
    """Seal and delete all that is due, for ``member``.

    Raises ``RunUnderWay``.
    """
    with transaction() as session:
        if idempotency.begins(session):
            audit.record(
                session,
                actor=member,
                action="retention.run",
                subject="retention:run",
                reason=reason,
                before={},
                after={},
                now=now,
            )
    return runs.run(by=f"staff:{member.role}", wait=PATIENCE)
