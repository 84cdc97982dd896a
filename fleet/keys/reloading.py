# SPDX-License-Identifier: Apache-2.0
"""A value made from files, and made again when they change.

Rotating a key or a certificate must not need a restart, and a file caught in
the middle of being replaced must not take away what worked a second ago.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

# Looking at files costs a system call each: not for every request.
LOOK_EVERY_SECONDS = 1.0

Stamp = tuple[tuple[Path, int, int, int] | None, ...]


class Reloading(Generic[T]):
    """The newest good value of some files; safe to use from many threads.

    ``load`` makes the value and raises where it cannot; ``files`` names what it
    is made from, and is asked again each time, since files come and go.
    """

    def __init__(
        self,
        load: Callable[[], T],
        files: Callable[[], Iterable[Path]],
        *,
        look_every: float = LOOK_EVERY_SECONDS,
    ) -> None:
        """Make the value for the first time; raise what ``load`` raises."""
        self._load = load
        self._files = files
        self._look_every = look_every
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._looked_at = time.monotonic()
        self._value = load()
        self.fault: str | None = None

    def current(self) -> T:
        """Return the value, made anew if the files changed over a second ago.

        If they cannot be used, the value stays as it was and ``fault`` says why.
        Only one thread looks; the others go on with what there is.
        """
        is_due = time.monotonic() - self._looked_at >= self._look_every
        if is_due and self._lock.acquire(blocking=False):
            try:
                self._reload()
            finally:
                self._lock.release()
        return self._value

    def look_now(self) -> T:
        """Return the value after looking at the files in any case."""
        with self._lock:
            self._reload()
        return self._value

    def _reload(self) -> None:
        self._looked_at = time.monotonic()
        stamp = self._look()
        if stamp == self._stamp:
            return
        # Noted before loading: a change meanwhile is then seen the next time,
        # and files that cannot be used are complained about once, not for ever.
        self._stamp = stamp
        try:
            self._value = self._load()
            self.fault = None
        except Exception as fault:  # noqa: BLE001 -- whatever it is, the old value is better
            self.fault = str(fault) or type(fault).__name__
            log.warning(
                "changed files cannot be used, going on with the earlier ones: %s",
                self.fault,
            )

    def _look(self) -> Stamp:
        return tuple(_stamp_of(path) for path in sorted(self._files()))


def _stamp_of(path: Path) -> tuple[Path, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return path, found.st_mtime_ns, found.st_size, found.st_ino
