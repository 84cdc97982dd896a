# SPDX-License-Identifier: Apache-2.0
"""The main thread of a worker: owns every connection that no thread needs.

It accepts, shakes hands and reads without ever waiting for one client, hands
whole requests to the pools, refuses those that would wait too long, sends what a
slow reader left over, and closes what is past its deadline.
"""

import os
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus

from fleet.server import answers
from fleet.server.connection import Connection, Stage
from fleet.server.desks import Desks
from fleet.server.door import Door, Listener
from fleet.server.gauges import PUBLISH_EVERY, Tally
from fleet.server.intake import RECEIVE, Intake, Malformed, for_thread
from fleet.server.options import ServerOptions
from fleet.server.poller import Poller
from fleet.server.returns import Returns

SWEEP_EVERY = 0.25
"""Seconds between two looks at all deadlines."""

STOP_LINGER = 1.0
"""Seconds an idle connection outlives the stop, for a request on its way."""


class Reactor:
    """The loop's state; `turn` is one round of it."""

    def __init__(
        self,
        *,
        options: ServerOptions,
        intake: Intake,
        desks: Desks,
        limit: int,
        keepalive: float,
    ) -> None:
        """Hold at most ``limit`` connections, idle ones ``keepalive`` seconds."""
        self._options = options
        self._intake = intake
        self._keepalive = keepalive
        self._poller = Poller()
        self._desks = desks
        self._tally = Tally()
        self._signals = -1
        self.returns = Returns(self._poller, keepalive=keepalive)
        self._stopping = False
        self._swept_at = self._published_at = 0.0
        self.connections: dict[int, Connection] = {}
        self._door = Door(self._poller, intake, self.connections, limit=limit)

    def open(self, listeners: Sequence[Listener], *, signals: int) -> None:
        """Begin to accept; ``signals`` is the pipe signals are written to."""
        self._signals = signals
        self._poller.watch(signals)
        self._door.open(listeners)

    def ring(self) -> None:
        """End the present wait early; from any thread."""
        self._poller.ring()

    def turn(self, *, longest: float) -> None:
        """Wait for events, at most ``longest`` seconds, and deal with them."""
        if self.connections:
            longest = min(longest, SWEEP_EVERY)
        ready = list(self._poller.wait(longest))
        now = time.monotonic()
        for connection in self.returns.take_all(now=now):
            self._guarded(self._flush, connection, now)
        for descriptor in ready:
            known = self.connections.get(descriptor)
            if known is not None:
                self._guarded(self._step, known, now)
            elif descriptor == self._signals:
                os.read(descriptor, 4096)  # gunicorn's handlers have run already
            else:
                self._door.answer(descriptor, now=now)
        self._desks.call_round()
        self._desks.measure(now=now)
        if now - self._swept_at >= SWEEP_EVERY:
            self._sweep(now)

    def stop(self) -> None:
        """Accept no more, and let go of connections with nothing to answer."""
        self._stopping = self.returns.stopping = True
        self._door.close()
        soon = time.monotonic() + STOP_LINGER
        for connection in self.connections.values():
            if connection.stage not in (Stage.WITH_THREAD, Stage.FLUSH):
                connection.deadline = min(connection.deadline, soon)

    def close(self) -> None:
        """Drop whatever is left."""
        for connection in list(self.connections.values()):
            self._drop(connection)
        self._poller.close()

    def _guarded(
        self,
        step: Callable[[Connection, float], None],
        connection: Connection,
        now: float,
    ) -> None:
        try:
            step(connection, now)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._poller.await_input(connection.sock)
        except ssl.SSLWantWriteError:
            self._poller.await_output(connection.sock)
        except Malformed as malformed:
            self._refuse(connection, malformed.status, now)
        except ssl.SSLError:
            if connection.stage is Stage.HANDSHAKE:
                self._tally.handshakes["failed"] += 1
            self._say_goodbye(connection, now)  # the alert has been sent
        except (OSError, ValueError):
            self._drop(connection)

    def _step(self, connection: Connection, now: float) -> None:
        stage = connection.stage
        if stage is Stage.HANDSHAKE:
            self._intake.shake_hands(connection, now=now)
            self._tally.handshakes["ok"] += 1
        elif stage is Stage.FLUSH:
            self._flush(connection, now)
            return
        elif stage is Stage.LINGER:
            if not connection.sock.recv(RECEIVE):
                self._drop(connection)
            else:
                self._poller.await_input(connection.sock)
            return
        self._receive(connection, now)

    def _receive(self, connection: Connection, now: float) -> None:
        if self._intake.receive(connection, now=now):
            self._place_all(connection, now)
        else:
            self._drop(connection)

    def _go_on(self, connection: Connection, now: float) -> None:
        """Turn to the next request of a connection that is kept."""
        self._rest(connection, now)
        if self._intake.is_whole(connection, now=now):
            self._place_all(connection, now)
        else:
            self._await_more(connection, now)

    def _place_all(self, connection: Connection, now: float) -> None:
        """Place the whole request in the inbox, and the next while they are shed."""
        while self._place(connection, now):
            if not self._intake.is_whole(connection, now=now):
                self._await_more(connection, now)
                return

    def _await_more(self, connection: Connection, now: float) -> None:
        if connection.undecrypted():
            self._receive(connection, now)
        else:
            self._poller.await_input(connection.sock)

    def _place(self, connection: Connection, now: float) -> bool:
        """Queue a request, or shed it; True where the reactor may look for more."""
        if not self._desks.admits(connection.lane):
            return self._shed(connection, now)
        for_thread(connection, now=now)
        self._desks.queue(connection)
        return False

    def _shed(self, connection: Connection, now: float) -> bool:
        answer = self._desks.refusal(connection, now=now)
        connection.queue(answer)
        if connection.outbox or not connection.keep:
            self._flush(connection, now)
            return False
        self._rest(connection, now)
        return True

    def _shed_overdue(self, connection: Connection, now: float) -> None:
        if self._shed(connection, now):
            self._go_on(connection, now)

    def _flush(self, connection: Connection, now: float) -> None:
        if not connection.flush():
            if connection.stage is not Stage.FLUSH:
                connection.stage = Stage.FLUSH
                connection.deadline = now + self._options.flush_seconds
            self._poller.await_output(connection.sock)
        elif connection.keep:
            self._go_on(connection, now)
        else:
            self._say_goodbye(connection, now)

    def _refuse(self, connection: Connection, status: HTTPStatus, now: float) -> None:
        connection.keep = False
        with suppress(OSError):
            connection.queue(answers.MALFORMED[status])
            self._flush(connection, now)
            return
        self._drop(connection)

    def _rest(self, connection: Connection, now: float) -> None:
        connection.outlined = None
        connection.stage = Stage.IDLE
        connection.deadline = now + (STOP_LINGER if self._stopping else self._keepalive)

    def _say_goodbye(self, connection: Connection, now: float) -> None:
        connection.hang_up()
        connection.stage = Stage.LINGER
        connection.deadline = now + self._options.linger_seconds
        with suppress(OSError, ValueError):
            self._poller.await_input(connection.sock)
            return
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self.connections.pop(connection.descriptor, None)
        connection.close()

    def publish(self) -> None:
        """Bring the metrics up to date."""
        self._desks.publish(self._tally, connections=len(self.connections))

    def _sweep(self, now: float) -> None:
        self._swept_at = now
        if now - self._published_at >= PUBLISH_EVERY:
            self._published_at = now
            self.publish()
        for connection in list(self.connections.values()):
            if connection.deadline <= now:
                self._expire(connection, now)
        for connection in self._desks.take_overdue(now=now):
            self._guarded(self._shed_overdue, connection, now)
        if not self._stopping:
            self._intake.look_at_files(now=now)
            self._door.reopen()

    def _expire(self, connection: Connection, now: float) -> None:
        stage = connection.stage
        if stage is Stage.HANDSHAKE:
            self._tally.handshakes["timed-out"] += 1
        if stage in (Stage.HEAD, Stage.BODY) and connection.inbox:
            self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT, now)
        elif stage is Stage.IDLE:
            connection.hang_up()
            self._drop(connection)
        elif stage is not Stage.WITH_THREAD:
            self._drop(connection)
