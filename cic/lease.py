# SPDX-License-Identifier: Apache-2.0
"""What a signed lease says. Pure: no Flask, no database, no clock, no chance.

The lease is the protocol's ``cic-lease+jwt`` (section 2). Firmware that will
never be changed reads it, so a claim may be added and never taken away.
"""

from datetime import datetime, timedelta

from cic.standing import CHECK_EVERY, Standing
from fleet.clock import rfc3339

PURPOSE = "cic-lease"
TYPE = "cic-lease+jwt"

RETRY_IN = 3600

# Each next check is drawn anew within this part of a day, so that a fleet that
# once came together does not come together again.
SPREAD = 0.05

# How long a "no" may be relied upon: a PBX checks hourly meanwhile.
REFUSAL_LIFE = timedelta(hours=48)

# How long before the lock a PBX should warn its admin; the last is for a grace of
# one day, which leaves no time for the others.
WARNINGS = tuple(timedelta(hours=hours) for hours in (336, 168, 72, 48, 24, 12))


def next_check_in(draw: float) -> int:
    """Return the seconds to the next check; ``draw`` is uniform in [0, 1)."""
    return round(CHECK_EVERY.total_seconds() * (1 - SPREAD + 2 * SPREAD * draw))


def minimum_attempts(grace: timedelta) -> int:
    """Return how many failed attempts must lie before a lock: every second hour's.

    A jump of the PBX's clock, or a year on a shelf without power, passes the
    instant without the attempts, and so locks nobody.
    """
    return max(1, int(grace.total_seconds() // 7200))


def claims(  # noqa: PLR0913 -- one for each thing a lease is about
    standing: Standing,
    *,
    serial_number: str,
    nonce: str,
    generation: int,
    lock_at: datetime | None,
    amnesty_until: datetime | None,
    draw: float,
    now: datetime,
) -> dict[str, object]:
    """Return the lease's claims beside ``iss`` and ``jti``.

    ``lock_at`` is counted from the check at hand where that is a success, and is
    the instant of the lock where the PBX is locked.
    """
    expires_at = lock_at if standing.is_success and lock_at else now + REFUSAL_LIFE
    result: dict[str, object] = {
        "sub": serial_number,
        "nonce": nonce,
        "iat": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
        "verdict": standing.verdict.value,
        "reason": standing.reason.value,
        "server_time": rfc3339(now),
        "next_check_in": next_check_in(draw),
        "retry_in": RETRY_IN,
        "lock_at": rfc3339(lock_at) if lock_at else None,
        "warn_at": _warn_at(standing, lock_at, now),
        "minimum_attempts": minimum_attempts(standing.grace),
        "generation": generation,
    }
    if amnesty_until is not None and amnesty_until > now:
        result["amnesty_until"] = rfc3339(amnesty_until)
    return result


def _warn_at(standing: Standing, lock_at: datetime | None, now: datetime) -> list[str]:
    if not standing.is_success or lock_at is None:
        return []
    first = now + CHECK_EVERY  # a PBX that checks daily is never warned
    warnings = (lock_at - each for each in WARNINGS)
    return [rfc3339(each) for each in warnings if each > first]
