# SPDX-License-Identifier: Apache-2.0
"""The key set: which keys may sign what, and when, signed by the offline root.

Firmware holds the public half of the root. A PBX that meets a key it does not
know fetches the set, checks it against the root, and refuses a lower version
than it has. Pure: values in, values out; files are in ``ceremony``.

A purpose names the one kind of document that a key may sign: a key of purpose
``cic-lease`` signs ``cic-lease+jwt`` and nothing else, so that no document
passes for another. A new kind of document is a new word in ``PURPOSES``.
"""

import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc.jwk import OKPKey

from fleet.clock import parse_rfc3339, rfc3339
from fleet.keys import jws
from fleet.keys.errors import DocumentFault, KeyFault, KeySetFault

# What this service signs itself; ``callhome init`` makes a key for each.
PURPOSES = ("cic-lease", "entitlements")

# The root's own purpose, which no listed key may have.
ROOT_PURPOSE = "keyset"

KEY_SET_LIFE = timedelta(days=5 * 365)
SIGNING_KEY_LIFE = timedelta(days=3 * 365)

# The longest that anything signed can be valid: a lease of 24 hours and 400 days
# of grace. A key stays listed this long after its last signature.
LONGEST_DOCUMENT = timedelta(days=401)

WARN_BEFORE_KEY_SET_EXPIRES = timedelta(days=365)
WARN_BEFORE_KEY_ENDS = timedelta(days=90)

_PURPOSE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class ListedKey:
    """A public signing key as the set lists it.

    It may sign from ``not_before`` until just before ``not_after``; what it has
    signed stays good for as long as the key is listed.
    """

    kid: str
    purpose: str
    not_before: datetime
    not_after: datetime
    x: str
    public_key: OKPKey = field(repr=False, compare=False)

    def may_sign_at(self, now: datetime) -> bool:
        """Whether a document signed at ``now`` is within this key's time."""
        return self.not_before <= now < self.not_after

    def as_jwk(self) -> dict[str, str]:
        """Return the JWK (RFC 7517, RFC 8037) with purpose and validity."""
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": self.x,
            "kid": self.kid,
            "use": "sig",
            "alg": jws.ALGORITHM,
            "purpose": self.purpose,
            "not_before": rfc3339(self.not_before),
            "not_after": rfc3339(self.not_after),
        }


