# SPDX-License-Identifier: Apache-2.0
"""What signed entitlements say, read strictly: a claim of the wrong shape is nothing.

Functions, units and sources that this firmware does not know come from a newer
server. They are kept all the same: newer firmware may know them.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from fleet.pbx.errors import Malformed
from fleet.pbx.functions import Entitlements, Function
from fleet.pbx.lease import SANE_YEARS, instant, numeric_date, text, whole_number

MOST_FUNCTIONS: Final = 10_000
DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def read_entitlements(claims: Mapping[str, object]) -> Entitlements:
    """Read the claims of entitlements whose signature was verified.

    Raises ``Malformed`` where a claim is missing or of the wrong shape.
    """
    listed = claims.get("functions")
    if not isinstance(listed, list) or len(listed) > MOST_FUNCTIONS:
        raise Malformed("functions is not a list")
    sequence = None
    if claims.get("last_sequence") is not None:
        sequence = whole_number(claims, "last_sequence")
    return Entitlements(
        issued_at=numeric_date(claims, "iat"),
        functions=tuple(map(_function, listed)),
        ask_again_by=instant(claims, "expires"),
        last_sequence=sequence,
    )


def _function(entry: object) -> Function:
    if not isinstance(entry, dict):
        raise Malformed("a function is not an object")
    return Function(
        function=text(entry, "function"),
        quantity=whole_number(entry, "quantity"),
        expires_on=_day(entry),
        source=text(entry, "source"),
    )


def _day(entry: Mapping[str, object]) -> date | None:
    if "expires_on" not in entry:
        raise Malformed("expires_on is missing")  # which is not the same as for ever
    value = entry["expires_on"]
    if value is None:
        return None
    if not isinstance(value, str) or not DAY.fullmatch(value):
        raise Malformed("expires_on is not a day")
    try:
        day = date.fromisoformat(value)
    except ValueError as error:
        raise Malformed("expires_on is not a day") from error
    if day.year not in SANE_YEARS:
        raise Malformed("expires_on lies outside the years that can be reckoned with")
    return day
