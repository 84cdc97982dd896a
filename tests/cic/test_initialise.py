# SPDX-License-Identifier: Apache-2.0
"""A PBX makes itself known: what it asks with, what it gets, and who guesses."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from flask import Flask
from freezegun import freeze_time
from make import (
    SERIAL,
    TestPbx,
    make_csr,
    make_device,
    make_nonce,
    make_token,
    verified,
)
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from cic.models import Activation
from fleet.database import reading
from fleet.devices.models import Device
from fleet.ground import ground
from fleet.identity.models import DeviceCertificate
from fleet.keys.keyring import VersionedKey, device_release_key
from fleet.web import access_log
from fleet.web.models import AccessRecord

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OTHER = "CX1000000002"
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

Held = Callable[..., Activation]
History = Callable[..., list[str]]


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].removeprefix("/problems/")


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def certificates() -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(DeviceCertificate)) or 0


def test_the_first_initialisation_yields_all_that_a_pbx_needs(
    new_pbx: TestPbx, held: Held, history: History
) -> None:
    nonce = make_nonce()
    with freeze_time(BIRTH):
        answer = new_pbx.initialise(nonce=nonce)
        access_log.flush()
    assert answer.status_code == 201
    assert set(answer.get_json()) == {
        "certificate_chain",
        "release_key",
        "keyset",
        "lease",
    }
    leaf, issuer = new_pbx.chain
    leaf.verify_directly_issued_by(issuer)
    lease = verified(answer.get_json()["lease"])
    assert (lease["typ"], lease["purpose"]) == ("cic-lease+jwt", "cic-lease")
    assert (lease["sub"], lease["nonce"]) == (SERIAL, nonce)
    assert (lease["verdict"], lease["generation"]) == ("active", 1)
    assert lease["lock_at"] == "2027-04-01T12:00:00Z"
    assert lease["exp"] == int((BIRTH + 31 * DAY).timestamp())
    assert answer.get_json()["keyset"] == ground().signing.key_set().token
    assert len(raw(answer.get_json()["release_key"])) == 32
    row = held()
    assert row.silent_since == row.last_success_at == row.initialised_at == BIRTH
    assert row.software_version == "2.0.1"
    assert history() == ["initialised"]
    with reading() as session:
        accesses = session.scalars(select(AccessRecord)).all()
    assert [(each.service, each.device_type) for each in accesses] == [
        ("cic", "COMtrexx VM")
    ]


def test_the_same_key_again_gets_the_same_answer(
    pbx: TestPbx, held: Held, history: History
) -> None:
    with freeze_time(BIRTH + DAY):
        first, again = pbx.initialise(), pbx.initialise()
    assert first.status_code == again.status_code == 201
    for name in ("certificate_chain", "release_key", "keyset"):
        assert first.get_json()[name] == again.get_json()[name]
    assert verified(again.get_json()["lease"])["generation"] == 1
    assert history() == ["initialised"]
    assert certificates() == 1
    assert held().silent_since == BIRTH + DAY


def subject(*attributes: tuple[x509.ObjectIdentifier, str]) -> str:
    """Return a CSR for a new key that asks for this subject."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    request = builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    ).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()


@ON_SQLITE
def test_the_certificate_names_the_pbx_once_whatever_the_csr_asks_for(
    house: Flask,
) -> None:
    asked_for = {
        "nothing": subject(),
        "another PBX": subject((NameOID.SERIAL_NUMBER, OTHER)),
        "two": subject((NameOID.SERIAL_NUMBER, SERIAL), (NameOID.SERIAL_NUMBER, OTHER)),
        "a name": subject((NameOID.COMMON_NAME, "ca.example")),
        "an Ed25519 key": make_csr(Ed25519PrivateKey.generate(), OTHER),
    }
    for number, csr in enumerate(asked_for.values()):
        serial = f"CX300000000{number}"
        with freeze_time(BIRTH):
            make_device(serial)
            pbx = TestPbx(house.test_client(), serial)
            assert pbx.initialise(csr=csr).status_code == 201
            assert pbx.lease()["verdict"] == "active"
        leaf = pbx.chain[0]
        named = leaf.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
        assert [each.value for each in named] == [serial]
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
        assert not constraints.value.ca
        assert leaf.public_key() == x509.load_pem_x509_csr(csr.encode()).public_key()


