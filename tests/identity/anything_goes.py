# SPDX-License-Identifier: Apache-2.0
"""A CA that signs anything it is asked to, and the worst of its certificates."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SERIAL = "CX1000000001"


def attribute(value: str, oid: x509.ObjectIdentifier = NameOID.SERIAL_NUMBER) -> object:
    # A PrintableString, as we issue it, cannot hold everything that others write.
    plain = value.isascii() and value.isprintable()
    kind = _ASN1Type.PrintableString if plain else _ASN1Type.UTF8String
    if oid != NameOID.SERIAL_NUMBER:
        kind = _ASN1Type.UTF8String
    return x509.NameAttribute(oid, value, kind)


class AnythingGoes:
    """A CA without scruples; every detail of what it signs can be bent."""

    def __init__(self, name: str = "Anything Goes") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([attribute(name, NameOID.COMMON_NAME)])
        self.certificate = self.ca()

    def ca(self, *, constraints: object = None, usage: object = None) -> object:
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(NOON - 100 * DAY)
            .not_valid_after(NOON + 1000 * DAY)
        )
        if constraints is None:
            constraints = x509.BasicConstraints(ca=True, path_length=0)
        for value in (constraints, usage):
            if value:
                builder = builder.add_extension(value, critical=True)
        return builder.sign(self.key, SHA256())

    def leaf(
        self,
        *,
        rdns: list[list[object]] | None = None,
        usages: list[x509.ObjectIdentifier] | None = None,
        begins: datetime = NOON - DAY,
        ends: datetime = NOON + 100 * DAY,
        key: object = None,
        extra: tuple[tuple[object, bool], ...] = (),
    ) -> bytes:
        key = key or ec.generate_private_key(ec.SECP256R1())
        if rdns is None:
            rdns = [[attribute(SERIAL)]]
        if usages is None:
            usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        rdn_names = [x509.RelativeDistinguishedName(each) for each in rdns]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(rdn_names))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        for value, critical in extra:
            builder = builder.add_extension(value, critical)
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.DER)


Bend = Callable[[AnythingGoes], bytes]


def _bad(bend: Bend, name: str) -> object:
    return pytest.param(bend, id=name)


CN = NameOID.COMMON_NAME
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.1.1"), b"\5\0")

BAD_IN_THEMSELVES = [
    _bad(lambda ca: ca.leaf(rdns=[]), "empty subject"),
    _bad(lambda ca: ca.leaf(rdns=[[attribute(SERIAL, CN)]]), "serial as common name"),
    _bad(
        lambda ca: ca.leaf(rdns=[[attribute(SERIAL)], [attribute("CX1000000002")]]),
        "two serialNumber RDNs",
    ),
    _bad(
        lambda ca: ca.leaf(rdns=[[attribute(SERIAL)], [attribute(SERIAL)]]),
        "the same serialNumber twice",
    ),
    _bad(
        lambda ca: ca.leaf(rdns=[[attribute(SERIAL), attribute("CX1000000002")]]),
        "two serialNumbers in one RDN",
    ),
    _bad(
        lambda ca: ca.leaf(rdns=[[attribute(f"x/serialNumber={SERIAL}", CN)]]),
        "common name that spells a serialNumber",
    ),
    *(
        _bad(
            lambda ca, value=value: ca.leaf(rdns=[[attribute(value)]]),
            f"serialNumber {value!r}",
        )
        for value in (
            "cx1000000001",
            "CX1000/00001",
            "CX1000000001 ",
            " CX1000000001",
            "CX1000000001\n",
            "CX1000000001\0",
            "CX-100-0001",
            "CX10É",
            "ＣＸ１０００",  # noqa: RUF001 -- full-width letters that look the same
            "CX100",
            "C" * 33,
        )
    ),
    _bad(lambda ca: ca.leaf(usages=[]), "no extended key usage"),
    _bad(
        lambda ca: ca.leaf(usages=[ExtendedKeyUsageOID.SERVER_AUTH]),
        "for servers only",
    ),
    _bad(
        lambda ca: ca.leaf(usages=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
        "for anything",
    ),
    _bad(
        lambda ca: ca.leaf(
            extra=((x509.BasicConstraints(ca=True, path_length=None), True),)
        ),
        "a CA's",
    ),
    _bad(lambda ca: ca.leaf(extra=((UNKNOWN, True),)), "unknown critical extension"),
    _bad(lambda ca: ca.certificate.public_bytes(Encoding.DER), "the CA itself"),
]
