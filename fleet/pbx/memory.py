# SPDX-License-Identifier: Apache-2.0
"""Memory that survives a power cut at any byte.

Two slots take turns. What is new goes to a temporary file, is flushed to the disk, and
then takes the place of the *older* slot by a rename; the directory is flushed last. At
every moment one complete slot is on the disk, and the newest whose checksum is right is
the truth. A checksum guards against accidents, not against whoever can write the disk:
they could as well replace the firmware.
"""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

MAGIC: Final = b"pbx-memory/1"
DIGEST_SIZE: Final = sha256().digest_size
COUNTER_SIZE: Final = 8


class Memory(Protocol):
    """Where a PBX keeps what must outlive the power."""

    def read(self) -> bytes | None:
        """Return what was last written, or nothing on a new or ruined disk."""

    def write(self, content: bytes) -> None:
        """Keep ``content``; on return it is safe. Raises ``OSError``."""


class VolatileMemory:
    """Memory that forgets, for load tests with thousands of PBXs."""

    def __init__(self) -> None:
        """Begin empty."""
        self._content: bytes | None = None

    def read(self) -> bytes | None:
        """Return what was last written."""
        return self._content

    def write(self, content: bytes) -> None:
        """Keep ``content`` while the process lives."""
        self._content = content


class DiskMemory:
    """Memory in two slots in a folder, readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made if it is missing."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._slots = (folder / "memory.a", folder / "memory.b")

    def read(self) -> bytes | None:
        """Return the newest content that is whole."""
        newest = max(map(_open_slot, self._slots), key=lambda slot: slot[0])
        return newest[1]

    def write(self, content: bytes) -> None:
        """Replace the older slot; the newer stays whole whatever happens."""
        counters = [_open_slot(slot)[0] for slot in self._slots]
        older = self._slots[counters.index(min(counters))]
        fresh = self._folder / "memory.new"
        _write_flushed(fresh, _seal(max(counters) + 1, content))
        fresh.replace(older)
        _flush_folder(self._folder)


def _seal(counter: int, content: bytes) -> bytes:
    body = counter.to_bytes(COUNTER_SIZE, "big") + content
    return MAGIC + sha256(body).digest() + body


def _open_slot(slot: Path) -> tuple[int, bytes | None]:
    """Return counter and content of a slot; a damaged one counts as never written."""
    raw = b""
    with suppress(OSError):  # a slot that cannot be read is as good as torn
        raw = slot.read_bytes()
    begin = len(MAGIC) + DIGEST_SIZE
    digest, body = raw[len(MAGIC) : begin], raw[begin:]
    whole = raw.startswith(MAGIC) and len(body) >= COUNTER_SIZE
    if not whole or sha256(body).digest() != digest:
        return 0, None
    return int.from_bytes(body[:COUNTER_SIZE], "big"), body[COUNTER_SIZE:]


def _write_flushed(path: Path, raw: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
