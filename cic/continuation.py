# SPDX-License-Identifier: Apache-2.0
"""Two boxes with one identity betray themselves. Pure: no Flask, no database.

Each check hands out a token that the next one presents. A PBX that lost our
answer presents the one before, which is in order; a clone, or a disk restored
from a copy, presents an older one, or none. That is reported to staff and locks
nobody, since a snapshot of an honest PBX looks the same.
"""

import secrets
from typing import NamedTuple


class Continuation(NamedTuple):
    """What is remembered of a PBX's tokens; ``nonce`` is that of the check which
    drew the current one.
    """  # noqa: D205 -- one sentence

    current: str = ""
    previous: str = ""
    nonce: str = ""


def draw_token() -> str:
    """Return a new token: 16 random bytes in base64url."""
    return secrets.token_urlsafe(16)


def follow(
    held: Continuation, *, presented: str | None, nonce: str, drawn: str
) -> tuple[Continuation, bool]:
    """Return what is remembered after a check, and whether a clone is suspected.

    A new token is made only when the current one was presented, so the one
    before stays acceptable until the new one has been seen. The same request
    once more (the same nonce) is a repeat after a lost answer, not a clone. Before
    the first token there is none, so only the nonce tells a repeat of the first check.
    """
    if not held.current:
        return Continuation(current=drawn, nonce=nonce), False
    if presented == held.current:
        return Continuation(current=drawn, previous=held.current, nonce=nonce), False
    is_repeat = nonce == held.nonce or (bool(presented) and presented == held.previous)
    return held, not is_repeat
