# SPDX-License-Identifier: Apache-2.0
"""Numbers for Prometheus, right with several web processes.

Where ``PROMETHEUS_MULTIPROC_DIR`` is set, every process keeps its numbers in
files there, and whichever is asked adds all of them up. prometheus_client looks
at that variable when it is imported, so it has to be in the environment that a
process starts with: setting it later is too late.

What can be read from the data (``Gauges``) is, at each scrape: no process has to have
lived for it, and whichever is asked says the same.

No label holds anything that a client chose: routes are named by their endpoint,
what matches no route is ``none``.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import cast

from flask import Flask, current_app
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from fleet.feature import Gauge
from fleet.web.asking import Question

log = logging.getLogger(__name__)

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Seconds. A licence check takes a few milliseconds; an upload may take minutes.
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)

# How long a scrape waits for what is read from the data.
GAUGE_SECONDS = 3.0

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


class Gauges:
    """Numbers that are read from the data at each scrape, by who offers them.

    One that fails or hangs takes no other with it, and is told as not answering.
    """

    def __init__(
        self, app: Flask, offered: Mapping[str, Callable[[], Iterable[Gauge]]]
    ) -> None:
        """Ask ``offered`` in the context of ``app``."""
        self._questions = {
            name: Question(app, _guarded(name, ask)) for name, ask in offered.items()
        }

    def exposition(self) -> bytes:
        """Return them in Prometheus' text format, within a few seconds."""
        for question in self._questions.values():
            question.put()
        deadline = monotonic() + GAUGE_SECONDS
        found = [*self._answered(deadline)]
        registry = CollectorRegistry()
        registry.register(_AtHand(found))
        return generate_latest(registry)

    def _answered(self, deadline: float) -> Iterable[Gauge]:
        for name, question in self._questions.items():
            answer = question.answer(deadline)
            yield Gauge(
                "callhome_gauges_answered",
                "Whether what is read from the data could be read, by who offers it",
                value=float(answer is not None),
                labels={"of": name},
            )
            yield from answer or ()


class _AtHand:
    """Gauges that have been read, as the library collects them."""

    def __init__(self, gauges: Iterable[Gauge]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for each in self._gauges:
            family = families.get(each.name)
            if family is None:
                family = GaugeMetricFamily(each.name, each.about, labels=[*each.labels])
                families[each.name] = family
            family.add_metric([*each.labels.values()], each.value)
        return families.values()


def _guarded(
    name: str, ask: Callable[[], Iterable[Gauge]]
) -> Callable[[], list[Gauge] | None]:
    def answer() -> list[Gauge] | None:
        try:
            return [*ask()]
        except Exception as fault:  # noqa: BLE001 -- whatever it is, a scrape goes on
            log.warning("gauges of %s failed: %s", name, type(fault).__name__)
            return None

    return answer


def register(app: Flask, offered: Mapping[str, Callable[[], Iterable[Gauge]]]) -> None:
    """Give ``app`` the numbers that are read from the data."""
    app.extensions["gauges"] = Gauges(app, offered)


def gauges() -> bytes:
    """Return what is read from the data for the application in context."""
    return cast("Gauges", current_app.extensions["gauges"]).exposition()


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
