# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: how retention stands, its runs, and one to be done now."""

from flask import Blueprint

from fleet.clock import utcnow
from fleet.staff.guard import current_staff, staff_only
from fleet.staff.roles import Role
from fleet.web.contract import accepts, queries, refuses, returns
from fleet.web.paging import Page, PageQuery
from retention.errors import RunUnderWay
from retention.schemas.runs import (
    LedgerPage,
    PlanView,
    RunRequest,
    RunView,
    StatusView,
)
from retention.service import asked, ledger, plans
from retention.service.ledger import RunFacts
from retention.service.plans import Plan
from retention.service.runs import RunReport
from retention.service.status import Status, status

blueprint = Blueprint("retention-runs", __name__, url_prefix="/retention/v1")

READERS = (
    Role.SUPPORT,
    Role.RELEASE_MANAGER,
    Role.PRODUCT_MANAGER,
    Role.OPERATOR,
)


@blueprint.get("/status")
@staff_only(*READERS)
@returns(StatusView)
def show_status() -> Status:
    """Say how old the oldest of each category is, and what is overdue."""
    return status(utcnow())


@blueprint.get("/plan")
@staff_only(*READERS)
@returns(PlanView)
def show_plan() -> Plan:
    """Say what a run would seal and delete now."""
    return plans.plan(utcnow())


@blueprint.get("/runs")
@staff_only(*READERS)
@returns(LedgerPage)
@queries(PageQuery)
def list_runs(*, limit: int, cursor: str | None) -> Page[RunFacts]:
    """List the runs in the ledger, newest first."""
    return ledger.runs(limit, cursor)


@blueprint.post("/runs")
@staff_only(Role.OPERATOR, apart=True)
@refuses(RunUnderWay)
@returns(RunView)
@accepts(RunRequest)
def begin_run(*, dry_run: bool, reason: str) -> RunReport:
    """Seal and delete all that is due, and say what that was, or would be."""
    now = utcnow()
    if dry_run:
        return asked.rehearse(now)
    return asked.run_for(current_staff(), reason=reason, now=now)
