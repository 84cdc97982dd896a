# SPDX-License-Identifier: Apache-2.0
"""What a PBX does about its licence, and what becomes of the answer."""

from dataclasses import replace
from typing import Final

from fleet.pbx import life
from fleet.pbx.box import Box
from fleet.pbx.channel import new_nonce
from fleet.pbx.credentials import Credentials, new_private_key
from fleet.pbx.errors import Nothing, NotInitialised, Refused
from fleet.pbx.lease import Lease
from fleet.pbx.vendor import Report, Vendor

NEW_KEY_REQUIRED: Final = "new-key-required"


class LicenceCalls:
    """Initialisation, check and renewal of one PBX; each returns what was heard."""

    def __init__(self, box: Box, vendor: Vendor) -> None:
        """Ask ``vendor`` on behalf of ``box``."""
        self._box = box
        self._vendor = vendor

    def initialise(self) -> Lease | Nothing:
        """Send again the key whose answer was lost, or else a new one.

        A server that will not certify the old key again says so, and gets a new one.
        """
        try:
            return self._initialise_with(self._box.record.initialising_key)
        except Nothing as nothing:
            wanted = isinstance(nothing, Refused) and nothing.code == NEW_KEY_REQUIRED
            if not wanted:
                return self._nothing(nothing)
        try:
            return self._initialise_with(None)
        except Nothing as nothing:
            return self._nothing(nothing)

    def check(self) -> Lease | Nothing:
        """Ask for a lease."""
        box = self._box
        if box.record.credentials is None:
            return self._nothing(NotInitialised("this PBX has no certificate yet"))
        report = Report(
            device_time=box.clock.now(),
            failed_attempts=box.state.failed_attempts,
        )
        try:
            answer = self._vendor.check(report, held=box.held())
        except Nothing as nothing:
            return self._nothing(nothing)
        box.step(
            life.Answered(answer.lease),
            replace(box.record, continuation=answer.continuation, first_nonce=None),
            key_set=answer.key_set,
        )
        return answer.lease

    def renew(self) -> Credentials | Nothing:
        """Renew with a new key, kept beforehand so that a repeat sends the same."""
        box = self._box
        if box.record.credentials is None:
            return NotInitialised("this PBX has no certificate yet")
        key = box.record.renewing_key or new_private_key()
        box.keep(replace(box.record, renewing_key=key))
        try:
            fresh = self._vendor.renew(key, held=box.held())
        except Nothing as nothing:
            box.tell(life.Notice.RENEWAL_FAILED, nothing.reason)
            return nothing
        record = replace(box.record, credentials=fresh, renewing_key=None)
        box.step(life.CertificateRenewed(fresh.lifetime), record)
        return fresh

    def refresh_keys(self) -> None:
        """Look for keys that were added or withdrawn; failure can wait."""
        box = self._box
        try:
            key_set = self._vendor.key_set(held=box.held())
        except Nothing as nothing:
            box.tell(life.Notice.KEYS_NOT_REFRESHED, nothing.reason)
            return
        box.keep(box.record, key_set=key_set)
        box.tell(life.Notice.KEYS_REFRESHED)

    def _initialise_with(self, key: str | None) -> Lease:
        """Initialise with ``key`` or a new one, which is kept before it is sent."""
        box = self._box
        key = key or new_private_key()
        box.keep(replace(box.record, initialising_key=key))
        answer = self._vendor.initialise(key, held=box.held())
        box.step(
            life.Answered(answer.lease, answer.credentials.lifetime),
            replace(
                box.record,
                credentials=answer.credentials,
                initialising_key=None,
                renewing_key=None,
                continuation=None,  # a box that lost its disk has none either
                first_nonce=new_nonce(),
                release_key=answer.release_key,
            ),
            key_set=answer.key_set,
        )
        return answer.lease

    def _nothing(self, nothing: Nothing) -> Nothing:
        self._box.step(life.HeardNothing(nothing.reason, nothing.retry_after))
        return nothing
