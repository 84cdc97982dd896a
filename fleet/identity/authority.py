# SPDX-License-Identifier: Apache-2.0
"""The device CA as files: made once, rolled over, and read again when changed.

In the folder, every ``*.pem`` is a trusted CA certificate. ``issuing.key`` is the
key that issues, ``issuing.pem`` its certificate. After a roll-over the CA before
stays as ``<key id>.pem`` and ``<key id>.key``: its certificates stay good, and its
key is needed for their CRL. Remove both when the last of them has expired.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from fleet.clock import rfc3339
from fleet.identity.csr import DevicePublicKey
from fleet.identity.device_ca import (
    DEVICE_CERTIFICATE_DAYS,
    AuthorityFault,
    DeviceCa,
    Revocation,
    new_ca_key,
    private_pem,
    read_private_pem,
    self_signed,
)
from fleet.identity.trust import read_ca_certificates
from fleet.keys.files import PUBLIC, SECRET, make_folder, replace, write_new
from fleet.keys.reloading import LOOK_EVERY_SECONDS, Reloading

ISSUING_KEY = "issuing.key"
ISSUING_CERTIFICATE = "issuing.pem"
DEFAULT_NAME = "PBX device CA"

# A CA must outlive what it issues: two years leave time for a calm roll-over.
WARN_DAYS_BEFORE_END = 730


@dataclass(frozen=True)
class _Loaded:
    issuing: DeviceCa
    earlier: tuple[DeviceCa, ...]


class DeviceAuthority:
    """The CA that issues to PBXs now, and the earlier ones that are still trusted."""

    def __init__(self, folder: Path, *, look_every: float = LOOK_EVERY_SECONDS) -> None:
        """Read the CAs of ``folder``; raise ``AuthorityFault`` if unusable."""
        self._loaded = Reloading(
            lambda: _read(folder),
            lambda: (*folder.glob("*.pem"), *folder.glob("*.key")),
            look_every=look_every,
        )

    @classmethod
    def load(cls, folder: Path) -> "DeviceAuthority":
        """Read the CAs of ``folder``.

        Raises ``AuthorityFault`` where ``issuing.key`` is missing or broken, or
        no certificate in the folder belongs to it.
        """
        return cls(folder)

    @property
    def key_id(self) -> bytes:
        """The key identifier of the CA that issues now."""
        return self._loaded.current().issuing.key_id

    def issue(
        self,
        public_key: DevicePublicKey,
        *,
        serial_number: str,
        now: datetime,
        days: int = DEVICE_CERTIFICATE_DAYS,
    ) -> x509.Certificate:
        """Issue a certificate to the PBX with this (normalised) serial number."""
        issuing = self._loaded.current().issuing
        return issuing.issue(
            public_key, serial_number=serial_number, now=now, days=days
        )

    def chain(self) -> list[x509.Certificate]:
        """Return what follows a new leaf in a chain: the CA that issues now."""
        return [self._loaded.current().issuing.certificate]

    def issuers(self) -> tuple[DeviceCa, ...]:
        """Return the CA that issues now, then the earlier ones: each has its CRL."""
        loaded = self._loaded.current()
        return (loaded.issuing, *loaded.earlier)

    def crl(
        self, revoked: Iterable[Revocation], *, number: int, now: datetime
    ) -> x509.CertificateRevocationList:
        """Sign the CRL of the CA that issues now."""
        return self._loaded.current().issuing.crl(revoked, number=number, now=now)

    def warnings(self, now: datetime) -> list[str]:
        """Say what is about to end and what to do, for the doctor."""
        issuing, *earlier = self.issuers()
        end = issuing.certificate.not_valid_after_utc
        warnings = [
            f"an earlier device CA has expired: remove {each.key_id.hex()}.* "
            "from the folder device-ca"
            for each in earlier
            if each.certificate.not_valid_after_utc < now
        ]
        if (end - now).days < WARN_DAYS_BEFORE_END:
            warnings.append(
                f"the device CA ends at {rfc3339(end)}: begin a roll-over "
                "(callhome device-ca roll-over)"
            )
        return [*warnings, self._loaded.fault] if self._loaded.fault else warnings


def create(folder: Path, *, name: str = DEFAULT_NAME, now: datetime) -> bool:
    """Make a device CA, and say whether that was needed; overwrites nothing.

    An interrupted attempt is finished. Raises ``AuthorityFault`` where files
    of an earlier CA are broken.
    """
    make_folder(folder)
    if not (folder / ISSUING_KEY).exists() and any(folder.glob("*.pem")):
        # A new key would fit no certificate, and every PBX trusts the old one.
        raise AuthorityFault(
            f"{folder / ISSUING_KEY} is missing although its certificate is here: "
            "restore it from a backup of the data directory"
        )
    write_new(folder / ISSUING_KEY, private_pem(new_ca_key()), mode=SECRET)
    key = _read_key(folder / ISSUING_KEY)
    if _certificate_of(key, folder) is not None:
        return False
    pem = self_signed(key, name=name, now=now).public_bytes(Encoding.PEM)
    return write_new(folder / ISSUING_CERTIFICATE, pem, mode=PUBLIC)


def begin_rollover(folder: Path, *, name: str = DEFAULT_NAME, now: datetime) -> None:
    """Make a new issuing CA; the one before stays trusted, for CRL and renewals.

    A power failure leaves either of them issuing, and both trusted: the new
    certificate is in the folder before its key is in use.
    """
    old = _read(folder).issuing
    key = new_ca_key()
    new = DeviceCa(self_signed(key, name=name, now=now), key)
    for each in (old, new):
        pem = each.certificate.public_bytes(Encoding.PEM)
        write_new(folder / f"{each.key_id.hex()}.pem", pem, mode=PUBLIC)
    old_key = private_pem(old.private_key)
    write_new(folder / f"{old.key_id.hex()}.key", old_key, mode=SECRET)
    replace(folder / ISSUING_KEY, private_pem(key), mode=SECRET)
    pem = new.certificate.public_bytes(Encoding.PEM)
    replace(folder / ISSUING_CERTIFICATE, pem, mode=PUBLIC)


def certs_only_pkcs7(certificates: Iterable[x509.Certificate]) -> bytes:
    """Return a certs-only PKCS #7 in DER, as EST answers (RFC 7030, 4.1.3)."""
    return pkcs7.serialize_certificates(list(certificates), Encoding.DER)


