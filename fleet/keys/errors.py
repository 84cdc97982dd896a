# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with keys, and how it is said.

No text here names a secret: a fault of a key may be logged and shown.
"""

from fleet.errors import Unavailable


class KeyFault(Exception):  # noqa: N818 -- a fault of a key, in the domain's words
    """A file of keys cannot be used; the text says which and why."""


class KeySetFault(KeyFault):
    """The signed key set is missing, malformed, not the root's, or too old."""


class DocumentFault(KeyFault):
    """A signed document is not what it claims to be: it counts as nothing."""


class MissingKey(Unavailable):
    """No secret of this purpose and version is on this server."""

    reason = "A key that this needs is not on this server."


class CannotSign(Unavailable):
    """Nothing can be signed, so nothing is answered: never an unsigned 200."""

    code = "cannot-sign"
    reason = "This server cannot sign answers right now. Try again later."
