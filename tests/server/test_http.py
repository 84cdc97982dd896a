# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as clients see it: framing, keep-alive, pipelining, malformed requests."""

import hashlib
import json
import socket
from pathlib import Path

import pytest
from server import small_app
from server.harness import Server, post


def test_a_connection_is_kept_for_many_requests(secure: Server) -> None:
    with secure.connect() as client:
        for size in (0, 1, 1000, 60_000):
            answer = client.post("/cic/check", b"x" * size)
            assert json.loads(answer.body) == {"received": size}
            assert answer.fields["connection"] == "keep-alive"


@pytest.mark.parametrize("place", ["plain", "secure"])
def test_pipelined_requests_are_answered_in_order(
    place: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(place)
    with server.connect() as client:
        client.send(b"".join(post("/cic/check", b"x" * size) for size in range(40)))
        received = [json.loads(client.answer().body)["received"] for _ in range(40)]
        assert received == list(range(40))


def test_a_request_behind_a_large_upload_is_not_lost(plain: Server) -> None:
    body = bytes(range(256)) * 1000
    with plain.connect() as client:
        client.send(post("/backup/upload", body) + post("/cic/check", b"abc"))
        assert client.answer().body == hashlib.sha256(body).hexdigest().encode()
        assert client.answer().body == b'{"received": 3}'


@pytest.mark.parametrize("place", ["plain", "secure"])
def test_a_chunked_upload_is_read(place: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(place)
    with server.connect() as client:
        client.send(
            b"POST /cic/check HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        )
        assert client.answer().body == b'{"received": 11}'
        assert client.get("/empty").status == 204


def test_an_answer_of_unknown_length_is_chunked(plain: Server) -> None:
    with plain.connect() as client:
        answer = client.get("/chunked")
        assert answer.fields["transfer-encoding"] == "chunked"
        assert answer.body == b"one,two"
        assert client.get("/empty").status == 204


def test_http_1_0_gets_no_chunks_and_an_end(plain: Server) -> None:
    with plain.connect() as client:
        client.send(b"GET /chunked HTTP/1.0\r\n\r\n")
        answer = client.answer()
        assert answer.body == b"one,two"
        assert answer.fields["connection"] == "close"


def test_http_1_0_may_ask_to_keep_the_connection(plain: Server) -> None:
    with plain.connect() as client:
        for _ in range(2):
            client.send(b"GET /empty HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert client.answer().status == 204


def test_connection_close_is_honoured(secure: Server) -> None:
    with secure.connect() as client:
        client.send(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.answer().fields["connection"] == "close"
        assert client.at_end()


def test_head_has_no_body(plain: Server) -> None:
    with plain.connect() as client:
        client.send(b"HEAD /file HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.answer(bodiless=True)
        assert int(answer.fields["content-length"]) > 0
        assert client.get("/empty").status == 204


@pytest.mark.parametrize("place", ["plain", "secure"])
@pytest.mark.parametrize("path", ["/file", "/backup/file"])
def test_files_are_sent_whole(
    place: str, path: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(place)
    with server.connect() as client:
        assert client.get(path).body == Path(small_app.__file__).read_bytes()
        assert client.get("/empty").status == 204


@pytest.mark.parametrize("place", ["plain", "secure"])
def test_a_large_answer_reaches_a_slow_reader(
    place: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(place)
    with server.connect() as client:
        for _ in range(2):
            assert client.get("/large").body == b"x" * 8_000_000


def test_continue_is_said_when_the_body_is_wanted(plain: Server) -> None:
    fields = "Host: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    head = "POST {} HTTP/1.1\r\n" + fields
    with plain.connect() as client:
        client.send(head.format("/cic/check").encode())
        assert client.answer().status == 100
        client.send(b"abc")
        assert client.answer().body == b'{"received": 3}'
        client.send(head.format("/backup/refuse").encode())
        assert client.answer().status == 401
        assert client.at_end()


def test_a_refused_upload_ends_the_connection_without_reading_it(
    secure: Server,
) -> None:
    with secure.connect() as client:
        client.send(post("/backup/refuse", b"x" * 1_000_000)[:1000])
        answer = client.answer()
        assert (answer.status, answer.fields["connection"]) == (401, "close")
        assert client.at_end()


MALFORMED = [
    pytest.param(b"nonsense\r\n\r\n", 400, id="no request line"),
    pytest.param(b"get / HTTP/1.1\r\n\r\n", 400, id="method in lower case"),
    pytest.param(b"GET / HTTP/7.1\r\n\r\n", 400, id="unknown version"),
    pytest.param(b"GET / HTTP/1.1\nHost: x\n\n", 400, id="bare line feeds"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400, id="TLS"),
    pytest.param(b"GET / HTTP/1.1\r\nA b: c\r\n\r\n", 400, id="space in a name"),
    pytest.param(b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n", 400, id="NUL"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        400,
        id="two lengths",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        400,
        id="a length said twice",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\n",
        400,
        id="a list of lengths",
    ),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no host"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, id="two hosts"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400, id="no host name"),
    pytest.param(
        b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400, id="two in HTTP/1.0"
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, id="negative length"
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        id="length and chunks",
    ),
    pytest.param(b"GET / HTTP/1.1\r\nExpect: tea\r\n\r\n", 417, id="odd expectation"),
    pytest.param(
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n", 414, id="long request line"
    ),
    pytest.param(b"GET /" + b"x" * 40_000, 414, id="endless request line"),
    pytest.param(
        b"GET / HTTP/1.1\r\nA: " + b"x" * 10_000 + b"\r\n\r\n", 431, id="long field"
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * 200 + b"\r\n", 431, id="many fields"
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\n" + b"A: xxxxxxxxxxxx\r\n" * 3000, 431, id="endless head"
    ),
]


@pytest.mark.parametrize(("request_bytes", "status"), MALFORMED)
def test_a_malformed_request_is_a_problem_and_the_end(
    plain: Server, request_bytes: bytes, status: int
) -> None:
    with plain.connect() as client:
        client.send(request_bytes)
        answer = client.answer()
        assert answer.status == status
        assert answer.fields["content-type"] == "application/problem+json"
        document = json.loads(answer.body)
        assert document["type"] == "/problems/malformed-request"
        assert document["status"] == status
        assert client.at_end()


@pytest.mark.parametrize(
    "host", ["", "localhost", "a_b.example:8443", "127.0.0.1:80", "[::1]:8443"]
)
def test_every_form_of_a_host_is_taken(plain: Server, host: str) -> None:
    with plain.connect() as client:
        client.send(f"GET /empty HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert client.answer().status == 204


CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
# A WSGI application that knows nothing of these faults, and one that answers them.
READERS = ["/check", "/flask"]

BAD_CHUNKS = [
    pytest.param(b"xyz\r\n", 400, id="no size"),
    pytest.param(b"-2\r\n{}\r\n0\r\n\r\n", 400, id="negative size"),
    pytest.param(b"2\r\n{}XX0\r\n\r\n", 400, id="no end of a chunk"),
    pytest.param(b"2;=\r\n{}\r\n0\r\n\r\n", 400, id="bad extension"),
    pytest.param(b"0\r\nA b: c\r\n\r\n", 400, id="bad trailer"),
    pytest.param(b"0\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", 431, id="long trailer"),
]


@pytest.mark.parametrize("path", READERS)
@pytest.mark.parametrize(("chunks", "status"), BAD_CHUNKS)
def test_bad_chunks_are_a_problem_and_the_end(
    plain: Server, path: str, chunks: bytes, status: int
) -> None:
    said = len(plain.logged())
    with plain.connect() as client:
        # What follows is no request: nobody knows where it would begin.
        client.send(CHUNKED % path.encode() + chunks + post("/cic/check", b"abc"))
        answer = client.answer()
        assert answer.status == status
        assert answer.fields["content-type"] == "application/problem+json"
        assert json.loads(answer.body)["type"] == "/problems/malformed-request"
        assert client.at_end()
    assert "ERROR" not in plain.logged()[said:]


def test_a_fault_of_the_body_stays_one_when_it_is_read_again(plain: Server) -> None:
    with plain.connect() as client:
        client.send(CHUNKED % b"/insist" + b"2\r\n{}XX0\r\n\r\n")
        assert client.answer().body == b"BadRequest BadRequest BadRequest"
        assert client.at_end()


@pytest.mark.parametrize("path", READERS)
@pytest.mark.parametrize(
    "begun",
    [
        CHUNKED + b"5\r\nab",
        CHUNKED + b"2\r\nab",
        CHUNKED + b"2\r\nab\r\n",
        CHUNKED + b"0\r\n",
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nab",
    ],
)
def test_a_client_that_leaves_within_the_body_is_no_error(
    plain: Server, path: str, begun: bytes
) -> None:
    said = len(plain.logged())
    with plain.connect() as client:
        client.send(begun % path.encode())
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer().status == 400
        assert client.at_end()
    assert "ERROR" not in plain.logged()[said:]


def test_an_unknown_transfer_coding_is_refused(plain: Server) -> None:
    with plain.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: oddly\r\n\r\n")
        # gunicorn_h1c before 0.6.12 cannot tell it from other malformed fields.
        assert client.answer().status in {400, 501}
        assert client.at_end()


def test_an_application_that_fails_is_a_500_without_a_word_of_why(
    plain: Server,
) -> None:
    with plain.connect() as client:
        answer = client.get("/boom?serial=PBX0000001")
        assert answer.status == 500
        assert json.loads(answer.body)["type"] == "/problems/internal-error"
    with plain.connect() as client:
        client.send(b"GET /late-boom HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer().body == b"begun"
    assert "RuntimeError" in plain.logged()
    assert "small_app.py" in plain.logged()


def test_no_log_line_tells_who_called(plain: Server) -> None:
    with plain.connect() as client:
        client.get("/boom?serial=PBX0000001")
    with plain.connect() as client:
        client.send(b"nonsense PBX0000001\r\n\r\n")
        client.answer()
    with plain.connect() as client:
        client.get("/nowhere/PBX0000001")
    lines = [line for line in plain.logged().splitlines() if "Listening" not in line]
    config_end = next(i for i, line in enumerate(lines) if "Starting gunicorn" in line)
    served = "\n".join(lines[config_end:])
    assert "Malformed request" in served
    for trace in ("127.0.0.1", "PBX0000001", "/boom", "/nowhere", "nonsense"):
        assert trace not in served
