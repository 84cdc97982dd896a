# SPDX-License-Identifier: Apache-2.0
"""What an operator types, and what is said when something is wrong."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wsgi import callhome

FACTORY_LIST = (
    "serial_number,mac_address,part_number,device_type,hardware_revision,"
    "device_secret,support_ends_on\n"
    "CX1000000001,,,COMtrexx VM,,a-device-secret-of-the-list,\n"
)

Typed = Callable[..., Result]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what the command sets for its whole process."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def typed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Type a command; settings beside the data directory are keywords."""
    monkeypatch.setenv("PBX_LOG_LEVEL", "error")

    def run(*words: str, **settings: str) -> Result:
        environment = {"PBX_DATA_DIR": str(data_dir), **settings}
        return CliRunner().invoke(callhome, words, env=environment)

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "sqlite3" not in path.name
    }


def test_init_makes_everything_and_then_nothing(typed: Typed, data_dir: Path) -> None:
    first = typed("init", "--json")
    made = files_of(data_dir)
    again = typed("init", "--json")

    assert first.exit_code == again.exit_code == 0
    assert json.loads(first.output)["made"]
    assert json.loads(again.output) == {"made": []}
    assert files_of(data_dir) == made


def test_secrets_are_readable_by_their_owner_alone(
    typed: Typed, data_dir: Path
) -> None:
    typed("init")

    secret = [*data_dir.rglob("*.key"), *data_dir.rglob("root.pem")]
    secret += [*data_dir.glob("keys/signing/*.pem"), data_dir / "tls" / "server.pem"]

    assert len(secret) >= 8
    assert {path.stat().st_mode & 0o077 for path in secret} == {0}


def test_a_healthy_installation_has_only_the_root_to_be_carried_away(
    typed: Typed,
) -> None:
    typed("init")

    told = typed("doctor", "--json")

    assert told.exit_code == 0, told.output
    findings = json.loads(told.output)["findings"]
    assert {each["about"] for each in findings if each["state"] != "ok"} == {
        "offline root"
    }


def test_without_the_root_the_doctor_is_content(typed: Typed, data_dir: Path) -> None:
    typed("init")
    (data_dir / "offline-root" / "root.pem").unlink()

    told = typed("doctor")

    assert told.exit_code == 0
    assert "WARNING" not in told.output


@pytest.mark.parametrize(
    ("broken", "about"),
    [
        ("keys/keyset.jwt", "signing keys"),
        ("keys/device-secret/1.key", "secret keys"),
        ("device-ca/issuing.key", "device CA"),
        ("tls/server.pem", "TLS certificate"),
        ("callhome.sqlite3", "database"),
    ],
)
def test_the_doctor_names_what_is_missing(
    typed: Typed, data_dir: Path, broken: str, about: str
) -> None:
    typed("init")
    (data_dir / broken).unlink()

    told = typed("doctor", "--json")

    assert told.exit_code == 1
    wrong = [
        each["about"]
        for each in json.loads(told.output)["findings"]
        if each["state"] == "wrong"
    ]
    assert about in wrong


def test_the_doctor_sees_a_secret_that_others_can_read(
    typed: Typed, data_dir: Path
) -> None:
    typed("init")
    (data_dir / "keys" / "staff-token" / "1.key").chmod(0o644)

    told = typed("doctor")

    assert told.exit_code == 1
    assert "chmod 600" in told.output


def test_the_doctor_falls_back_on_words_before_there_is_anything(typed: Typed) -> None:
    told = typed("doctor")

    assert told.exit_code == 1
    assert "callhome init" in told.output
    assert "Traceback" not in told.output


def test_a_setting_that_cannot_be_used_is_one_sentence(typed: Typed) -> None:
    told = typed("init", PBX_GRACE_DAYS="a month")

    assert told.exit_code == 1
    assert told.output == "Error: PBX_GRACE_DAYS is not a whole number\n"


def test_a_database_that_cannot_be_reached_is_one_sentence(typed: Typed) -> None:
    url = "postgresql+psycopg://nobody:a-password@127.0.0.1:1/none"
    told = typed("devices", "find", "x", PBX_DATABASE_URL=url)

    assert told.exit_code == 1
    assert told.output.startswith("Error: the database failed")
    assert "a-password" not in told.output


def test_settings_come_from_a_file_as_well(typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "callhome.env"
    file.write_text("PBX_GRACE_DAYS=nonsense\n")

    told = typed("--settings", str(file), "init")

    assert told.exit_code == 1
    assert "PBX_GRACE_DAYS" in told.output


def test_migrate_goes_back_only_when_told_that_data_is_lost(typed: Typed) -> None:
    typed("init")

    refused = typed("migrate", "--to", "base")
    planned = json.loads(typed("migrate", "--to", "base", "--dry-run", "--json").output)
    unchanged = json.loads(typed("migrate", "--json").output)
    back = json.loads(typed("migrate", "--to", "base", "--lose-data", "--json").output)
    forth = json.loads(typed("migrate", "--json").output)

    assert refused.exit_code == 2
    assert "--lose-data" in refused.output
    assert planned["after"] == "empty"
    assert unchanged["before"] == unchanged["after"] != "empty"
    assert back["after"] == "empty"
    assert forth == {"before": "empty", "after": back["before"]}


def test_a_revision_that_nobody_knows_is_one_sentence(typed: Typed) -> None:
    typed("init")

    told = typed("migrate", "--to", "nonsense")

    assert told.exit_code == 1
    assert told.output == "Error: this version has no revision 'nonsense'\n"


@pytest.mark.parametrize("lost", ["device-secret", "staff-token"])
def test_a_key_that_the_database_needs_is_not_made_anew(
    typed: Typed, data_dir: Path, tmp_path: Path, lost: str
) -> None:
    """Another key would let all look well, and recognise nobody any more."""
    file = tmp_path / "list.csv"
    file.write_text(FACTORY_LIST)
    typed("init")
    typed("devices", "import", str(file))
    typed("staff", "token", "--owner", "Anna", "--role", "support")
    (data_dir / "keys" / lost / "1.key").unlink()

    told = typed("init")
    examined = typed("doctor")

    assert told.exit_code == 1
    assert f"{lost} version 1" in told.output
    assert not (data_dir / "keys" / lost / "1.key").exists()
    assert examined.exit_code == 1
    assert f"{lost} version 1 is lost" in examined.output


def test_a_key_set_that_pbxs_hold_does_not_begin_again_at_one(
    typed: Typed, data_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "list.csv"
    file.write_text(FACTORY_LIST)
    typed("init")
    typed("devices", "import", str(file))
    (data_dir / "keys" / "keyset.jwt").unlink()

    told = typed("init")

    assert told.exit_code == 1
    assert "keyset.jwt" in told.output
    assert not (data_dir / "keys" / "keyset.jwt").exists()


def test_a_lost_ca_key_is_not_replaced_by_one_that_fits_no_certificate(
    typed: Typed, data_dir: Path
) -> None:
    typed("init")
    (data_dir / "device-ca" / "issuing.key").unlink()

    told = typed("init")

    assert told.exit_code == 1
    assert "issuing.key is missing although its certificate is here" in told.output
    assert not (data_dir / "device-ca" / "issuing.key").exists()


def test_a_database_url_that_is_none_is_not_repeated(typed: Typed) -> None:
    told = typed("doctor", PBX_DATABASE_URL="postgresql+psycopg://u:geh@im:pw@@")

    assert told.exit_code == 1
    assert "PBX_DATABASE_URL is no database URL" in told.output
    assert "pw" not in told.output.replace("password", "")
