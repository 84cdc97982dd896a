# SPDX-License-Identifier: Apache-2.0
"""What time it is, on a box whose clock may be dead, wrong, or turned back on purpose.

Three sources, from certain to doubtful:

1. what the vendor last signed (``signed_at``),
2. how long the PBX has run since, on the monotonic clock (``ran``),
3. how long it was switched off, as its real-time clock says (``rested``).

All deadlines of a lease are compared with their sum, so they are counted from the last
signed answer: a clock that is wrong by years changes nothing. The real-time clock is
asked only once in each boot, and only believed near the high-water mark, which is the
latest time this PBX has ever known.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

BEHIND_AT_MOST: Final = timedelta(hours=24)
AHEAD_AT_MOST: Final = timedelta(days=30)


class Doubt(StrEnum):
    """What is wrong with the real-time clock."""

    NONE = "none"
    BEHIND = "behind"
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reckoning:
    """The PBX's knowledge of time; ``uptime`` is the monotonic reading, in seconds."""

    signed_at: datetime
    mark: datetime
    ran: float = 0.0
    rested: float = 0.0
    uptime: float = 0.0
    doubt: Doubt = Doubt.NONE

    @classmethod
    def from_factory(cls, built_at: datetime) -> Self:
        """Begin with the one thing a new box knows: when its firmware was built."""
        return cls(signed_at=built_at, mark=built_at)

    @property
    def now(self) -> datetime:
        """The best estimate of the present."""
        return self.certain + timedelta(seconds=self.rested)

    @property
    def certain(self) -> datetime:
        """A lower bound of the present that no real-time clock can move."""
        return self.signed_at + timedelta(seconds=self.ran)

    def counted(self, uptime: float) -> Self:
        """Count the time run since the last reading, and raise the mark with it."""
        ran = self.ran + max(0.0, uptime - self.uptime)
        moved = replace(self, ran=ran, uptime=uptime)
        return replace(moved, mark=max(self.mark, moved.now))

    def booted(self, rtc: datetime, *, uptime: float, built_at: datetime) -> Self:
        """Judge the real-time clock, once, and count the time spent switched off.

        A clock more than a day behind the mark was turned back or lost its battery;
        one more than 30 days ahead may be right (a year on a shelf) or broken. Both are
        ignored until a signed answer says what time it is; neither locks anything.
        """
        mark = max(self.mark, built_at)
        fresh = replace(self, mark=mark, uptime=uptime, doubt=Doubt.NONE)
        if rtc < mark - BEHIND_AT_MOST:
            return replace(fresh, doubt=Doubt.BEHIND)
        if rtc > mark + AHEAD_AT_MOST:
            return replace(fresh, doubt=Doubt.AHEAD)
        rested = max(0.0, (rtc - mark).total_seconds())
        return replace(fresh, rested=self.rested + rested).counted(uptime)

    def confirmed(self, server_time: datetime, *, lower_mark: bool) -> Self:
        """Begin to count anew from a signed ``server_time``.

        Only a re-initialisation may lower the mark (``lower_mark``).
        """
        mark = server_time if lower_mark else max(self.mark, server_time)
        return replace(
            self,
            signed_at=server_time,
            mark=mark,
            ran=0.0,
            rested=0.0,
            doubt=Doubt.NONE,
        )
