# SPDX-License-Identifier: Apache-2.0
"""Runs of retention in processes of their own, to be killed, stopped and continued."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from faults.retention.house import House
from service import Service, end

DRIVER = Path(__file__).with_name("driver.py")
LONGEST = 60.0

Stage = Literal["any", "sealing", "deleting"]


@dataclass
class Run:
    """One run in a process of its own; ``file`` is where it says what it does."""

    pid: int
    file: Path
    ended: threading.Event

    def said(self) -> list[str]:
        """Return all that it has said: stages, and at last how it ended."""
        return self.file.read_text().splitlines() if self.file.exists() else []

    def stage(self) -> str:
        """Return what it last said that it does; "" before it does anything."""
        stages = [each for each in self.said() if not each.startswith("{")]
        return stages[-1] if stages else ""

    def until(self, stage: Stage) -> bool:
        """Wait until it comes to ``stage`` or beyond; say whether it has not ended."""
        deadline = time.monotonic() + LONGEST
        while not self.ended.is_set() and not self._is_at(stage):
            assert time.monotonic() < deadline, self.said()[-3:]
            time.sleep(0.001)
        return not self.ended.is_set()

    def _is_at(self, stage: Stage) -> bool:
        at = self.stage()
        return at in {"deleting", stage} or (stage == "any" and at != "")

    def was_killed(self) -> bool:
        """Wait for its end; say whether it was none of its own."""
        assert self.ended.wait(LONGEST), self.said()[-3:]
        return not any(each.startswith("{") for each in self.said())

    def kill(self) -> bool:
        """End it as a power failure does; say whether it had not ended by itself."""
        self.signal(signal.SIGKILL)
        return self.was_killed()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if not self.ended.is_set():
            os.kill(self.pid, number)

    def pause(self, house: House) -> None:
        """Stop it between two transactions, where it keeps nobody from working."""
        pause(self.pid, house)

    def outcome(self, seconds: float = LONGEST) -> dict[str, Any]:
        """Wait for its end; return its report, or ``{"error": kind}``."""
        assert self.ended.wait(seconds), self.said()[-3:]
        outcome: dict[str, Any] = json.loads(self.said()[-1])
        report: dict[str, Any] = outcome.get("report", outcome)
        return report


def pause(pid: int, house: House) -> None:
    """Stop a process between two transactions."""
    deadline = time.monotonic() + LONGEST
    while True:
        os.kill(pid, signal.SIGSTOP)
        while not _has_stopped(pid):
            time.sleep(0.001)
        if not house.is_held():
            return
        os.kill(pid, signal.SIGCONT)
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _has_stopped(pid: int) -> bool:
    """Whether all threads have: the signal takes its time."""
    stats = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(each.rpartition(")")[2].split()[0] == "T" for each in stats)


class Runner:
    """Starts runs quickly, one process for each (``driver.py``)."""

    def __init__(self, service: Service) -> None:
        """Run for the installation of ``service``."""
        self._folder = service.folder
        self._log = (service.folder / "runner.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(DRIVER)],
            cwd=service.folder,
            env=service.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        self._began: queue.Queue[int] = queue.Queue()
        self._ended: dict[int, threading.Event] = {}
        self._count = 0
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", self._failure()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind that runs."""
        for pid, ended in self._ended.items():
            if not ended.is_set():
                os.kill(pid, signal.SIGKILL)
        end(self._process, self._log)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def run(self, who: str = "cli", *, die_at: int = 0, since: Stage = "any") -> Run:
        """Begin a run; it kills itself ``die_at`` steps after a stage, unless 0."""
        self._count += 1
        file = self._folder / f"run-{self._count}"
        assert self._process.stdin is not None
        self._process.stdin.write(f"{file} {who} {die_at} {since}\n")
        self._process.stdin.flush()
        pid = self._began.get(timeout=LONGEST)
        return Run(pid, file, self._ended[pid])

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what, _, pid = line.partition(" ")
            if what == "began":
                self._ended[int(pid)] = threading.Event()
                self._began.put(int(pid))
            else:
                self._ended[int(pid)].set()

    def _failure(self) -> str:
        return (self._folder / "runner.log").read_text()
