# SPDX-License-Identifier: Apache-2.0
"""What the reactor needs to know of a request head, and no more. Pure.

`outline` is a hint for scheduling only. gunicorn's parser reads the same bytes
again in a thread, and alone decides what is a request and where it ends: the two
can never disagree about where the next request begins. `names_host` is the one
rule that is added to the parser's.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.server.options import MAX_SMALL_BODY

# Fields that say how a message ends (RFC 9112 section 6) or what comes after it.
_FRAMING = re.compile(
    rb"\r\n(content-length|transfer-encoding|expect|connection)[ \t]*:"
    rb"[ \t]*([^\r\n]*)"
)
_DIGITS = len(str(MAX_SMALL_BODY))
_LENGTH = b"content-length"
# uri-host [ ":" port ] (RFC 9110 section 7.2); it may be empty.
_HOST = re.compile(
    r"(?:[\w.~!$&'()*+,;=%-]*|\[[0-9A-Fa-fVv:.]+\])(?::[0-9]*)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Outline:
    """A request as far as it matters for queueing it.

    ``end`` is where it ends in the bytes received, None where that is not to be
    waited for: the body is large, chunked, or comes only after ``100 Continue``, or
    its length is said wrongly or repeatedly, which the parser refuses at once.
    ``lasting`` is whether the connection would be kept by it.
    """

    target: bytes
    head_only: bool
    end: int | None
    lasting: bool


def outline(data: bytes, *, head_end: int) -> Outline:
    """Outline the request whose head ends (with its empty line) at ``head_end``."""
    line_end = data.find(b"\r\n")
    method, _, rest = data[:line_end].partition(b" ")
    target, _, version = rest.partition(b" ")
    end: int | None = head_end
    lasting = version == b"HTTP/1.1"
    fields = _FRAMING.findall(data[line_end:head_end].lower())
    once = sum(name == _LENGTH for name, _ in fields) == 1
    for name, value in fields:
        if name == b"connection":
            lasting = lasting and b"close" not in value
        elif name == _LENGTH and once and value.isdigit():
            small = len(value) <= _DIGITS and int(value) <= MAX_SMALL_BODY
            end = head_end + int(value) if small and end is not None else None
        else:
            end = None
    return Outline(target, method == b"HEAD", end, lasting)


def names_host(fields: Iterable[tuple[str, str]], *, version: tuple[int, int]) -> bool:
    """Say whether a parsed head names the host as it must (RFC 9112 section 3.2).

    That is once and well-formed; before HTTP/1.1 it may be missing.
    """
    hosts = [value for name, value in fields if name == "HOST"]
    if not hosts:
        return version < (1, 1)
    return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None


def is_hopeless(data: bytes) -> bool:
    """Say whether bytes without an end of head can never become one.

    Lines end with CRLF (RFC 9112 section 2.2); with a bare LF the head would
    never end the way it is read here, and the client would wait for nothing.
    """
    return data.count(b"\n") != data.count(b"\r\n")
