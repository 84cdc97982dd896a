# SPDX-License-Identifier: Apache-2.0
"""What the door tells Prometheus, with one process or many.

The reactor counts in plain numbers and publishes them once a second, so that
metrics cost nothing per request.
"""

from collections import Counter as Tallies
from collections.abc import Mapping

from prometheus_client import Counter, Gauge

PUBLISH_EVERY = 1.0
"""Seconds between two updates."""

CONNECTIONS = Gauge(
    "callhome_open_connections",
    "Client connections open at present.",
    multiprocess_mode="livesum",
)
BACKLOG = Gauge(
    "callhome_backlog",
    "Requests that wait for a thread at present.",
    ["lane"],
    multiprocess_mode="livesum",
)
CAPACITY = Gauge(
    "callhome_capacity_requests_per_second",
    "Requests the fast threads can answer in a second, as measured.",
    multiprocess_mode="livesum",
)
HANDSHAKES = Counter(
    "callhome_tls_handshakes",
    "TLS handshakes by outcome: ok, failed or timed-out.",
    ["outcome"],
)
SHED = Counter(
    "callhome_requests_shed",
    "Requests answered 503 for want of capacity.",
    ["lane"],
)
SERVED = Counter(
    "callhome_requests_served",
    "Requests handed to the application.",
    ["pool"],
)


class Tally:
    """Totals since the start of this process, published as increments."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.handshakes: Tallies[str] = Tallies()
        self.shed: Tallies[str] = Tallies()
        self._published: dict[str, Tallies[str]] = {}

    def publish(
        self,
        *,
        connections: int,
        backlog: Mapping[str, int],
        served: Mapping[str, int],
        capacity: float,
    ) -> None:
        """Bring the metrics up to date; ``served`` are totals by pool."""
        CONNECTIONS.set(connections)
        CAPACITY.set(capacity)
        for lane, waiting in backlog.items():
            BACKLOG.labels(lane).set(waiting)
        self._increase(HANDSHAKES, self.handshakes)
        self._increase(SHED, self.shed)
        self._increase(SERVED, Tallies(served))

    def _increase(self, counter: Counter, totals: Tallies[str]) -> None:
        published = self._published.get(str(counter), Tallies())
        for label, more in (totals - published).items():
            counter.labels(label).inc(more)
        self._published[str(counter)] = totals.copy()
