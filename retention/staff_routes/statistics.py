# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: anonymous counters, and whose address asked for what."""

from datetime import date, datetime

from flask import Blueprint, Response, request

from fleet.clock import utcnow
from fleet.errors import Invalid
from fleet.staff.guard import current_staff, staff_only
from fleet.staff.idempotency import HEADER, given_key
from fleet.staff.roles import Role
from fleet.web.contract import accepts, queries, returns, says
from fleet.web.paging import Page
from retention import charts
from retention.schemas.statistics import (
    AccessRecordSearchRequest,
    Form,
    FoundRecordsPage,
    StatisticsQuery,
    StatisticsView,
)
from retention.service import record_search, statistics
from retention.service.record_search import Found
from retention.service.statistics import Group, Statistics, Wanted

blueprint = Blueprint("retention-statistics", __name__, url_prefix="/retention/v1")

# Everybody but a dealer: a count of all PBXs is none of theirs.
READERS = (
    Role.SUPPORT,
    Role.RELEASE_MANAGER,
    Role.PRODUCT_MANAGER,
    Role.OPERATOR,
    Role.AUDITOR,
)

_MEDIA_TYPES = {each.media_type: each for each in Form}

_NO_KEY = (
    "Not here: an answer that is kept could be read again after its records are too "
    "old. A search changes nothing, and can be sent again without."
)


@blueprint.get("/statistics")
@staff_only(*READERS)
@says(*_MEDIA_TYPES)
@returns(StatisticsView)
@queries(StatisticsQuery)
def show_statistics(
    *,
    service: str | None,
    since: date | None,
    until: date | None,
    group_by: tuple[Group, ...],
    form: Form | None,
) -> Response | Statistics:
    """Count requests by day, version, country or the like.

    Anonymous counters of days that are over. Days with few sources are counted
    once their week is over: with it, with another day of it, or undated. JSON,
    CSV, or a picture (SVG) of a period, of one thing more, or of both.
    """
    wanted = Wanted(group_by, service=service, since=since, until=until)
    found = statistics.statistics(wanted)
    chosen = form or _accepted()
    if chosen is Form.JSON:
        return found
    if chosen is Form.CSV:
        response = Response(statistics.as_csv(found), mimetype=Form.CSV.media_type)
        name = 'attachment; filename="statistics.csv"'
        response.headers["Content-Disposition"] = name
    else:
        response = Response(charts.picture(found), mimetype=Form.SVG.media_type)
        response.headers["Content-Security-Policy"] = charts.POLICY
    response.headers["Vary"] = "Accept"
    return response


@blueprint.post("/access-record-searches")
@staff_only(Role.OPERATOR, Role.AUDITOR)
@returns(FoundRecordsPage)
@accepts(AccessRecordSearchRequest)
def search_access_records(
    *,
    address: str,
    since: datetime,
    until: datetime,
    reason: str,
    limit: int,
    cursor: str | None,
) -> Page[Found]:
    """Find the requests that came from one address in a time, for who may ask.

    At most 336 hours old. Each search is in the audit log, with the address cut.
    An `Idempotency-Key` is refused: the answer would be kept.
    """
    if given_key() is not None:
        raise Invalid(fields={HEADER: [_NO_KEY]})
    return record_search.search(
        record_search.Wanted(address, since, until),
        limit=limit,
        cursor=cursor,
        reason=reason,
        by=current_staff(),
        now=utcnow(),
    )


def _accepted() -> Form:
    best = request.accept_mimetypes.best_match(_MEDIA_TYPES, Form.JSON.media_type)
    return _MEDIA_TYPES[best]
