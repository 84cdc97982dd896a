# SPDX-License-Identifier: Apache-2.0
"""What every answer carries, and what is logged of a failed one."""

import json
import logging
from collections.abc import Callable

import pytest
from flask import Flask

from fleet.settings import Networks, Settings
from fleet.web import hooks
from fleet.web.logs import JSONFormatter

MakeApp = Callable[..., Flask]

PROXIED = Settings(
    database_url="sqlite:///unused",
    public_url="https://callhome.example.com",
    trusted_proxies=Networks.of("10.0.0.1"),
)
FROM_PROXY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "path", ["/health/live", "/nowhere", "/tea/broken", "/docs", "/problems/"]
)
def test_every_answer_carries_its_id_and_the_headers_of_security(
    make_app: MakeApp, path: str
) -> None:
    answer = make_app(PROXIED).test_client().get(path)

    assert len(answer.headers["X-Request-Id"]) == 16
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert answer.headers.getlist("Cache-Control") == ["no-store"]
    assert len(answer.headers.getlist("Content-Security-Policy")) == 1


def test_localhost_is_not_pinned_to_https(small_app: Flask) -> None:
    answer = small_app.test_client().get("/health/live")

    assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize(
    ("peer", "given", "kept"),
    [
        pytest.param("10.0.0.1", FROM_PROXY, True, id="a proxy's own"),
        pytest.param("10.0.0.1", "PBX123456", False, id="something else"),
        pytest.param("10.0.0.1", "a" * 65, False, id="too long"),
        pytest.param("192.0.2.7", FROM_PROXY, False, id="a stranger's"),
    ],
)
def test_a_request_id_is_taken_from(
    make_app: MakeApp, peer: str, given: str, kept: bool
) -> None:
    answer = (
        make_app(PROXIED)
        .test_client()
        .get(
            "/health/live",
            headers={"X-Request-Id": given},
            environ_base={"REMOTE_ADDR": peer},
        )
    )

    assert (answer.headers["X-Request-Id"] == given) is kept


class Lines(logging.Handler):
    """Keeps what would be written, formatted while the request is there."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JSONFormatter())
        self.lines: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> list[dict[str, object]]:
    """The log lines of the test, read back."""
    handler = Lines()
    logger = logging.getLogger("fleet")
    logger.addHandler(handler)
    try:
        yield handler.lines  # type: ignore[misc] # a generator, as fixtures may be
    finally:
        logger.removeHandler(handler)


def test_a_failure_is_logged_without_what_was_sent(
    small_app: Flask, lines: list[dict[str, object]]
) -> None:
    answer = small_app.test_client().get("/tea/broken?serial=PBX123456")

    assert answer.status_code == 500
    assert answer.json is not None
    request_id = answer.headers["X-Request-Id"]
    assert answer.json["instance"] == f"urn:request:{request_id}"
    unforeseen, failed = lines
    assert "RuntimeError" in str(unforeseen["message"])
    assert "tests/web/conftest.py" in str(unforeseen["message"]) or "web/conftest" in (
        str(unforeseen["message"])
    )
    assert failed["endpoint"] == "tea.broken"
    assert failed["status"] == 500
    assert {line["request_id"] for line in lines} == {request_id}
    assert "PBX123456" not in json.dumps(lines)
    assert "192.0.2.7" not in json.dumps(lines)


def test_a_slow_request_is_logged_and_a_good_one_is_not(
    small_app: Flask,
    lines: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = small_app.test_client()
    client.get("/health/live")
    assert lines == []

    monkeypatch.setattr(hooks, "SLOW_SECONDS", 0.0)
    client.get("/health/live")

    assert [line["message"] for line in lines] == ["request was slow"]
