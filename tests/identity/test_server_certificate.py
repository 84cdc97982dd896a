# SPDX-License-Identifier: Apache-2.0
"""The TLS certificate of a server whose operator has brought none."""

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from identity.anything_goes import DAY, NOON

from fleet.identity.device_ca import AuthorityFault
from fleet.identity.server_certificate import create_server_certificate, ends_at


def handshake(folder: Path, host: str) -> None:
    """Meet a server that has ``server.pem`` as a client that trusts ``ca.pem``."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    client = ssl.create_default_context(cafile=folder / "ca.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    server.wrap_socket(connection, server_side=True).close()
                except OSError:
                    return  # the client did not like what it saw

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname()) as connection,
                client.wrap_socket(connection, server_hostname=host),
            ):
                pass
        finally:
            thread.join()


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "::1", "pbx.example", "192.0.2.7", "2001:db8::7"]
)
def test_a_client_that_trusts_the_ca_connects(tmp_path: Path, host: str) -> None:
    known = host if host not in {"localhost", "127.0.0.1", "::1"} else "localhost"
    now = datetime.now(UTC)
    assert create_server_certificate(tmp_path, host=known, now=now)
    handshake(tmp_path, host)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, "another.example")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "server.pem").write_text("the operator's own")
    assert not create_server_certificate(tmp_path, host="localhost", now=NOON)
    assert [path.name for path in tmp_path.iterdir()] == ["server.pem"]
    assert (tmp_path / "server.pem").read_text() == "the operator's own"


def test_a_renewal_keeps_the_ca(tmp_path: Path) -> None:
    create_server_certificate(tmp_path, host="localhost", now=NOON - 700 * DAY)
    ca = (tmp_path / "ca.pem").read_bytes()
    (tmp_path / "server.pem").unlink()
    assert create_server_certificate(tmp_path, host="localhost", now=datetime.now(UTC))
    assert (tmp_path / "ca.pem").read_bytes() == ca
    handshake(tmp_path, "localhost")


def test_only_the_ca_is_for_others_to_read(tmp_path: Path) -> None:
    create_server_certificate(tmp_path, host="localhost", now=NOON)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()
    }
    assert modes == {"server.pem": 0o600, "ca.key": 0o600, "ca.pem": 0o644}


def test_the_doctor_learns_when_it_ends(tmp_path: Path) -> None:
    create_server_certificate(tmp_path, host="localhost", now=NOON)
    end = ends_at(tmp_path / "server.pem")
    assert end == NOON + 730 * DAY - timedelta(hours=1)
    with pytest.raises(AuthorityFault):
        ends_at(tmp_path / "ca.key")
    with pytest.raises(AuthorityFault):
        ends_at(tmp_path / "missing.pem")


@pytest.mark.parametrize("name", ["ca.key", "ca.pem"])
def test_a_broken_local_ca_is_named(tmp_path: Path, name: str) -> None:
    create_server_certificate(tmp_path, host="localhost", now=NOON)
    (tmp_path / "server.pem").unlink()
    (tmp_path / name).write_text("half a fi")
    with pytest.raises(AuthorityFault):
        create_server_certificate(tmp_path, host="localhost", now=NOON)
    assert not (tmp_path / "server.pem").exists()
