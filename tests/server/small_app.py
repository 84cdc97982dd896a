# SPDX-License-Identifier: Apache-2.0
"""A WSGI application with one route for each thing a server can get wrong."""

import hashlib
import io
import json
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from fleet.commits import others_first
from fleet.web import problems

Route = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


def _answer(start: StartResponse, body: bytes, status: str = "200 OK") -> list[bytes]:
    start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def check(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    return _answer(start, json.dumps({"received": len(body)}).encode())


flask = Flask("small")
problems.register(flask)


@flask.post("/flask")
def _read() -> str:
    return str(len(request.stream.read()))


def by_flask(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    return flask(environ, start)


def slow(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    time.sleep(float(environ["QUERY_STRING"]))
    return _answer(start, b"slept")


_asked: list[str] = []


def joint(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Ask, let the others ask, and say how many had asked by then."""
    name = environ["wsgi.input"].read().decode()
    time.sleep(float(environ["QUERY_STRING"]))
    let_others_ask = others_first.get()
    assert let_others_ask is not None
    _asked.append(name)
    let_others_ask()
    answer = {"said": name, "asked": len(_asked)}
    _leave(name)
    return _answer(start, json.dumps(answer).encode())


_served: list[str] = []


def _leave(name: str) -> None:
    # Only when all of a round have gone on, so that each counts all.
    _served.append(name)
    if len(_served) == len(_asked):
        _asked.clear()
        _served.clear()


def joint_boom(environ: WSGIEnvironment, _start: StartResponse) -> Iterable[bytes]:
    let_others_ask = others_first.get()
    assert let_others_ask is not None
    let_others_ask()
    raise RuntimeError(environ["QUERY_STRING"])


def upload(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    digest = hashlib.sha256()
    while block := environ["wsgi.input"].read(65536):
        digest.update(block)
    return _answer(start, digest.hexdigest().encode())


def who(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    sock = environ["gunicorn.socket"]
    assert isinstance(sock, ssl.SSLSocket)
    der = sock.getpeercert(binary_form=True)
    return _answer(start, b"nobody" if der is None else hashlib.sha256(der).digest())


def chunked(_environ: WSGIEnvironment, start: StartResponse) -> Iterator[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    yield b"one,"
    yield b""
    yield b"two"


def refuse(_environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    return _answer(start, b"no", "401 Unauthorized")


def boom(environ: WSGIEnvironment, _start: StartResponse) -> Iterable[bytes]:
    raise RuntimeError(environ["QUERY_STRING"])


def late_boom(environ: WSGIEnvironment, start: StartResponse) -> Iterator[bytes]:
    start("200 OK", [("Content-Length", "100")])
    yield b"begun"
    raise RuntimeError(environ["QUERY_STRING"])


def large(_environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    return _answer(start, b"x" * 8_000_000)


def empty(_environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    start("204 No Content", [])
    return []


def file(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    content = Path(__file__).read_bytes()
    start("200 OK", [("Content-Length", str(len(content)))])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.FileIO(__file__))
    return wrapped


def insist(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"]
    found = []
    for read in (body.read, body.readline, body.readlines):
        try:
            read()
        except HTTPException as fault:
            found.append(type(fault).__name__)
    return _answer(start, " ".join(found).encode())


ROUTES: dict[str, Route] = {
    "/cic/check": check,
    "/check": check,
    "/cic/joint": joint,
    "/cic/joint-boom": joint_boom,
    "/flask": by_flask,
    "/insist": insist,
    "/slow": slow,
    "/cic/slow": slow,
    "/backup/upload": upload,
    "/backup/slow": slow,
    "/backup/refuse": refuse,
    "/backup/file": file,
    "/file": file,
    "/who": who,
    "/chunked": chunked,
    "/boom": boom,
    "/late-boom": late_boom,
    "/large": large,
    "/empty": empty,
}


def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    route = ROUTES.get(environ["PATH_INFO"])
    if route is None:
        return _answer(start, b"unknown", "404 Not Found")
    return route(environ, start)
