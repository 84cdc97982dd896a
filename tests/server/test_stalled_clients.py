# SPDX-License-Identifier: Apache-2.0
"""Clients that begin something and do not go on must not hold up the others."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from server.harness import Client, Pki, Server, post

HALF_HELLO = b"\x16\x03\x01\x02"
SOON = 1.0
MANY = 64


def quickest(server: Server) -> float:
    return min(server.check() for _ in range(3))


def test_half_open_handshakes_do_not_hold_up_others(secure: Server) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(secure.dial()).sendall(HALF_HELLO)
        assert quickest(secure) < SOON


def test_silent_connections_do_not_hold_up_others(secure: Server) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(secure.dial())
        assert quickest(secure) < SOON


def test_slow_heads_do_not_hold_up_others(plain: Server) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(plain.dial()).sendall(b"POST /cic/check HTTP/1.1\r\nHo")
        assert quickest(plain) < SOON


def test_slow_small_bodies_do_not_hold_up_others(plain: Server) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            begun = post("/cic/check", b"x" * 100)[:-50]
            stack.enter_context(plain.dial()).sendall(begun)
        assert quickest(plain) < SOON


def test_readers_that_do_not_read_do_not_hold_up_others(plain: Server) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(plain.connect())
            client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert quickest(plain) < SOON


def test_eight_stalled_uploads_do_not_hold_up_checks(secure: Server) -> None:
    with ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(secure.connect())
            client.send(post("/backup/upload", b"x" * 1_000_000)[:200_000])
        assert quickest(secure) < SOON


def test_an_upload_that_comes_in_pieces_is_whole_in_the_end(plain: Server) -> None:
    with plain.connect() as client:
        request = post("/check", b"0123456789" * 20)
        for start in range(0, len(request), 50):
            client.send(request[start : start + 50])
            time.sleep(0.01)
        assert client.answer().body == b'{"received": 200}'


def test_every_deadline_ends_the_connection(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start(
        pki=Pki.make(tmp_path),
        options="handshake_seconds=0.5, head_seconds=0.5, body_seconds=0.5, "
        "stall_seconds=0.5, linger_seconds=0.5",
        keepalive=1,
    )
    with ExitStack() as stack:
        half_open = stack.enter_context(Client(server.dial()))
        half_open.send(HALF_HELLO)
        slow_head = stack.enter_context(server.connect())
        slow_head.send(b"GET / HT")
        slow_body = stack.enter_context(server.connect())
        slow_body.send(post("/cic/check", b"x" * 100)[:-1])
        stalled = [stack.enter_context(server.connect()) for _ in range(2)]
        stalled[0].send(post("/backup/upload", b"x" * 100_000)[:50_000])
        stalled[1].send(
            b"POST /flask HTTP/1.1\r\nHost: x\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2\r\n{"
        )
        idle = stack.enter_context(server.connect())
        idle.get("/who")
        assert half_open.at_end()
        assert slow_head.answer().status == 408
        assert slow_head.at_end()
        assert slow_body.answer().status == 408
        assert slow_body.at_end()
        for each in stalled:
            assert each.answer().status == 408
            assert each.at_end()
        assert idle.at_end()
    assert "ERROR" not in server.logged()
