# SPDX-License-Identifier: Apache-2.0
"""The PBX's key pair, its request for a certificate, and the certificate itself.

The private key is made on the PBX and never leaves it.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs7,
)
from cryptography.x509.oid import NameOID

from fleet.pbx.errors import Malformed, WrongCertificate
from fleet.pbx.life import Lifetime


@dataclass(frozen=True, slots=True)
class Credentials:
    """A private key and the certificate chain over it, both PEM, leaf first."""

    private_key: str = field(repr=False)
    chain: str

    @property
    def lifetime(self) -> Lifetime:
        """When the certificate is valid."""
        leaf = self._leaf
        return Lifetime(
            not_before=leaf.not_valid_before_utc, not_after=leaf.not_valid_after_utc
        )

    @property
    def subject(self) -> x509.Name:
        """The subject, which a renewal must repeat (RFC 7030 section 4.2.2)."""
        return self._leaf.subject

    @property
    def _leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.chain.encode())


def new_private_key() -> str:
    """Make an ECDSA P-256 key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


def subject_of(serial_number: str) -> x509.Name:
    """Name a PBX by the attribute ``serialNumber`` (OID 2.5.4.5) and no other."""
    return x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number)])


def signing_request(
    private_key: str, *, subject: x509.Name
) -> x509.CertificateSigningRequest:
    """Ask for a certificate over ``private_key`` (PKCS #10)."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(_load(private_key), SHA256())


def accept_chain(pem: str, *, private_key: str, serial_number: str) -> Credentials:
    """Accept the chain of an initialisation, leaf first.

    Raises ``Malformed`` or ``WrongCertificate``.
    """
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise Malformed("the certificate chain is not PEM") from error
    return _accept(chain, private_key=private_key, serial_number=serial_number)


def accept_pkcs7(body: bytes, *, private_key: str, serial_number: str) -> Credentials:
    """Accept the certs-only PKCS #7 of a renewal, in base64 (RFC 7030 section 4.2.3).

    Raises ``Malformed`` or ``WrongCertificate``.
    """
    try:
        chain = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
    except (ValueError, binascii.Error) as error:
        raise Malformed("the answer is not certs-only PKCS #7 in base64") from error
    return _accept(chain, private_key=private_key, serial_number=serial_number)


def _accept(
    chain: Sequence[x509.Certificate], *, private_key: str, serial_number: str
) -> Credentials:
    """Put the certificate over our own key first, and look at its name."""
    ours = _load(private_key).public_key()
    leaves = [each for each in chain if each.public_key() == ours]
    if not leaves:
        raise WrongCertificate("no certificate is over the key that was sent")
    names = leaves[0].subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    if [name.value for name in names] != [serial_number]:
        raise WrongCertificate("the certificate names another PBX")
    ordered = [leaves[0], *(each for each in chain if each not in leaves)]
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in ordered)
    return Credentials(private_key, pem.decode())


def _load(private_key: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(private_key.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the device key is not an elliptic curve key")
    return key
