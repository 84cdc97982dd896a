# SPDX-License-Identifier: Apache-2.0
"""May a PBX run? Pure: no Flask, no database, no clock.

The standing of a PBX is computed from when it was last heard, what it is
granted, and now; it is stored nowhere. So no job has to run for a lock to be
true, and none can forget to lift one: an amnesty granted a minute ago, or an
outage of ours noticed a minute ago, counts at the next check.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

# A PBX checks once in this time; only what is silent for longer uses its grace.
CHECK_EVERY = timedelta(hours=24)

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class Verdict(StrEnum):
    """What a signed lease says, and ``uninitialised``, which no lease says."""

    UNINITIALISED = "uninitialised"
    ACTIVE = "active"
    LOCKED = "locked"
    BLOCKED = "blocked"
    REPLACED = "replaced"


class Hold(StrEnum):
    """What staff decided about a PBX; it stands above all silence."""

    NONE = ""
    BLOCKED = "blocked"
    REPLACED = "replaced"


class Reason(StrEnum):
    """Why a verdict is what it is: codes that a PBX says in its own language."""

    IN_TOUCH = "in-touch"
    WITHIN_GRACE = "within-grace"
    AMNESTY = "amnesty"
    SILENT_TOO_LONG = "silent-too-long"
    BLOCKED_BY_VENDOR = "blocked-by-vendor"
    REPLACED_BY_OTHER = "replaced-by-other-device"
    NEVER_INITIALISED = "never-initialised"


@dataclass(frozen=True, order=True)
class Downtime:
    """Time in which this service answered nobody."""

    began_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class Policy:
    """What all standings are judged by.

    ``downtimes`` are in order and do not overlap (see ``merged``); they are
    empty where outages are not credited.
    """

    default_grace: timedelta
    grace_by_type: Mapping[str, timedelta] = field(default_factory=dict)
    amnesty_until: datetime | None = None
    downtimes: Sequence[Downtime] = ()

    def grace_of(self, device_type: str, own_days: int) -> timedelta:
        """Return the grace of a PBX: its own, its type's, or the default."""
        if own_days:
            return timedelta(days=own_days)
        return self.grace_by_type.get(device_type, self.default_grace)


class Standing(NamedTuple):
    """A verdict, why, and when it locks or locked (nothing where it cannot)."""

    verdict: Verdict
    reason: Reason
    lock_at: datetime | None
    grace: timedelta

    @property
    def is_success(self) -> bool:
        """Whether a check answered with this counts as a success."""
        return self.verdict is Verdict.ACTIVE


def merged(downtimes: Sequence[Downtime]) -> tuple[Downtime, ...]:
    """Return the same time in order and without overlap."""
    result: list[Downtime] = []
    for each in sorted(downtimes):
        if result and each.began_at <= result[-1].ended_at:
            ended_at = max(result[-1].ended_at, each.ended_at)
            result[-1] = Downtime(result[-1].began_at, ended_at)
        else:
            result.append(each)
    return tuple(result)


def lock_at(*, silent_since: datetime, grace: timedelta, policy: Policy) -> datetime:
    """Return the instant from which a PBX silent since then is locked.

    24 hours and the grace, counted only while this service could be reached,
    and never before the end of an amnesty. It never falls when ``silent_since``
    rises, which ``silence_that_locks_at`` relies on.
    """
    deadline = silent_since + CHECK_EVERY + grace
    first = bisect_right(policy.downtimes, silent_since, key=lambda each: each.ended_at)
    for downtime in policy.downtimes[first:]:
        if downtime.began_at >= deadline:
            break
        deadline += downtime.ended_at - max(downtime.began_at, silent_since)
    if policy.amnesty_until is not None:
        deadline = max(deadline, policy.amnesty_until)
    return deadline


def standing(
    *,
    silent_since: datetime | None,
    hold: Hold,
    device_type: str,
    own_grace_days: int,
    policy: Policy,
    now: datetime,
) -> Standing:
    """Judge a PBX; a limit itself is still kind."""
    grace = policy.grace_of(device_type, own_grace_days)
    if hold is Hold.REPLACED:
        return Standing(Verdict.REPLACED, Reason.REPLACED_BY_OTHER, None, grace)
    if hold is Hold.BLOCKED:
        return Standing(Verdict.BLOCKED, Reason.BLOCKED_BY_VENDOR, None, grace)
    if silent_since is None:
        return Standing(Verdict.UNINITIALISED, Reason.NEVER_INITIALISED, None, grace)
    limit = lock_at(silent_since=silent_since, grace=grace, policy=policy)
    if now > limit:
        return Standing(Verdict.LOCKED, Reason.SILENT_TOO_LONG, limit, grace)
    if now <= silent_since + CHECK_EVERY:
        return Standing(Verdict.ACTIVE, Reason.IN_TOUCH, limit, grace)
    amnestied = policy.amnesty_until == limit
    reason = Reason.AMNESTY if amnestied else Reason.WITHIN_GRACE
    return Standing(Verdict.ACTIVE, reason, limit, grace)


def first_silence_to_lock_at(
    instant: datetime, *, grace: timedelta, policy: Policy
) -> datetime:
    """Return the earliest ``silent_since`` whose ``lock_at`` is ``instant`` or later.

    The inverse of ``lock_at``, so that "who locks before Friday" is one range of
    an index. Found by halving, to the microsecond, since ``lock_at`` has steps
    (an amnesty) and slopes (a downtime).
    """
    low, high = EARLIEST, LATEST
    while high - low > timedelta(microseconds=1):
        middle = low + (high - low) // 2
        if lock_at(silent_since=middle, grace=grace, policy=policy) >= instant:
            high = middle
        else:
            low = middle
    return high
