# SPDX-License-Identifier: Apache-2.0
"""One device CA: what it issues and what it revokes. Files are ``authority``'s.

The certificates follow RFC 5280 and what IEEE 802.1AR says of a device's own:
the subject is the PBX's serial number and nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.identity.csr import DevicePublicKey

CA_LIFE = timedelta(days=20 * 365)
DEVICE_CERTIFICATE_DAYS = 365
CRL_LIFE = timedelta(days=7)

# A PBX or a proxy whose clock is behind must not find its certificate too young.
BACKDATED = timedelta(hours=1)


class AuthorityFault(Exception):  # noqa: N818 -- a fault of files, told to an operator
    """The files of a certificate authority cannot be used; the text says which."""


@dataclass(frozen=True)
class Revocation:
    """An entry of a CRL; ``number`` is the certificate's own serial number."""

    number: int
    revoked_at: datetime
    reason: x509.ReasonFlags = x509.ReasonFlags.unspecified


@dataclass(frozen=True)
class DeviceCa:
    """A CA certificate and its private key."""

    certificate: x509.Certificate
    private_key: EllipticCurvePrivateKey = field(repr=False)

    @property
    def key_id(self) -> bytes:
        """The subject key identifier, which its certificates name as issuer's."""
        extension = self.certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        )
        return extension.value.digest

    def issue(
        self,
        public_key: DevicePublicKey,
        *,
        serial_number: str,
        now: datetime,
        days: int = DEVICE_CERTIFICATE_DAYS,
    ) -> x509.Certificate:
        """Issue a certificate for TLS clients to the PBX with this serial number.

        It never outlives the CA. ``serial_number`` must be normalised; its
        number is 159 random bits (RFC 5280, section 4.1.2.2).
        """
        subject = x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number)
        begins = now.replace(microsecond=0) - BACKDATED
        ends = begins + BACKDATED + timedelta(days=days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([subject]))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(min(ends, self.certificate.not_valid_after_utc))
            .add_extension(
                x509.BasicConstraints(ca=False, path_length=None), critical=True
            )
            .add_extension(key_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False
            )
            .add_extension(self._as_issuer(), critical=False)
        )
        return builder.sign(self.private_key, SHA256())

    def crl(
        self, revoked: Iterable[Revocation], *, number: int, now: datetime
    ) -> x509.CertificateRevocationList:
        """Sign a CRL (RFC 5280, section 5), good for seven days.

        ``number`` must rise with each one. ``revoked`` are certificates of this
        CA only.
        """
        begins = now.astimezone(UTC).replace(microsecond=0)
        builder = (
            x509.CertificateRevocationListBuilder(
                revoked_certificates=[_crl_entry(each) for each in revoked]
            )
            .issuer_name(self.certificate.subject)
            .last_update(begins)
            .next_update(begins + CRL_LIFE)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(self._as_issuer(), critical=False)
        )
        return builder.sign(self.private_key, SHA256())

    def _as_issuer(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier(self.key_id, None, None)


def new_ca_key() -> EllipticCurvePrivateKey:
    """Return a new key for a CA: EC P-256."""
    return generate_private_key(SECP256R1())


def private_pem(private_key: EllipticCurvePrivateKey) -> bytes:
    """Return the key as PKCS #8 in PEM, unencrypted."""
    return private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_private_pem(pem: bytes) -> EllipticCurvePrivateKey:
    """Read an elliptic-curve key; raise ``AuthorityFault`` where it is none."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuthorityFault("not an unencrypted private key in PEM") from None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise AuthorityFault("not an elliptic-curve key")
    return key


def self_signed(
    private_key: EllipticCurvePrivateKey, *, name: str, now: datetime
) -> x509.Certificate:
    """Return a CA certificate for ``private_key``, good for 20 years.

    It may issue to PBXs but not to further CAs (path length 0). The key's
    identifier is part of its name, so that two CAs during a roll-over are never
    taken for each other.
    """
    public_key = private_key.public_key()
    key_id = x509.SubjectKeyIdentifier.from_public_key(public_key)
    common_name = f"{name} {key_id.digest.hex()[:8]}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    begins = now.astimezone(UTC).replace(microsecond=0) - BACKDATED
    usage = key_usage(key_cert_sign=True, crl_sign=True)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(key_id, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key),
            critical=False,
        )
    )
    return builder.sign(private_key, SHA256())


def key_usage(
    *,
    digital_signature: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """Return the key usage extension with these uses and no others."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _crl_entry(revocation: Revocation) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(revocation.number)
        .revocation_date(revocation.revoked_at)
    )
    # RFC 5280, section 5.3.1: "unspecified" is said by leaving the reason out.
    if revocation.reason is not x509.ReasonFlags.unspecified:
        builder = builder.add_extension(
            x509.CRLReason(revocation.reason), critical=False
        )
    return builder.build()
