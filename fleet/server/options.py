# SPDX-License-Identifier: Apache-2.0
"""What can be set about the worker beyond gunicorn's own settings.

gunicorn has no room for foreign settings, so these come from the environment
(``PBX_BULK_THREADS``) or from a subclass of the worker that carries its own
`ServerOptions`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_HEAD = 32 * 1024
"""Bytes of a request head; a longer one is answered 431 (RFC 6585 section 5)."""

MAX_SMALL_BODY = 64 * 1024
"""Bytes of a body that is collected before a thread is troubled with it."""

LICENCE_CHECK = re.compile(rb"/cic/v1/check")
"""What `fleet.server.serve` names as joint."""


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Pools, paths and deadlines of one worker process; durations in seconds.

    Paths are matched from their start, as bytes, against the request target as
    it came, before any decoding: a client that spells a path in another way
    waits in another queue, and gains nothing by it.

    ``joint_paths`` are those of the checks that share commits, to their end; they
    are served in rounds (`fleet.server.rounds`). None: there are no such.
    """

    bulk_threads: int = 8
    bulk_backlog: int = 32
    bulk_paths: re.Pattern[bytes] = re.compile(
        rb"/(?:backup/|updates/(?:v1/artifacts/|tuf/targets/|ddi/.*/artifacts/))"
    )
    check_paths: re.Pattern[bytes] = re.compile(rb"/cic/")
    joint_paths: re.Pattern[bytes] | None = None
    check_wait_seconds: float = 2.0
    other_wait_seconds: float = 1.0
    handshake_seconds: float = 10.0
    head_seconds: float = 15.0
    body_seconds: float = 15.0
    flush_seconds: float = 120.0
    stall_seconds: float = 30.0
    linger_seconds: float = 2.0

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing would ever be served."""
        if self.bulk_threads < 1 or self.bulk_backlog < 1:
            raise ValueError("PBX_BULK_THREADS must be a whole number, 1 or more.")

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "ServerOptions":
        """Read ``PBX_BULK_THREADS``; raise ValueError naming it if it is no number."""
        text = environ.get("PBX_BULK_THREADS", "8")
        if not text.isascii() or not text.isdigit():
            raise ValueError("PBX_BULK_THREADS must be a whole number, 1 or more.")
        return cls(bulk_threads=int(text))
