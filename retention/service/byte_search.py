# SPDX-License-Identifier: Apache-2.0
"""Looks for addresses in every byte that is stored, as whoever steals a disk would.

In each form in which one could have got there: as text in every usual spelling, packed,
and both of these in hexadecimal and base64, also where a longer text was encoded. What
is told is the file and the form, never the address. The four bytes of a packed IPv4
address can turn up by chance, once in some gigabytes; any other form hardly can.
"""

import base64
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

CHUNK = 4 << 20
"""Bytes that are read at a time; what lies across two chunks is found as well."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Trace:
    """A file that holds an address, and in what form."""

    file: Path
    form: str


@dataclass(frozen=True)
class Found:
    """What a search has found, and what it could not read."""

    traces: Sequence[Trace]
    unread: Sequence[Path]
    files: int
    bytes: int


@dataclass(frozen=True)
class _Form:
    """Bytes to look for, and what to call them.

    ``exactly`` is what must stand there with what is around it, where that is more.
    """

    name: str
    core: bytes
    any_case: bool = False
    exactly: re.Pattern[bytes] | None = None

    def is_in(self, data: bytes, lowered: bytes) -> bool:
        if self.core not in (lowered if self.any_case else data):
            return False
        return self.exactly is None or self.exactly.search(data) is not None


def search(
    addresses: Iterable[Address],
    places: Iterable[Path],
    progress: Callable[[int], object] | None = None,
) -> Found:
    """Look for ``addresses`` in all files at ``places`` and below.

    No link is followed. ``progress`` is told how many more bytes have been read.
    """
    wanted = _forms(addresses)
    traces: list[Trace] = []
    unread: list[Path] = []
    files = size = 0
    for path in files_below(places):
        try:
            forms, length = _search_file(path, wanted, progress)
        except OSError:
            if path.exists():  # a database removes files of its own meanwhile
                unread.append(path)
            continue
        traces += [Trace(path, form) for form in forms]
        files, size = files + 1, size + length
    return Found(traces, unread, files, size)


def files_below(places: Iterable[Path]) -> Iterator[Path]:
    """Yield each regular file at ``places`` and below, once."""
    seen: set[tuple[int, int]] = set()
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            try:
                facts = path.lstat()
            except OSError:
                continue
            key = facts.st_dev, facts.st_ino
            if stat.S_ISREG(facts.st_mode) and key not in seen:
                seen.add(key)
                yield path


def size_of(places: Iterable[Path]) -> int:
    """Return about how many bytes a search will read."""
    total = 0
    for path in files_below(places):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


def read_address(text: str) -> Address:
    """Read an address as a person writes it; raise ``ValueError``."""
    return ip_address(text.strip().strip("[]").partition("%")[0])


def _search_file(
    path: Path,
    wanted: Sequence[_Form],
    progress: Callable[[int], object] | None,
) -> tuple[list[str], int]:
    # One byte on either side may be asked for as well.
    across = max((len(each.core) for each in wanted), default=0) + 2
    found: dict[str, None] = {}
    before, length = b"", 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            data = before + chunk
            lowered = data.lower()
            found |= {each.name: None for each in wanted if each.is_in(data, lowered)}
            before, length = data[-across:], length + len(chunk)
            if progress is not None:
                progress(len(chunk))
    return [*found], length


def _forms(addresses: Iterable[Address]) -> list[_Form]:
    found: list[_Form] = []
    for address in addresses:
        for text in dict.fromkeys(_spellings(address)):
            raw = text.encode()
            found += [_Form("text", raw, any_case=True), _hex("text in hex", raw)]
            found += _base64("text in base64", raw)
        found += [_Form("packed", address.packed), _hex("hex", address.packed)]
        found += _base64("base64", address.packed)
    return found


def _spellings(address: Address) -> Iterator[str]:
    """Yield an address as lower-case text: short and long, and what it stands for."""
    yield str(address)
    if isinstance(address, IPv6Address):
        yield address.exploded
        yield ":".join(f"{int(group, 16):x}" for group in address.exploded.split(":"))
        if address.ipv4_mapped is not None:
            yield str(address.ipv4_mapped)


def _hex(name: str, raw: bytes) -> _Form:
    return _Form(name, raw.hex().encode(), any_case=True)


def _base64(name: str, raw: bytes) -> Iterator[_Form]:
    """Yield the three ways in which ``raw`` can stand in a text that was encoded.

    Three bytes make four symbols. The symbols at its ends are shared with whatever
    stands beside it, and any that fit will do; both alphabets are tried.
    """
    for shift in range(3):
        begin, end = 8 * shift, 8 * (shift + len(raw))  # in bits
        coded = [_encoded(bytes([beside]), shift, raw) for beside in range(256)]
        core = coded[0][-(-begin // 6) : end // 6]
        first = _one_of(each[begin // 6] for each in coded) if begin % 6 else b""
        last = _one_of(each[end // 6] for each in coded) if end % 6 else b""
        for spelt in sorted({core, core.translate(_OTHER)}):
            exactly = re.compile(first + re.escape(spelt) + last)
            yield _Form(name, spelt, exactly=exactly)


_OTHER = bytes.maketrans(b"+/", b"-_")


def _encoded(beside: bytes, before: int, raw: bytes) -> bytes:
    return base64.b64encode(beside * before + raw + beside * 3)


def _one_of(symbols: Iterable[int]) -> bytes:
    """Return a class of symbols, and of those that the other alphabet has for them."""
    given = bytes(symbols)
    return b"[" + re.escape(bytes(sorted({*given, *given.translate(_OTHER)}))) + b"]"
