# SPDX-License-Identifier: Apache-2.0
"""Forks a process for each run of retention, so that a test can kill fifty of them.

``callhome retention run`` takes a second to start; what it then does is done here by
each child, in the same way and by the same function, with connections of its own. The
parent only imports. Steps are small, so that a kill finds something half done.

Lines of standard input: ``FILE WHO STEP STAGE``. The child writes what it is doing to
``FILE``, at last the report or the kind of error. It kills itself at its ``STEP``-th
step since it first came to ``STAGE`` or beyond (``any``: since its begin), if it comes
so far: before a statement, before a commit, or after one. On standard output: ``began
PID``, ``ended PID``.
"""

import json
import os
import select
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from flask import Flask
from sqlalchemy import event

from fleet.database import db
from fleet.settings import Settings
from retention.service import deleting_rows, runs
from wsgi import create_app


class _Death:
    """Comes at a step of the work."""

    def __init__(self, step: int, stage: str) -> None:
        self._left = step
        self._awaited = stage
        for name in ("before_cursor_execute", "commit", "checkin"):
            event.listen(db.engine, name, self._step)

    def _step(self, *_: object) -> None:
        if self._awaited == "any":
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def tell(self, stage: str) -> None:
        """Note what is being done from now on."""
        if stage == self._awaited or (stage, self._awaited) == ("deleting", "sealing"):
            self._awaited = "any"


def _child(app: Flask, file: str, who: str, *death: str) -> None:
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(what: str) -> None:
        os.write(out, f"{what}\n".encode())

    try:
        with app.app_context():
            awaited = _Death(int(death[0]), death[1])

            def show(progress: runs.Progress) -> None:
                tell(progress.stage)
                awaited.tell(progress.stage)

            report = runs.run(by=who, wait=None, progress=show)
        tell(json.dumps({"report": asdict(report)}, default=str))
    except Exception as fault:  # noqa: BLE001 -- the test judges it
        tell(json.dumps({"error": type(fault).__name__}))


def main() -> None:
    """Fork until standard input ends."""
    deleting_rows.FIRST_STEP = deleting_rows.LEAST_STEP = 50
    deleting_rows.LARGEST_STEP = 100
    app = create_app(Settings.read(os.environ))
    print("ready", flush=True)
    children: set[int] = set()
    while True:
        if select.select([sys.stdin], [], [], 0.005)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            pid = os.fork()
            if pid == 0:
                try:
                    _child(app, *line.split())
                finally:
                    os._exit(0)
            children.add(pid)
            print(f"began {pid}", flush=True)
        while children:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            children.discard(pid)
            print(f"ended {pid}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))
    main()
