# SPDX-License-Identifier: Apache-2.0
"""Whose certificates are believed, and when."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from identity.anything_goes import (
    BAD_IN_THEMSELVES,
    DAY,
    NOON,
    SERIAL,
    AnythingGoes,
    Bend,
)

from fleet.identity.authority import DeviceAuthority, begin_rollover
from fleet.identity.certificates import CertificateFault
from fleet.identity.device_ca import AuthorityFault
from fleet.identity.trust import TrustAnchors


def trusting(folder: Path, *certificates: object) -> TrustAnchors:
    folder.mkdir(exist_ok=True)
    for number, each in enumerate(certificates):
        (folder / f"{number}.pem").write_bytes(each.public_bytes(Encoding.PEM))
    return TrustAnchors(folder, look_every=0)


@pytest.fixture
def trust(tmp_path: Path, anything_goes: AnythingGoes) -> TrustAnchors:
    return trusting(tmp_path / "anchors", anything_goes.certificate)


@pytest.mark.parametrize(
    "make_key",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate,
    ],
    ids=["P-256", "Ed25519"],
)
def test_what_our_ca_issues_is_believed(folder: Path, make_key: object) -> None:
    issued = DeviceAuthority.load(folder).issue(
        make_key().public_key(), serial_number=SERIAL, now=NOON
    )
    der = issued.public_bytes(Encoding.DER)
    facts = TrustAnchors.load(folder).verify(der, NOON)
    assert facts.serial_number == SERIAL
    assert facts.issuer_key_id == DeviceAuthority.load(folder).key_id


@pytest.mark.parametrize("bend", BAD_IN_THEMSELVES)
def test_the_bad_are_not_believed_though_the_ca_is(
    trust: TrustAnchors, anything_goes: AnythingGoes, bend: Bend
) -> None:
    assert trust.verify(anything_goes.leaf(), NOON)
    with pytest.raises(CertificateFault):
        trust.verify(bend(anything_goes), NOON)


@pytest.mark.parametrize(
    "off",
    [
        pytest.param(-DAY - timedelta(seconds=1), id="not yet valid"),
        pytest.param(100 * DAY + timedelta(seconds=1), id="expired"),
    ],
)
def test_outside_its_time_it_is_not_believed(
    trust: TrustAnchors, anything_goes: AnythingGoes, off: timedelta
) -> None:
    der = anything_goes.leaf()
    with pytest.raises(CertificateFault):
        trust.verify(der, NOON + off)
    assert trust.verify(der, NOON)
    with pytest.raises(CertificateFault):
        trust.verify(der, NOON + off)


def test_a_leaf_ends_with_its_ca(
    trust: TrustAnchors, anything_goes: AnythingGoes
) -> None:
    der = anything_goes.leaf(ends=NOON + 5000 * DAY)
    assert trust.verify(der, NOON + 999 * DAY)
    with pytest.raises(CertificateFault):
        trust.verify(der, NOON + 1001 * DAY)


def test_another_ca_is_not_believed(
    trust: TrustAnchors, another_ca: AnythingGoes
) -> None:
    with pytest.raises(CertificateFault):
        trust.verify(another_ca.leaf(), NOON)


def test_another_ca_of_the_same_name_is_not_believed(
    trust: TrustAnchors, anything_goes: AnythingGoes
) -> None:
    imitation = AnythingGoes("Anything Goes")
    assert imitation.name == anything_goes.name
    with pytest.raises(CertificateFault):
        trust.verify(imitation.leaf(), NOON)


def test_a_leaf_cannot_issue(trust: TrustAnchors, anything_goes: AnythingGoes) -> None:
    holder = AnythingGoes("Holder of a leaf")
    trusted_leaf = anything_goes.leaf(key=holder.key)
    assert trust.verify(trusted_leaf, NOON)
    holder.name = x509.load_der_x509_certificate(trusted_leaf).subject
    with pytest.raises(CertificateFault):
        trust.verify(holder.leaf(), NOON)


def test_each_changed_bit_of_the_signature_is_noticed(
    trust: TrustAnchors, anything_goes: AnythingGoes
) -> None:
    der = anything_goes.leaf()
    assert trust.verify(der, NOON)
    for place in range(len(der) - 60, len(der)):
        changed = bytearray(der)
        changed[place] ^= 1
        with pytest.raises(CertificateFault):
            trust.verify(bytes(changed), NOON)


def test_a_ca_that_is_removed_is_believed_no_more(
    tmp_path: Path, anything_goes: AnythingGoes, another_ca: AnythingGoes
) -> None:
    folder = tmp_path / "anchors"
    trust = trusting(folder, anything_goes.certificate, another_ca.certificate)
    der = anything_goes.leaf()
    assert trust.verify(der, NOON)
    (folder / "0.pem").unlink()
    with pytest.raises(CertificateFault):
        trust.verify(der, NOON)
    assert trust.verify(another_ca.leaf(), NOON)


def test_a_ca_that_is_added_is_believed_without_a_restart(
    tmp_path: Path, anything_goes: AnythingGoes, another_ca: AnythingGoes
) -> None:
    trust = trusting(tmp_path / "anchors", anything_goes.certificate)
    der = another_ca.leaf()
    with pytest.raises(CertificateFault):
        trust.verify(der, NOON)
    pem = another_ca.certificate.public_bytes(Encoding.PEM)
    (tmp_path / "anchors" / "new.pem").write_bytes(pem)
    assert trust.verify(der, NOON)


def test_both_cas_are_believed_during_a_roll_over(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    trust = TrustAnchors(folder, look_every=0)
    authority = DeviceAuthority(folder, look_every=0)
    before = authority.issue(key, serial_number=SERIAL, now=NOON)
    begin_rollover(folder, now=NOON)
    after = authority.issue(key, serial_number=SERIAL, now=NOON)
    assert before.issuer != after.issuer
    for each in (before, after):
        assert trust.verify(each.public_bytes(Encoding.DER), NOON)
    assert len(trust.certificates()) == 2
    assert trust.pem().count("BEGIN CERTIFICATE") == 2


def test_a_broken_file_takes_nothing_away(
    tmp_path: Path, anything_goes: AnythingGoes
) -> None:
    trust = trusting(tmp_path / "anchors", anything_goes.certificate)
    (tmp_path / "anchors" / "broken.pem").write_bytes(b"half a certifi")
    assert trust.verify(anything_goes.leaf(), NOON)
    assert "broken.pem" in str(trust.fault)


SIGNS_NOTHING = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@pytest.mark.parametrize(
    "bent",
    [
        {"constraints": x509.BasicConstraints(ca=False, path_length=None)},
        {"constraints": False},
        {"usage": SIGNS_NOTHING},
    ],
    ids=["not a CA", "does not say", "signs no certificates"],
)
def test_what_is_no_ca_is_no_anchor(
    tmp_path: Path, anything_goes: AnythingGoes, bent: dict[str, object]
) -> None:
    with pytest.raises(AuthorityFault, match=r"0\.pem"):
        trusting(tmp_path / "anchors", anything_goes.ca(**bent))


def test_to_trust_nobody_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(AuthorityFault):
        TrustAnchors.load(tmp_path)
    with pytest.raises(AuthorityFault):
        TrustAnchors.load(tmp_path / "missing")
