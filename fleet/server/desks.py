# SPDX-License-Identifier: Apache-2.0
"""Where whole requests are queued or refused: two pools, each with its judge."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fleet.server import answers
from fleet.server.admission import Admission, Lane, Meter, Share
from fleet.server.connection import Connection
from fleet.server.framing import Outline
from fleet.server.gauges import Tally
from fleet.server.lanes import Pool
from fleet.server.options import ServerOptions

UNKNOWN = Outline(target=b"", head_only=False, end=None, lasting=False)
"""For a request without outline, which does not occur: answered, then closed."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A pool of threads and the judge before it."""

    pool: Pool
    admission: Admission


class Desks:
    """The desk of each lane; checks and other small requests share one."""

    def __init__(
        self,
        options: ServerOptions,
        *,
        fast_threads: int,
        serve: Callable[[Connection], None],
        give_back: Callable[[Sequence[Connection]], None],
    ) -> None:
        """Start the threads; ``serve`` answers one request, and never raises."""
        self._fast = Desk(
            pool=Pool(
                name="fast", threads=fast_threads, serve=serve, give_back=give_back
            ),
            admission=fast_admission(options),
        )
        self._bulk = Desk(
            pool=Pool(
                name="bulk",
                threads=options.bulk_threads,
                serve=serve,
                give_back=give_back,
            ),
            admission=bulk_admission(options),
        )
        self._by_lane = {
            Lane.CHECK: self._fast,
            Lane.OTHER: self._fast,
            Lane.BULK: self._bulk,
        }
        self._shed = dict.fromkeys((lane.value for lane in Lane), 0)

    def admits(self, lane: Lane) -> bool:
        """Say whether a request of this lane may queue now."""
        desk = self._by_lane[lane]
        return desk.admission.admits(lane, ahead=desk.pool.ahead(lane))

    def queue(self, connection: Connection) -> None:
        """Hand a connection to the threads."""
        self._by_lane[connection.lane].pool.put(connection)

    def call_round(self) -> None:
        """Let those be served together who were queued for that."""
        self._fast.pool.call_round()

    def refusal(self, connection: Connection, *, now: float) -> bytes:
        """Take the whole request out of the inbox, and return the 503 for it.

        Sets ``connection.keep``: only after a request that was read to its end
        can another follow.
        """
        lane = connection.lane
        outlined = connection.outlined or UNKNOWN
        desk = self._by_lane[lane]
        retry_after = desk.admission.retry_after(
            lane, ahead=desk.pool.ahead(lane), now=now
        )
        self._shed[lane.value] += 1
        connection.keep = outlined.lasting and outlined.end is not None
        del connection.inbox[: outlined.end]
        return answers.busy(
            retry_after=retry_after,
            lasting=connection.keep,
            head_only=outlined.head_only,
        )

    def take_overdue(self, *, now: float) -> Iterator[Connection]:
        """Take back who has waited far too long, without an answer so far."""
        for lane, desk in self._by_lane.items():
            before = desk.admission.overdue_before(lane, now=now)
            yield from desk.pool.take_overdue(lane, queued_before=before)

    def measure(self, *, now: float) -> None:
        """Look how fast the queues move."""
        for lane, desk in ((Lane.OTHER, self._fast), (Lane.BULK, self._bulk)):
            queued = desk.pool.ahead(lane) > 0
            desk.admission.meter.observe(desk.pool.taken(), queued=queued, now=now)

    def publish(self, tally: Tally, *, connections: int) -> None:
        """Bring the metrics up to date."""
        tally.shed.update(self._shed)
        self._shed = dict.fromkeys(self._shed, 0)
        tally.publish(
            connections=connections,
            backlog={
                lane.value: desk.pool.backlog(lane)
                for lane, desk in self._by_lane.items()
            },
            served={"fast": self._fast.pool.taken(), "bulk": self._bulk.pool.taken()},
            capacity=self._fast.admission.meter.rate,
        )

    def stop(self) -> None:
        """Let the threads end."""
        self._fast.pool.stop()
        self._bulk.pool.stop()


def fast_admission(options: ServerOptions) -> Admission:
    """Judge checks and other small requests by the wait they would have."""
    return Admission(
        shares={
            Lane.CHECK: Share(wait=options.check_wait_seconds, part=0.6),
            Lane.OTHER: Share(wait=options.other_wait_seconds, part=0.2),
        }
    )


def bulk_admission(options: ServerOptions) -> Admission:
    """Judge long requests by their number, for nobody knows how long they last."""
    return Admission(
        shares={Lane.BULK: Share(wait=math.inf, part=0.5, most=options.bulk_backlog)},
        meter=Meter(rate=float(options.bulk_threads)),
    )
