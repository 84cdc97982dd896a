# SPDX-License-Identifier: Apache-2.0
"""Numbers for Prometheus, right with several web processes.

Where ``PROMETHEUS_MULTIPROC_DIR`` is set, every process keeps its numbers in
files there, and whichever is asked adds all of them up. prometheus_client looks
at that variable when it is imported, so it has to be in the environment that a
process starts with: setting it later is too late.

No label holds anything that a client chose: routes are named by their endpoint,
what matches no route is ``none``.
"""

import os
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Seconds. A licence check takes a few milliseconds; an upload may take minutes.
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)

REQUESTS = Counter(
    "callhome_requests",
    "Requests answered, by endpoint and status class",
    ["endpoint", "status"],
)
REQUEST_SECONDS = Histogram(
    "callhome_request_seconds",
    "Time from a request's head to the head of its answer, by endpoint",
    ["endpoint"],
    buckets=DURATIONS,
)
ACCESS_RECORDS_DROPPED = Counter(
    "callhome_access_records_dropped",
    "Access records lost because the database was away for too long",
)
WRONG_GUESSES = Counter(
    "callhome_wrong_guesses", "Secrets guessed wrongly, by kind", ["kind"]
)
GUESSES_REFUSED = Counter(
    "callhome_guesses_refused",
    "Guesses turned down unread after too many wrong ones, by kind",
    ["kind"],
)
GUESSING_ALARMS = Counter(
    "callhome_guessing_alarms",
    "Windows in which all places together guessed wrongly too often, by kind",
    ["kind"],
)

# Looking a label up costs more than counting, and there are few of them.
_counts: dict[tuple[str, int], Counter] = {}
_durations: dict[str, Histogram] = {}


def count_request(endpoint: str | None, *, status: int, seconds: float) -> None:
    """Count an answered request; ``endpoint`` is nothing where no route matched."""
    name = endpoint or "none"
    status_class = status // 100
    count = _counts.get((name, status_class))
    if count is None:
        count = REQUESTS.labels(name, f"{status_class}xx")
        _counts[name, status_class] = count
    duration = _durations.get(name)
    if duration is None:
        duration = _durations[name] = REQUEST_SECONDS.labels(name)
    count.inc()
    duration.observe(seconds)


def exposition() -> bytes:
    """Return all numbers of all processes in Prometheus' text format."""
    if not os.environ.get(DIRECTORY_VARIABLE):
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # of the library
    return generate_latest(registry)


def prepare_directory(directory: Path) -> dict[str, str]:
    """Empty ``directory`` and return what the web processes' environment needs.

    To be called once by whoever starts them, before they start: files left by
    an earlier run would be counted again.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in directory.glob("*.db"):
        left.unlink(missing_ok=True)
    return {DIRECTORY_VARIABLE: str(directory)}


def forget_process(pid: int) -> None:
    """Drop the live gauges of an ended process (gunicorn's ``child_exit``)."""
    if os.environ.get(DIRECTORY_VARIABLE):
        mark_process_dead(pid)  # type: ignore[no-untyped-call] # of the library
