# SPDX-License-Identifier: Apache-2.0
"""What a signed lease says, read strictly: a claim of the wrong shape is nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from fleet.pbx.errors import Expired, Malformed

SANE_YEARS = range(2000, 3000)


class Verdict(StrEnum):
    """What the vendor says about this PBX."""

    ACTIVE = "active"
    LOCKED = "locked"
    BLOCKED = "blocked"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The claims of a ``cic-lease+jwt`` that a PBX acts upon.

    Durations are seconds. ``locks_at`` is already the later of ``lock_at`` and
    ``amnesty_until``: "nobody locks before T" is the same promise from two sides.
    """

    verdict: Verdict
    reason: str
    server_time: datetime
    next_check_in: int
    retry_in: int
    locks_at: datetime
    warn_at: tuple[datetime, ...]
    minimum_attempts: int
    generation: int


def read_lease(claims: Mapping[str, object]) -> Lease:
    """Read the claims of a lease whose signature was verified.

    Claims that are not known come from a newer server and are ignored.

    Raises ``Malformed`` where a claim is missing or of the wrong shape, ``Expired``
    where the lease ends before it begins.
    """
    issued_at = numeric_date(claims, "iat")
    if numeric_date(claims, "exp") <= issued_at:
        raise Expired("the lease ended before it was issued")
    return Lease(
        verdict=_verdict(claims),
        reason=text(claims, "reason") if claims.get("reason") else "",
        server_time=instant(claims, "server_time"),
        next_check_in=whole_number(claims, "next_check_in"),
        retry_in=whole_number(claims, "retry_in"),
        locks_at=_locks_at(claims),
        warn_at=_warn_at(claims),
        minimum_attempts=whole_number(claims, "minimum_attempts"),
        generation=whole_number(claims, "generation"),
    )


def text(claims: Mapping[str, object], name: str) -> str:
    """Return the claim ``name``, which must be a text that is not empty."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise Malformed(f"{name} is not a text")
    return value


def whole_number(claims: Mapping[str, object], name: str) -> int:
    """Return the claim ``name``, which must be a whole number and not negative."""
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Malformed(f"{name} is not a whole number")
    return value


def instant(claims: Mapping[str, object], name: str) -> datetime:
    """Return the claim ``name`` as an instant (RFC 3339)."""
    return _instant(claims.get(name), name)


def numeric_date(claims: Mapping[str, object], name: str) -> datetime:
    """Return the claim ``name`` as an instant (NumericDate, RFC 7519 section 2)."""
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Malformed(f"{name} is not a NumericDate")
    try:
        return _sane(datetime.fromtimestamp(value, UTC), name)
    except (ValueError, OverflowError, OSError) as error:
        raise Malformed(f"{name} is not a NumericDate") from error


def _instant(value: object, name: str) -> datetime:
    if not isinstance(value, str):
        raise Malformed(f"{name} is not an instant")
    try:
        parsed = datetime.fromisoformat(value)
        if parsed.tzinfo is None:
            raise Malformed(f"{name} names no time zone")
        return _sane(parsed.astimezone(UTC), name)
    except (ValueError, OverflowError) as error:
        raise Malformed(f"{name} is not an instant") from error


def _sane(value: datetime, name: str) -> datetime:
    """Keep instants far enough from the ends of the calendar to calculate with."""
    if value.year not in SANE_YEARS:
        raise Malformed(f"{name} lies outside the years that can be reckoned with")
    return value


def _verdict(claims: Mapping[str, object]) -> Verdict:
    try:
        return Verdict(text(claims, "verdict"))
    except ValueError as error:
        raise Malformed("verdict is none of the four") from error


def _locks_at(claims: Mapping[str, object]) -> datetime:
    """Return the end of patience; a signed no may do without ``lock_at``."""
    if claims.get("lock_at") is None and claims.get("verdict") != Verdict.ACTIVE:
        return numeric_date(claims, "exp")
    locks_at = instant(claims, "lock_at")
    if claims.get("amnesty_until") is None:
        return locks_at
    return max(locks_at, instant(claims, "amnesty_until"))


def _warn_at(claims: Mapping[str, object]) -> tuple[datetime, ...]:
    value = claims.get("warn_at")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Malformed("warn_at is not a list")
    return tuple(sorted(_instant(each, "warn_at") for each in value))
