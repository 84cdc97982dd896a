# SPDX-License-Identifier: Apache-2.0
"""The device secret: proves a PBX once, when it has no certificate yet.

It comes from the factory, may be printed on the box, and is kept only as
HMAC-SHA-256 over serial number and secret under a versioned key outside the
database (protocol, section 2).
"""

import hmac
import re

from fleet.errors import Invalid
from fleet.keys.keyring import Keyring, VersionedKey, keyed_digest

PURPOSE = "device-secret"
SHORTEST = 16
LONGEST = 200

# Printable ASCII; a space at either end is a slip of the pen that would lock a
# PBX out, since nobody sees it.
_PRINTABLE = re.compile(r"[!-~]([ -~]*[!-~])?")

_NOBODY = "NOBODY"


def fault_of(secret: str) -> str | None:
    """Say what is wrong with a secret, without repeating it."""
    if len(secret) < SHORTEST:
        return f"is shorter than {SHORTEST} characters"
    if len(secret) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if not _PRINTABLE.fullmatch(secret):
        return (
            "holds other than printable ASCII characters, or begins or ends in a space"
        )
    return None


def check(secret: str) -> None:
    """Raise ``Invalid`` for a secret that cannot be one."""
    fault = fault_of(secret)
    if fault is not None:
        raise Invalid(fields={"device_secret": [f"This {fault}."]})


def digest(key: VersionedKey, serial_number: str, secret: str) -> bytes:
    """Return what is kept of a secret."""
    told = secret.encode("utf-8", "surrogatepass")
    return keyed_digest(key, serial_number.encode("ascii"), told)


def is_right(
    kept: tuple[str, int, bytes] | None, secret: str, *, keyring: Keyring
) -> bool:
    """Whether ``secret`` is that of a PBX, in the same time if there is none.

    ``kept`` is its serial number, the version of the key, and the digest.
    """
    if kept is None:
        made = digest(keyring.current(PURPOSE), _NOBODY, secret)
        hmac.compare_digest(made, bytes(len(made)))
        return False
    serial_number, version, expected = kept
    made = digest(keyring.get(PURPOSE, version), serial_number, secret)
    return hmac.compare_digest(made, expected)
