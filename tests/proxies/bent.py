# SPDX-License-Identifier: Apache-2.0
"""Certificates that our own CA should never have issued, and is on record for.

Each is in the registry like any other, so that nothing but its verification
stands between it and an answer.
"""

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from proxies.plain_pbx import pem_of
from service import Service

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)


@dataclass(frozen=True)
class Bend:
    """How a certificate differs from one that is right."""

    serials: int = 1
    usages: tuple[x509.ObjectIdentifier, ...] = CLIENT
    begins: timedelta = -DAY
    ends: timedelta = 30 * DAY
    foreign: bool = False
    is_ca: bool = False

    def make(self, service: Service, serial_number: str) -> tuple[bytes, bytes]:
        """Return the certificate in DER and, with its key, in PEM."""
        issuer, issuer_key = _issuer(service, foreign=self.foreign)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC).replace(microsecond=0)
        name = x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number)
        names = [x509.RelativeDistinguishedName([name])] * self.serials
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(names))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + self.begins)
            .not_valid_after(now + self.ends)
            .add_extension(
                x509.BasicConstraints(ca=self.is_ca, path_length=None), critical=True
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    issuer_key.public_key()
                ),
                critical=False,
            )
        )
        if self.usages:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage(self.usages), critical=False
            )
        certificate = builder.sign(issuer_key, SHA256())
        der = certificate.public_bytes(Encoding.DER)
        _register(service, serial_number, certificate)
        return der, certificate.public_bytes(Encoding.PEM) + pem_of(key)


STRAIGHT = Bend()
BENT = {
    "expired": Bend(begins=-10 * DAY, ends=-HOUR),
    "not yet valid": Bend(begins=HOUR),
    "of a foreign CA": Bend(foreign=True),
    "for servers": Bend(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
    "for anything": Bend(usages=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
    "for no use named": Bend(usages=()),
    "of a CA": Bend(is_ca=True),
    "with no serial number": Bend(serials=0),
    "with two serial numbers": Bend(serials=2),
}


def _issuer(
    service: Service, *, foreign: bool
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return our CA; or another one with its name and another key."""
    folder = service.data_dir / "device-ca"
    certificate = x509.load_pem_x509_certificate((folder / "issuing.pem").read_bytes())
    if foreign:
        return certificate, ec.generate_private_key(ec.SECP256R1())
    key = load_pem_private_key((folder / "issuing.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return certificate, key


def _register(
    service: Service, serial_number: str, certificate: x509.Certificate
) -> None:
    der = certificate.public_bytes(Encoding.DER)
    change(
        service,
        "INSERT INTO device_certificate (device_id, generation, fingerprint,"
        " key_digest, number, der, issued_at, not_after)"
        " SELECT device_id, generation, ?, ?, ?, ?, issued_at,"
        " '2999-01-01 00:00:00.000000'"
        " FROM device_certificate WHERE device_id ="
        " (SELECT id FROM device WHERE serial_number = ?) LIMIT 1",
        hashlib.sha256(der).digest(),
        hashlib.sha256(b"any").digest(),
        f"{certificate.serial_number:x}",
        der,
        serial_number,
    )


def change(service: Service, statement: str, *values: object) -> None:
    """Write into the database of ``service``, as nobody else would; one row."""
    file = service.data_dir / "callhome.sqlite3"
    with closing(sqlite3.connect(file, timeout=30)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def look(service: Service, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Read the database of ``service``."""
    file = service.data_dir / "callhome.sqlite3"
    with closing(sqlite3.connect(file, timeout=30)) as connection:
        return connection.execute(statement, values).fetchall()


Make = Callable[[Service, str], tuple[bytes, bytes]]


def write(folder: Path, pem: bytes) -> Path:
    """Keep certificate and key for a client."""
    file = folder / "bent.pem"
    file.write_bytes(pem)
    return file
