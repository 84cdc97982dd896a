# SPDX-License-Identifier: Apache-2.0
"""Turns of load on several servers, one after another, round after round."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from deploy.bench.load import Lines, Trust, visit
from deploy.bench.pbxs import Pbx
from deploy.bench.places import Place

WARM_SECONDS = 0.5
VISITORS_AT_ONCE = 8


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float
    connections: int
    visits: int

    @property
    def pbxs(self) -> int:
        """How many PBXs that needs: nobody plays two parts."""
        return 2 * self.connections + self.visits * (self.rounds + 1)

    def behind_proxy(self, pbxs: Sequence[Pbx]) -> Sequence[Pbx]:
        """Return those whose certificate a proxy shows."""
        return pbxs[: self.connections]

    def over_tls(self, pbxs: Sequence[Pbx]) -> Sequence[Pbx]:
        """Return those that keep a TLS connection."""
        return pbxs[self.connections : 2 * self.connections]

    def visitors(self, pbxs: Sequence[Pbx]) -> Sequence[Pbx]:
        """Return those that come once, so that nothing of them is remembered."""
        return pbxs[2 * self.connections :]


@dataclass(frozen=True)
class Turn:
    """One server's turn: how many requests, in how long, with how much CPU time."""

    requests: int
    seconds: float
    cpu: float
    database_cpu: float

    @property
    def rate(self) -> float:
        """Requests in a second."""
        return self.requests / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """CPU time of the web process for one request."""
        return 1e6 * self.cpu / self.requests

    @property
    def database_microseconds(self) -> float:
        """CPU time of a database server for one request."""
        return 1e6 * self.database_cpu / self.requests


@dataclass(frozen=True)
class Table:
    """All turns of one kind of load, by server, in rounds.

    ``reference`` is what all others are compared with.
    """

    title: str
    reference: str = "bare"
    turns: dict[str, list[Turn]] = field(default_factory=dict)


def keep_alive(
    title: str,
    places: Sequence[Place],
    pbxs: Mapping[str, Sequence[Pbx]],
    trust: Trust,
    *,
    plan: Plan,
    database: Callable[[], float],
) -> Table:
    """Measure requests over connections that are kept."""
    lines = [
        (place.name, place, Lines(place.port, pbxs[place.name], trust))
        for place in places
    ]
    return in_turns(Table(title), lines, plan=plan, database=database)


def in_turns(
    table: Table,
    lines: Sequence[tuple[str, Place, Lines]],
    *,
    plan: Plan,
    database: Callable[[], float],
) -> Table:
    """Let each of ``lines`` be busy in its turn, under its name; close them all."""
    with ExitStack() as stack:
        for name, _, each in lines:
            stack.callback(each.close)
            table.turns[name] = []
        for _, _, each in lines:
            each.run(WARM_SECONDS)
        for _ in range(plan.rounds):
            for name, place, each in lines:
                run = partial(each.run, plan.seconds)
                table.turns[name].append(_timed(place, run, database))
    return table


def visits(
    title: str,
    places: Sequence[Place],
    pbxs: Mapping[str, Sequence[Pbx]],
    trust: Trust,
    *,
    plan: Plan,
    database: Callable[[], float],
) -> Table:
    """Measure a new connection for each request, from PBXs never seen before."""
    table = Table(title, turns={place.name: [] for place in places})
    for number in range(plan.rounds + 1):
        for place in places:
            start = number * plan.visits
            guests = pbxs[place.name][start : start + plan.visits]

            come = partial(visit, place.port, guests, trust, at_once=VISITORS_AT_ONCE)
            turn = _timed(place, come, database)
            if number:  # the first is for warming up
                table.turns[place.name].append(turn)
    return table


def _timed(
    place: Place, work: Callable[[], int], database: Callable[[], float]
) -> Turn:
    began, cpu, database_cpu = time.perf_counter(), place.cpu_seconds(), database()
    requests = work()
    return Turn(
        requests,
        time.perf_counter() - began,
        place.cpu_seconds() - cpu,
        database() - database_cpu,
    )
