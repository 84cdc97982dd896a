# SPDX-License-Identifier: Apache-2.0
"""An installation for each test, with a clock of its own, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from faults.moved_clock import MovedClock
from faults.retention.house import House
from faults.retention.running import Runner
from postgres import Postgres
from service import Service


@pytest.fixture(scope="session")
def tidy_postgres(own_postgres: Postgres) -> Postgres:
    """The server, set up so that old write-ahead log is not kept for reuse."""
    with psycopg.connect(own_postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET wal_recycle = off")
        connection.execute("SELECT pg_reload_conf()")
    return own_postgres


@pytest.fixture
def house(
    tmp_path: Path,
    fleet_data: Path,
    database_kind: str,
    clock: MovedClock,
    request: pytest.FixtureRequest,
) -> Iterator[House]:
    """An installation that knows a fleet; the service has not been started."""
    settings = {"PBX_TRUSTED_PROXIES": "127.0.0.1"}
    url, name = "", f"of_{tmp_path.name}".lower()[:60]
    server: Postgres | None = None
    if database_kind == "postgresql":
        server = request.getfixturevalue("tidy_postgres")
        template: str = request.getfixturevalue("fleet_template")
        server.create_database(name, template=template)
        url = server.url(name)
        # The database keeps the right time, whatever that of the service is.
        settings["PBX_CLOCK_TOLERANCE_SECONDS"] = str(10**9)
    service = Service(
        tmp_path / "service",
        data=fleet_data,
        database_url=url,
        environment=clock.environment,
        **settings,
    )
    sqlite = f"sqlite:///{service.data_dir / 'callhome.sqlite3'}"
    found = House(service, clock, url or sqlite)
    try:
        yield found
    finally:
        service.close()
        found.engine.dispose()
        if server is not None:
            server.drop_database(name)


@pytest.fixture
def runner(house: House) -> Iterator[Runner]:
    """What starts runs in processes of their own."""
    with Runner(house.service) as found:
        yield found
