# SPDX-License-Identifier: Apache-2.0
"""What a PBX remembers, and how that is written down.

All of it is one JSON text that is written at once, so that a power cut can never leave
a key without its certificate, or a certificate without the lease that came with it.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fleet.pbx.credentials import Credentials
from fleet.pbx.documents import KeySet, read_key_set
from fleet.pbx.errors import Nothing
from fleet.pbx.functions import (
    Entered,
    Entitlements,
    Function,
    Holding,
    Stacking,
)
from fleet.pbx.lease import Lease, Verdict
from fleet.pbx.life import Lifetime, Standing, State
from fleet.pbx.memory import Memory
from fleet.pbx.timekeeping import Doubt, Reckoning


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The state and all that was received or made.

    ``initialising_key`` and ``renewing_key`` are private keys that were sent out for
    certification and not yet answered: a repeat must send the same key again.
    ``first_nonce`` is that of the first check, until it is answered: a repeat must ask
    the same question. ``vouchers`` are the codes of those that wait for redemption.
    """

    state: State
    credentials: Credentials | None = None
    initialising_key: str | None = field(default=None, repr=False)
    renewing_key: str | None = field(default=None, repr=False)
    key_set: str | None = None
    continuation: str | None = field(default=None, repr=False)
    first_nonce: str | None = field(default=None, repr=False)
    release_key: str | None = field(default=None, repr=False)
    vouchers: tuple[str, ...] = field(default=(), repr=False)

    def trusted_key_set(self, root_key: Ed25519PublicKey) -> KeySet | None:
        """Verify the key set again, for new firmware may have a new root."""
        if self.key_set is not None:
            with suppress(Nothing):
                return read_key_set(self.key_set, root_key=root_key)
        return None


def recall(memory: Memory, *, built_at: datetime) -> Record:
    """Read the record from ``memory``, or begin as from the factory."""
    content = memory.read()
    if content is not None:
        with suppress(ValueError):
            return read_record(content)
    return Record(state=State(time=Reckoning.from_factory(built_at)))


def write_record(record: Record) -> bytes:
    """Write ``record`` down."""
    return json.dumps(asdict(record), default=_plain, sort_keys=True).encode()


def read_record(content: bytes) -> Record:
    """Read what ``write_record`` wrote.

    Raises ``ValueError`` where it is something else, such as the record of a firmware
    that remembered other things: a PBX then begins as from the factory. What firmware
    before the Voucher Center wrote is read: it has no functions yet, and asks.
    """
    try:
        document: dict[str, Any] = json.loads(content)
        credentials = document["credentials"]
        return Record(
            **{
                **document,
                "state": _state(document["state"]),
                "credentials": Credentials(**credentials) if credentials else None,
                "vouchers": tuple(document.get("vouchers", ())),
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("this is not the record of a PBX") from error


def _plain(value: object) -> str | float:
    match value:
        case date():  # and every datetime
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case StrEnum():
            return value.value
    raise TypeError(type(value))


def _state(stored: Mapping[str, Any]) -> State:
    restored = {
        **stored,
        "standing": Standing(stored["standing"]),
        "time": Reckoning(
            **_with(stored["time"], datetime.fromisoformat, "signed_at", "mark")
            | {"doubt": Doubt(stored["time"]["doubt"])}
        ),
        "lease": _lease(stored["lease"]) if stored["lease"] else None,
        "certificate": _lifetime(stored["certificate"]),
        "holding": _holding(stored.get("holding", {})),
    }
    if stored["keys_asked_at"]:
        restored = _with(restored, datetime.fromisoformat, "keys_asked_at")
    return State(**restored)


def _lease(stored: Mapping[str, Any]) -> Lease:
    instants = _with(stored, datetime.fromisoformat, "server_time", "locks_at")
    return Lease(
        **instants
        | {
            "verdict": Verdict(stored["verdict"]),
            "warn_at": tuple(map(datetime.fromisoformat, stored["warn_at"])),
        }
    )


def _lifetime(stored: Mapping[str, Any] | None) -> Lifetime | None:
    if stored is None:
        return None
    return Lifetime(**_with(stored, datetime.fromisoformat, "not_before", "not_after"))


def _holding(stored: Mapping[str, Any]) -> Holding:
    entitlements = stored.get("entitlements")
    return Holding(
        entitlements=_entitlements(entitlements) if entitlements else None,
        entered=tuple(map(_entered, stored.get("entered", ()))),
        used=tuple(stored.get("used", ())),
    )


def _entitlements(stored: Mapping[str, Any]) -> Entitlements:
    instants = _with(stored, datetime.fromisoformat, "issued_at", "ask_again_by")
    functions = tuple(
        Function(**{**each, "expires_on": _day(each["expires_on"])})
        for each in stored["functions"]
    )
    return Entitlements(**instants | {"functions": functions})


def _entered(stored: Mapping[str, Any]) -> Entered:
    stacking = Stacking(stored["stacking"])
    last_day = _day(stored["last_day"])
    return Entered(**{**stored, "stacking": stacking, "last_day": last_day})


def _day(stored: str | None) -> date | None:
    return None if stored is None else date.fromisoformat(stored)


def _with(
    stored: Mapping[str, Any], read: Callable[[str], datetime], *names: str
) -> dict[str, Any]:
    """Return ``stored`` with the fields ``names`` read back from text."""
    return {**stored, **{name: read(stored[name]) for name in names}}
