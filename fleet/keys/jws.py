# SPDX-License-Identifier: Apache-2.0
"""Signed documents: compact JWS (RFC 7515), EdDSA with Ed25519 (RFC 8037).

joserfc does the keys, and reads and verifies. Two of its steps are narrowed here by
a registry of our own: the algorithm is one, whatever a header says, and headers
are compared with the only shape that we make, which is stricter and cheaper than
a check against the list of all that RFC 7515 allows.

Signing is done for each licence check, and there the library's general way costs
half as much again as the signature. So the compact form, which is three texts
with dots between, is put together here, from a header that is spelled once for
each key; the tests compare every byte with what joserfc makes.
"""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import OKPKey

from fleet.keys.errors import DocumentFault, KeyFault

ALGORITHM = "EdDSA"

# Three parts of base64url without padding; an Ed25519 signature has 86 symbols.
_COMPACT = re.compile(r"[\w-]{2,512}\.[\w-]{2,170000}\.[\w-]{86}", re.ASCII)


class _OurRegistry(jws.JWSRegistry):
    """The one algorithm, and the one header, that our documents have."""

    algorithm = jws.JWSRegistry.algorithms[ALGORITHM]

    def get_alg(self, name: str) -> JWSAlgModel:
        """Return EdDSA; raise ``DocumentFault`` for any other name.

        joserfc warns of this name, since RFC 9864 would rather say "Ed25519".
        The protocol is older than that, and PBXs in the field compare it.
        """
        if name != ALGORITHM:
            raise DocumentFault("not signed with EdDSA")
        return self.algorithm

    def check_header(self, header: Mapping[str, Any]) -> None:
        """Refuse what is not exactly ``alg``, ``kid``, ``typ``, all text."""
        if header.keys() != {"alg", "kid", "typ"} or not all(
            isinstance(value, str) for value in header.values()
        ):
            raise DocumentFault("the header is not alg, kid and typ")


_registry = _OurRegistry()
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def sign(
    private_key: OKPKey, *, kid: str, typ: str, claims: Mapping[str, object]
) -> str:
    """Sign ``claims`` and return the compact JWS.

    Raises ``ValueError`` or ``TypeError`` for claims that JSON cannot say.
    """
    private = private_key.private_key
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFault("only the public half of this key is here")
    signed = b"%b.%b" % (_header(kid, typ), _base64url(_encode(claims).encode()))
    token = b"%b.%b" % (signed, _base64url(private.sign(signed)))
    return token.decode("ascii")


@lru_cache(maxsize=64)  # a kind of document for each key that is listed
def _header(kid: str, typ: str) -> bytes:
    header = {"alg": ALGORITHM, "kid": kid, "typ": typ}
    return _base64url(_encode(header).encode())


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def verify(token: str, public_key: OKPKey, *, kid: str, typ: str) -> dict[str, Any]:
    """Return the claims of ``token``.

    Raises ``DocumentFault`` unless its header is exactly ``alg`` EdDSA, this
    ``kid`` and this ``typ``, and the signature is that of ``public_key``.
    """
    if header_of(token) != {"alg": ALGORITHM, "kid": kid, "typ": typ}:
        raise DocumentFault("signed by another key or for another purpose")
    try:
        payload = jws.deserialize_compact(token, public_key, registry=_registry).payload
        claims = json.loads(payload)
    except (JoseError, ValueError, RecursionError):
        raise DocumentFault("the signature or the payload is broken") from None
    if not isinstance(claims, dict):
        raise DocumentFault("the payload is no JSON object")
    return claims


def header_of(token: str) -> dict[str, Any]:
    """Return the header of ``token``, of which nothing is verified yet.

    Raises ``DocumentFault`` where it is not a compact JWS of our shape.
    """
    if not _COMPACT.fullmatch(token):
        raise DocumentFault("not a compact JWS with an Ed25519 signature")
    try:
        header = jws.extract_compact(token.encode("ascii")).headers()
    except (JoseError, ValueError, RecursionError, AttributeError, TypeError):
        raise DocumentFault("the header is broken") from None
    return dict(header)


def new_key() -> OKPKey:
    """Return a new Ed25519 key pair."""
    return OKPKey.import_key(Ed25519PrivateKey.generate())


def public_half(private_key: OKPKey) -> OKPKey:
    """Return the public half of a key pair."""
    return OKPKey.import_key(private_key.public_key)


def public_key_from(x: str) -> OKPKey:
    """Read a public key from the ``x`` of a JWK; raise ``KeyFault``."""
    try:
        return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})
    except (JoseError, ValueError, UnsupportedAlgorithm):
        raise KeyFault("a listed key is not an Ed25519 public key") from None


def x_of(key: OKPKey) -> str:
    """Return the ``x`` of a key's JWK: the public half, base64url."""
    return str(key.as_dict(private=False)["x"])


def private_pem(key: OKPKey) -> bytes:
    """Return a key pair as PKCS #8 in PEM, unencrypted."""
    private = key.private_key
    if private is None:
        raise KeyFault("only the public half of this key is here")
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: OKPKey) -> bytes:
    """Return the public half as SubjectPublicKeyInfo in PEM."""
    return key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_private_pem(pem: bytes) -> OKPKey:
    """Read an Ed25519 key pair; raise ``KeyFault`` where it is none."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFault("not an unencrypted private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFault("not an Ed25519 key")
    return OKPKey.import_key(key)


def read_public_pem(pem: bytes) -> OKPKey:
    """Read an Ed25519 public key; raise ``KeyFault`` where it is none."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFault("not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFault("not an Ed25519 key")
    return OKPKey.import_key(key)
