# SPDX-License-Identifier: Apache-2.0
"""Reads a JSON body strictly: what two parsers could read differently is refused.

RFC 8259 leaves open what a repeated name, a lone surrogate or ``NaN`` means.
Here each of them is a fault of the request (RFC 7493, I-JSON), and so is a NUL,
which one of our databases cannot keep.
"""

import json
from typing import NoReturn, cast

from flask import request

from fleet.errors import Invalid, TooLarge, UnsupportedMedia

# All that a PBX or a staff tool sends as JSON is far smaller.
MOST_BYTES = 64 * 1024

JSON = "application/json"


def read_json_object() -> dict[str, object]:
    """Return the JSON object in the body of the request in context.

    An empty body is an empty object, so that a route whose fields are all
    optional needs none. Raises ``Invalid``, ``TooLarge`` or ``UnsupportedMedia``.
    """
    if (request.content_length or 0) > MOST_BYTES:
        raise TooLarge(f"The body is larger than {MOST_BYTES} bytes.")
    raw = request.stream.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise TooLarge(f"The body is larger than {MOST_BYTES} bytes.")
    if not raw:
        return {}
    # Most send it as it is written here, which needs no parsing.
    if request.environ.get("CONTENT_TYPE") != JSON and request.mimetype not in {
        JSON,
        "",
    }:
        raise UnsupportedMedia("Send the body as application/json.")
    return parse_json_object(raw)


def parse_json_object(raw: bytes) -> dict[str, object]:
    """Return the JSON object in ``raw``; raise ``Invalid`` for anything else."""
    try:
        value = _decode(raw.decode("utf-8"))
        # Only an escape can spell a lone surrogate or a NUL in valid UTF-8.
        if b"\\u" in raw:
            _check_text(value)
    except UnicodeDecodeError:
        raise Invalid("The body is not valid UTF-8.") from None
    except UnicodeEncodeError:
        raise Invalid("A text in the body holds half a character.") from None
    except RecursionError:
        raise Invalid("The body is nested too deeply.") from None
    except _Refused as fault:
        raise Invalid(str(fault)) from None
    except ValueError:
        raise Invalid("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise Invalid("The body must be a JSON object.")
    return cast("dict[str, object]", value)


class _Refused(ValueError):  # noqa: N818 -- a refusal is an answer, not a fault
    """Valid JSON by the letter, but not to be relied upon."""


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("A name occurs twice in the same JSON object.")
    return members


def _no_constant(_name: str) -> NoReturn:
    raise _Refused("NaN and Infinity are not JSON.")


# Made once: `json.loads` would make a decoder for each text.
_decode = json.JSONDecoder(
    object_pairs_hook=_without_repeats, parse_constant=_no_constant
).decode


def _check_text(value: object) -> None:
    if isinstance(value, str):
        value.encode("utf-8")
        if "\0" in value:
            raise _Refused("A text in the body holds a NUL character.")
    elif isinstance(value, dict):
        for name, member in value.items():
            _check_text(name)
            _check_text(member)
    elif isinstance(value, list):
        for member in value:
            _check_text(member)
