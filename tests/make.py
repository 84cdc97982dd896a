# SPDX-License-Identifier: Apache-2.0
"""Valid things for tests, any part of which can be chosen: PBXs, keys, requests."""

import base64
import json
import secrets
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.x509.oid import NameOID
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from fleet.clock import utcnow
from fleet.devices import registry
from fleet.devices.registry import DeviceFacts, NewDevice
from fleet.ground import ground
from fleet.staff import tokens
from fleet.staff.roles import Role, StaffMember

SECRET = "a device secret of the factory list"
SERIAL = "CX1000000001"
NOBODY = StaffMember(None, "cli:tests", Role.OPERATOR)


def make_device(
    serial_number: str = SERIAL,
    *,
    device_secret: str = SECRET,
    device_type: str = "COMtrexx VM",
    mac_address: str | None = None,
    customer: str = "",
    notes: str = "",
    support_ends_on: date | None = None,
    now: datetime | None = None,
) -> DeviceFacts:
    """Register a PBX."""
    return registry.register(
        NewDevice(
            serial_number=serial_number,
            device_secret=device_secret,
            device_type=device_type,
            mac_address=mac_address,
            part_number="S30852-H2716-R101",
            hardware_revision="1.0",
            support_ends_on=support_ends_on,
            customer=customer,
            notes=notes,
        ),
        keyring=ground().keyring,
        now=now or utcnow(),
    )


def make_token(
    role: Role = Role.SUPPORT, owner: str = "Anna Agent", dealer: str = ""
) -> dict[str, str]:
    """Make a staff token; return the header that shows it."""
    issued = tokens.issue(
        owner,
        role=role,
        dealer=dealer,
        life=tokens.USUAL_LIFE,
        reason="test",
        actor=NOBODY,
        keyring=ground().keyring,
        now=utcnow(),
    )
    return {"Authorization": f"Bearer {issued.token}"}


def make_nonce() -> str:
    """Draw 16 random bytes in base64url."""
    return secrets.token_urlsafe(16)


def make_csr(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey, name: str) -> str:
    """Return a PKCS #10 request in PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    algorithm = None if isinstance(key, Ed25519PrivateKey) else SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def verified(jws: str) -> dict[str, Any]:
    """Return the claims of a JWS, verified by hand against the offline root."""
    keyset = _claims(_root(), ground().signing.key_set().token)
    header = json.loads(_decoded(jws.partition(".")[0]))
    assert header["alg"] == "EdDSA"
    key = next(each for each in keyset["keys"] if each["kid"] == header["kid"])
    claims = _claims(Ed25519PublicKey.from_public_bytes(_decoded(key["x"])), jws)
    return claims | {"typ": header["typ"], "purpose": key["purpose"]}


def _root() -> Ed25519PublicKey:
    pem = (ground().settings.data_dir / "keys" / "root.pub.pem").read_bytes()
    key = load_pem_public_key(pem)
    assert isinstance(key, Ed25519PublicKey)
    return key


def _claims(key: Ed25519PublicKey, jws: str) -> dict[str, Any]:
    header, payload, signature = jws.split(".")
    key.verify(_decoded(signature), f"{header}.{payload}".encode())
    claims: dict[str, Any] = json.loads(_decoded(payload))
    return claims


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class TestPbx:
    """A PBX as plain as can be: what it sends, and what it holds."""

    __test__ = False

    client: FlaskClient
    serial_number: str = SERIAL
    device_secret: str = SECRET
    device_type: str = "COMtrexx VM"
    software_version: str = "2.0.1"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    chain: list[x509.Certificate] = field(default_factory=list)
    continuation: str | None = None

    def new_key(self) -> None:
        """Make another key, as after the loss of a disk."""
        self.key = ec.generate_private_key(ec.SECP256R1())

    def initialise(self, **changed: object) -> TestResponse:
        """Initialise; keep the certificate if there is one."""
        body = {
            "serial_number": self.serial_number,
            "device_secret": self.device_secret,
            "csr": make_csr(self.key, self.serial_number),
            "device_type": self.device_type,
            "software_version": self.software_version,
            "nonce": make_nonce(),
        } | changed
        answer = self.client.post("/cic/v1/initialise", json=body)
        if answer.status_code == 201:
            pem = answer.json["certificate_chain"].encode()
            self.chain = x509.load_pem_x509_certificates(pem)
            self.continuation = None
        return answer

    @property
    def headers(self) -> dict[str, str]:
        """What a proxy would add: the certificate, as RFC 9440 has it."""
        der = self.chain[0].public_bytes(Encoding.DER)
        return {"Client-Cert": f":{base64.b64encode(der).decode()}:"}

    def check(self, **changed: object) -> TestResponse:
        """Check; keep the token for the next one."""
        body = {
            "serial_number": self.serial_number,
            "nonce": make_nonce(),
            "device_type": self.device_type,
            "software_version": self.software_version,
        } | changed
        if self.continuation is not None and "continuation" not in changed:
            body["continuation"] = self.continuation
        answer = self.client.post("/cic/v1/check", json=body, headers=self.headers)
        if answer.status_code == 200:
            self.continuation = answer.json["continuation"]
        return answer

    def lease(self, **changed: object) -> dict[str, Any]:
        """Check, and return the verified lease."""
        answer = self.check(**changed)
        assert answer.status_code == 200, answer.json
        return verified(answer.json["lease"])
