# SPDX-License-Identifier: Apache-2.0
"""How a PBX asks its vendor, whatever about, and when it believes the answer.

Nothing is believed that was not signed over the very question, by a key of the key
set. A question either brings something verified or raises ``Nothing``.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from fleet.pbx.answers import ascii_text, json_object, refusal
from fleet.pbx.credentials import Credentials
from fleet.pbx.documents import KeySet, Question, read_key_set
from fleet.pbx.errors import (
    KeyNotValid,
    KeySetExpired,
    UnknownKey,
    Unreachable,
)
from fleet.pbx.factory import Firmware, Identity
from fleet.pbx.lease import text
from fleet.pbx.transport import LARGEST_ANSWER, Answer, Request, Transport

NONCE_SIZE: Final = 32
JSON_OUT: Final = {"Accept": "application/json", "Content-Type": "application/json"}

Document = TypeVar("Document")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the PBX brings to a call: what it knows and what it shows."""

    generation: int
    certain: datetime
    dates_matter: bool
    key_set: KeySet | None = None
    credentials: Credentials | None = None
    continuation: str | None = None
    first_nonce: str | None = None


def new_nonce() -> str:
    """Draw a nonce."""
    return secrets.token_urlsafe(NONCE_SIZE)


class Channel:
    """The way from one PBX to its vendor."""

    def __init__(
        self, identity: Identity, firmware: Firmware, transport: Transport
    ) -> None:
        """Speak as ``identity`` with ``firmware`` over ``transport``."""
        self.identity = identity
        self.firmware = firmware
        self._transport = transport

    def question(self, held: Held, *, nonce: str | None = None) -> Question:
        """Draw a nonce for a question of its own, or ask again with that of before."""
        return Question(
            serial_number=self.identity.serial_number,
            nonce=nonce or new_nonce(),
            generation=held.generation,
            certain=held.certain,
            issuer=self.firmware.issuer,
        )

    def post(
        self,
        path: str,
        fields: Mapping[str, object],
        *,
        held: Held,
        shown: Credentials | None,
    ) -> Mapping[str, object]:
        """Send ``fields`` and return the answer, of which nothing is believed yet."""
        answer = self.send(
            Request(
                method="POST",
                path=path,
                headers=JSON_OUT,
                body=json.dumps(fields).encode(),
                credentials=shown,
                dates_matter=held.dates_matter,
            )
        )
        return json_object(answer.body)

    def key_set(self, *, held: Held) -> KeySet:
        """Ask for the key set, on an open route and without a certificate."""
        answer = self.send(
            Request(
                method="GET",
                path="/cic/v1/keyset",
                headers={"Accept": "application/jwt, application/json;q=0.5"},
                dates_matter=held.dates_matter,
            )
        )
        body = ascii_text(answer.body)
        token = (
            text(json_object(answer.body), "keyset") if body.startswith("{") else body
        )
        return self.read_key_set(token, held)

    def read_key_set(self, token: str, held: Held) -> KeySet:
        """Verify a key set, which must not be older than the one held."""
        at_least = held.key_set.version if held.key_set else 0
        return read_key_set(token, root_key=self.firmware.root_key, at_least=at_least)

    def believed(
        self, verify: Callable[[KeySet], Document], *, held: Held
    ) -> tuple[Document, KeySet]:
        """Return what ``verify`` finds genuine, and by which key set.

        Where it is signed by a key that is not held, or the set held has run out,
        the key set is asked for once.
        """
        key_set = held.key_set or self.key_set(held=held)
        try:
            return verify(key_set), key_set
        except (UnknownKey, KeyNotValid, KeySetExpired):
            key_set = self.key_set(held=held)
            return verify(key_set), key_set

    def send(self, request: Request) -> Answer:
        """Send ``request``; raises ``Refused`` for any answer but success."""
        answer = self._transport.send(request)
        if len(answer.body) > LARGEST_ANSWER:
            raise Unreachable("the answer is too large")
        if answer.status not in {200, 201}:
            raise refusal(answer)
        return answer
