# SPDX-License-Identifier: Apache-2.0
"""Whether a request may queue, and when to come back if not. Pure: no clock.

A fleet that returns after an outage asks for more than can be served. A queue
that grows without bound then serves only requests whose clients have given up.
So each request is judged on arrival by the wait it would have, and one refused
is told *when* to return: the refused form a virtual queue, in which each gets
the next free slot of the capacity that was measured. Licence checks go first.
All instants are monotonic seconds, handed in.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

MAX_RETRY_AFTER = 3600
"""A PBX retries hourly by itself; a longer wait would not be kept."""

FIRST_GUESS = 1000.0
"""Requests a second, until measured; too high is put right by `overdue_before`."""

LEAST_RATE = 0.2
"""Requests a second that are assumed even when nothing moves at all."""


class Lane(Enum):
    """Which queue a request stands in."""

    CHECK = "check"
    OTHER = "other"
    BULK = "bulk"

    # Enum hashes by name, in Python; by identity it is done in C.
    __hash__ = object.__hash__


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a lane is granted: a wait in seconds, a part of the capacity, a number.

    The parts of lanes that use the same threads add up to less than 1, so that
    those who were told to come back leave room for those who come by themselves.
    """

    wait: float
    part: float
    most: int = 10_000


@dataclass(kw_only=True)
class Meter:
    """Measures how many requests a second are served when there is a queue.

    Only then is the number the capacity; without a queue it says how many came,
    which bounds the capacity from below. A sample is taken once it is meaningful
    (many served) or has to be (a second has passed).
    """

    rate: float = FIRST_GUESS
    enough: int = 32
    _since: float | None = None
    _base: int = 0
    _queued: bool = True
    _is_guess: bool = True

    def observe(self, served: int, *, queued: bool, now: float) -> None:
        """Take note of the total served so far, and whether anybody waits."""
        self._queued = self._queued and queued
        if self._since is None:
            self._start(served, queued=queued, now=now)
            return
        elapsed, done = now - self._since, served - self._base
        if elapsed < 0.1 or (done < self.enough and elapsed < 1.0):  # noqa: PLR2004 -- see the docstring
            return
        sample = done / elapsed
        if self._queued:
            weight = 1.0 if self._is_guess else 0.5
            self.rate = max(LEAST_RATE, self.rate + weight * (sample - self.rate))
            self._is_guess = False
        elif sample > self.rate:
            self.rate = sample
        self._start(served, queued=queued, now=now)

    def _start(self, served: int, *, queued: bool, now: float) -> None:
        self._since, self._base, self._queued = now, served, queued


@dataclass(kw_only=True)
class Appointments:
    """Gives each refused request the next free slot of a part of the capacity."""

    part: float
    chance: Callable[[], float] = random.random
    _next_at: float = 0.0

    def take(self, *, rate: float, ahead: int, now: float) -> int:
        """Return seconds for ``Retry-After`` (RFC 9110 section 10.2.3).

        ``ahead`` is how many are queued already: the first slot is behind them.
        Beyond the hour the slots are over, and the second half of the hour is
        shared out by chance, so that no second gets them all.
        """
        self._next_at = max(self._next_at, now + ahead / rate)
        wait = self._next_at - now
        if wait >= MAX_RETRY_AFTER:
            return math.ceil(MAX_RETRY_AFTER * (0.5 + 0.5 * self.chance()))
        self._next_at += 1 / (rate * self.part)
        jitter = self.chance() * max(1.0, 0.1 * wait)
        return min(MAX_RETRY_AFTER, max(1, math.ceil(wait + jitter)))


SHARES = {Lane.CHECK: Share(wait=2.0, part=0.6), Lane.OTHER: Share(wait=1.0, part=0.2)}


@dataclass(kw_only=True)
class Admission:
    """The judge at the door of one pool of threads."""

    shares: Mapping[Lane, Share] = field(default_factory=lambda: SHARES)
    chance: Callable[[], float] = random.random
    meter: Meter = field(default_factory=Meter)
    _appointments: dict[Lane, Appointments] = field(init=False)

    def __post_init__(self) -> None:
        """Open one book of appointments for each lane."""
        self._appointments = {
            lane: Appointments(part=share.part, chance=self.chance)
            for lane, share in self.shares.items()
        }

    def admits(self, lane: Lane, *, ahead: int) -> bool:
        """Say whether a request with ``ahead`` others before it is soon served.

        With nobody waiting there is nothing to judge: it is the next.
        """
        share = self.shares[lane]
        return not ahead or ahead < min(share.most, share.wait * self.meter.rate)

    def overdue_before(self, lane: Lane, *, now: float) -> float:
        """Return the instant since which nobody in the queue should have waited.

        Some will have, when the capacity falls, or checks keep overtaking the
        others: their clients are better told so than left to wait.
        """
        return now - 2 * self.shares[lane].wait

    def retry_after(self, lane: Lane, *, ahead: int, now: float) -> int:
        """Make an appointment for a request that was not admitted; seconds."""
        return self._appointments[lane].take(rate=self.meter.rate, ahead=ahead, now=now)