@dataclass(frozen=True)
class KeySet:
    """A key set that the root has signed."""

    token: str = field(repr=False)
    issuer: str
    version: int
    issued_at: datetime
    expires_at: datetime
    keys: tuple[ListedKey, ...]

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the plain JWK set (RFC 7517, section 5)."""
        return {"keys": [key.as_jwk() for key in self.keys]}

    def find(self, kid: str) -> ListedKey | None:
        """Return the key with this thumbprint, if it is listed."""
        return next((key for key in self.keys if key.kid == kid), None)

    def verify(self, token: str, *, purpose: str) -> dict[str, Any]:
        """Return the claims of a document of ``purpose``.

        Raises ``DocumentFault`` where no listed key of that purpose signed it.
        """
        key = self.find(str(jws.header_of(token).get("kid")))
        if key is None or key.purpose != purpose:
            raise DocumentFault("no key of this purpose has signed it")
        return jws.verify(token, key.public_key, kid=key.kid, typ=typ_of(purpose))


def typ_of(purpose: str) -> str:
    """Return the ``typ`` of the documents that a purpose is for."""
    return f"{purpose}+jwt"


def check_purpose(purpose: str) -> str:
    """Return ``purpose``; raise ``KeyFault`` where a key must not have it."""
    if not _PURPOSE.fullmatch(purpose) or purpose == ROOT_PURPOSE:
        raise KeyFault(f"{purpose!r} cannot be the purpose of a signing key")
    return purpose


def listed(
    key: OKPKey, *, purpose: str, not_before: datetime, not_after: datetime
) -> ListedKey:
    """Describe a key for the set; only its public half goes in.

    Raises ``KeyFault`` for an impossible purpose or an empty validity.
    """
    if not_before >= not_after:
        raise KeyFault("a signing key must begin before it ends")
    return ListedKey(
        kid=key.thumbprint(),
        purpose=check_purpose(purpose),
        not_before=not_before.astimezone(UTC).replace(microsecond=0),
        not_after=not_after.astimezone(UTC).replace(microsecond=0),
        x=jws.x_of(key),
        public_key=jws.public_half(key),
    )


def read_jwk(jwk: object) -> ListedKey:
    """Read one entry of a set; raise ``KeyFault`` where anything is not as made."""
    if not isinstance(jwk, Mapping) or not all(
        isinstance(value, str) for value in jwk.values()
    ):
        raise KeyFault("a listed key is not a JWK of text")
    try:
        key = listed(
            jws.public_key_from(jwk["x"]),
            purpose=jwk["purpose"],
            not_before=parse_rfc3339(jwk["not_before"]),
            not_after=parse_rfc3339(jwk["not_after"]),
        )
    except (KeyError, ValueError):
        raise KeyFault("a listed key lacks its purpose or validity") from None
    if key.as_jwk() != jwk:
        raise KeyFault("a listed key is not written as it must be")
    return key


def read_key_set(token: str, root: OKPKey) -> KeySet:
    """Verify a key set against the root's public key and read it.

    Whether it has expired is for the caller to ask. Raises ``KeySetFault``.
    """
    typ = typ_of(ROOT_PURPOSE)
    try:
        claims = jws.verify(token, root, kid=root.thumbprint(), typ=typ)
        keys = tuple(read_jwk(jwk) for jwk in claims["keys"])
        key_set = KeySet(
            token=token,
            issuer=_text(claims["iss"]),
            version=_whole(claims["version"]),
            issued_at=datetime.fromtimestamp(_whole(claims["iat"]), UTC),
            expires_at=datetime.fromtimestamp(_whole(claims["exp"]), UTC),
            keys=keys,
        )
    except (DocumentFault, KeyFault) as fault:
        raise KeySetFault(f"the key set cannot be used: {fault}") from None
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        raise KeySetFault("the key set lacks what it must say") from None
    if len({key.kid for key in keys}) != len(keys):
        raise KeySetFault("the key set lists a key twice")
    return key_set


def next_key_set(
    current: KeySet | None,
    add: Iterable[ListedKey],
    *,
    root: OKPKey,
    issuer: str,
    now: datetime,
    without: Collection[str] = (),
) -> str:
    """Return the signed set that follows ``current``, with the keys of ``add``.

    Keys stay for as long as anything they signed can be valid; ``without`` names
    those that must go at once, because somebody else has them.
    """
    known = {key.kid: key for key in (*(current.keys if current else ()), *add)}
    keep = [
        key
        for key in known.values()
        if key.kid not in without and now < key.not_after + LONGEST_DOCUMENT
    ]
    keep.sort(key=lambda key: (key.purpose, key.not_before))  # of equals, new ones last
    claims: dict[str, object] = {
        "iss": issuer,
        "iat": int(now.timestamp()),
        "exp": int((now + KEY_SET_LIFE).timestamp()),
        "jti": secrets.token_urlsafe(16),
        "version": current.version + 1 if current else 1,
        "keys": [key.as_jwk() for key in keep],
    }
    kid, typ = root.thumbprint(), typ_of(ROOT_PURPOSE)
    return jws.sign(root, kid=kid, typ=typ, claims=claims)


def expiry_warnings(key_set: KeySet, now: datetime) -> list[str]:
    """Say what of the set ends soon and what to do, for the doctor."""
    warnings = []
    if key_set.expires_at - now <= WARN_BEFORE_KEY_SET_EXPIRES:
        warnings.append(
            f"the key set expires at {rfc3339(key_set.expires_at)}: "
            "have the root holder sign a new one (callhome keys request)"
        )
    for purpose in sorted({key.purpose for key in key_set.keys}):
        end = max(key.not_after for key in key_set.keys if key.purpose == purpose)
        if end - now <= WARN_BEFORE_KEY_ENDS:
            warnings.append(
                f"the last key for {purpose} ends at {rfc3339(end)}: "
                f"make the next one (callhome keys new --purpose {purpose})"
            )
    return warnings


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text was expected")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("a whole number was expected")
    return value
