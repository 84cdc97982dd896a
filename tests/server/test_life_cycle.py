# SPDX-License-Identifier: Apache-2.0
"""Stopping, reloading, limits of connections and of requests, and metrics."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from server.harness import Pki, Server, post

from fleet.server.options import ServerOptions


def test_a_stop_finishes_what_has_begun(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    left = tmp_path / "left"
    server = start(
        threads=1,
        hooks="def worker_exit(_server, _worker):\n"
        f"    open({str(left)!r}, 'w').write('bye')",
    )
    with server.connect() as running, server.connect() as queued:
        idle = server.connect()
        idle.get("/empty")
        running.send(b"GET /slow?1 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        queued.send(post("/cic/check", b"abc"))
        time.sleep(0.1)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        answers = [running.answer(), queued.answer()]
        assert [answer.body for answer in answers] == [b"slept", b'{"received": 3}']
        assert [a.fields["connection"] for a in answers] == ["close", "close"]
        assert idle.at_end()
        idle.close()
    stopping.join()
    assert left.read_text() == "bye"
    with pytest.raises(ConnectionRefusedError):
        server.dial()


def test_a_stop_does_not_wait_for_ever(start: Callable[..., Server]) -> None:
    server = start(graceful_timeout=1)
    with server.connect() as fast, server.connect() as bulk:
        fast.send(b"GET /slow?30 HTTP/1.1\r\nHost: x\r\n\r\n")
        bulk.send(b"GET /backup/slow?30 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        assert server.stop() < 4


def test_a_reload_keeps_the_listeners_and_a_broken_file_ends_nothing(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start(pki=Pki.make(tmp_path))
    (old,) = server.workers()
    (tmp_path / "server.pem").write_text("rubbish")
    with server.connect() as client:
        client.get("/who")
        server.process.send_signal(signal.SIGHUP)
        for _ in range(100):
            if server.workers() not in ([], [old]) and len(server.workers()) == 1:
                break
            time.sleep(0.05)
        assert client.at_end()
    assert server.workers() != [old]
    assert server.check() < 1


def test_a_worker_is_replaced_after_its_requests(start: Callable[..., Server]) -> None:
    server = start(max_requests=5)
    (first,) = server.workers()
    for _ in range(12):
        server.check()
    for _ in range(60):
        if first not in server.workers():
            break
        time.sleep(0.05)
    assert first not in server.workers()
    assert "Restarting after 5 requests" in server.logged()


def test_too_many_connections_wait_in_the_kernel(start: Callable[..., Server]) -> None:
    server = start(worker_connections=10)
    held = [server.dial() for _ in range(12)]
    late = server.connect()
    late.send(b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n")
    late.sock.settimeout(0.4)
    with pytest.raises(TimeoutError):
        late.sock.recv(1)
    for sock in held:
        sock.close()
    late.sock.settimeout(5)
    assert late.sock.recv(12) == b"HTTP/1.1 204"
    late.close()


def test_it_works_on_a_unix_socket(tmp_path: Path) -> None:
    import socket  # noqa: PLC0415 -- the only test that needs it

    path = tmp_path / "web.sock"
    server = Server(tmp_path, bind=["127.0.0.1:0", f"unix:{path}"])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        sock.sendall(post("/cic/check", b"abc"))
        assert b'{"received": 3}' in sock.recv(4096)
    server.stop()


@pytest.mark.parametrize("text", ["0", "-1", "many", "", "1.5", "\N{SUPERSCRIPT TWO}"])
def test_a_number_of_threads_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PBX_BULK_THREADS"):
        ServerOptions.read({"PBX_BULK_THREADS": text})


def test_metrics_are_published(
    start: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    server = start(pki=Pki.make(tmp_path))
    server.check()
    with server.dial() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.recv(10)
    server.stop()
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 -- after the env
    from prometheus_client.multiprocess import (  # noqa: PLC0415 -- after the env
        MultiProcessCollector,
    )

    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    value = registry.get_sample_value
    assert value("callhome_tls_handshakes_total", {"outcome": "ok"}) == 1
    assert value("callhome_tls_handshakes_total", {"outcome": "failed"}) == 1
    assert value("callhome_requests_served_total", {"pool": "fast"}) == 1
