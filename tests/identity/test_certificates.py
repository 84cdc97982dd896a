# SPDX-License-Identifier: Apache-2.0
"""What is read from a PBX's certificate, and what is refused."""

import contextlib
import hashlib
import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from identity.anything_goes import (
    BAD_IN_THEMSELVES,
    DAY,
    NOON,
    SERIAL,
    AnythingGoes,
    Bend,
    attribute,
)

from fleet.identity.certificates import CertificateFault, read_leaf


def test_a_good_certificate_is_read(anything_goes: AnythingGoes) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.AuthorityKeyIdentifier(b"issuer", None, None)
    der = anything_goes.leaf(key=key, extra=((issuer, False),))
    facts = read_leaf(der)
    spki = key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert facts.serial_number == SERIAL
    assert facts.fingerprint == hashlib.sha256(der).digest()
    assert facts.spki_sha256 == hashlib.sha256(spki).digest()
    assert facts.issuer_key_id == b"issuer"
    assert facts.number == x509.load_der_x509_certificate(der).serial_number
    assert (facts.not_before, facts.not_after) == (NOON - DAY, NOON + 100 * DAY)


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param([[attribute(SERIAL)]], id="the serialNumber alone"),
        pytest.param(
            [[attribute("PBX", NameOID.COMMON_NAME)], [attribute(SERIAL)]],
            id="beside a name",
        ),
        pytest.param(
            [[attribute("CX9", NameOID.COMMON_NAME), attribute(SERIAL)]],
            id="in one RDN with a name",
        ),
        pytest.param(
            [
                [attribute("x/serialNumber=CX9999999999", NameOID.COMMON_NAME)],
                [attribute(SERIAL)],
            ],
            id="beside a name that spells another",
        ),
    ],
)
def test_the_one_serial_number_counts_wherever_it_stands(
    anything_goes: AnythingGoes, subject: list[list[object]]
) -> None:
    assert read_leaf(anything_goes.leaf(rdns=subject)).serial_number == SERIAL


def test_ed25519_keys_and_further_usages_are_fine(anything_goes: AnythingGoes) -> None:
    der = anything_goes.leaf(
        key=ed25519.Ed25519PrivateKey.generate(),
        usages=[ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
    )
    assert read_leaf(der).serial_number == SERIAL


@pytest.mark.parametrize("bend", BAD_IN_THEMSELVES)
def test_a_bad_certificate_is_refused_in_words_without_content(
    anything_goes: AnythingGoes, bend: Bend
) -> None:
    with pytest.raises(CertificateFault) as fault:
        read_leaf(bend(anything_goes))
    assert "CX1" not in str(fault.value).upper()


@pytest.mark.parametrize(
    ("days", "expected"), [(-1.01, False), (-1, True), (100, True), (100.01, False)]
)
def test_both_ends_of_the_validity_are_inside(
    anything_goes: AnythingGoes, days: float, *, expected: bool
) -> None:
    assert read_leaf(anything_goes.leaf()).is_in_time(NOON + days * DAY) is expected


def test_what_is_cut_off_is_no_certificate(anything_goes: AnythingGoes) -> None:
    der = anything_goes.leaf()
    for length in range(len(der)):
        with pytest.raises(CertificateFault):
            read_leaf(der[:length])
    with pytest.raises(CertificateFault):
        read_leaf(der + b"\0")


def test_no_bytes_at_all_raise_anything_else(anything_goes: AnythingGoes) -> None:
    source = random.Random(20261122)
    der = anything_goes.leaf()
    for _ in range(3000):
        changed = bytearray(der)
        for _ in range(source.randint(1, 4)):
            changed[source.randrange(len(der))] = source.randrange(256)
        noise = source.randbytes(source.randrange(200))
        for attempt in (bytes(changed), noise):
            with contextlib.suppress(CertificateFault):
                read_leaf(attempt)


def test_a_certificate_beyond_all_measure_is_refused() -> None:
    with pytest.raises(CertificateFault, match="too long"):
        read_leaf(b"\x30" * 100_000)


def test_the_serial_number_is_not_printed(anything_goes: AnythingGoes) -> None:
    assert SERIAL not in repr(read_leaf(anything_goes.leaf()))
