# SPDX-License-Identifier: Apache-2.0
"""A TLS certificate for this server, where the operator has brought none.

It is for one machine and for trying things out: a small local CA, which a client
is told to trust (``tls/ca.pem``), and a certificate of it in one PEM file with
its key. One file, because a listener that reads two of them, of which only one
has been replaced yet, talks to nobody.
"""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.identity.device_ca import (
    BACKDATED,
    AuthorityFault,
    key_usage,
    new_ca_key,
    private_pem,
    read_private_pem,
    self_signed,
)
from fleet.keys.files import PUBLIC, SECRET, make_folder, write_new

SERVER_CERTIFICATE_LIFE = timedelta(days=2 * 365)
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def create_server_certificate(folder: Path, *, host: str, now: datetime) -> bool:
    """Make ``server.pem`` and its CA, and say whether that was needed.

    The certificate is for localhost and ``host``, a name or an IP address. A
    ``server.pem`` that is there, whoever made it, is left as it is; to renew one
    of ours, remove it and call this again: the CA stays, so clients notice nothing.
    Raises ``AuthorityFault`` where the local CA's files are broken.
    """
    if (folder / "server.pem").exists():
        return False
    make_folder(folder)
    ca_key, ca = _local_ca(folder, now)
    key = new_ca_key()
    certificate = _issue(key, ca=ca, ca_key=ca_key, host=host, now=now)
    pem = private_pem(key) + certificate.public_bytes(Encoding.PEM)
    return write_new(folder / "server.pem", pem, mode=SECRET)


def ends_at(server_pem: Path) -> datetime:
    """Return when the server's certificate ends, for the doctor.

    Raises ``AuthorityFault`` where the file has no certificate.
    """
    return _read_certificate(server_pem).not_valid_after_utc


def _local_ca(
    folder: Path, now: datetime
) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    write_new(folder / "ca.key", private_pem(new_ca_key()), mode=SECRET)
    key = read_private_pem((folder / "ca.key").read_bytes())
    pem = self_signed(key, name="Local TLS CA", now=now).public_bytes(Encoding.PEM)
    write_new(folder / "ca.pem", pem, mode=PUBLIC)
    ca = _read_certificate(folder / "ca.pem")
    if ca.public_key() != key.public_key():
        raise AuthorityFault(f"{folder / 'ca.key'} is not the key of ca.pem")
    return key, ca


def _issue(
    key: EllipticCurvePrivateKey,
    *,
    ca: x509.Certificate,
    ca_key: EllipticCurvePrivateKey,
    host: str,
    now: datetime,
) -> x509.Certificate:
    hosts = dict.fromkeys((*LOCAL_HOSTS, host))
    common_name = x509.NameAttribute(NameOID.COMMON_NAME, "callhome")
    begins = now.astimezone(UTC).replace(microsecond=0) - BACKDATED
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([common_name]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + SERVER_CERTIFICATE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(
            x509.SubjectAlternativeName([_general_name(each) for each in hosts]),
            critical=False,
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
            critical=False,
        )
    )
    return builder.sign(ca_key, SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise AuthorityFault(f"{path} has no certificate") from None
