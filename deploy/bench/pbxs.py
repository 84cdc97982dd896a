# SPDX-License-Identifier: Apache-2.0
"""Real PBXs for the benchmark: registered, initialised, each with a certificate."""

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from flask.testing import FlaskClient

from fleet.clock import utcnow
from fleet.database import db
from fleet.devices import registry
from fleet.devices.registry import NewDevice
from fleet.ground import ground
from fleet.installation import initialise
from fleet.settings import Settings
from wsgi import create_app

DEVICE_TYPE = "COMtrexx VM"
SOFTWARE_VERSION = "2.0.1"
SECRET = "a device secret of the factory list"  # noqa: S105 -- of PBXs that do not exist
CREATED = 201


@dataclass(frozen=True)
class Pbx:
    """One PBX: its certificate and key in one file, and as a proxy hands it on."""

    serial_number: str
    pem: Path
    client_cert: str


def enrol(settings: Settings, folder: Path, count: int) -> list[Pbx]:
    """Make an installation, and ``count`` PBXs that have initialised there.

    Their certificates and keys go into ``folder``.
    """
    initialise(settings)
    app = create_app(settings)
    client = app.test_client()
    folder.mkdir()
    with app.app_context():
        made = [_enrol(client, folder, number) for number in range(count)]
        db.session.remove()
        db.engine.dispose()
    return made


def _enrol(client: FlaskClient, folder: Path, number: int) -> Pbx:
    serial_number = f"BENCH{number:07d}"
    registry.register(
        _new_device(serial_number), keyring=ground().keyring, now=utcnow()
    )
    key = ec.generate_private_key(ec.SECP256R1())
    answer = client.post(
        "/cic/v1/initialise",
        json={
            "serial_number": serial_number,
            "device_secret": SECRET,
            "csr": _request(key, serial_number),
            "device_type": DEVICE_TYPE,
            "software_version": SOFTWARE_VERSION,
            "nonce": secrets.token_urlsafe(16),
        },
    )
    if answer.status_code != CREATED or answer.json is None:
        raise RuntimeError(f"a PBX could not initialise: {answer.status_code}")
    chain = answer.json["certificate_chain"].encode()
    leaf = x509.load_pem_x509_certificates(chain)[0]
    pem = folder / f"{serial_number}.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + leaf.public_bytes(Encoding.PEM)
    )
    der = base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()
    return Pbx(serial_number, pem, f":{der}:")


def _new_device(serial_number: str) -> NewDevice:
    return NewDevice(
        serial_number=serial_number,
        device_secret=SECRET,
        device_type=DEVICE_TYPE,
        mac_address=None,
        part_number="",
        hardware_revision="",
        support_ends_on=None,
        customer="",
        notes="",
    )


def _request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()
