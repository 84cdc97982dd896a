# SPDX-License-Identifier: Apache-2.0
"""What is kept in place of a voucher's code: a keyed digest under a version.

The key is a file, so a leaked database redeems nothing. A new version of it
serves new codes, and those that were digested before are found as long as the
earlier versions are there.
"""

from fleet.ground import ground
from fleet.keys.errors import MissingKey
from fleet.keys.keyring import keyed_digest

PURPOSE = "voucher-code"


def digest_of(code: str) -> tuple[int, bytes]:
    """Return the version of the key and the digest to keep of a new ``code``.

    ``code`` is canonical. Raises ``MissingKey``.
    """
    key = ground().keyring.current(PURPOSE)
    return key.version, keyed_digest(key, code.encode())


def digests_of(code: str) -> list[bytes]:
    """Return what may be kept of ``code``: its digest under each version of the key.

    The newest first. A version that another process made a moment ago is among
    them: a voucher that was bought a second ago is no wrong guess. Nor is one whose
    key was lost: ``MissingKey`` where a version is not here, for then nobody can
    say that a code does not exist.
    """
    versions = ground().keyring.versions(PURPOSE)  # looks at the files
    if versions != [*range(1, len(versions) + 1)] or not versions:
        raise MissingKey
    return known_digests_of(code)


def known_digests_of(code: str) -> list[bytes]:
    """Return the same without a look at the files: good for a find, not for a miss."""
    message = code.encode()
    return [keyed_digest(key, message) for key in ground().keyring.known(PURPOSE)]
