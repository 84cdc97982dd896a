# SPDX-License-Identifier: Apache-2.0
"""Callers and places for all tests; data comes from ``make_*`` functions.

Every test that takes ``app`` (or anything that stands on it) runs twice, on
SQLite and on PostgreSQL. Both databases are migrated once for the whole run and
copied for each test.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from postgres import Postgres

from fleet import migrations
from fleet.database import db, stand_alone_engine
from fleet.installation import make_files
from fleet.settings import Networks, Settings
from fleet.web import access_log
from wsgi import create_app

pytest_plugins = ["programs"]

# Tests freeze the clock; the databases' own clocks go on.
ANY_CLOCK = 10**9


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of our own, with a migrated template database.

    Not under pytest's own folder: as root, the server runs as another user, whom
    pytest shuts out there.
    """
    folder = Path(tempfile.mkdtemp(prefix="callhome-postgres-"))
    server = Postgres(folder)
    try:
        server.create_database("template_callhome")
        engine = stand_alone_engine(
            Settings(database_url=server.url("template_callhome"))
        )
        migrations.upgrade(engine)
        engine.dispose()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite3"
    engine = stand_alone_engine(Settings(database_url=f"sqlite:///{path}"))
    migrations.upgrade(engine)
    with engine.connect() as connection:
        connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def key_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with every key and certificate, to be copied."""
    folder = tmp_path_factory.mktemp("data") / "var"
    make_files(Settings(data_dir=folder))
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Which of the two databases a test runs on."""
    kind: str = request.param
    return kind


@pytest.fixture
def database_url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    if database_kind == "sqlite":
        path = tmp_path / "callhome.sqlite3"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = f"test_{uuid.uuid4().hex}"
    server.create_database(name, template="template_callhome")
    try:
        yield server.url(name)
    finally:
        server.drop_database(name)


@pytest.fixture
def settings(database_url: str, key_template: Path, tmp_path: Path) -> Settings:
    """Settings of a fresh installation behind no proxy, with a tolerant clock."""
    data_dir = tmp_path / "var"
    shutil.copytree(key_template, data_dir)
    return Settings(
        data_dir=data_dir,
        database_url=database_url,
        clock_tolerance_seconds=ANY_CLOCK,
        outage_credit=False,
    )


@contextmanager
def running(settings: Settings) -> Iterator[Flask]:
    """The whole application under ``settings``, in a pushed context."""
    app = create_app(settings)
    app.testing = True
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with app.app_context():
        try:
            yield app
        finally:
            access_log.flush()
            db.session.remove()
            db.engine.dispose()


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The whole application, in a pushed context."""
    with running(settings) as app:
        yield app


@pytest.fixture
def proxied_app(settings: Settings) -> Iterator[Flask]:
    """The application behind a trusted proxy at 127.0.0.1."""
    proxies = Networks.of("127.0.0.1")
    with running(replace(settings, tls=False, trusted_proxies=proxies)) as app:
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Somebody without certificate or token."""
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    """What an operator types at."""
    return app.test_cli_runner()
