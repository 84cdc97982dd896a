# SPDX-License-Identifier: Apache-2.0
"""Places: a plain server and one with mutual TLS, shared by the tests of a file."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server.harness import Pki, Server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("plain"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secure")
    server = Server(folder, pki=Pki.make(folder))
    yield server
    server.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def begin(**settings: object) -> Server:
        server = Server(tmp_path, **settings)  # type: ignore[arg-type] # passed through
        servers.append(server)
        return server

    yield begin
    for server in servers:
        if server.process.poll() is None:
            server.stop()
