# SPDX-License-Identifier: Apache-2.0
"""Tables for people (CSV): a cell is shown by their program, and never computed."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def harmless(text: str) -> str:
    """Return a cell with an apostrophe before it where it would be a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
