# SPDX-License-Identifier: Apache-2.0
"""What a PBX stands in; each part may be replaced by a test or a load generator."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.pbx.clocks import Clock, SystemClock
from fleet.pbx.life import Announce


def _ignore(_: Announce) -> None:
    """Announce to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a PBX stands in: its clock, its dice, and whoever listens to it."""

    clock: Clock = field(default_factory=SystemClock)
    draw: Callable[[], float] = random.random
    tell: Callable[[Announce], None] = _ignore
