# SPDX-License-Identifier: Apache-2.0
"""What the command line says to people: settings in force, and refusals."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fleet.settings import Settings, SettingsError
from fleet.settings_in_force import in_force
from wsgi import callhome

Typed = Callable[..., Result]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def typed(tmp_path: Path) -> Typed:
    """Type a command; settings are keywords."""

    def run(*words: str, **settings: str) -> Result:
        environment = {"PBX_DATA_DIR": str(tmp_path / "var"), "PBX_LOG_LEVEL": "error"}
        return CliRunner().invoke(callhome, words, env=environment | settings)

    return run


def test_the_value_in_force_stands_beside_the_default(typed: Typed) -> None:
    lines = typed("settings", PBX_GRACE_DAYS="20").stdout.splitlines()
    assert "PBX_GRACE_DAYS=20 (default: 30)" in lines
    assert "PBX_TLS=on (the default)" in lines
    assert "PBX_LOG_LEVEL=error (default: info)" in lines
    rows = {
        row["name"]: (row["value"], row["default"], bool(row["about"]))
        for row in json.loads(typed("settings", "--json", PBX_GRACE_DAYS="20").stdout)
    }
    assert rows["PBX_GRACE_DAYS"] == ("20", "30", True)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("sqlite:////var/x.sqlite3", "sqlite:////var/x.sqlite3"),
        ("postgresql+psycopg://u:hunter2@db/x", "postgresql+psycopg://u:***@db/x"),
        (
            "postgresql+psycopg://u:hunter%402@db/x?sslmode=require",
            "postgresql+psycopg://u:***@db/x?sslmode=require",
        ),
        (
            "postgresql+psycopg://db/x?user=u&password=hunter2",
            "postgresql+psycopg://db/x?password=hidden&user=u",
        ),
    ],
)
def test_the_password_of_the_database_is_hidden(url: str, shown: str) -> None:
    settings = Settings.read({"PBX_DATABASE_URL": url})
    assert in_force(settings)["PBX_DATABASE_URL"] == shown


def test_an_empty_value_is_the_default_but_no_networks_are_nobody() -> None:
    names = [name for name in in_force(Settings()) if name != "PBX_DATA_DIR"]
    settings = Settings.read(dict.fromkeys(names, " "))
    assert not settings.metrics_networks
    metrics = "PBX_METRICS_NETWORKS"
    assert in_force(settings) == in_force(Settings()) | {metrics: ""}


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://callhome.example.com", True),
        ("http://localhost:8080", True),
        ("http://127.0.0.1:8080", True),
        ("http://callhome.example.com", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1@example.com", False),
    ],
)
def test_the_public_url_is_https_only_beyond_this_machine(
    url: str, *, good: bool
) -> None:
    if good:
        assert Settings.read({"PBX_PUBLIC_URL": url}).public_url == url
        return
    with pytest.raises(SettingsError, match="PBX_PUBLIC_URL is HTTPS only"):
        Settings.read({"PBX_PUBLIC_URL": url})


def test_a_refusal_is_a_sentence_that_names_the_field(typed: Typed) -> None:
    assert typed("init").exit_code == 0
    refused = typed("cic", "show", "CX-1")
    assert refused.exit_code == 1
    assert refused.stderr == (
        "Error: serial_number: Not a serial number: 6 to 32 letters A-Z and digits "
        "were expected.\n"
    )
    unknown = typed("cic", "show", "CX9999999999")
    assert unknown.stderr == "Error: No PBX with this serial number is registered.\n"
