# SPDX-License-Identifier: Apache-2.0
"""Certificate signing requests, as PBXs and as nobody should send them."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from identity.anything_goes import SERIAL, attribute

from fleet.identity.certificates import sha256_of_public_key
from fleet.identity.csr import CsrFault, read_csr

P256 = ec.generate_private_key(ec.SECP256R1())


def make_csr(
    key: object = P256,
    subject: tuple[str, ...] = (SERIAL,),
    form: object = Encoding.DER,
) -> bytes:
    name = x509.Name([attribute(each) for each in subject])
    algorithm = (
        None
        if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
        else SHA256()
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, algorithm).public_bytes(form)


@pytest.mark.parametrize("form", [Encoding.DER, Encoding.PEM], ids=["DER", "PEM"])
@pytest.mark.parametrize(
    "key", [P256, ed25519.Ed25519PrivateKey.generate()], ids=["P-256", "Ed25519"]
)
def test_a_request_is_read(key: object, form: object) -> None:
    facts = read_csr(make_csr(key, form=form))
    assert facts.public_key == key.public_key()
    assert facts.spki_sha256 == sha256_of_public_key(key.public_key())
    assert facts.serial_numbers == (SERIAL,)


def test_every_serial_number_of_the_subject_is_named() -> None:
    assert read_csr(make_csr(subject=())).serial_numbers == ()
    assert read_csr(make_csr(subject=("A", "B"))).serial_numbers == ("A", "B")


@pytest.mark.parametrize(
    "algorithm", ["EC -pkeyopt ec_paramgen_curve:P-256", "ED25519"]
)
def test_openssl_s_requests_are_read(tmp_path: Path, algorithm: str) -> None:
    openssl = shutil.which("openssl")
    for command in (
        f"genpkey -algorithm {algorithm} -out key.pem",
        f"req -new -key key.pem -subj /serialNumber={SERIAL} -out csr.pem",
    ):
        subprocess.run(
            [openssl, *command.split()], cwd=tmp_path, check=True, capture_output=True
        )
    assert read_csr((tmp_path / "csr.pem").read_bytes()).serial_numbers == (SERIAL,)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(ec.generate_private_key(ec.SECP256K1()), id="secp256k1"),
        pytest.param(rsa.generate_private_key(65537, 2048), id="RSA"),
        pytest.param(ed448.Ed448PrivateKey.generate(), id="Ed448"),
    ],
)
def test_other_kinds_of_keys_are_refused(key: object) -> None:
    with pytest.raises(CsrFault, match="P-256 or Ed25519"):
        read_csr(make_csr(key))


def test_a_request_signed_by_another_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    mine, theirs = (
        key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        for key in (P256, other)
    )
    stolen = make_csr().replace(mine, theirs)
    assert stolen != make_csr()
    with pytest.raises(CsrFault, match="own key"):
        read_csr(stolen)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"text",
        b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        make_csr(form=Encoding.PEM) * 2,
        make_csr() + b"\0",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30" * 100_000,
    ],
)
def test_what_is_no_request_is_refused(sent: bytes) -> None:
    with pytest.raises(CsrFault):
        read_csr(sent)


def test_what_is_cut_off_is_refused() -> None:
    for whole in (make_csr(), make_csr(form=Encoding.PEM).strip()):
        for length in range(len(whole)):
            with pytest.raises(CsrFault):
                read_csr(whole[:length])


def test_no_changed_byte_is_overlooked_and_none_raises_anything_else() -> None:
    source = random.Random(20261122)
    for whole in (make_csr(), make_csr(ed25519.Ed25519PrivateKey.generate())):
        for place in range(len(whole)):
            changed = bytearray(whole)
            changed[place] ^= source.randint(1, 255)
            with pytest.raises(CsrFault):
                read_csr(bytes(changed))
    for _ in range(3000):
        with pytest.raises(CsrFault):
            read_csr(source.randbytes(source.randrange(200)))


def test_strange_names_in_a_subject_do_no_harm() -> None:
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "\0\u202e💣"), attribute("x" * 64)]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    csr = builder.sign(P256, SHA256()).public_bytes(Encoding.DER)
    assert read_csr(csr).serial_numbers == ("x" * 64,)
