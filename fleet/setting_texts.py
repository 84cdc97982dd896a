# SPDX-License-Identifier: Apache-2.0
"""How the text of a setting is read: a value, or a sentence on what is wrong with it.

Each reader raises ``ValueError`` with the end of a sentence that begins with the
setting's name.
"""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


def text(value: str) -> str:
    """Take the text as it is."""
    return value


def folder(value: str) -> Path:
    """Read a path; raise ``ValueError`` for none at all."""
    if not value:
        raise ValueError("is empty; name a folder, for example /var/lib/callhome")
    return Path(value)


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers between these two."""

    def read(value: str) -> int:
        if not value.isascii() or not value.isdigit():
            raise ValueError("is not a whole number")
        number = int(value)
        if not least <= number <= most:
            raise ValueError(f"must lie between {least} and {most}")
        return number

    return read


def switch(value: str) -> bool:
    """Read ``on`` or ``off``; raise ``ValueError`` for any other word."""
    try:
        return {"on": True, "off": False}[value.lower()]
    except KeyError:
        raise ValueError("is neither on nor off") from None


def url(value: str) -> str:
    """Read a web address without query; raise ``ValueError`` for any other text."""
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("is no URL; for example https://callhome.example.com")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return value.rstrip("/")


def https_url(value: str) -> str:
    """Read a web address that is HTTPS, but for this machine."""
    address = url(value)
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in {"localhost", "127.0.0.1"}:
        raise ValueError("is HTTPS only; for example https://callhome.example.com")
    return address


def database_url(value: str) -> str:
    """Read where the database is; its text is never repeated."""
    if value and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError(
            "must begin with postgresql+psycopg:// or sqlite:/// (the value is not "
            "shown, since it may hold a password)"
        )
    try:
        make_url(value or "sqlite:///x")
    except (ArgumentError, ValueError):
        raise ValueError(
            "is no database URL (it is not shown, since it may hold a password); "
            "special characters in a password are written as %40 and the like"
        ) from None
    return value


def one_of(*words: str) -> Callable[[str], str]:
    """Return a reader of one of ``words``, in small letters."""

    def read(value: str) -> str:
        if value.lower() not in words:
            raise ValueError(f"is none of {', '.join(words)}")
        return value.lower()

    return read