def _read(folder: Path) -> _Loaded:
    issuing = _read_ca(folder / ISSUING_KEY)
    earlier = (
        _read_ca(path)
        for path in sorted(folder.glob("*.key"))
        if path.name != ISSUING_KEY
    )
    # Between two steps of a roll-over a key can be there under both of its names.
    return _Loaded(issuing, tuple(e for e in earlier if e.key_id != issuing.key_id))


def _read_ca(path: Path) -> DeviceCa:
    key = _read_key(path)
    certificate = _certificate_of(key, path.parent)
    if certificate is None:
        raise AuthorityFault(f"no certificate beside {path} belongs to its key")
    return DeviceCa(certificate, key)


def _read_key(path: Path) -> EllipticCurvePrivateKey:
    try:
        return read_private_pem(path.read_bytes())
    except FileNotFoundError:
        is_new = not any(path.parent.glob("*.pem"))
        advice = "callhome init makes it" if is_new else "restore it from a backup"
        raise AuthorityFault(f"{path} is missing: {advice}") from None
    except AuthorityFault as fault:
        raise AuthorityFault(f"{path}: {fault}") from None


def _certificate_of(
    key: EllipticCurvePrivateKey, folder: Path
) -> x509.Certificate | None:
    """Find the certificate by its key: names can lag behind in a roll-over."""
    for path in sorted(folder.glob("*.pem")):
        for certificate in read_ca_certificates(path):
            if certificate.public_key() == key.public_key():
                return certificate
    return None
