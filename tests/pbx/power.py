# SPDX-License-Identifier: Apache-2.0
"""Power that fails."""

from fleet.pbx.memory import VolatileMemory


class PowerCut(BaseException):
    """Not an ``Exception``: nothing may catch it and go on."""


class FailingPower(VolatileMemory):
    """Loses the power at one of the next writes, before or after it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left: int | None = None
        self.keeps_the_last = False

    def write(self, content: bytes) -> None:
        if self.writes_left is None:
            super().write(content)
            return
        self.writes_left -= 1
        if self.writes_left >= 0 or self.keeps_the_last:
            super().write(content)
        if self.writes_left < 0:
            raise PowerCut
