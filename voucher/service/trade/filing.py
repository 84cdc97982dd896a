# SPDX-License-Identifier: Apache-2.0
"""A file that holds what cannot be made again: never half there, never replaced.

It is written beside its place under a name of its own (``.unfinished``), readable
by its owner only, and flushed to disk before the transaction that makes its
content good is committed. Only after that it gets its name. Whatever happens in
between, either the content is void or the file is there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

SECRET = 0o600
UNFINISHED = ".unfinished"


class NewFile:
    """A file at work; ``keep`` it before its content becomes good."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        """Write into ``stream``, which is at ``path`` for now."""
        self.stream = stream
        self.path = path
        self.kept = False

    def keep(self) -> None:
        """Flush it to disk; from here on it is not deleted, whatever happens."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        _flush_folder(self.path.parent)
        self.kept = True


@contextmanager
def new_file(path: Path) -> Iterator[NewFile]:
    """Make the file ``path``; raise ``OSError`` where there is one already.

    Where it was not kept before an exception, nothing is left behind.
    """
    beside = path.with_name(path.name + UNFINISHED)
    if path.exists():
        raise FileExistsError(f"{path} is there already, and is not replaced")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET)
    except FileExistsError:
        raise FileExistsError(
            f"{beside} is there, of an export that was broken off: if callhome "
            "voucher batch show says that its vouchers are exported, it holds their "
            "codes; if not, delete it"
        ) from None
    file = None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            file = NewFile(stream, beside)
            yield file
        _name(beside, path)
    except BaseException:
        if file is None or not file.kept:
            beside.unlink(missing_ok=True)
        raise


def _name(beside: Path, path: Path) -> None:
    """Give a file its name, which nobody else may have taken meanwhile."""
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        raise FileExistsError(
            f"{path} has come to be there meanwhile; what was written is in {beside}"
        ) from None
    except OSError:  # a disk without links, such as a memory stick's
        beside.rename(path)
    else:
        beside.unlink()
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
