# SPDX-License-Identifier: Apache-2.0
"""What is done before anybody is listened to, and what becomes of its connections."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from service import ROOT, free_port, wait_for_port

from fleet.settings import Settings

PROGRAM = """
import os, socket, sys
from pathlib import Path
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from fleet.app import assemble
from fleet.cli import command_line
from fleet.database import db
from fleet.feature import Feature

folder, port, away = Path({folder!r}), {port}, {away}

def early():
    with socket.socket() as probe:
        heard = probe.connect_ex(("127.0.0.1", port)) == 0
    with db.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    with (folder / "early").open("a") as file:
        file.write(f"{{os.getpid()}} {{heard}}\\n")
    if away:
        raise OperationalError("SELECT 1", None, Exception("198.51.100.4"))

FEATURES = [Feature("early", before_serving=early), Feature("none")]
command_line(lambda settings: assemble(settings, FEATURES), FEATURES)()
"""

Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def serve(settings: Settings, tmp_path: Path, port: int) -> Iterator[Serve]:
    """Begin to serve an application with something to be done before."""
    started = []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PBX_")}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    environment |= {
        "PYTHONPATH": str(ROOT),
        "PBX_DATA_DIR": str(settings.data_dir),
        "PBX_DATABASE_URL": settings.database_url,
        "PBX_BIND": f"127.0.0.1:{port}",
        "PBX_TLS": "off",
        "PBX_TRUSTED_PROXIES": "127.0.0.1",
    }

    def begin(*, away: bool = False) -> "subprocess.Popen[str]":
        program = PROGRAM.format(folder=str(tmp_path), port=port, away=away)
        process = subprocess.Popen(
            [sys.executable, "-c", program, "serve"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for each in started:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
        each.communicate()


def test_it_is_done_once_before_anybody_is_listened_to(
    serve: Serve, tmp_path: Path, port: int
) -> None:
    process = serve()
    wait_for_port("127.0.0.1", port, seconds=20)
    assert (tmp_path / "early").read_text() == f"{process.pid} False\n"
    assert open_databases(process.pid) == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_database_that_is_away_may_come_back_later(
    serve: Serve, tmp_path: Path, port: int
) -> None:
    process = serve(away=True)
    wait_for_port("127.0.0.1", port, seconds=20)
    time.sleep(0.5)
    assert (tmp_path / "early").read_text() == f"{process.pid} False\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stderr is not None
    said = process.stderr.read()
    assert "not prepared: OperationalError" in said
    assert "198.51.100.4" not in said


def open_databases(pid: int) -> int:
    """How many database files or PostgreSQL sockets a process has open."""
    links = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(each.readlink()))
        except OSError:
            continue
    return sum("sqlite3" in link for link in links)
