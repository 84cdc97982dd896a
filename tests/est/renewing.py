# SPDX-License-Identifier: Apache-2.0
"""A PBX that renews its certificate with nothing but openssl and curl."""

import base64
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from make import make_csr
from programs import path_of
from proxies.plain_pbx import Place, PlainPbx, pem_of
from service import Reply

Key = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
RENEW = "/.well-known/est/simplereenroll"
CACERTS = "/.well-known/est/cacerts"


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def csr_der(key: Key, serial_number: str) -> bytes:
    pem = make_csr(key, serial_number).encode()
    return x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)


def only_certificate(answer: Reply) -> x509.Certificate:
    """Return what a certs-only answer holds, which must be in one line of base64."""
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("application/pkcs7-mime")
    assert answer.headers["content-transfer-encoding"] == "base64"
    assert b"\n" not in answer.body
    der = base64.b64decode(answer.body, validate=True)
    (certificate,) = pkcs7.load_der_pkcs7_certificates(der)
    return certificate


class RenewingPbx(PlainPbx):
    """What a PBX does to renew."""

    def renew(self, place: Place, key: Key, body: bytes | None = None) -> Reply:
        """Ask for a certificate for ``key``; or with another ``body``."""
        if body is None:
            body = base64.b64encode(csr_der(key, self.serial_number))
        headers = [
            ("Content-Type", "application/pkcs10"),
            ("Content-Transfer-Encoding", "base64"),
        ]
        return place.ask(
            "POST", RENEW, certificate=self.file, body=body, headers=headers
        )

    def files(self) -> tuple[Path, Path]:
        """Write certificate and key into files of their own; return both."""
        certificate, key = self.folder / "old.crt", self.folder / "old.key"
        certificate.write_bytes(self.chain[0].public_bytes(Encoding.PEM))
        key.write_bytes(pem_of(self.key))
        return certificate, key

    def with_certificate(self, pem: bytes, key: bytes) -> "RenewingPbx":
        """Return the PBX after it has put a new certificate and key in place."""
        found = RenewingPbx(self.serial_number, self.folder)
        found.chain = x509.load_pem_x509_certificates(pem)
        found.file.write_bytes(found.chain[0].public_bytes(Encoding.PEM) + key)
        return found


def run(folder: Path, program: str, *words: str) -> bytes:
    """Run a program of the list; return its standard output."""
    done = subprocess.run(
        [path_of(program), *words],
        cwd=folder,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
