# SPDX-License-Identifier: Apache-2.0
"""What the signed entitlements say. Pure: no Flask, no database, no clock.

The document is the protocol's ``entitlements+jwt`` (section 3). Firmware that will
never be changed reads it, so a claim may be added and never taken away.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from fleet.clock import rfc3339
from voucher.functions import Function

PURPOSE = "entitlements"
TYPE = "entitlements+jwt"

SYNC_EVERY = timedelta(hours=24)

# Each next sync is drawn anew within this part of a day, against stampedes.
SPREAD = 0.05

# When to ask again at the latest. No function ends with it: a PBX that cannot
# reach us keeps what was signed, each function to its own last day.
LIFE = timedelta(days=7)


def next_sync_in(draw: float) -> int:
    """Return the seconds to the next sync; ``draw`` is uniform in [0, 1)."""
    return round(SYNC_EVERY.total_seconds() * (1 - SPREAD + 2 * SPREAD * draw))


def claims(
    functions: Iterable[Function],
    *,
    serial_number: str,
    nonce: str,
    last_sequence: int,
    now: datetime,
) -> dict[str, object]:
    """Return the claims beside ``iss`` and ``jti``.

    ``last_sequence`` is that of the newest release code of this PBX, 0 without
    any. All up to it are accounted for in ``functions``, so a PBX that keeps this
    document counts none of them again when a person types it in afterwards.
    """
    return {
        "sub": serial_number,
        "nonce": nonce,
        "iat": int(now.timestamp()),
        "functions": [
            {
                "function": each.function,
                "quantity": each.quantity,
                "expires_on": each.expires_on.isoformat() if each.expires_on else None,
                "source": each.source.value,
            }
            for each in functions
        ],
        "last_sequence": last_sequence,
        "expires": rfc3339(now + LIFE),
    }
