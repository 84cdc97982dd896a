# SPDX-License-Identifier: Apache-2.0
"""``callhome keys``: what an operator and the root holder type."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fleet.clock import parse_rfc3339, utcnow
from fleet.keys import ceremony
from fleet.keys.cli import keys
from fleet.keys.keyring import SECRET_PURPOSES, Keyring
from fleet.keys.signing import SigningKeys
from fleet.settings import Settings

Run = Callable[..., Result]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "var"
    ceremony.establish(folder, issuer="https://localhost:8443", now=utcnow())
    Keyring.open(folder / "keys").create_missing(SECRET_PURPOSES)
    return folder


@pytest.fixture
def run(data_dir: Path) -> Run:
    def invoke(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(keys, words, obj=Settings(data_dir=data_dir))
        assert result.exit_code == code, result.output
        return result

    return invoke


def test_a_rotation_by_hand(run: Run, data_dir: Path, tmp_path: Path) -> None:
    root = tmp_path / "stick.pem"
    ceremony.root_file(data_dir).rename(root)
    made = json.loads(
        run("new", "--purpose", "cic-lease", "--use-in-days", "0", "--json").stdout
    )
    request, key_set = str(tmp_path / "request.json"), str(tmp_path / "keyset.jwt")
    run("request", "--out", request)
    run("sign", "--root", str(root), "--out", key_set, request)
    assert json.loads(run("install", key_set, "--json").stdout)["version"] == 2
    signing = SigningKeys.load(data_dir / "keys", utcnow())
    assert signing.signer("cic-lease", utcnow()).kid == made["kid"]
    again = run("install", key_set, code=1)
    assert "does not follow" in again.output
    assert "Traceback" not in again.output


def test_a_second_key_waits_a_week_unless_told_otherwise(run: Run) -> None:
    made = json.loads(run("new", "--purpose", "cic-lease", "--json").stdout)
    waits = parse_rfc3339(made["not_before"]) - utcnow()
    assert timedelta(days=6.9) < waits <= timedelta(days=7)
    first = json.loads(run("new", "--purpose", "firmware", "--json").stdout)
    assert parse_rfc3339(first["not_before"]) <= utcnow()


def test_a_stolen_key_is_dropped_by_the_root_holder(
    run: Run, data_dir: Path, tmp_path: Path
) -> None:
    stolen = SigningKeys.load(data_dir / "keys", utcnow()).key_set().keys[0].kid
    (tmp_path / "request.json").write_text(run("request").stdout)
    root = str(ceremony.root_file(data_dir))
    signed = run(
        "sign", "--root", root, "--without", stolen, str(tmp_path / "request.json")
    )
    (tmp_path / "new.jwt").write_text(signed.stdout)
    run("install", str(tmp_path / "new.jwt"))
    assert stolen not in run("list").stdout


def test_the_list_shows_what_is_there(run: Run) -> None:
    run("new", "--purpose", "firmware")
    shown = json.loads(run("list", "--json").stdout)
    assert [key["state"] for key in shown["signing"]] == [
        "in its time",
        "in its time",
        "awaits the root",
    ]
    assert shown["secrets"]["device-secret"] == [1]
    text = run("list").stdout
    assert "Key set 1" in text
    assert "awaits the root" in text


def test_a_symmetric_key_is_rotated(run: Run, data_dir: Path) -> None:
    result = run("rotate-secret", "--purpose", "device-secret", "--json")
    assert json.loads(result.stdout) == {"purpose": "device-secret", "version": 2}
    assert Keyring.open(data_dir / "keys").versions("device-secret") == [1, 2]


def test_a_check_says_that_all_is_well_or_what_is_not(run: Run, data_dir: Path) -> None:
    assert run("check").output == "All keys can sign.\n"
    ceremony.root_file(data_dir).chmod(0o644)
    assert "chmod 600" in run("check").output
    ceremony.key_set_file(data_dir / "keys").unlink()
    broken = json.loads(run("check", "--json", code=1).output)
    assert "there is no key set" in broken["faults"][0]


def test_nothing_secret_is_ever_printed(run: Run, data_dir: Path) -> None:
    secrets = {
        path.read_text().strip() for path in (data_dir / "keys").glob("*/*.key")
    } | {
        line
        for path in data_dir.rglob("signing/*.pem")
        for line in path.read_text().splitlines()
        if "-----" not in line
    }
    assert len(secrets) == len(SECRET_PURPOSES) + 2
    for words in (["list"], ["list", "--json"], ["request"], ["check", "--json"]):
        output = run(*words).output
        assert not [secret for secret in secrets if secret in output]


@pytest.mark.parametrize(
    "words",
    [
        ["new", "--purpose", "keyset"],
        ["install", __file__],
        ["sign", "--root", __file__, __file__],
    ],
)
def test_a_fault_is_a_sentence(run: Run, words: list[str]) -> None:
    result = run(*words, code=1)
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output
