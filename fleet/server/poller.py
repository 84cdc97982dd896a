# SPDX-License-Identifier: Apache-2.0
"""Waiting for many sockets at once (epoll, so Linux only).

Each connection is armed for one event and then silent until armed again. Thus a
thread that has answered may arm the connection itself, and the reactor need not
be woken for it; `selectors` offers no such thing.
"""

import os
import select
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

MOST_EVENTS = 256
"""Events taken at once, so that deadlines are looked at under any load."""


class HasFileno(Protocol):
    """A socket, a listener, anything with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Poller:
    """One epoll instance, and a way to interrupt its wait from a thread."""

    def __init__(self) -> None:
        """Open both; `close` gives them back."""
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)

    def watch(self, descriptor: int, *, shared: bool = False) -> None:
        """Report a listener or pipe each time it is readable, until `forget`.

        Of processes that watch the same listener, ``shared`` wakes only some.
        """
        events = select.EPOLLIN | (select.EPOLLEXCLUSIVE if shared else 0)
        self._epoll.register(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Report it no longer; it may have been forgotten already."""
        with suppress(OSError):
            self._epoll.unregister(descriptor)

    def add(self, source: HasFileno) -> None:
        """Take on a new connection, armed for reading."""
        self._epoll.register(source.fileno(), select.EPOLLIN | select.EPOLLONESHOT)

    def await_input(self, source: HasFileno) -> None:
        """Arm a connection for reading; from any thread."""
        self._epoll.modify(source.fileno(), select.EPOLLIN | select.EPOLLONESHOT)

    def await_output(self, source: HasFileno) -> None:
        """Arm a connection for writing."""
        self._epoll.modify(source.fileno(), select.EPOLLOUT | select.EPOLLONESHOT)

    def ring(self) -> None:
        """Interrupt `wait`; from any thread or signal handler."""
        with suppress(BlockingIOError):
            os.eventfd_write(self._bell, 1)

    def wait(self, seconds: float) -> Iterator[int]:
        """Yield the descriptors that are ready; none when rung or too late."""
        for descriptor, _ in self._epoll.poll(seconds, MOST_EVENTS):
            if descriptor == self._bell:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._bell)
            else:
                yield descriptor

    def close(self) -> None:
        """Close what was opened."""
        self._epoll.close()
        os.close(self._bell)
