# SPDX-License-Identifier: Apache-2.0
"""Who gets in over TLS, and what happens when the files behind it change."""

import hashlib
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from server.harness import Authority, Pki, Server, replace

from fleet.server.tls import RENEW_EVERY, TlsContext, TlsError, TlsFiles


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki.make(tmp_path)


def leaf(server: Server, context: ssl.SSLContext) -> bytes:
    with server.connect(context) as client:
        return client.get("/who").body


def shown(server: Server) -> bytes:
    """Return the certificate that the server shows."""
    with server.connect() as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True) or b""


def eventually(met: Callable[[], bool]) -> None:
    for _ in range(60):
        if met():
            return
        time.sleep(0.05)
    raise AssertionError("it never happened")


def is_admitted(server: Server, context: ssl.SSLContext) -> bool:
    try:
        return leaf(server, context) != b""
    except (OSError, EOFError):
        return False


def test_the_application_sees_the_certificate_of_the_pbx(secure: Server) -> None:
    assert secure.pki is not None
    file = secure.pki.folder / "pbx.pem"
    der = ssl.PEM_cert_to_DER_cert(file.read_text().partition("-----BEGIN PR")[0])
    assert leaf(secure, secure.pki.client(file)) == hashlib.sha256(der).digest()


def test_a_client_without_certificate_gets_in_as_nobody(secure: Server) -> None:
    assert secure.pki is not None
    assert leaf(secure, secure.pki.client()) == b"nobody"


@pytest.mark.parametrize(
    ("certificate", "alert"),
    [
        pytest.param(
            lambda _: Authority("other").issue("PBX0000001"),
            "unknown ca",
            id="foreign CA",
        ),
        pytest.param(
            lambda pki: pki.devices.issue("PBX0000001", valid=False),
            "certificate expired",
            id="expired",
        ),
        pytest.param(
            lambda pki: pki.devices.issue("PBX0000001", server=True),
            "unsupported certificate",
            id="not for clients",
        ),
    ],
)
def test_a_bad_certificate_gets_a_tls_alert(
    secure: Server, tmp_path: Path, certificate: Callable[[Pki], bytes], alert: str
) -> None:
    assert secure.pki is not None
    file = tmp_path / "bad.pem"
    file.write_bytes(certificate(secure.pki))
    with pytest.raises(ssl.SSLError, match=f"(?i){alert.replace(' ', '.')}"):
        leaf(secure, secure.pki.client(file))


