# SPDX-License-Identifier: Apache-2.0
"""Clocks for a PBX: a real one, and one that lives weeks in seconds."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """The two clocks of a PBX, and waiting."""

    def now(self) -> datetime:
        """Read the real-time clock, which may be wrong."""

    def uptime(self) -> float:
        """Return the seconds since power came on; never goes back."""

    def set(self, instant: datetime) -> None:
        """Set the real-time clock."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The clock of the machine that plays the PBX.

    Setting it moves only what this PBX sees, never the host.
    """

    def __init__(self) -> None:
        """Power on."""
        self._offset = 0.0
        self._powered_on_at = time.monotonic()

    def now(self) -> datetime:
        """Read the host's clock as this PBX has set it."""
        return datetime.fromtimestamp(_host_clock() + self._offset, UTC)

    def uptime(self) -> float:
        """Return the seconds since this object was made."""
        return time.monotonic() - self._powered_on_at

    def set(self, instant: datetime) -> None:
        """Remember the difference to the host's clock."""
        self._offset = instant.timestamp() - _host_clock()

    def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        time.sleep(seconds)


class AcceleratedClock:
    """A clock that moves only when somebody sleeps.

    ``speed`` is simulated seconds for each real one; without it no time is lost at all.
    """

    def __init__(self, now: datetime, *, speed: float | None = None) -> None:
        """Power on at ``now``."""
        self._now = now
        self._speed = speed
        self._uptime = 0.0
        self.elapsed = 0.0
        """Seconds lived since the beginning, over all boots and settings."""

    def now(self) -> datetime:
        """Read the simulated real-time clock."""
        return self._now

    def uptime(self) -> float:
        """Return the simulated seconds since power came on."""
        return self._uptime

    def set(self, instant: datetime) -> None:
        """Set the simulated real-time clock."""
        self._now = instant

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        if self._speed:
            time.sleep(seconds / self._speed)
        self._uptime += seconds
        self._pass(seconds)

    def switch_off(self, seconds: float) -> None:
        """Let time pass without power; the next uptime begins at zero."""
        self._uptime = 0.0
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self.elapsed += seconds


def _host_clock() -> float:
    """Read the clock of the machine that plays the PBX, in seconds since 1970."""
    return time.time()  # noqa: TID251 -- a PBX has a clock of its own, not the server's
