# SPDX-License-Identifier: Apache-2.0
"""Staff who look for access records, by the service's own way."""

from collections.abc import Sequence
from datetime import datetime

from faults.retention.house import House
from faults.retention.rows import DAY, GREATEST_AGE


class Reader:
    """Staff who search for an address as often as they can."""

    def __init__(
        self, house: House, addresses: Sequence[str], staff: dict[str, str]
    ) -> None:
        """Search for one of ``addresses`` after the other."""
        self._house = house
        self._addresses = addresses
        self._staff = staff
        self.searches = 0
        self.seen_too_old: list[object] = []

    def work(self) -> None:
        """Search once."""
        address = self._addresses[self.searches % len(self._addresses)]
        now = self._house.clock.now()
        body = {
            "address": address,
            "from": _spelled(now - 60 * DAY),
            "to": _spelled(now + DAY),
            "reason": "a test",
        }
        reply = self._house.service.request(
            "POST",
            "/retention/v1/access-record-searches",
            json=body,
            headers=self._staff,
        )
        assert reply.status == 200, reply.body
        cutoff = _spelled(now - GREATEST_AGE)
        self.seen_too_old += [
            each for each in reply.json["items"] if each["accessed_at"] <= cutoff
        ]
        self.searches += 1


def _spelled(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"
