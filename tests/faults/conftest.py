# SPDX-License-Identifier: Apache-2.0
"""Services that know a fleet, on SQLite and on a PostgreSQL server of their own.

What a test stops, kills or restarts must not be shared with any other.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults.fleet_at_work import FLEET, SECRET
from faults.moved_clock import MovedClock
from postgres import Postgres
from service import Service

Start = Callable[..., Service]


@pytest.fixture(scope="session")
def fleet_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory, with SQLite, that knows every PBX of ``FLEET``."""
    service = Service(tmp_path_factory.mktemp("fleet"))
    service.import_devices((serial, SECRET) for serial in FLEET)
    return service.data_dir


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that the tests here may stop as they like."""
    folder = Path(tempfile.mkdtemp(prefix="callhome-faults-"))
    server = Postgres(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def fleet_template(
    own_postgres: Postgres, fleet_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A PostgreSQL database that knows every PBX of ``FLEET``, to be copied."""
    own_postgres.create_database("fleet")
    service = Service(
        tmp_path_factory.mktemp("template"),
        data=fleet_data,
        database_url=own_postgres.url("fleet"),
    )
    service.import_devices((serial, SECRET) for serial in FLEET)
    return "fleet"


@pytest.fixture
def start(
    tmp_path: Path,
    fleet_data: Path,
    database_kind: str,
    request: pytest.FixtureRequest,
) -> Iterator[Start]:
    """Start the service on the database of this test; it is stopped afterwards."""
    url = ""
    with ExitStack() as stack:
        if database_kind == "postgresql":
            server: Postgres = request.getfixturevalue("own_postgres")
            template: str = request.getfixturevalue("fleet_template")
            name = f"of_{tmp_path.name}".lower()[:60]
            server.create_database(name, template=template)
            stack.callback(server.drop_database, name)
            url = server.url(name)

        def begin(**more: object) -> Service:
            service = Service(
                tmp_path / "service",
                data=fleet_data,
                database_url=url,
                **more,  # type: ignore[arg-type] # passed through
            )
            return stack.enter_context(service)

        yield begin


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    """A clock for the processes of a service, right at first."""
    return MovedClock(tmp_path)
