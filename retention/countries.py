# SPDX-License-Identifier: Apache-2.0
"""Which country an address is in, by a local database file, if one is configured.

``PBX_COUNTRY_DATABASE`` names a file in MaxMind's format (GeoLite2 Country, DB-IP
Lite, IPinfo and others). Nothing is asked over the network. Statistics are worth
less than the deletion that waits for them, so that a missing or broken file is a
warning, and all its addresses are in ``ZZ``.
"""

import logging
import re
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import cast

import maxminddb
from flask import Flask, current_app
from maxminddb.reader import Reader

from retention.addresses import unwrapped

log = logging.getLogger(__name__)

NOWHERE = "ZZ"  # ISO 3166 leaves it to users: here, unknown
LOOK_AGAIN_SECONDS = 1.0

_CODE = re.compile(r"[A-Z]{2}")
_Stamp = tuple[int, int, int]


class Countries:
    """Looks addresses up in one file, and in its successor once it is replaced.

    For any number of threads. A private copy is what is read: whoever copies a new
    file over the old one must not pull a mapped page away from under a reader, which
    ends the process.
    """

    def __init__(self, path: str | Path) -> None:
        """Look in the file at ``path``, opened when it is first asked; "" is none."""
        self._path = Path(path) if str(path) not in {"", "."} else None
        self._guard = threading.Lock()
        self._reader: Reader | None = None
        self._stamp: _Stamp | None = None
        self._look_again_at = 0.0
        self._fault = ""

    @property
    def configured(self) -> bool:
        """Whether countries are looked up at all."""
        return self._path is not None

    def of(self, address: str) -> str:
        """Return the country of ``address``: two letters, or ``ZZ`` if unknown.

        "" where no database is configured. Never fails: what is no address, or not
        in the database, is in no country.
        """
        if self._path is None:
            return ""
        whole = unwrapped(address)
        reader = self._current(self._path)
        if whole is None or reader is None:
            return NOWHERE
        try:
            found = _code(reader.get(whole))
        except ValueError:  # an IPv6 address, and a database that knows none
            return NOWHERE
        except maxminddb.InvalidDatabaseError:
            self._warn("is damaged")
            return NOWHERE
        return found

    def warnings(self) -> list[str]:
        """Say what is wrong with the file, if anything is."""
        if self._path is None:
            return []
        self._current(self._path)
        return [self._fault] if self._fault else []

    def _current(self, path: Path) -> Reader | None:
        """Return a reader of what is in the file now, give or take a second."""
        if monotonic() < self._look_again_at:
            return self._reader
        with self._guard:
            self._look_again_at = monotonic() + LOOK_AGAIN_SECONDS
            stamp = _stamp(path)
            before, self._stamp = self._stamp, stamp
            if stamp is None:
                self._warn("cannot be read")
            elif stamp != before:
                self._open(path)
            # Where that failed, what was read before is better than nothing.
            return self._reader

    def _open(self, path: Path) -> None:
        try:
            self._reader = _private_copy(path)
        except OSError:
            self._warn("cannot be read")
        except (maxminddb.InvalidDatabaseError, ValueError):
            self._warn("is no database of countries, or not yet whole")
        else:
            self._fault = ""

    def _warn(self, what: str) -> None:
        fault = f"The country database (PBX_COUNTRY_DATABASE) {what}."
        if fault != self._fault:
            log.warning("%s", fault)
        self._fault = fault


def register(app: Flask, path: str | Path) -> None:
    """Let ``app`` look countries up in the file at ``path``, or in none."""
    app.extensions["countries"] = Countries(path)


def countries() -> Countries:
    """Return where the application in context looks countries up."""
    return cast("Countries", current_app.extensions["countries"])


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _private_copy(path: Path) -> Reader:
    """Open a copy of ``path`` that is gone from the disk when nobody reads it."""
    with path.open("rb") as source, tempfile.NamedTemporaryFile() as copy:
        shutil.copyfileobj(source, copy)
        copy.flush()
        return maxminddb.open_database(copy.name)


def _code(entry: object) -> str:
    """Return the country of a database's entry, whoever made the database.

    MaxMind and DB-IP nest it; IPinfo and others have it in the entry itself.
    """
    found: object = None
    with suppress(AttributeError):  # an entry may be anything
        told = cast("dict[str, object]", entry)
        country = told.get("country")
        nested = country.get("iso_code") if isinstance(country, dict) else country
        found = told.get("country_code") or nested
    return found if isinstance(found, str) and _CODE.fullmatch(found) else NOWHERE
