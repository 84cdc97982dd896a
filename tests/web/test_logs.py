# SPDX-License-Identifier: Apache-2.0
"""No log line names a PBX or a person, whoever writes it."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from fleet.settings import Settings
from fleet.web import logs
from fleet.web.logs import ForeignDebugFilter, JSONFormatter, TextFormatter, message_of


def make_record(
    name: str, level: int, message: object, *args: object, fault: bool = False
) -> logging.LogRecord:
    exc_info: Any = None
    if fault:
        try:
            int("serial PBX123456")
        except ValueError:
            exc_info = sys.exc_info()
    return logging.LogRecord(
        name, level, "/x/base.py", 274, message, args, exc_info, "f"
    )


@pytest.mark.parametrize(
    ("name", "level", "message", "args", "said"),
    [
        pytest.param("fleet.x", 30, "%s waits", ("tea",), "tea waits", id="ours"),
        pytest.param(
            "gunicorn.error",
            20,
            "Listening at: %s (%s)",
            ("https://127.0.0.1:8443", 7),
            "Listening at: https://127.0.0.1:8443 (7)",
            id="gunicorn about itself",
        ),
        pytest.param(
            "gunicorn.error",
            30,
            "Invalid request from ip=192.0.2.7: Invalid header 'X: PBX123456'",
            (),
            "Invalid request from ip (base.py:274)",
            id="gunicorn about a client",
        ),
        pytest.param(
            "gunicorn.error",
            40,
            "Error handling request %s %s",
            ("GET", "/devices/PBX123456"),
            "Error handling request str str (base.py:274)",
            id="gunicorn about a request",
        ),
        pytest.param(
            "gunicorn.error",
            40,
            "Worker (pid:%s) was sent %s!",
            (7, "SIGKILL"),
            "Worker (pid:7) was sent SIGKILL! (base.py:274)",
            id="gunicorn about a worker",
        ),
        pytest.param(
            "psycopg", 30, "lost %(host)s", ({"host": "x"},), "lost %(host)s", id="dict"
        ),
        pytest.param("urllib3", 20, "%s", ("192.0.2.7",), "str", id="another library"),
        pytest.param("x", 40, ValueError("PBX123456"), (), "ValueError", id="no text"),
    ],
)
def test_what_is_printed_of_a_message(
    name: str, level: int, message: object, args: tuple[object, ...], said: str
) -> None:
    assert message_of(make_record(name, level, message, *args)).startswith(said)


@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter()])
def test_an_exception_is_its_type_and_its_places(formatter: logging.Formatter) -> None:
    line = formatter.format(make_record("fleet.x", 40, "failed", fault=True))

    assert "ValueError" in line
    assert "web/test_logs.py:" in line
    assert "PBX123456" not in line
    assert "\n" not in line


def test_a_line_of_json_can_be_read_back() -> None:
    record = make_record("fleet.x", 30, 'a "quoted"\nmessage')
    record.facts = {"endpoint": "tea.order"}

    line = JSONFormatter().format(record)

    read = json.loads(line)
    assert read["message"] == 'a "quoted"\nmessage'
    assert (read["level"], read["endpoint"]) == ("warning", "tea.order")
    assert read["at"].endswith("Z")
    assert "\n" not in line


def test_a_line_of_text_cannot_be_broken_or_coloured() -> None:
    line = TextFormatter().format(make_record("fleet.x", 30, "a\nb\x1b[31m"))

    assert line.endswith("a\\nb\\e[31m")


@pytest.mark.parametrize(
    ("name", "level", "kept"),
    [("fleet.x", 10, True), ("urllib3", 10, False), ("urllib3", 20, True)],
)
def test_what_libraries_say_when_debugging_is_dropped(
    name: str, level: int, kept: bool
) -> None:
    assert ForeignDebugFilter().filter(make_record(name, level, "x")) is kept


def logged_by(program: str) -> list[dict[str, Any]]:
    """Return the log lines of a process that runs ``program``."""
    head = (
        "import logging, threading\nfrom fleet.settings import Settings\n"
        "from fleet.web.logs import configure\nconfigure(Settings())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + program],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_thread_that_fails_says_where_and_not_what() -> None:
    program = """
def fail():
    raise ValueError("PBX" + "123456")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""
    [line] = logged_by(program)

    assert "ended by ValueError at" in line["message"]
    assert "<string>" in line["message"]
    assert "PBX123456" not in str(line)


def test_a_process_writes_json_where_nobody_watches() -> None:
    [line] = logged_by(
        "logging.getLogger('fleet.x').info('tea is %s', 'hot')\n"
        "logging.getLogger('gunicorn.access').info('GET /x')\n"
    )

    assert line["message"] == "tea is hot"


def test_the_configuration_does_for_gunicorn_too() -> None:
    found = logs.configuration(Settings(log_level="warning"))

    assert found["root"] == {"level": "WARNING", "handlers": ["stderr"]}
    assert isinstance(found["loggers"], dict)
    assert found["loggers"]["gunicorn.access"]["handlers"] == []
