# SPDX-License-Identifier: Apache-2.0
"""A folder for the numbers of each running service, and none for those that ended.

Several services may share a data directory (a second one started by mistake, or
two containers, whose process ids mean nothing to each other). So each has a folder
of its own, and holds a lock on it: the kernel lets go of it when the last of its
processes ends, however that comes about.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_HELD = "in-use"
_GATE = "lock"


def claim_folder(root: Path) -> Path:
    """Make a folder under ``root`` for this process and those it forks.

    What earlier services left is removed. The claim also outlives ``exec``, but
    not in a ``subprocess``, which closes what it inherits. Raises ``OSError``.
    """
    root.mkdir(mode=0o700, exist_ok=True)
    with (root / _GATE).open("w") as gate:
        # Between making a folder and holding it, nobody else may look.
        fcntl.flock(gate, fcntl.LOCK_EX)
        for folder in root.iterdir():
            if folder.is_dir() and not _is_held(folder):
                shutil.rmtree(folder, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=root))
        _hold(folder)
    return folder


def _hold(folder: Path) -> None:
    descriptor = os.open(folder / _HELD, os.O_RDWR | os.O_CREAT, mode=0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.set_inheritable(descriptor, True)  # noqa: FBT003 -- as in os


def _is_held(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / _HELD, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
