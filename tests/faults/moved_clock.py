# SPDX-License-Identifier: Apache-2.0
"""A wall clock for the processes of a service, which a test moves as it likes."""

import struct
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

SOURCE = Path(__file__).with_name("move_clock.c")


class MovedClock:
    """Right at first; ``environment`` is for the processes that shall go by it."""

    def __init__(self, folder: Path) -> None:
        """Build what is preloaded, in ``folder``; raises where there is no compiler."""
        library = folder / "move_clock.so"
        command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]
        subprocess.run([*command, str(library), str(SOURCE)], check=True)
        self._file = folder / "moved-clock"
        self._file.write_bytes(struct.pack("=q", 0))
        self._ahead = timedelta(0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "MOVED_CLOCK": str(self._file),
        }

    def now(self) -> datetime:
        """Return what the service takes for now."""
        return datetime.now(UTC) + self._ahead

    def move(self, by: timedelta) -> None:
        """Move it, at once and in all processes."""
        self._ahead += by
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", int(self._ahead.total_seconds())))
