# SPDX-License-Identifier: Apache-2.0
"""Who signs: for each purpose, the newest key that the root has listed.

Signing fails closed. A key signs only if the installed key set is the root's and
in force, lists the key for that purpose at this time, and its private half is on
this server; otherwise ``CannotSign``, which is a 503. New keys and key sets
are taken up within a second, without a restart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from joserfc.jwk import OKPKey

from fleet.keys import jws
from fleet.keys.ceremony import (
    installed,
    key_set_file,
    private_key_file,
    public_root_file,
)
from fleet.keys.errors import CannotSign, DocumentFault, KeyFault, KeySetFault
from fleet.keys.keyset import PURPOSES, KeySet, ListedKey, expiry_warnings, typ_of
from fleet.keys.reloading import LOOK_EVERY_SECONDS, Reloading


class Signer(Protocol):
    """Something that signs documents of one purpose: a file's key, or an HSM's."""

    @property
    def kid(self) -> str:
        """The RFC 7638 thumbprint of the key."""

    @property
    def purpose(self) -> str:
        """What the key is for."""

    def sign(self, typ: str, claims: Mapping[str, object]) -> str:
        """Return the compact JWS over ``claims``.

        Raises ``ValueError`` for a ``typ`` that is not the purpose's.
        """


@dataclass(frozen=True)
class FileSigner:
    """Signs with a private key that was read from a file."""

    listed: ListedKey
    private_key: OKPKey = field(repr=False, compare=False)

    @property
    def kid(self) -> str:
        """The RFC 7638 thumbprint of the key."""
        return self.listed.kid

    @property
    def purpose(self) -> str:
        """What the key is for."""
        return self.listed.purpose

    def sign(self, typ: str, claims: Mapping[str, object]) -> str:
        """Return the compact JWS over ``claims``.

        Raises ``ValueError`` for a ``typ`` that is not the purpose's: no
        document may pass for one of another kind.
        """
        if typ != typ_of(self.purpose):
            raise ValueError(f"a key for {self.purpose} does not sign {typ}")
        return jws.sign(self.private_key, kid=self.kid, typ=typ, claims=claims)


@dataclass(frozen=True)
class _Loaded:
    """One reading of the files: the set, and the listed keys that are here."""

    key_set: KeySet
    signers: tuple[FileSigner, ...]


class SigningKeys:
    """The signing keys of this server; safe to use from many threads."""

    def __init__(
        self,
        keys: Path,
        *,
        purposes: Iterable[str] = PURPOSES,
        look_every: float = LOOK_EVERY_SECONDS,
    ) -> None:
        """Read the folder ``keys``; raise ``CannotSign`` where that fails.

        ``purposes`` are those that must be able to sign; ``look_every`` is in
        seconds.
        """
        self._keys = keys
        self._purposes = tuple(purposes)
        self._least_version = 0
        try:
            self._loaded = Reloading(self._load, self._files, look_every=look_every)
        except (KeyFault, OSError) as fault:
            raise CannotSign("The signing keys of this server are unusable.") from fault

    @classmethod
    def load(cls, keys: Path, now: datetime) -> "SigningKeys":
        """Read the folder ``keys``; raise ``CannotSign`` unless all can sign."""
        signing = cls(keys)
        for purpose in signing.purposes:
            signing.signer(purpose, now)
        return signing

    @property
    def purposes(self) -> tuple[str, ...]:
        """What this server must be able to sign."""
        return self._purposes

    def key_set(self) -> KeySet:
        """Return the installed key set, to be published."""
        return self._loaded.current().key_set

    def signer(self, purpose: str, now: datetime) -> Signer:
        """Return the signer for ``purpose``: of those in their time, the newest.

        Raises ``CannotSign`` where there is none, or the key set has expired.
        """
        loaded = self._loaded.current()
        if now >= loaded.key_set.expires_at:
            raise CannotSign("The key set of this server has expired.")
        usable = [
            signer
            for signer in loaded.signers
            if signer.purpose == purpose and signer.listed.may_sign_at(now)
        ]
        if not usable:
            raise CannotSign(f"This server has no key in force for {purpose}.")
        # Of equals the last listed, which is the last made.
        return max(reversed(usable), key=lambda signer: signer.listed.not_before)

    def self_test(self, now: datetime) -> None:
        """Sign and verify one document for each purpose; raise ``CannotSign``."""
        for purpose in self._purposes:
            claims = {"jti": "self-test", "iat": int(now.timestamp())}
            token = self.signer(purpose, now).sign(typ_of(purpose), claims)
            try:
                verified = self.key_set().verify(token, purpose=purpose)
            except DocumentFault as fault:
                raise CannotSign(f"What is signed for {purpose} is void.") from fault
            if verified != claims:
                raise CannotSign(f"What is signed for {purpose} is void.")

    def warnings(self, now: datetime) -> list[str]:
        """Say what ends soon, and which changed files were refused (doctor)."""
        warnings = expiry_warnings(self._loaded.look_now().key_set, now)
        refused = self._loaded.fault
        return [*warnings, refused] if refused else warnings

    def _load(self) -> _Loaded:
        key_set = installed(self._keys)
        if key_set is None:
            raise KeySetFault("there is no key set: callhome init makes one")
        if key_set.version < self._least_version:
            raise KeySetFault("the key set on disk is older than the one in use")
        signers = tuple(self._signers(key_set))
        self._least_version = key_set.version
        return _Loaded(key_set, signers)

    def _signers(self, key_set: KeySet) -> Iterable[FileSigner]:
        for entry in key_set.keys:
            try:
                pem = private_key_file(self._keys, entry.kid).read_bytes()
            except FileNotFoundError:
                continue  # it is another server's
            private_key = _read_private_pem(pem, entry.kid)
            if private_key.thumbprint() != entry.kid:
                raise KeyFault(f"signing/{entry.kid}.pem holds another key")
            yield FileSigner(entry, private_key)

    def _files(self) -> Iterable[Path]:
        folder = private_key_file(self._keys, "any").parent
        return (
            key_set_file(self._keys),
            public_root_file(self._keys),
            *folder.glob("*.pem"),
        )


def _read_private_pem(pem: bytes, kid: str) -> OKPKey:
    try:
        return jws.read_private_pem(pem)
    except KeyFault as fault:
        raise KeyFault(f"signing/{kid}.pem: {fault}") from None
