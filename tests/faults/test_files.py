# SPDX-License-Identifier: Apache-2.0
"""Keys and other files that are missing or broken, at the start and later on."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.conftest import Start
from faults.fleet_at_work import make_fleet
from service import CALLHOME, Service

from fleet import installation
from fleet.cli import FAULTS
from fleet.settings import Settings


def _gone(path: Path) -> None:
    path.unlink()


def _unreadable(path: Path) -> None:
    """Nobody can read a folder as a file, not even root."""
    path.unlink()
    path.mkdir()


def _rubbish(path: Path) -> None:
    path.write_bytes(b"rubbish\n")


def _refusal(service: Service) -> str:
    """Try to serve; return what is said on standard error."""
    done = subprocess.run(
        [*CALLHOME, "serve"],
        cwd=service.folder,
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    said = done.stderr + done.stdout
    assert "Traceback" not in said
    assert "Error: " in said
    return said


BROKEN: list[tuple[str, Callable[[Path], None]]] = [
    ("keys/device-secret/1.key", _gone),
    ("keys/device-secret/1.key", _unreadable),
    ("keys/staff-token/1.key", _rubbish),
    ("keys/keyset.jwt", _gone),
    ("keys/keyset.jwt", _rubbish),
    ("keys/root.pub.pem", _unreadable),
    ("keys/signing/*.pem", _rubbish),
    ("keys/signing/*.pem", _unreadable),
    ("device-ca/issuing.key", _gone),
    ("device-ca/issuing.key", _rubbish),
    ("device-ca/issuing.pem", _unreadable),
    ("tls/server.pem", _gone),
    ("callhome.sqlite3", _gone),
    ("callhome.sqlite3", _unreadable),
    ("callhome.sqlite3", _rubbish),
]


@pytest.mark.parametrize(("name", "spoil"), BROKEN)
def test_what_cannot_be_used_is_named(
    fleet_data: Path, tmp_path: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    data_dir = tmp_path / "var"
    shutil.copytree(fleet_data, data_dir)
    installation.check(Settings(data_dir=data_dir))
    path = _spoil(data_dir, name, spoil)
    with pytest.raises(FAULTS) as fault:
        installation.check(Settings(data_dir=data_dir))
    named = {str(path), str(path.parent), path.stem, "key set"}
    assert any(each in str(fault.value) for each in named), fault.value


def _spoil(data_dir: Path, name: str, spoil: Callable[[Path], None]) -> Path:
    path = next(data_dir.glob(name))
    for companion in data_dir.glob("*.sqlite3-*"):
        companion.unlink()
    spoil(path)
    return path


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("keys/signing/*.pem", _unreadable),
        ("tls/server.pem", _gone),
        ("tls/server.pem", _rubbish),
    ],
)
def test_what_cannot_be_used_stops_the_start(
    fleet_data: Path, tmp_path: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    service = Service(tmp_path / "service", data=fleet_data)
    path = _spoil(service.data_dir, name, spoil)
    assert str(path) in _refusal(service)


def test_a_data_directory_that_cannot_be_written_stops_the_start(
    fleet_data: Path, tmp_path: Path
) -> None:
    service = Service(tmp_path / "service", data=fleet_data)
    metrics = service.data_dir / "metrics"
    metrics.write_text("in the way")
    assert str(metrics) in _refusal(service)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_keys_that_vanish_while_serving_end_the_signing_and_begin_it_again(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    pbx = make_fleet(service, tmp_path, 1)[0]
    assert pbx.initialise().status == 201
    signing = service.data_dir / "keys" / "signing"
    aside = tmp_path / "aside"
    shutil.copytree(signing, aside)

    for each in signing.glob("*.pem"):
        each.unlink()
    time.sleep(1.5)  # files are looked at once a second
    for refused in (pbx.check(), pbx.initialise(new_key=False)):
        assert (refused.status, refused.code) == (503, "cannot-sign")
    ready = service.request("GET", "/health/ready")
    assert ready.status == 503
    assert not ready.json["checks"]["signing"]["ok"]

    for each in aside.glob("*.pem"):
        shutil.copy(each, signing)
    time.sleep(1.5)
    assert pbx.check().status == 200
    service.wait_until_ready()
    assert pbx.generation == 1  # what could not be signed was not begun
