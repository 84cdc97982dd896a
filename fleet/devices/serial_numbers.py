# SPDX-License-Identifier: Apache-2.0
"""How serial numbers and MAC addresses are read, and the one way they are written.

Pure: no Flask, no database. People type both in many ways, off a label, a
delivery note or a switch; everything behind this module knows one spelling
(protocol, section 1).
"""

import re

from fleet.errors import Invalid

# Longer than any spelling of either, so that a megabyte is not even looked at.
_LONGEST_TYPED = 128

_SERIAL = re.compile(r"[A-Z0-9]{6,32}")
_GROUPING = str.maketrans("", "", " -")

# Six pairs, three fours (switches), two sixes (other switches), or no groups.
_MAC_SPELLINGS = re.compile(
    r"[0-9a-f]{2}([:. -])[0-9a-f]{2}(?:\1[0-9a-f]{2}){4}"
    r"|[0-9a-f]{4}([:.-])[0-9a-f]{4}\2[0-9a-f]{4}"
    r"|[0-9a-f]{6}[:-][0-9a-f]{6}"
    r"|[0-9a-f]{12}"
)
_NO_DIGIT = re.compile(r"[^0-9a-f]")

SERIAL_FAULT = "Not a serial number: 6 to 32 letters A-Z and digits were expected."
MAC_FAULT = "Not a MAC address: twelve hexadecimal digits were expected."


def normalise_serial(text: str) -> str:
    """Return a serial number in capitals, without spaces and hyphens.

    Raises ``Invalid`` for anything that then is not ``[A-Z0-9]{6,32}``. Letters
    beyond ASCII are refused before capitals are made of them: some, like the
    dotless i, would turn into others.
    """
    if text.isascii() and len(text) <= _LONGEST_TYPED:
        serial = text.translate(_GROUPING).upper()
        if _SERIAL.fullmatch(serial):
            return serial
    raise Invalid(fields={"serial_number": [SERIAL_FAULT]})


def normalise_mac(text: str) -> str:
    """Return a MAC address as ``58:9e:c6:0d:8c:73``, from any usual spelling.

    Raises ``Invalid`` for anything else; groups of unequal length are more
    likely a slip of the pen than a spelling.
    """
    if text.isascii() and len(text) <= _LONGEST_TYPED:
        typed = text.strip(" ").lower()
        if _MAC_SPELLINGS.fullmatch(typed):
            digits = _NO_DIGIT.sub("", typed)
            return ":".join(digits[at : at + 2] for at in range(0, 12, 2))
    raise Invalid(fields={"mac_address": [MAC_FAULT]})
