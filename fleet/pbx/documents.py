# SPDX-License-Identifier: Apache-2.0
"""What a PBX believes.

A document is believed when it is a JWS in compact form (RFC 7515), signed with EdDSA
(RFC 8037) by a key that the key set names for this purpose and this time, of exactly
the type asked for, about this PBX, over the nonce of this very question. The key set in
turn is believed when the offline root key signed it, whose public half is in firmware.

Every doubt raises a named kind of ``Nothing``. Nothing here reads a clock: freshness
comes from the nonce, and the one comparison with time (has the key set expired?) uses
the time that has *certainly* passed, so that a wrong clock cannot lock a PBX out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import OKPKey

from fleet.pbx.entitlements import read_entitlements
from fleet.pbx.errors import (
    BadSignature,
    GenerationFell,
    KeyNotValid,
    KeySetExpired,
    KeySetRollback,
    Malformed,
    Nothing,
    UnknownKey,
    WrongAlgorithm,
    WrongIssuer,
    WrongNonce,
    WrongPurpose,
    WrongSubject,
    WrongType,
)
from fleet.pbx.functions import Entitlements
from fleet.pbx.lease import (
    Lease,
    instant,
    numeric_date,
    read_lease,
    text,
    whole_number,
)

LEASE_TYPE: Final = "cic-lease+jwt"
LEASE_PURPOSE: Final = "cic-lease"
ENTITLEMENTS_TYPE: Final = "entitlements+jwt"
ENTITLEMENTS_PURPOSE: Final = "entitlements"
KEY_SET_TYPE: Final = "keyset+jwt"
NOT_A_JWS: Final = (
    JoseError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)

Claims = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key, and what and when it may sign."""

    key: OKPKey
    purpose: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The keys that the offline root vouches for; ``token`` is its own document."""

    version: int
    expires_at: datetime
    keys: Mapping[str, TrustedKey]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an answer must fit: who asked, what nonce, what was known before.

    ``certain`` is a lower bound of the present: time that has certainly passed.
    """

    serial_number: str
    nonce: str
    generation: int
    certain: datetime
    issuer: str | None = None


class _EdDSAOnly(jws.JWSRegistry):
    """Knows one algorithm, so that no header can choose another.

    The protocol names it ``EdDSA`` for ever; the library's warning that RFC 9864 has a
    newer name for it is of no use to firmware. Header parameters that nobody marked
    critical are ignored, as RFC 7515 section 4 says.
    """

    def __init__(self) -> None:
        super().__init__(algorithms=["EdDSA"], strict_check_header=False)

    def get_alg(self, name: str) -> JWSAlgModel:
        if name != "EdDSA":
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


_REGISTRY: Final = _EdDSAOnly()


def thumbprint(key: Ed25519PublicKey) -> str:
    """Return the RFC 7638 thumbprint of ``key``, which is its ``kid``."""
    return OKPKey.import_key(key).thumbprint()


def read_key_set(
    token: str, *, root_key: Ed25519PublicKey, at_least: int = 0
) -> KeySet:
    """Verify a ``keyset+jwt`` against the root key.

    ``at_least`` is the version already held: a lower one would bring a withdrawn key
    back. Keys of kinds or purposes that this firmware does not know are left out.

    Raises ``KeySetRollback``, or what any document raises.
    """
    root = {thumbprint(root_key): OKPKey.import_key(root_key)}
    claims = _claims(token, typ=KEY_SET_TYPE, keys=root)
    version = whole_number(claims, "version")
    if version < at_least:
        raise KeySetRollback("the key set is older than the one held")
    entries = claims.get("keys")
    if not isinstance(entries, list):
        raise Malformed("keys is not a list")
    return KeySet(
        version=version,
        expires_at=numeric_date(claims, "exp"),
        keys=dict(filter(None, map(_trusted_key, entries))),
        token=token,
    )


def verify_lease(token: str, *, key_set: KeySet, question: Question) -> Lease:
    """Verify a ``cic-lease+jwt`` as the answer to ``question``.

    Raises a ``Nothing`` that names the first doubt.
    """
    asked = _Asked(LEASE_TYPE, LEASE_PURPOSE, question)
    lease = read_lease(_answer(token, key_set=key_set, asked=asked))
    if lease.generation < question.generation:
        raise GenerationFell("the lease is of an earlier initialisation")
    return lease


