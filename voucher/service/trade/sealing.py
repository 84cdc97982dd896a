# SPDX-License-Identifier: Apache-2.0
"""Files that only the right reader can open: the age format (age-encryption.org/v1).

To a recipient a file is encrypted as it is made, piece by piece. Under a
passphrase it is held in memory as a whole, and so is what scrypt needs to make
guessing slow, half a gigabyte: therefore one at a time.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import pyrage

from fleet.errors import Invalid

SHORTEST_PASSPHRASE = 12
LONGEST_PASSPHRASE = 200

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Seal:
    """For whom a file is: who has the key of ``recipient``, or the passphrase.

    At most one of them; with neither, it is for everybody.
    """

    recipient: str | None = None
    passphrase: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raise ``Invalid`` for what is no recipient, or too short to protect."""
        if self.recipient is not None and self.passphrase is not None:
            fault = ["Either a recipient or a passphrase."]
            raise Invalid(fields={"recipient": fault, "passphrase": fault})
        if self.recipient is not None:
            _recipient(self.recipient)
        if self.passphrase is not None and not (
            SHORTEST_PASSPHRASE <= len(self.passphrase) <= LONGEST_PASSPHRASE
        ):
            fault = [f"{SHORTEST_PASSPHRASE} to {LONGEST_PASSPHRASE} characters."]
            raise Invalid(fields={"passphrase": fault})

    @property
    def closed(self) -> bool:
        """Whether it takes anything to read the file."""
        return self.recipient is not None or self.passphrase is not None

    @property
    def reader(self) -> str:
        """Say who can read the file, for the audit log."""
        if self.recipient is not None:
            return self.recipient
        return "whoever knows the passphrase" if self.passphrase else "everybody"

    def write(self, pieces: Iterable[bytes], stream: BinaryIO) -> None:
        """Write ``pieces`` into ``stream``, sealed; raise what they raise."""
        if self.recipient is not None:
            _encrypt_to(self.recipient, pieces, stream)
        elif self.passphrase is not None:
            whole = b"".join(pieces)
            with _one_at_a_time:
                stream.write(pyrage.passphrase.encrypt(whole, self.passphrase))
        else:
            stream.writelines(pieces)


class _Source:
    """Pieces as a file to be read; keeps the fault that stopped them."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._rest = b""
        self.fault: BaseException | None = None

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        try:
            while not self._rest:
                self._rest = next(self._pieces)
        except StopIteration:
            return b""
        except BaseException as fault:
            self.fault = fault
            raise
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _encrypt_to(recipient: str, pieces: Iterable[bytes], stream: BinaryIO) -> None:
    source = _Source(pieces)
    try:
        pyrage.encrypt_io(source, stream, [_recipient(recipient)])
    except pyrage.EncryptError:
        if source.fault is not None:  # which the library only quotes
            raise source.fault from None
        raise OSError("the encrypted file could not be written") from None


def _recipient(text: str) -> pyrage.x25519.Recipient:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        fault = ["Not an age recipient such as age1..., as age-keygen prints it."]
        raise Invalid(fields={"recipient": fault}) from None
