# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: while it works, and at its end."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Literal

OK = "ok"
IDLE = "idle"
PARTIAL = "partial"


@dataclass(frozen=True)
class Progress:
    """How far a run is: ``done`` of ``total`` days or records of its ``stage``.

    ``total`` is what was due as the stage began; 0 where it is not known.
    """

    stage: Literal["waiting", "sealing", "deleting"]
    done: int = 0
    total: int = 0
    day: date | None = None


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run did.

    ``state`` is ``ok``, ``idle`` where nothing was due, or ``partial`` where something
    is left to be done. ``late`` and ``lost`` are parts of ``deleted``: records that
    came after their day's seal, and those of days that could not be sealed.
    ``overdue`` counts the records that are too old and still there.
    """

    number: int | None
    state: str
    began_at: datetime
    ended_at: datetime
    cutoff: datetime
    sealed_days: int = 0
    sealed_records: int = 0
    deleted: int = 0
    late: int = 0
    lost: int = 0
    misdated: int = 0
    batches: int = 0
    oldest: datetime | None = None
    overdue: int = 0
    clock: str = "ok"


Tell = Callable[[Progress], object]
"""Is told how far a run is."""

_UNTOLD = {"number", "began_at", "ended_at"}  # the entries have these themselves


def facts_of(report: RunReport) -> dict[str, object]:
    """Return what the ledger keeps of a report."""
    return {
        name: value for name, value in asdict(report).items() if name not in _UNTOLD
    }
