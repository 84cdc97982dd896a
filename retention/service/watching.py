# SPDX-License-Identifier: Apache-2.0
"""What readiness warns of, and what Prometheus is told, about retention.

A run that is late is no reason to send PBXs elsewhere: readiness warns and stays as it
is. The metrics and ``callhome retention status`` are what wakes somebody.
"""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import func, select

from fleet.clock import rfc3339, utcnow
from fleet.database import reading
from fleet.feature import Gauge
from retention.countries import countries
from retention.models import RightsRequest
from retention.service.status import CategoryStatus, Status, status

HELP = "callhome retention status says more"


def warnings() -> list[str]:
    """Return what must be seen to, for everybody to read: no data of anybody."""
    return [*_sentences(status(utcnow())), *countries().warnings()]


def gauges() -> Iterator[Gauge]:
    """Yield how things stand, in numbers."""
    now = utcnow()
    found = status(now)
    for each in found.categories:
        yield from _of_category(each, found.at)
    if found.last_success_at is not None:
        yield Gauge(
            "callhome_retention_last_success_timestamp_seconds",
            "When a run last did all there was to do, in seconds since 1970",
            found.last_success_at.timestamp(),
        )
    for name, about, value in (
        (
            "overdue",
            "Whether something is kept for longer than promised",
            found.overdue,
        ),
        ("silent", "Whether no run succeeded for too long", found.silent_since),
        (
            "clock_behind",
            "Whether the clock is behind what was served",
            found.clock != "ok",
        ),
    ):
        yield Gauge(f"callhome_retention_{name}", about, float(bool(value)))
    for name, about, count in (
        ("misdated_records", "Access records from later than now", found.misdated),
        ("late_records", "Records that came after their day's seal", found.totals.late),
        ("lost_records", "Records deleted before they were counted", found.totals.lost),
        ("unbalanced_weeks", "Weeks that do not add up", found.totals.unbalanced),
        ("overdue_rights_requests", "Requests past their month", _requests(now)),
    ):
        yield Gauge(f"callhome_retention_{name}", about, float(count))


def _sentences(found: Status) -> Iterator[str]:
    for each in found.categories:
        if each.late and each.oldest is not None:
            hours = (each.cutoff - each.oldest).total_seconds() / 3600
            yield f"retention: {each.name} overdue by {hours:.1f} hours; {HELP}"
    if found.silent_since is not None:
        since = rfc3339(found.silent_since)
        yield f"retention: no run has succeeded since {since}; {HELP}"
    if found.totals.unbalanced:
        yield "retention: counters do not add up; callhome retention verify says more"


def _of_category(each: CategoryStatus, at: datetime) -> Iterator[Gauge]:
    labels = {"category": each.name, "table": each.table}
    age = 0.0 if each.oldest is None else (at - each.oldest).total_seconds()
    for name, about, value in (
        ("oldest_age_seconds", "Age of the oldest record; 0: there is none", age),
        (
            "greatest_age_seconds",
            "How old a record may become",
            (at - each.cutoff).total_seconds(),
        ),
        ("category_overdue", "Whether no run saw to it in time", each.late),
        (
            "overdue_records",
            "Records that are too old, counted to 100000",
            each.overdue,
        ),
    ):
        yield Gauge(f"callhome_retention_{name}", about, float(value), labels)


def _requests(now: datetime) -> int:
    with reading() as session:
        overdue = session.scalar(
            select(func.count())
            .select_from(RightsRequest)
            .where(RightsRequest.state == "open", RightsRequest.due_at <= now)
        )
    return overdue or 0
