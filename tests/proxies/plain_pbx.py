# SPDX-License-Identifier: Apache-2.0
"""A PBX that knows the protocol page and nothing of our code: TLS, JSON, Ed25519."""

import base64
import http.client
import json
import secrets
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)
from make import make_csr
from service import Reply, ask, client_context, connect

Headers = Iterable[tuple[str, str]]

SECRET = "a device secret of the factory list"


@dataclass(frozen=True)
class Place:
    """Where a PBX calls, whom it trusts there, and from which address it calls."""

    port: int
    data_dir: Path
    source: str | None = None
    tls: bool = True
    highest: Any = None

    def connection(self, certificate: Path | None = None) -> http.client.HTTPConnection:
        """Return a connection that shows the PEM of certificate and key."""
        context = None
        if self.tls:
            context = client_context(self.data_dir / "tls" / "ca.pem", certificate)
            if self.highest is not None:
                context.maximum_version = self.highest
        host = "localhost" if self.tls and self.source is None else "127.0.0.1"
        return connect(host, self.port, context=context, source=self.source)

    def ask(
        self, method: str, path: str, *, certificate: Path | None = None, **more: Any
    ) -> Reply:
        """Ask once on a new connection."""
        with closing(self.connection(certificate)) as connection:
            return ask(connection, method, path, **more)

    def check(
        self,
        serial_number: str,
        *,
        certificate: Path | None = None,
        headers: Headers = (),
    ) -> Reply:
        """Do a licence check on a new connection."""
        body = check_body(serial_number)
        return self.ask(
            "POST",
            "/cic/v1/check",
            certificate=certificate,
            json=body,
            headers=headers,
        )


@dataclass
class PlainPbx:
    """A PBX with a key and, once initialised, a certificate in ``file``."""

    serial_number: str
    folder: Path
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    chain: list[x509.Certificate] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """Certificate and key in one PEM."""
        return self.folder / f"{self.serial_number}-{self.chain[0].serial_number}.pem"

    @property
    def der(self) -> bytes:
        return self.chain[0].public_bytes(Encoding.DER)

    def initialise(self, place: Place, headers: Headers = ()) -> dict[str, Any]:
        """Initialise, and keep the certificate."""
        answer = place.ask(
            "POST",
            "/cic/v1/initialise",
            headers=headers,
            json={
                "serial_number": self.serial_number,
                "device_secret": SECRET,
                "csr": make_csr(self.key, self.serial_number),
                "device_type": "COMtrexx VM",
                "software_version": "2.0.1",
                "nonce": secrets.token_urlsafe(16),
            },
        )
        assert answer.status == 201, answer.body
        body: dict[str, Any] = answer.json
        pem = body["certificate_chain"].encode()
        self.keep(x509.load_pem_x509_certificates(pem))
        return body

    def keep(self, chain: list[x509.Certificate]) -> None:
        """Use this certificate from now on."""
        self.chain = chain
        self.file.write_bytes(chain[0].public_bytes(Encoding.PEM) + pem_of(self.key))

    def check(self, place: Place, headers: Headers = ()) -> Reply:
        return place.check(self.serial_number, certificate=self.file, headers=headers)


def check_body(serial_number: str) -> dict[str, object]:
    return {
        "serial_number": serial_number,
        "nonce": secrets.token_urlsafe(16),
        "device_type": "COMtrexx VM",
        "software_version": "2.0.1",
    }


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def verified(jws: str, *, keyset: str, data_dir: Path) -> dict[str, Any]:
    """Return the claims of a lease, verified down from the offline root."""
    root = load_pem_public_key((data_dir / "keys" / "root.pub.pem").read_bytes())
    assert isinstance(root, Ed25519PublicKey)
    keys = _claims(root, keyset)["keys"]
    kid = json.loads(_decoded(jws.partition(".")[0]))["kid"]
    (found,) = (each for each in keys if each["kid"] == kid)
    assert found["purpose"] == "cic-lease"
    return _claims(Ed25519PublicKey.from_public_bytes(_decoded(found["x"])), jws)


def _claims(key: Ed25519PublicKey, jws: str) -> dict[str, Any]:
    header, payload, signature = jws.split(".")
    key.verify(_decoded(signature), f"{header}.{payload}".encode())
    claims: dict[str, Any] = json.loads(_decoded(payload))
    return claims


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
