# SPDX-License-Identifier: Apache-2.0
"""Symmetric keys outside the database, each with a purpose and a version.

A leaked database must not give away the secrets whose digests it holds, so the
keys of those digests are files: ``<folder>/<purpose>/<version>.key``, 32 bytes
in hex. What is stored under a key carries its version, so that a key can be
changed at any time while what was stored before is still found.
"""

import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fleet.keys.errors import KeyFault, MissingKey
from fleet.keys.files import SECRET, make_folder, write_new
from fleet.keys.reloading import Reloading

# What this service keeps a secret for; ``callhome init`` makes one of each.
SECRET_PURPOSES = (
    "device-secret",
    "voucher-code",
    "release-master",
    "staff-token",
    "throttle",
    "page-form",
    "rights-mark",
    "data-share",
)

KEY_BYTES = 32
RELEASE_KEY_INFO = b"pbx release code v1"

_PURPOSE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_KEY_TEXT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class VersionedKey:
    """A secret and its version; the secret is never printed."""

    version: int
    secret: bytes = field(repr=False)


class Keyring:
    """All symmetric keys of one folder; new ones are noticed by themselves."""

    def __init__(self, folder: Path) -> None:
        """Read the keys in ``folder``; raise ``KeyFault`` for a broken one."""
        self._folder = folder
        self._keys = Reloading(
            lambda: _read_all(folder), lambda: folder.glob("*/*.key")
        )

    @classmethod
    def open(cls, folder: Path) -> "Keyring":
        """Read the keys in ``folder``, which may not exist yet.

        Raises ``KeyFault`` where a file is no key of ours.
        """
        return cls(folder)

    def current(self, purpose: str) -> VersionedKey:
        """Return the newest key of ``purpose``; raise ``MissingKey`` if none."""
        versions = self._keys.current().get(purpose)
        if not versions:
            versions = self._keys.look_now().get(purpose)
        if not versions:
            raise MissingKey
        return versions[max(versions)]

    def get(self, purpose: str, version: int) -> VersionedKey:
        """Return one key; raise ``MissingKey`` where it is not here.

        A version that another process made a moment ago is found at once.
        """
        key = self._keys.current().get(purpose, {}).get(version)
        if key is None:
            key = self._keys.look_now().get(purpose, {}).get(version)
        if key is None:
            raise MissingKey
        return key

    def known(self, purpose: str) -> list[VersionedKey]:
        """Return all keys of ``purpose``, newest first, as they were a second ago.

        For what is asked often, and asked again by ``versions`` before it is given
        up: without looking at files each time.
        """
        versions = self._keys.current().get(purpose, {})
        return [versions[each] for each in sorted(versions, reverse=True)]

    def versions(self, purpose: str) -> list[int]:
        """List the versions of ``purpose`` that are here, oldest first."""
        return sorted(self._keys.look_now().get(purpose, {}))

    def create_missing(self, purposes: Iterable[str]) -> list[str]:
        """Make version 1 for each purpose that has no key; list those purposes."""
        created = [each for each in purposes if not self.versions(each)]
        for purpose in created:
            self._write(purpose, 1)
        self._keys.look_now()
        return created

    def rotate(self, purpose: str) -> VersionedKey:
        """Make the next version of ``purpose``; the earlier ones stay.

        Raises ``MissingKey`` for a purpose that has none: a slip of the pen in
        the purpose must not make a key that nothing uses.
        """
        version = self.current(purpose).version + 1
        self._write(purpose, version)
        return self.get(purpose, version)

    def _write(self, purpose: str, version: int) -> None:
        if not _PURPOSE.fullmatch(purpose):
            raise KeyFault(f"{purpose!r} is no purpose: small letters, digits, hyphens")
        folder = make_folder(make_folder(self._folder) / purpose)
        text = secrets.token_bytes(KEY_BYTES).hex() + "\n"
        write_new(folder / f"{version}.key", text.encode(), mode=SECRET)


def keyed_digest(key: VersionedKey, *parts: bytes) -> bytes:
    """Return HMAC-SHA-256 (RFC 2104) over ``parts``, 32 bytes.

    Each part is preceded by its length in four bytes, so that no two lists of
    parts have the same digest because their joints lie elsewhere.
    """
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(key.secret, message, "sha256")


def device_release_key(master: VersionedKey, serial_number: str) -> bytes:
    """Derive the release-code key of one PBX, 32 bytes (protocol, section 3).

    HKDF-SHA-256 (RFC 5869) with the serial number as salt: whoever takes one
    PBX apart learns the key of that PBX only.
    """
    derivation = HKDF(
        algorithm=SHA256(),
        length=KEY_BYTES,
        salt=serial_number.encode("ascii"),
        info=RELEASE_KEY_INFO,
    )
    return derivation.derive(master.secret)


def _read_all(folder: Path) -> Mapping[str, Mapping[int, VersionedKey]]:
    keys: dict[str, dict[int, VersionedKey]] = {}
    for path in folder.glob("*/*.key"):
        if not _VERSION.fullmatch(path.stem):
            raise KeyFault(f"{path} is not named after a version, such as 1.key")
        key = VersionedKey(int(path.stem), _read(path))
        keys.setdefault(path.parent.name, {})[key.version] = key
    return keys


def _read(path: Path) -> bytes:
    text = path.read_bytes().decode("ascii", "replace").strip()
    if not _KEY_TEXT.fullmatch(text):
        raise KeyFault(f"{path} is not a key: 64 hexadecimal digits were expected")
    return bytes.fromhex(text)