@pytest.mark.parametrize(
    "restrict",
    [
        pytest.param(
            lambda context: setattr(context, "maximum_version", ssl.TLSVersion.TLSv1_1),
            id="TLS 1.1",
        ),
        pytest.param(
            lambda context: (
                setattr(context, "maximum_version", ssl.TLSVersion.TLSv1_2),
                context.set_ciphers("ECDHE-ECDSA-AES128-SHA256"),
            ),
            id="no AEAD",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_cryptography_is_refused(
    secure: Server, restrict: Callable[[ssl.SSLContext], object]
) -> None:
    assert secure.pki is not None
    context = secure.pki.client()
    restrict(context)
    with pytest.raises(ssl.SSLError):
        leaf(secure, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_ticket_is_given_for_a_session(
    secure: Server, version: ssl.TLSVersion
) -> None:
    assert secure.pki is not None
    context = secure.pki.client()
    context.minimum_version = context.maximum_version = version
    with secure.connect(context) as client:
        client.get("/who")
        assert isinstance(client.sock, ssl.SSLSocket)
        session = client.sock.session
        assert session is None or not session.has_ticket
    if version is ssl.TLSVersion.TLSv1_3:
        again = context.wrap_socket(
            secure.dial(), server_hostname="127.0.0.1", session=session
        )
        with again:
            assert not again.session_reused


def test_plain_http_to_the_tls_port_is_no_harm(secure: Server) -> None:
    with secure.dial() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        sock.recv(100)
    assert secure.check() < 1


def test_the_end_of_a_connection_is_told_under_tls(secure: Server) -> None:
    assert secure.pki is not None
    # `close_notify`, without which a client must suspect a truncated answer.
    sock = secure.pki.client().wrap_socket(
        secure.dial(), server_hostname="127.0.0.1", suppress_ragged_eofs=False
    )
    with sock:
        sock.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while sock.recv(1000):
            pass


def test_certificates_change_while_running(
    start: Callable[..., Server], pki: Pki
) -> None:
    server = start(pki=pki)
    file, cas = pki.folder / "server.pem", pki.folder / "device-ca"
    before = shown(server)
    replace(file, b"not a certificate")
    eventually(lambda: "not reloaded" in server.logged())
    assert shown(server) == before
    replace(file, pki.server.issue("localhost", server=True))
    eventually(lambda: shown(server) != before)

    new_ca = Authority("device ca 2")
    newcomer = pki.folder / "new.pem"
    newcomer.write_bytes(new_ca.issue("PBX0000002"))
    assert not is_admitted(server, pki.client(newcomer))
    replace(cas / "second.pem", new_ca.pem)
    eventually(lambda: is_admitted(server, pki.client(newcomer)))
    assert is_admitted(server, pki.client(pki.folder / "pbx.pem"))
    (cas / "first.pem").unlink()
    eventually(lambda: not is_admitted(server, pki.client(pki.folder / "pbx.pem")))


def test_two_pbxs_of_two_cas_keep_their_open_connections_in_a_change(
    start: Callable[..., Server], pki: Pki
) -> None:
    server = start(pki=pki)
    with server.connect() as client:
        before = client.get("/who").body
        replace(pki.folder / "server.pem", pki.server.issue("localhost", server=True))
        time.sleep(1.1)
        shown(server)
        assert client.get("/who").body == before


def spoil_key(pki: Pki) -> None:
    mine = (pki.folder / "server.pem").read_bytes().partition(b"-----BEGIN PR")
    other = pki.server.issue("other", server=True).partition(b"-----BEGIN PR")
    (pki.folder / "server.pem").write_bytes(mine[0] + other[1] + other[2])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(
            lambda pki: (pki.folder / "server.pem").unlink(),
            "server.pem",
            id="no certificate",
        ),
        pytest.param(spoil_key, "server.pem.*keyfile", id="a key of another"),
        pytest.param(
            lambda pki: (pki.folder / "device-ca" / "first.pem").unlink(),
            "device-ca.*ca_certs",
            id="no CA in the folder",
        ),
        pytest.param(
            lambda pki: shutil.rmtree(pki.folder / "device-ca"),
            "device-ca.*ca_certs",
            id="no folder of CAs",
        ),
        pytest.param(
            lambda pki: (pki.folder / "device-ca" / "x.pem").write_text("rubbish"),
            "x.pem.*ca_certs",
            id="a CA that is none",
        ),
    ],
)
def test_files_that_cannot_be_used_are_named(
    pki: Pki, spoil: Callable[[Pki], object], told: str
) -> None:
    spoil(pki)
    files = TlsFiles(
        certfile=pki.folder / "server.pem", ca_certs=pki.folder / "device-ca"
    )
    with pytest.raises(TlsError, match=told):
        TlsContext(files, now=0, complain=print)


def test_the_server_does_not_start_without_its_cas(tmp_path: Path, pki: Pki) -> None:
    (pki.folder / "device-ca" / "first.pem").unlink()
    with pytest.raises(
        AssertionError, match=r"Error: .*device-ca \(setting ca_certs\)"
    ):
        Server(tmp_path, pki=pki)


def test_a_context_is_renewed_in_time_and_complaints_come_once(pki: Pki) -> None:
    files = TlsFiles(
        certfile=pki.folder / "server.pem", ca_certs=pki.folder / "device-ca"
    )
    complaints: list[str] = []
    context = TlsContext(files, now=0, complain=complaints.append)
    first = context.current(now=0)
    assert context.current(now=RENEW_EVERY - 1) is first
    second = context.current(now=RENEW_EVERY + 1)
    assert second is not first
    (pki.folder / "server.pem").write_text("rubbish")
    for now in range(100, 300, 10):
        assert context.current(now=now) is second
    assert len(complaints) == 1
