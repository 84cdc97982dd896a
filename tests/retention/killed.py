# SPDX-License-Identifier: Apache-2.0
"""Runs retention at an instant, in children that are killed in the midst of it.

``python killed.py INSTANT KILLS SEED`` with the settings in the environment. Each child
sees a clock that is a minute further on than the last one's, when the lease of the one
that was killed has run out. Most are killed at one of their statements or just before a
commit, and every third at any moment after its first. The last is left to finish.
"""

import functools
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa
from freezegun import freeze_time

from fleet.database import db
from retention.service import runs
from wsgi import create_app

MINUTE = timedelta(minutes=1)


class Doom:
    """Kills this very process, at the n-th thing that it does to the database."""

    def __init__(self, steps: int, *, seconds: float = 0) -> None:
        """Or so many seconds after that."""
        self._left = steps
        self._seconds = seconds
        sa.event.listen(db.engine, "before_cursor_execute", self._step)
        sa.event.listen(db.engine, "commit", self._step)

    def _step(self, *_: object) -> None:
        self._left -= 1
        if self._left == 0 and self._seconds:
            threading.Timer(self._seconds, _die).start()
        elif self._left == 0:
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _in_child(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def main() -> int:
    """Kill as many children as asked for, and let the last one work to its end."""
    instant, kills = datetime.fromisoformat(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(int(sys.argv[3]))
    app = create_app()

    def run(kill: int) -> None:
        with app.app_context(), freeze_time(instant + kill * MINUTE):
            if kill < kills:
                seconds = chance.uniform(0.01, 0.3) if kill % 3 == 2 else 0
                Doom(1 if seconds else chance.randrange(5, 60), seconds=seconds)
            runs.run(by="job", wait=timedelta(0))

    statuses = []
    for kill in range(kills + 1):
        chance.random()  # or each child would draw the same
        pid = _in_child(functools.partial(run, kill))
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(statuses)
    return statuses[-1]


if __name__ == "__main__":
    sys.exit(main())
