# SPDX-License-Identifier: Apache-2.0
"""The four calls a PBX makes, and what it takes from their answers.

Each either returns something verified or raises ``Nothing``. An answer is taken whole
or not at all: a continuation token beside a lease that is not validly signed is
dropped with it.
"""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from fleet.pbx.answers import ascii_text, json_object, refusal, release_key
from fleet.pbx.credentials import (
    Credentials,
    accept_chain,
    accept_pkcs7,
    signing_request,
    subject_of,
)
from fleet.pbx.documents import KeySet, Question, read_key_set, verify_lease
from fleet.pbx.errors import (
    KeyNotValid,
    KeySetExpired,
    UnknownKey,
    Unreachable,
)
from fleet.pbx.factory import Firmware, Identity
from fleet.pbx.lease import Lease, text
from fleet.pbx.transport import LARGEST_ANSWER, Answer, Request, Transport

NONCE_SIZE: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the PBX brings to a call: what it knows and what it shows."""

    generation: int
    certain: datetime
    dates_matter: bool
    key_set: KeySet | None = None
    credentials: Credentials | None = None
    continuation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the PBX tells about itself at a check, for support and statistics."""

    device_time: datetime
    failed_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """The verified answer to an initialisation."""

    lease: Lease
    key_set: KeySet
    credentials: Credentials
    release_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The verified answer to a check."""

    lease: Lease
    key_set: KeySet
    continuation: str | None = field(repr=False)


class Vendor:
    """The vendor as one PBX meets it."""

    def __init__(
        self, identity: Identity, firmware: Firmware, transport: Transport
    ) -> None:
        """Speak as ``identity`` with ``firmware`` over ``transport``."""
        self._identity = identity
        self._firmware = firmware
        self._transport = transport

    def initialise(self, private_key: str, *, held: Held) -> Initialised:
        """Ask for certificate, key set and lease with the device secret."""
        serial_number = self._identity.serial_number
        request = signing_request(private_key, subject=subject_of(serial_number))
        question = self._question(held)
        secret = self._identity.device_secret
        fields = {
            "device_secret": secret,
            "csr": request.public_bytes(Encoding.PEM).decode(),
        }
        answer = self._post("/cic/v1/initialise", fields, held=held, question=question)
        key_set = self._read_key_set(text(answer, "keyset"), held)
        return Initialised(
            lease=verify_lease(
                text(answer, "lease"), key_set=key_set, question=question
            ),
            key_set=key_set,
            credentials=accept_chain(
                text(answer, "certificate_chain"),
                private_key=private_key,
                serial_number=serial_number,
            ),
            release_key=release_key(answer),
        )

    def check(self, report: Report, *, held: Held) -> Checked:
        """Ask for a lease with the certificate.

        Where the lease is signed by a key that is not held, or the set held has run
        out, the key set is asked for once.
        """
        question = self._question(held)
        fields: dict[str, object] = {
            "device_time": _rfc3339(report.device_time),
            "failed_attempts": report.failed_attempts,
        }
        if held.continuation is not None:
            fields["continuation"] = held.continuation
        answer = self._post("/cic/v1/check", fields, held=held, question=question)
        token = text(answer, "lease")
        key_set = held.key_set or self.key_set(held=held)
        try:
            lease = verify_lease(token, key_set=key_set, question=question)
        except (UnknownKey, KeyNotValid, KeySetExpired):
            key_set = self.key_set(held=held)
            lease = verify_lease(token, key_set=key_set, question=question)
        continuation = answer.get("continuation")
        if not isinstance(continuation, str):
            continuation = held.continuation
        return Checked(lease=lease, key_set=key_set, continuation=continuation)

    def key_set(self, *, held: Held) -> KeySet:
        """Ask for the key set, on an open route and without a certificate."""
        answer = self._send(
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
        return self._read_key_set(token, held)

    def renew(self, private_key: str, *, held: Held) -> Credentials:
        """Ask for a certificate over a new key with the old one (RFC 7030)."""
        old = held.credentials
        subject = old.subject if old else subject_of(self._identity.serial_number)
        request = signing_request(private_key, subject=subject)
        answer = self._send(
            Request(
                method="POST",
                path="/.well-known/est/simplereenroll",
                headers={
                    "Accept": "application/pkcs7-mime",
                    "Content-Type": "application/pkcs10",
                    "Content-Transfer-Encoding": "base64",
                },
                body=base64.b64encode(request.public_bytes(Encoding.DER)),
                credentials=old,
                dates_matter=held.dates_matter,
            )
        )
        return accept_pkcs7(
            answer.body,
            private_key=private_key,
            serial_number=self._identity.serial_number,
        )

    def _question(self, held: Held) -> Question:
        return Question(
            serial_number=self._identity.serial_number,
            nonce=secrets.token_urlsafe(NONCE_SIZE),
            generation=held.generation,
            certain=held.certain,
            issuer=self._firmware.issuer,
        )

    def _read_key_set(self, token: str, held: Held) -> KeySet:
        at_least = held.key_set.version if held.key_set else 0
        return read_key_set(token, root_key=self._firmware.root_key, at_least=at_least)

    def _post(
        self,
        path: str,
        fields: Mapping[str, object],
        *,
        held: Held,
        question: Question,
    ) -> Mapping[str, object]:
        document = {
            "serial_number": self._identity.serial_number,
            "nonce": question.nonce,
            "device_type": self._firmware.device_type,
            "software_version": self._firmware.software_version,
            **fields,
        }
        # On the open route no certificate is shown: an expired one would be in the way.
        shown = None if path.endswith("/initialise") else held.credentials
        answer = self._send(
            Request(
                method="POST",
                path=path,
                headers={
                    "Accept": "application/json",
                    "Content-Type": "application/json",
                },
                body=json.dumps(document).encode(),
                credentials=shown,
                dates_matter=held.dates_matter,
            )
        )
        return json_object(answer.body)

    def _send(self, request: Request) -> Answer:
        answer = self._transport.send(request)
        if len(answer.body) > LARGEST_ANSWER:
            raise Unreachable("the answer is too large")
        if answer.status not in {200, 201}:
            raise refusal(answer)
        return answer


def _rfc3339(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
