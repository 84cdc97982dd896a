# SPDX-License-Identifier: Apache-2.0
"""How the bytes of an answer are read before anything in them is believed."""

import base64
import json
from collections.abc import Mapping
from typing import Final

from fleet.pbx.errors import Malformed, Refused
from fleet.pbx.lease import text
from fleet.pbx.transport import Answer

RELEASE_KEY_SIZE: Final = 32
LONGEST_CODE: Final = 64


def refusal(answer: Answer) -> Refused:
    """Return what an HTTP error says; none of it is signed."""
    code = None
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        code = _problem_code(answer.body)
    busy = answer.status in {429, 503}
    return Refused(
        answer.status,
        code=code,
        retry_after=_retry_after(answer) if busy else None,
    )


def _problem_code(body: bytes) -> str | None:
    """Return the last part of ``type``; as it is shown to people, only if harmless."""
    try:
        code = text(json_object(body), "type").rpartition("/")[2]
    except Malformed:
        return None
    harmless = (
        code.isascii() and code.replace("-", "").isalnum() and len(code) <= LONGEST_CODE
    )
    return code if harmless else None


def _retry_after(answer: Answer) -> int | None:
    """Return delay-seconds; the other form, a date, needs a clock and is left alone."""
    value = answer.headers.get("retry-after", "").strip()
    if not value.isascii() or not value.isdigit():
        return None
    return int(value[:9])  # nine digits are three decades: enough to be bounded later


def json_object(body: bytes) -> Mapping[str, object]:
    """Read a JSON object; raises ``Malformed``, as for a captive portal's page."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("the answer is not JSON") from error
    if not isinstance(document, dict):
        raise Malformed("the answer is not a JSON object")
    return document


def ascii_text(body: bytes) -> str:
    """Read a compact JWS, which is ASCII; raises ``Malformed``."""
    try:
        return body.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise Malformed("the answer is not a JWS in compact form") from error


def release_key(answer: Mapping[str, object]) -> str:
    """Return the release key as it came, after a look at its size.

    Raises ``Malformed``.
    """
    value = text(answer, "release_key")
    try:
        size = len(decoded_release_key(value))
    except ValueError as error:
        raise Malformed("release_key is not base64url") from error
    if size != RELEASE_KEY_SIZE:
        raise Malformed("release_key is not 32 bytes")
    return value


def decoded_release_key(value: str) -> bytes:
    """Read base64url without padding; raises ``ValueError``."""
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
