# SPDX-License-Identifier: Apache-2.0
"""Whom we believe: the device CAs, and full verification of a leaf against them.

Behind a proxy this is the only verification that we can be sure of; where TLS
ends here it is a second one, and keeps a certificate from outliving its validity
on a connection that stays open. The CAs are dedicated: whatever they sign for
TLS clients is a PBX. A leaf is issued by one of them directly; certificates in
between, which a stranger could send along, are not looked at.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from fleet.identity.certificates import (
    REMEMBERED,
    CertificateFault,
    DeviceCertificateFacts,
    extension_of,
    read_leaf,
    refuse_unknown_critical,
)
from fleet.identity.device_ca import AuthorityFault
from fleet.keys.reloading import LOOK_EVERY_SECONDS, Reloading

# The library's own policy is for the web: it wants a subject alternative name,
# which a PBX has not, and refuses CAs that RFC 5280 allows. What extensions must
# say is checked here instead: a leaf's in ``read_leaf``, a CA's when it is read.
_LEAF_POLICY = ExtensionPolicy.permit_all()
_CA_POLICY = ExtensionPolicy.permit_all().require_present(
    x509.BasicConstraints, Criticality.AGNOSTIC, None
)


@dataclass(frozen=True)
class _Believed:
    """A verified leaf, and when its whole chain is inside its validity."""

    facts: DeviceCertificateFacts
    not_before: datetime
    not_after: datetime

    def is_in_time(self, now: datetime) -> bool:
        return self.not_before <= now <= self.not_after


class _Anchors:
    """One reading of the folder, with what was verified against it."""

    def __init__(self, certificates: list[x509.Certificate]) -> None:
        self.certificates = certificates
        self._policy = (
            PolicyBuilder()
            .store(Store(certificates))
            .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        )
        self._believed: dict[bytes, _Believed] = {}

    def verify(self, der: bytes, now: datetime) -> DeviceCertificateFacts:
        facts = read_leaf(der)
        believed = self._believed.get(facts.fingerprint)
        if believed is None or not believed.is_in_time(now):
            believed = self._verify_chain(der, facts, now)
            if len(self._believed) >= REMEMBERED:
                self._believed.clear()  # cheaper than keeping an order of use
            self._believed[facts.fingerprint] = believed
        return facts

    def _verify_chain(
        self, der: bytes, facts: DeviceCertificateFacts, now: datetime
    ) -> _Believed:
        leaf = x509.load_der_x509_certificate(der)
        verifier = self._policy.time(now).build_client_verifier()
        try:
            chain = verifier.verify(leaf, []).chain
        except VerificationError:
            # The library's text can quote the subject, which is the serial number.
            raise CertificateFault("not issued by a trusted CA, or not now") from None
        return _Believed(
            facts,
            not_before=max(each.not_valid_before_utc for each in chain),
            not_after=min(each.not_valid_after_utc for each in chain),
        )


class TrustAnchors:
    """The device CAs of a folder; new and removed ones are noticed by themselves."""

    def __init__(self, folder: Path, *, look_every: float = LOOK_EVERY_SECONDS) -> None:
        """Read all ``*.pem`` of ``folder``; raise ``AuthorityFault`` if unusable."""
        self._anchors = Reloading(
            lambda: _read(folder), lambda: folder.glob("*.pem"), look_every=look_every
        )

    @classmethod
    def load(cls, folder: Path) -> "TrustAnchors":
        """Read all ``*.pem`` of ``folder``.

        Raises ``AuthorityFault`` where there is none, or one is not a CA's: to
        trust nobody is a fault to be heard of, not a state to run in.
        """
        return cls(folder)

    def verify(self, der: bytes, now: datetime) -> DeviceCertificateFacts:
        """Return the facts of a leaf that a trusted CA has issued to a PBX.

        Checks signature, validity at ``now`` and key usage of leaf and CA (RFC
        5280, section 6), and all that ``read_leaf`` checks. Revocation is the
        registry's. Raises ``CertificateFault``, and nothing else.
        """
        return self._anchors.current().verify(der, now)

    def certificates(self) -> list[x509.Certificate]:
        """Return the trusted CA certificates."""
        return list(self._anchors.current().certificates)

    def pem(self) -> str:
        """Return the trusted CA certificates as PEM, for TLS and for EST."""
        return "".join(
            each.public_bytes(Encoding.PEM).decode("ascii")
            for each in self._anchors.current().certificates
        )

    @property
    def fault(self) -> str | None:
        """Why changed files were not taken up, if they were not (doctor)."""
        return self._anchors.fault


def read_ca_certificates(path: Path) -> list[x509.Certificate]:
    """Read a PEM file of CA certificates; raise ``AuthorityFault``, naming it."""
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
        for certificate in certificates:
            _check_ca(certificate.extensions)
    except (AuthorityFault, CertificateFault) as fault:
        raise AuthorityFault(f"{path}: {fault}") from None
    except Exception:  # noqa: BLE001 -- whatever the parser says, the file is no good
        raise AuthorityFault(f"{path}: not a CA certificate in PEM") from None
    return certificates


def _read(folder: Path) -> _Anchors:
    found: dict[bytes, x509.Certificate] = {}
    for path in sorted(folder.glob("*.pem")):
        for each in read_ca_certificates(path):
            found[each.public_bytes(Encoding.DER)] = each
    if not found:
        raise AuthorityFault(f"{folder} has no device CA certificate (*.pem)")
    return _Anchors(list(found.values()))


def _check_ca(extensions: x509.Extensions) -> None:
    constraints = extension_of(extensions, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise AuthorityFault("this certificate is not a CA's")
    usage = extension_of(extensions, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise AuthorityFault("this CA's key is not for signing certificates")
    refuse_unknown_critical(extensions)
