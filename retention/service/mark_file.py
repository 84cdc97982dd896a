# SPDX-License-Identifier: Apache-2.0
"""The marks of erasures, objections and restrictions, in a file beside the database.

``<data dir>/retention/marks.jsonl``: one JSON object a line, only ever added to, and
flushed to the disk before whoever asked is answered. It is what a restore of an older
database does not bring back. A power cut may leave the last line half written: it is
passed over, and the next one begins on a line of its own.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER = "retention"
NAME = "marks.jsonl"


@dataclass(frozen=True)
class Line:
    """One mark, as the file has it; its PBX is a keyed digest."""

    id: str
    kind: str
    happened_at: datetime
    serial_digest: bytes
    key_version: int


class MarkFile:
    """The file of one node, below its data directory."""

    def __init__(self, data_dir: Path) -> None:
        """Use the file there, which is made with its first line."""
        self.path = data_dir / FOLDER / NAME

    def add(self, lines: Iterable[Line]) -> None:
        """Add lines, and return once they are on the disk; raise ``OSError``."""
        text = "".join(json.dumps(_spelled(each)) + "\n" for each in lines)
        if not text:
            return
        folder = self.path.parent
        is_new = not self.path.exists()
        folder.mkdir(mode=0o700, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            begin = "" if _ends_with_a_line(file) else "\n"
            _write(file, (begin + text).encode())
            os.fsync(file)
        finally:
            os.close(file)
        if is_new:
            _flush_folder(folder)
            _flush_folder(folder.parent)

    def lines(self) -> list[Line]:
        """Return what is there, each mark once, in the order in which they happened.

        A line that cannot be read is passed over, and its number is logged.
        """
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return []
        found = {each.id: each for each in _read(text)}
        # What happened at the same instant stays in the order of the file.
        return sorted(found.values(), key=lambda each: each.happened_at)


def _spelled(line: Line) -> Mapping[str, object]:
    return {
        "id": line.id,
        "kind": line.kind,
        "happened_at": line.happened_at.isoformat(),
        "serial_digest": line.serial_digest.hex(),
        "key_version": line.key_version,
    }


def _read(text: bytes) -> Iterator[Line]:
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            yield Line(
                id=str(said["id"]),
                kind=str(said["kind"]),
                happened_at=datetime.fromisoformat(said["happened_at"]),
                serial_digest=bytes.fromhex(said["serial_digest"]),
                key_version=int(said["key_version"]),
            )
        except (ValueError, KeyError, TypeError):
            log.error("line %d of the marks is not readable", number)  # noqa: TRY400 -- the fault's text may hold the line


def _ends_with_a_line(file: int) -> bool:
    size = os.fstat(file).st_size
    return size == 0 or os.pread(file, 1, size - 1) == b"\n"


def _write(file: int, text: bytes) -> None:
    while text:
        text = text[os.write(file, text) :]


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
