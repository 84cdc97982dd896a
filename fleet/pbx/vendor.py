# SPDX-License-Identifier: Apache-2.0
"""The calls a PBX makes about its licence, and what it takes from their answers.

Each either returns something verified or raises ``Nothing``. An answer is taken whole
or not at all: a continuation token beside a lease that is not validly signed is
dropped with it.
"""

import base64
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.serialization import Encoding

from fleet.pbx.answers import release_key
from fleet.pbx.channel import Channel, Held
from fleet.pbx.credentials import (
    Credentials,
    accept_chain,
    accept_pkcs7,
    signing_request,
    subject_of,
)
from fleet.pbx.documents import KeySet, Question, verify_lease
from fleet.pbx.lease import Lease, text
from fleet.pbx.transport import Request


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
    """The vendor's licence check as one PBX meets it."""

    def __init__(self, channel: Channel) -> None:
        """Ask through ``channel``."""
        self._channel = channel
        self._identity = channel.identity

    def initialise(self, private_key: str, *, held: Held) -> Initialised:
        """Ask for certificate, key set and lease with the device secret.

        The route is open, and no certificate is shown: an expired one would be in
        the way.
        """
        serial_number = self._identity.serial_number
        request = signing_request(private_key, subject=subject_of(serial_number))
        question = self._channel.question(held)
        secret = self._identity.device_secret
        fields = self._fields(question) | {
            "device_secret": secret,
            "csr": request.public_bytes(Encoding.PEM).decode(),
        }
        answer = self._channel.post("/cic/v1/initialise", fields, held=held, shown=None)
        key_set = self._channel.read_key_set(text(answer, "keyset"), held)
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

        Until the first check is answered it is the same question every time: there
        is no token yet, and nothing but the nonce tells its repeat from a clone.
        """
        question = self._channel.question(held, nonce=held.first_nonce)
        fields = self._fields(question) | {
            "device_time": _rfc3339(report.device_time),
            "failed_attempts": report.failed_attempts,
        }
        if held.continuation is not None:
            fields["continuation"] = held.continuation
        answer = self._channel.post(
            "/cic/v1/check", fields, held=held, shown=held.credentials
        )
        token = text(answer, "lease")
        lease, key_set = self._channel.believed(
            lambda keys: verify_lease(token, key_set=keys, question=question),
            held=held,
        )
        continuation = answer.get("continuation")
        if not isinstance(continuation, str):
            continuation = held.continuation
        return Checked(lease=lease, key_set=key_set, continuation=continuation)

    def key_set(self, *, held: Held) -> KeySet:
        """Ask for the key set."""
        return self._channel.key_set(held=held)

    def renew(self, private_key: str, *, held: Held) -> Credentials:
        """Ask for a certificate over a new key with the old one (RFC 7030)."""
        old = held.credentials
        subject = old.subject if old else subject_of(self._identity.serial_number)
        request = signing_request(private_key, subject=subject)
        answer = self._channel.send(
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

    def _fields(self, question: Question) -> dict[str, object]:
        firmware = self._channel.firmware
        return {
            "serial_number": self._identity.serial_number,
            "nonce": question.nonce,
            "device_type": firmware.device_type,
            "software_version": firmware.software_version,
        }


def _rfc3339(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
