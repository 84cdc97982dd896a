# SPDX-License-Identifier: Apache-2.0
"""Whether the service can listen where it is told to, found out before it starts.

gunicorn would find out as well, but says it in a dozen lines, and over a Unix
socket that is in use it would simply take the place of the other service.
"""

import errno
import os
import socket
import time
from pathlib import Path

from fleet.settings import SettingsError

PATIENCE_SECONDS = 5.0
"""The workers of an arbiter that was killed notice it, and let go, by then."""

AGAIN_SECONDS = 0.25
CONNECT_SECONDS = 1.0

# Set by whoever hands over sockets that listen already: systemd, or gunicorn to
# its successor (SIGUSR2).
_HANDED_OVER = frozenset({"LISTEN_FDS", "GUNICORN_FD"})

_IN_USE = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def check_address(bind: str) -> None:
    """Return once ``bind`` is free to listen on.

    Raises ``SettingsError`` where it is not, or not within `PATIENCE_SECONDS`.
    """
    if _HANDED_OVER & os.environ.keys():
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (fault := _fault(bind)) is not None:
        if fault.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
            raise SettingsError(
                f"PBX_BIND (or --bind): {bind} cannot be listened on: "
                f"{fault.strerror or fault}"
            )
        time.sleep(AGAIN_SECONDS)


def _fault(bind: str) -> OSError | None:
    try:
        if bind.startswith("unix:"):
            _try_path(Path(bind.removeprefix("unix:")))
        else:
            host, _, port = bind.rpartition(":")
            _try_port(host, int(port))
    except OSError as fault:
        return fault
    return None


def _try_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as probe:
        # As gunicorn does: connections of yesterday do not hold a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host.strip("[]"), port))


def _try_path(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        if not path.exists():
            probe.bind(str(path))
            path.unlink()
            return
        if not path.is_socket():
            raise FileExistsError(errno.EEXIST, "the file there is no socket")
        probe.settimeout(CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # left behind; gunicorn replaces it
    raise _IN_USE
