# SPDX-License-Identifier: Apache-2.0
"""Accepting connections, and not accepting them while there are too many."""

import errno
import socket
from collections.abc import Sequence
from typing import Protocol

from fleet.server.connection import Address, Connection
from fleet.server.intake import Intake
from fleet.server.poller import HasFileno, Poller

ACCEPTS_AT_ONCE = 32
"""New connections taken in one go, so that those already here get their turn."""


class Listener(HasFileno, Protocol):
    """A listening socket as gunicorn hands it to a worker."""

    def accept(self) -> tuple[socket.socket, Address]:
        """Take the next connection."""

    def getsockname(self) -> Address:
        """Return the address that is listened on."""

    def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001 -- as in socket
        """Switch waiting on or off."""

    def close(self) -> None:
        """Close this process's copy."""


class Door:
    """The listeners of a worker, shared with the other workers."""

    def __init__(
        self,
        poller: Poller,
        intake: Intake,
        connections: dict[int, Connection],
        *,
        limit: int,
    ) -> None:
        """Add to ``connections``, up to ``limit``."""
        self._poller = poller
        self._intake = intake
        self._connections = connections
        self._limit = limit
        self._listeners: dict[int, Listener] = {}
        self._names: dict[int, Address] = {}
        self._is_open = False

    def open(self, listeners: Sequence[Listener]) -> None:
        """Begin to accept."""
        for listener in listeners:
            listener.setblocking(False)  # noqa: FBT003 -- as in socket
            self._listeners[listener.fileno()] = listener
            self._names[listener.fileno()] = listener.getsockname()
        self.reopen()

    def reopen(self) -> None:
        """Accept again, if there is room."""
        if self._is_open or len(self._connections) >= self._limit:
            return
        self._is_open = True
        for descriptor in self._listeners:
            self._poller.watch(descriptor, shared=True)

    def shut(self) -> None:
        """Leave newcomers in the kernel's queue, until `reopen`."""
        if self._is_open:
            self._is_open = False
            for descriptor in self._listeners:
                self._poller.forget(descriptor)

    def close(self) -> None:
        """Accept no more; other workers may go on with the same listeners."""
        self.shut()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    def answer(self, descriptor: int, *, now: float) -> None:
        """Deal with an event that belongs to no connection."""
        listener = self._listeners.get(descriptor)
        if listener is not None:
            self._accept(listener, descriptor, now=now)

    def _accept(self, listener: Listener, descriptor: int, *, now: float) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            if len(self._connections) >= self._limit:
                self.shut()
                return
            try:
                sock, client = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS):
                    self.shut()  # the next sweep tries again
                return
            self._admit(sock, client, server=self._names[descriptor], now=now)

    def _admit(
        self, sock: socket.socket, client: Address, *, server: Address, now: float
    ) -> None:
        sock.setblocking(False)  # noqa: FBT003 -- as in socket
        connection = Connection(sock, client=client, server=server)
        self._intake.welcome(connection, now=now)
        self._connections[connection.descriptor] = connection
        self._poller.add(sock)
