# SPDX-License-Identifier: Apache-2.0
"""A certificate that is not in order opens nothing, and every one says the same.

They are signed for real, most of them by our own device CA: what is wrong with
each is one thing only.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from flask.testing import FlaskClient
from fuzz.journeys import OTHER_SERIAL, Place, dump, problem_of
from make import SERIAL, TestPbx, make_csr, make_nonce
from sqlalchemy import update

from fleet.clock import utcnow
from fleet.database import db, transaction
from fleet.ground import ground
from fleet.identity.models import DeviceCertificate

DAY = timedelta(days=1)


@dataclass
class Forger:
    """Issues whatever is asked for, with the key of our own device CA or another."""

    key: ec.EllipticCurvePrivateKey
    ca: x509.Certificate

    @classmethod
    def ours(cls) -> "Forger":
        folder = Path(ground().settings.data_dir) / "device-ca"
        key = load_pem_private_key((folder / "issuing.key").read_bytes(), None)
        pem = (folder / "issuing.pem").read_bytes()
        return cls(
            cast("ec.EllipticCurvePrivateKey", key), x509.load_pem_x509_certificate(pem)
        )

    @classmethod
    def foreign(cls) -> "Forger":
        """Return a CA with the very names and identifiers of ours."""
        ours = cls.ours()
        return cls(ec.generate_private_key(ec.SECP256R1()), ours.ca)

    def issue(
        self,
        *serials: str,
        begins: timedelta = -DAY,
        ends: timedelta = DAY,
        usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
        is_ca: bool = False,
        common_name: str | None = None,
    ) -> bytes:
        """Return the DER of a certificate; what is not said is in order."""
        now = utcnow()
        names = [x509.NameAttribute(NameOID.SERIAL_NUMBER, each) for each in serials]
        if common_name is not None:
            names.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            self.ca.public_key()  # type: ignore[arg-type] # an EC key, as made above
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(names))
            .issuer_name(self.ca.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(authority, critical=False)
        )
        if usage is not None:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([usage]), critical=False
            )
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.DER)


def _registered(der: bytes) -> bytes:
    """Put a certificate into the registry, so that only its own fault is left."""
    certificate = x509.load_der_x509_certificate(der)
    with transaction() as session:
        session.add(
            DeviceCertificate(
                device_id=1,
                generation=1,
                fingerprint=certificate.fingerprint(SHA256()),
                key_digest=bytes(32),
                number=f"{certificate.serial_number:x}",
                der=der,
                issued_at=utcnow() - 2 * DAY,
                not_after=utcnow() + 365 * DAY,
            )
        )
    return der


def _revoked(place: Place) -> bytes:
    der = place.pbx.chain[0].public_bytes(Encoding.DER)
    with transaction() as session:
        session.execute(update(DeviceCertificate).values(revoked_at=utcnow()))
    return der


def _retired(place: Place) -> bytes:
    der = place.pbx.chain[0].public_bytes(Encoding.DER)
    with transaction() as session:
        session.execute(update(DeviceCertificate).values(retires_at=utcnow()))
    return der


def _ended_in_the_registry(place: Place) -> bytes:
    der = place.pbx.chain[0].public_bytes(Encoding.DER)
    with transaction() as session:
        past: datetime = utcnow() - DAY
        session.execute(update(DeviceCertificate).values(not_after=past))
    return der


SHOWN: dict[str, Callable[[Place], bytes]] = {
    "two serial numbers": lambda _: _registered(
        Forger.ours().issue(SERIAL, OTHER_SERIAL)
    ),
    "one serial number twice": lambda _: _registered(
        Forger.ours().issue(SERIAL, SERIAL)
    ),
    "no serial number": lambda _: _registered(Forger.ours().issue(common_name=SERIAL)),
    "a serial number in the common name": lambda _: _registered(
        Forger.ours().issue(common_name=f"x/serialNumber={SERIAL}")
    ),
    "a serial number in another spelling": lambda _: _registered(
        Forger.ours().issue(SERIAL.lower())
    ),
    "a foreign CA": lambda _: _registered(Forger.foreign().issue(SERIAL)),
    "expired": lambda _: _registered(Forger.ours().issue(SERIAL, ends=-DAY / 2)),
    "not yet valid": lambda _: _registered(Forger.ours().issue(SERIAL, begins=DAY / 2)),
    "for servers": lambda _: _registered(
        Forger.ours().issue(SERIAL, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    ),
    "for any use": lambda _: _registered(
        Forger.ours().issue(SERIAL, usage=ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    ),
    "for no use in particular": lambda _: _registered(
        Forger.ours().issue(SERIAL, usage=None)
    ),
    "a CA's": lambda _: _registered(Forger.ours().issue(SERIAL, is_ca=True)),
    "the device CA's own": lambda _: Forger.ours().ca.public_bytes(Encoding.DER),
    "ours, but in no registry": lambda _: Forger.ours().issue(SERIAL),
    "of a PBX that does not exist": lambda _: Forger.ours().issue("NOBODY123456"),
    "of another PBX, in the registry": lambda _: _registered(
        Forger.ours().issue(OTHER_SERIAL)
    ),
    "revoked": _revoked,
    "retired": _retired,
    "ended in the registry": _ended_in_the_registry,
    "truncated": lambda place: place.pbx.chain[0].public_bytes(Encoding.DER)[:-7],
    "no certificate at all": lambda _: b"hello",
    "nothing": lambda _: b"",
    "too long": lambda _: b"\x30\x82\xff\xff" + bytes(60_000),
}


# Signed by our CA, but not for the PBX that the requests name.
OTHERS = {"of a PBX that does not exist", "of another PBX, in the registry"}


def _headers(der: bytes) -> dict[str, str]:
    return {"Client-Cert": f":{base64.b64encode(der).decode()}:"}


def _requests(
    client: FlaskClient, headers: dict[str, str]
) -> Iterator[tuple[int, dict[str, object], str | None]]:
    """Make every kind of request that a PBX makes with a certificate."""
    check = {
        "serial_number": SERIAL,
        "nonce": make_nonce(),
        "device_type": "COMtrexx VM",
        "software_version": "2.0.1",
    }
    key = ec.generate_private_key(ec.SECP256R1())
    pem = make_csr(key, SERIAL)
    der = x509.load_pem_x509_csr(pem.encode()).public_bytes(Encoding.DER)
    for path, options in (
        ("/cic/v1/check", {"json": check}),
        (
            "/.well-known/est/simplereenroll",
            {
                "data": base64.b64encode(der),
                "content_type": "application/pkcs10",
            },
        ),
    ):
        answer = client.post(path, headers=headers, **options)
        yield answer.status_code, problem_of(answer), answer.headers.get("Retry-After")


@pytest.mark.parametrize("fault", SHOWN)
def test_a_certificate_that_is_not_in_order_is_not_recognised(
    place: Place, fault: str
) -> None:
    shown = SHOWN[fault](place)
    before = dump()
    for status, said, _ in _requests(place.client, _headers(shown)):
        assert status == 403
        if fault in OTHERS and said["type"] == "/problems/serial-mismatch":
            continue  # the request names another PBX than the certificate
        assert said["type"] == "/problems/device-not-recognised"
        assert said["detail"] == "This PBX is not recognised."
    assert dump() == before


def test_no_certificate_is_asked_for(place: Place) -> None:
    for status, said, _ in _requests(place.client, {}):
        assert (status, said["type"]) == (401, "/problems/device-certificate-required")


HEADERS = [
    {"Client-Cert": ":!!!:"},
    {"Client-Cert": "::"},
    {"Client-Cert": "AAAA"},
    {"Client-Cert": ":AAAA"},
    {"Client-Cert": ":" + "A" * 90_000 + ":"},
    {"Client-Cert": "\xff"},
    {"X-SSL-Client-Cert": "%"},
    {"X-SSL-Client-Cert": "-----BEGIN%20CERTIFICATE-----"},
    {"X-SSL-Client-Cert": "%00"},
    {"X-SSL-Client-Cert": "(null)"},
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_broken_header_of_a_proxy_is_no_certificate(
    place: Place, header: dict[str, str]
) -> None:
    before = dump()
    for status, said, _ in _requests(place.client, header):
        assert status == 403
        assert said["type"] == "/problems/device-not-recognised"
    assert dump() == before


def test_a_good_certificate_twice_is_not_one(place: Place) -> None:
    good = place.pbx.headers
    pem = place.pbx.chain[0].public_bytes(Encoding.PEM).decode()
    both = good | {"X-SSL-Client-Cert": pem.replace("\n", "%0A")}
    for status, said, _ in _requests(place.client, both):
        assert (status, said["type"]) == (403, "/problems/device-not-recognised")


def test_a_request_in_anothers_name_is_a_mismatch(place: Place) -> None:
    before = dump()
    other = TestPbx(place.client, serial_number=OTHER_SERIAL)
    answer = place.client.post(
        "/cic/v1/check",
        json={
            "serial_number": OTHER_SERIAL,
            "nonce": make_nonce(),
            "device_type": other.device_type,
            "software_version": other.software_version,
        },
        headers=place.pbx.headers,
    )
    assert answer.status_code == 403
    assert problem_of(answer)["type"] == "/problems/serial-mismatch"
    assert dump() == before


def test_the_same_requests_are_answered_with_a_good_certificate(place: Place) -> None:
    assert place.pbx.check().status_code == 200
    db.session.remove()