def verify_entitlements(
    token: str, *, key_set: KeySet, question: Question
) -> Entitlements:
    """Verify ``entitlements+jwt`` as the answer to ``question``.

    Raises a ``Nothing`` that names the first doubt.
    """
    asked = _Asked(ENTITLEMENTS_TYPE, ENTITLEMENTS_PURPOSE, question)
    return read_entitlements(_answer(token, key_set=key_set, asked=asked))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an answer must be: its type, the purpose of its key, and to what."""

    typ: str
    purpose: str
    question: Question


def _answer(token: str, *, key_set: KeySet, asked: _Asked) -> Claims:
    """Return the claims of the answer that was asked for, or raise."""
    if key_set.expires_at <= asked.question.certain:
        raise KeySetExpired("the key set has expired")
    keys = {kid: trusted.key for kid, trusted in key_set.keys.items()}
    claims = _claims(token, typ=asked.typ, keys=keys)
    _check_key(key_set.keys[_header(token)["kid"]], claims, purpose=asked.purpose)
    _check_address(claims, asked.question)
    return claims


def _claims(token: str, *, typ: str, keys: Mapping[str, OKPKey]) -> Claims:
    """Return the claims of a document of type ``typ`` signed by one of ``keys``."""
    header = _header(token)
    if header["alg"] != "EdDSA":
        raise WrongAlgorithm("the document is not signed with EdDSA")
    if header["typ"] != typ:
        raise WrongType(f"the document is not a {typ}")
    if header["kid"] not in keys:
        raise UnknownKey("the document is signed by a key that is not in the key set")
    payload = _verified_payload(token, key=keys[header["kid"]])
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Malformed("the document holds no JSON") from error
    if not isinstance(claims, dict):
        raise Malformed("the document holds no claims")
    text(claims, "iss")
    text(claims, "jti")
    numeric_date(claims, "iat")
    return claims


def _header(token: str) -> dict[str, str]:
    """Return ``alg``, ``typ`` and ``kid``; nothing in a header is believed yet."""
    try:
        header = jws.extract_compact(
            token.encode("ascii"), registry=_REGISTRY
        ).headers()
        if "crit" in header:
            raise Malformed("the document has extensions that this firmware lacks")
        return {name: text(header, name) for name in ("alg", "typ", "kid")}
    except NOT_A_JWS as error:
        raise Malformed("the answer is not a JWS in compact form") from error


def _verified_payload(token: str, *, key: OKPKey) -> bytes:
    document = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
    try:
        genuine = jws.validate_compact(document, key, registry=_REGISTRY)
    except NOT_A_JWS as error:
        raise BadSignature("the signature cannot be checked") from error
    if not genuine:
        raise BadSignature("the signature is not that of the key")
    return document.payload


def _check_key(trusted: TrustedKey, claims: Claims, *, purpose: str) -> None:
    """Judge the key by the time of the document: old ones outlive their key."""
    if trusted.purpose != purpose:
        raise WrongPurpose(f"the key may not sign a document for {purpose}")
    issued_at = numeric_date(claims, "iat")
    if not trusted.not_before <= issued_at <= trusted.not_after:
        raise KeyNotValid("the key was not valid when the document was issued")


def _check_address(claims: Claims, question: Question) -> None:
    if question.issuer is not None and claims["iss"] != question.issuer:
        raise WrongIssuer("the document is from another issuer")
    if text(claims, "sub") != question.serial_number:
        raise WrongSubject("the document is about another PBX")
    if text(claims, "nonce") != question.nonce:
        raise WrongNonce("the document answers another question")


def _trusted_key(entry: object) -> tuple[str, TrustedKey] | None:
    """Read one JWK; one that cannot be used is left out, not an error.

    A later server may publish kinds of keys that this firmware has never heard of.
    """
    if not isinstance(entry, dict):
        return None
    try:
        key = OKPKey.import_key({name: entry[name] for name in ("kty", "crv", "x")})
        if entry["crv"] != "Ed25519" or entry["kid"] != key.thumbprint():
            return None
        return entry["kid"], TrustedKey(
            key=key,
            purpose=text(entry, "purpose"),
            not_before=instant(entry, "not_before"),
            not_after=instant(entry, "not_after"),
        )
    except (Nothing, *NOT_A_JWS):
        return None
