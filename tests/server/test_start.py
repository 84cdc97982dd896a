# SPDX-License-Identifier: Apache-2.0
"""What is found out before anything is served, and what a failed start leaves."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from server.harness import ROOT

from fleet.server import address
from fleet.server.address import check_address
from fleet.settings import Settings, SettingsError
from wsgi import callhome

Serve = Callable[..., Result]

CLAIM = """
import os, sys
from pathlib import Path
from fleet.server.metrics_folder import claim_folder
print(claim_folder(Path(sys.argv[1])).name, flush=True)
if sys.argv[2:]:
    os.execv(sys.executable, [sys.executable, "-c", "input()"])
"""


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what the command sets for its whole process."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Type ``callhome serve``, where it must not come to that."""
    monkeypatch.setenv("PBX_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setattr(address, "PATIENCE_SECONDS", 0.0)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    # Where all is found well, it would begin anew in place of the tests.
    monkeypatch.setattr(os, "execve", _come_to_that)

    def run(*words: str, **settings: str) -> Result:
        return CliRunner().invoke(callhome, ["serve", *words], env=settings)

    return run


def _come_to_that(*_: object) -> None:
    raise AssertionError("it would have served")


def bound(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:1",
        "0.0.0.0:65535",
        "localhost:8443",
        "call_home.example.com:443",
        "[::1]:8443",
        "[::]:8443",
        "unix:/run/callhome.sock",
    ],
)
def test_an_address_of_a_known_form_is_taken(text: str) -> None:
    assert Settings.read({"PBX_BIND": text}).bind == text


@pytest.mark.parametrize(
    "text",
    [
        "9555",
        ":9555",
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:+80",
        "localhost:\N{SUPERSCRIPT TWO}",
        "a..b:80",
        "a b:80",
        "a:80,b:80",
        "::1:8443",
        "[127.0.0.1]:80",
        "[::1%lo]:80",
        "[::1]",
        "unix:here.sock",
        "fd://3",
        "https://localhost:80",
    ],
)
def test_any_other_address_is_refused_by_the_name_of_its_setting(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^PBX_BIND (is not|has a port)"):
        Settings.read({"PBX_BIND": text})


def test_an_option_is_checked_like_the_setting(serve: Serve) -> None:
    told = serve("--bind", "127.0.0.1:99999")

    assert told.exit_code == 1
    assert told.output == (
        "Error: --bind has a port that is none between 1 and 65535: '127.0.0.1:99999'\n"
    )


def test_a_mistyped_data_directory_is_named_and_not_made(
    serve: Serve, tmp_path: Path
) -> None:
    told = serve()

    assert told.exit_code == 1
    assert told.output.count("\n") == 1
    assert str(tmp_path / "var") in told.output
    assert "callhome init" in told.output
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_one_sentence_and_touches_nothing(
    serve: Serve, tmp_path: Path, taken: socket.socket
) -> None:
    CliRunner().invoke(callhome, ["init"])

    told = serve(PBX_BIND=bound(taken))

    assert told.exit_code == 1
    assert told.output == (
        f"Error: PBX_BIND (or --bind): {bound(taken)} cannot be listened on: "
        "Address already in use\n"
    )
    assert not (tmp_path / "var" / "metrics").exists()


def test_a_port_that_is_let_go_of_in_time_is_waited_for(taken: socket.socket) -> None:
    threading.Timer(0.4, taken.close).start()
    begun = time.monotonic()

    check_address(bound(taken))

    assert 0.3 < time.monotonic() - begun < address.PATIENCE_SECONDS


def test_sockets_that_are_handed_over_are_not_tried(
    taken: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_FD", "5")

    check_address(bound(taken))


@pytest.mark.parametrize("bind", ["192.0.2.1:8443", "unix:/nowhere/at/all.sock"])
def test_an_address_of_somebody_else_is_refused_at_once(bind: str) -> None:
    begun = time.monotonic()
    with pytest.raises(SettingsError, match=r"^PBX_BIND .* cannot be listened on: "):
        check_address(bind)
    assert time.monotonic() - begun < 1


def test_a_unix_socket_is_taken_over_only_from_the_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "PATIENCE_SECONDS", 0.0)
    path = tmp_path / "web.sock"
    check_address(f"unix:{path}")
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(SettingsError, match="already in use"):
            check_address(f"unix:{path}")
    check_address(f"unix:{path}")
    path.unlink()
    path.write_text("a file")
    with pytest.raises(SettingsError, match="no socket"):
        check_address(f"unix:{path}")
    assert path.read_text() == "a file"


def claim(root: Path, *, stay: bool = False) -> tuple[subprocess.Popen[str], Path]:
    """Claim a folder in a process of its own, which may go on as another program."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(root), *(["stay"] if stay else [])],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    folder = root / process.stdout.readline().strip()
    if not stay:
        process.communicate()
    return process, folder


def test_numbers_last_as_long_as_a_process_of_their_service(tmp_path: Path) -> None:
    root = tmp_path / "metrics"
    running, folder = claim(root, stay=True)
    (folder / "counter_1.db").write_text("numbers")

    _, second = claim(root)
    assert folder != second
    assert (folder / "counter_1.db").read_text() == "numbers"

    running.kill()
    running.communicate()
    _, third = claim(root)
    assert {each for each in root.iterdir() if each.is_dir()} == {third}
