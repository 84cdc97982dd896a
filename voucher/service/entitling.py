# SPDX-License-Identifier: Apache-2.0
"""Says under a signature what a PBX may use."""

import secrets
from dataclasses import dataclass
from datetime import datetime

from fleet.database import reading
from fleet.ground import ground
from voucher.entitlements import PURPOSE, TYPE, claims
from voucher.functions import Function, functions_of
from voucher.service import ledger
from voucher.service.ledger import Holding


@dataclass(frozen=True)
class Entitled:
    """What a PBX may use, by all its releases up to ``last_sequence``."""

    functions: list[Function]
    last_sequence: int


def entitled_now(device_id: int, now: datetime) -> Entitled:
    """Return what a PBX may use at ``now``: the fold over its ledger."""
    with reading() as session:
        return entitled(ledger.holdings_of(session, [device_id])[device_id], now)


def entitled(holding: Holding, now: datetime) -> Entitled:
    """Return what may be used at ``now`` of what a PBX has."""
    return Entitled(functions_of(holding.terms, now), holding.last_sequence)


def functions_now(device_id: int, now: datetime) -> list[Function]:
    """Return the functions of a PBX at ``now``."""
    return entitled_now(device_id, now).functions


def check_can_sign(now: datetime) -> None:
    """Raise ``CannotSign``, so that what cannot be signed is not begun."""
    ground().signing.signer(PURPOSE, now)


def signed(has: Entitled, serial_number: str, nonce: str, now: datetime) -> str:
    """Sign what a PBX has; raise ``CannotSign`` rather than answer without."""
    signer = ground().signing.signer(PURPOSE, now)
    said = claims(
        has.functions,
        serial_number=serial_number,
        nonce=nonce,
        last_sequence=has.last_sequence,
        now=now,
    )
    issued = {"iss": ground().settings.public_url, "jti": secrets.token_urlsafe(16)}
    return signer.sign(TYPE, issued | said)