def damage(csr: str) -> str:
    """Turn over a bit of the signature."""
    der = bytearray(x509.load_pem_x509_csr(csr.encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()


def rsa_csr() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


P384 = make_csr(ec.generate_private_key(ec.SECP384R1()), SERIAL)
CSR = make_csr(ec.generate_private_key(ec.SECP256R1()), SERIAL)


FAULTS = {
    "a nonce of 15 bytes": ("nonce", "n" * 21),
    "a nonce of 65 bytes": ("nonce", "n" * 87),
    "a nonce with padding": ("nonce", "n" * 21 + "="),
    "a nonce in plain base64": ("nonce", "n" * 21 + "+"),
    "no nonce": ("nonce", None),
    "an empty CSR": ("csr", ""),
    "no CSR": ("csr", "MIIB"),
    "two CSRs": ("csr", CSR + CSR),
    "a CSR that another key has signed": ("csr", damage(CSR)),
    "a CSR for P-384": ("csr", P384),
    "a CSR for RSA": ("csr", rsa_csr()),
    "another PEM": ("csr", CSR.replace("REQUEST", "BANQUET")),
    "an empty secret": ("device_secret", ""),
    "a secret that is a number": ("device_secret", 7),
    "no serial number": ("serial_number", "CX-1"),
    "a long device type": ("device_type", "x" * 65),
    "no version": ("software_version", ""),
}


@ON_SQLITE
def test_nothing_happens_where_a_field_is_wrong(
    new_pbx: TestPbx, history: History
) -> None:
    for said, (field, value) in FAULTS.items():
        with freeze_time(BIRTH):
            answer = new_pbx.initialise(**{field: value})
        assert code(answer) == (400, "invalid-request"), said
        assert list(answer.get_json()["fields"]) == [field], said
    assert history() == []


@ON_SQLITE
def test_fields_of_newer_firmware_are_ignored(new_pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        assert new_pbx.initialise(mood="good").status_code == 201


@ON_SQLITE
def test_the_serial_number_may_be_typed_as_it_is_printed(new_pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        answer = new_pbx.initialise(serial_number="cx10-0000 0001")
    assert verified(answer.get_json()["lease"])["sub"] == SERIAL


# Guessing.


def test_a_wrong_secret_and_an_unknown_pbx_get_one_answer(new_pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        wrong = new_pbx.initialise(device_secret="wrong")
        unknown = new_pbx.initialise(serial_number="CX9999999999")
    assert code(wrong) == (403, "device-not-recognised")
    assert wrong.get_json() | {"instance": ""} == unknown.get_json() | {"instance": ""}
    assert set(wrong.headers.keys()) == set(unknown.headers.keys())
    assert certificates() == 0


def test_guessing_is_throttled_by_pbx_and_address_and_nobody_else_is(
    new_pbx: TestPbx, house: Flask
) -> None:
    def guess(serial: str, secret: str, address: str) -> TestResponse:
        with freeze_time(BIRTH):
            pbx = TestPbx(house.test_client(), serial, secret)
            pbx.client.environ_base["HTTP_X_FORWARDED_FOR"] = address
            return pbx.initialise()

    for serial in (SERIAL, "CX9999999999"):
        answers = [guess(serial, "wrong", "192.0.2.1") for _ in range(11)]
        assert [each.status_code for each in answers] == [403] * 10 + [429]
        assert code(answers[-1]) == (429, "too-many-requests")
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 601
    right = new_pbx.device_secret
    assert guess(SERIAL, right, "192.0.2.1").status_code == 429
    assert guess(SERIAL, right, "192.0.2.2").status_code == 201


# The key of release codes.


@pytest.mark.parametrize(
    ("serial", "key"),
    [
        pytest.param(
            "CX1000000001",
            "9c2620e4ab4b76c96a6671a3cd388a0ed9cf2cbdf2cd712330a0a295766b8130",
            id="the first vector",
        ),
        pytest.param(
            "VM20260042",
            "1643ccb18ac93a507e7ebd5f9059b9ff870020798bb9fa07559268da19e6d981",
            id="another PBX",
        ),
    ],
)
def test_the_release_key_is_that_of_the_published_vectors(
    serial: str, key: str
) -> None:
    master = VersionedKey(1, bytes(range(32)))
    assert device_release_key(master, serial).hex() == key


@ON_SQLITE
def test_a_pbx_keeps_the_release_key_it_was_given_first(new_pbx: TestPbx) -> None:
    folder = ground().settings.data_dir / "keys" / "release-master"
    master = bytes.fromhex((folder / "1.key").read_text())
    expected = HKDF(
        SHA256(), length=32, salt=SERIAL.encode(), info=b"pbx release code v1"
    ).derive(master)
    with freeze_time(BIRTH):
        first = new_pbx.initialise().get_json()["release_key"]
        ground().keyring.rotate("release-master")
        new_pbx.new_key()
        assert new_pbx.initialise().get_json()["release_key"] == first
        other = TestPbx(new_pbx.client, make_device(OTHER).serial_number)
        other.initialise()
    assert raw(first) == expected
    with reading() as session:
        versions = session.execute(
            select(Device.serial_number, Device.release_key_version)
        ).all()
    assert dict(map(tuple, versions)) == {SERIAL: 1, OTHER: 2}


# What cannot be signed is not begun.


def test_without_signing_keys_there_is_503_and_nothing_has_changed(
    new_pbx: TestPbx, history: History
) -> None:
    signing = ground().signing
    for each in (ground().settings.data_dir / "keys" / "signing").glob("*.pem"):
        each.unlink()
    signing.warnings(BIRTH)  # looks at the files
    with freeze_time(BIRTH):
        assert code(new_pbx.initialise()) == (503, "cannot-sign")
    assert history() == []
    assert certificates() == 0


def test_staff_tokens_do_not_open_it(new_pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        new_pbx.client.environ_base["HTTP_AUTHORIZATION"] = make_token()[
            "Authorization"
        ]
        answer = new_pbx.initialise(device_secret="wrong")
    assert code(answer) == (403, "device-not-recognised")
