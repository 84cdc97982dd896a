# SPDX-License-Identifier: Apache-2.0
"""Files of keys and certificates: written whole or not at all.

A key that is half on disk after a power failure is worse than none, and one that
was overwritten is gone for good. So everything is written to a neighbour, flushed,
and then either linked into place, which never replaces, or renamed over the old.
"""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECRET = 0o600
PUBLIC = 0o644

# Below the data directory, what only the service itself may read.
PRIVATE_FILES = (
    "keys/**/*.key",
    "keys/signing/*.pem",
    "offline-root/*.pem",
    "device-ca/*.key",
    "tls/*.key",
    "tls/server.pem",
)


def write_new(path: Path, content: bytes, *, mode: int) -> bool:
    """Write ``path`` unless there is one, and say whether it was written.

    Of two processes that do this at once one wins, and the other's bytes are
    dropped. The folder must exist. Raises ``OSError``.
    """
    with _neighbour(path, content, mode) as written:
        try:
            path.hardlink_to(written)
        except FileExistsError:
            return False
    _flush_folder(path.parent)
    return True


def replace(path: Path, content: bytes, *, mode: int) -> None:
    """Write ``path`` over what was there, in one step. Raises ``OSError``."""
    with _neighbour(path, content, mode) as written:
        written.replace(path)
    _flush_folder(path.parent)


def make_folder(path: Path, *, mode: int = 0o700) -> Path:
    """Make a folder with its parents where missing, and return it."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    return path


def exposed_files(data_dir: Path) -> list[Path]:
    """List the private files that others on this machine could read.

    This is for the doctor: refusing to start over it would stop a fleet for a
    fault that harms nobody until somebody else logs in.
    """
    return [
        path
        for pattern in PRIVATE_FILES
        for path in sorted(data_dir.glob(pattern))
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]


@contextmanager
def _neighbour(path: Path, content: bytes, mode: int) -> Iterator[Path]:
    """Write ``content`` beside ``path``, flushed; leave nothing behind."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
