# SPDX-License-Identifier: Apache-2.0
"""A whole PBX: the rules, its memory, its clock and its way to the vendor.

Everything that a test or a load generator may want to replace (transport, memory,
clock, random draws) is handed in; nothing is reached for.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar

from fleet.pbx import life
from fleet.pbx.credentials import Credentials, new_private_key
from fleet.pbx.errors import Nothing, NotInitialised, Refused
from fleet.pbx.factory import Firmware, Identity
from fleet.pbx.lease import Lease
from fleet.pbx.machine import step
from fleet.pbx.memory import Memory
from fleet.pbx.record import Record, recall, write_record
from fleet.pbx.surroundings import Surroundings
from fleet.pbx.timekeeping import Doubt
from fleet.pbx.transport import Transport
from fleet.pbx.vendor import Held, Report, Vendor

PERSISTED_EVERY: Final = 3600.0
SHORTEST_SLEEP: Final = 1.0
NEW_KEY_REQUIRED: Final = "new-key-required"

Heard = TypeVar("Heard")


class ReferencePbx:
    """A PBX that keeps the protocol, its licence and its nerves."""

    def __init__(
        self,
        identity: Identity,
        firmware: Firmware,
        *,
        transport: Transport,
        memory: Memory,
        surroundings: Surroundings | None = None,
    ) -> None:
        """Put the parts together and recall what was remembered; no power yet."""
        self._firmware = firmware
        self._transport = transport
        self._memory = memory
        self._surroundings = surroundings or Surroundings()
        self._vendor = Vendor(identity, firmware, transport)
        self._record = recall(memory, built_at=firmware.built_at)
        self._key_set = self._record.trusted_key_set(firmware.root_key)
        self._calls: dict[type[life.Action], Callable[[], object]] = {
            life.Initialise: self._initialise,
            life.Check: self._check,
            life.Renew: self._renew,
            life.RefreshKeys: self._refresh_keys,
        }

    @property
    def state(self) -> life.State:
        """How the PBX stands and why."""
        return self._record.state

    @property
    def standing(self) -> life.Standing:
        """How the PBX stands."""
        return self._record.state.standing

    @property
    def functions_enabled(self) -> bool:
        """Whether the licensed functions work. Emergency calls always do."""
        return self._record.state.functions_enabled

    @property
    def record(self) -> Record:
        """All that is remembered, private keys included."""
        return self._record

    def boot(self) -> None:
        """Switch on."""
        self._step(life.Booted(self._firmware.built_at))

    def live_for(self, duration: timedelta) -> None:
        """Do what is due, as it falls due, for ``duration`` on the PBX's own clock.

        It wakes at least hourly, to write down how much time has passed.
        """
        clock = self._surroundings.clock
        ends_at = clock.uptime() + duration.total_seconds()
        while (uptime := clock.uptime()) < ends_at:
            self._step(life.Ticked())
            self._transport.close()
            due = max(self.state.wake_at, uptime + SHORTEST_SLEEP)
            clock.sleep(min(due, uptime + PERSISTED_EVERY, ends_at) - uptime)

    def initialise(self) -> Lease | Nothing:
        """Initialise or re-initialise now; what was heard is returned.

        After a failure the PBX goes on trying by itself while it lives.
        """
        self._step(life.InitialisationRequested())
        return self._conversation(self._initialise)

    def check(self) -> Lease | Nothing:
        """Check now, whatever the timetable says; what was heard is returned."""
        return self._conversation(self._check)

    def renew(self) -> Credentials | Nothing:
        """Renew the certificate now; failure means nothing for the licence."""
        return self._conversation(self._renew)

    def _conversation(self, call: Callable[[], Heard]) -> Heard:
        """Make ``call`` and all that follows from it over connections kept alive."""
        try:
            return call()
        finally:
            self._transport.close()

    def _step(self, event: life.Event, record: Record | None = None) -> None:
        """Store the new state, together with what was received, then act."""
        surroundings = self._surroundings
        moment = life.Moment(
            rtc=surroundings.clock.now(),
            uptime=surroundings.clock.uptime(),
            draw=surroundings.draw(),
            other_draw=surroundings.draw(),
        )
        state, actions = step(self.state, event, moment)
        self._keep(replace(record or self._record, state=state))
        for action in actions:
            self._perform(action)

    def _keep(self, record: Record) -> None:
        self._memory.write(write_record(record))
        self._record = record

    def _perform(self, action: life.Action) -> None:
        if isinstance(action, life.Announce):
            self._surroundings.tell(action)
        elif isinstance(action, life.SetClock):
            self._surroundings.clock.set(action.to)
        else:
            self._calls[type(action)]()

    def _initialise(self) -> Lease | Nothing:
        """Send again the key whose answer was lost, or else a new one.

        A server that will not certify the old key again says so, and gets a new one.
        """
        try:
            return self._initialise_with(self._record.initialising_key)
        except Nothing as nothing:
            wanted = isinstance(nothing, Refused) and nothing.code == NEW_KEY_REQUIRED
            if not wanted:
                return self._nothing(nothing)
        try:
            return self._initialise_with(None)
        except Nothing as nothing:
            return self._nothing(nothing)

    def _initialise_with(self, key: str | None) -> Lease:
        """Initialise with ``key`` or a new one, which is kept before it is sent."""
        key = key or new_private_key()
        self._keep(replace(self._record, initialising_key=key))
        answer = self._vendor.initialise(key, held=self._held())
        self._key_set = answer.key_set
        self._step(
            life.Answered(answer.lease, answer.credentials.lifetime),
            replace(
                self._record,
                credentials=answer.credentials,
                initialising_key=None,
                renewing_key=None,
                key_set=answer.key_set.token,
                continuation=None,  # a box that lost its disk has none either
                release_key=answer.release_key,
            ),
        )
        return answer.lease

    def _check(self) -> Lease | Nothing:
        if self._record.credentials is None:
            return self._nothing(NotInitialised("this PBX has no certificate yet"))
        report = Report(
            device_time=self._surroundings.clock.now(),
            failed_attempts=self.state.failed_attempts,
        )
        try:
            answer = self._vendor.check(report, held=self._held())
        except Nothing as nothing:
            return self._nothing(nothing)
        self._key_set = answer.key_set
        self._step(
            life.Answered(answer.lease),
            replace(
                self._record,
                key_set=answer.key_set.token,
                continuation=answer.continuation,
            ),
        )
        return answer.lease

    def _nothing(self, nothing: Nothing) -> Nothing:
        self._step(life.HeardNothing(nothing.reason, nothing.retry_after))
        return nothing

    def _renew(self) -> Credentials | Nothing:
        """Renew with a new key, kept beforehand so that a repeat sends the same."""
        if self._record.credentials is None:
            return NotInitialised("this PBX has no certificate yet")
        key = self._record.renewing_key or new_private_key()
        self._keep(replace(self._record, renewing_key=key))
        try:
            fresh = self._vendor.renew(key, held=self._held())
        except Nothing as nothing:
            self._tell(life.Notice.RENEWAL_FAILED, nothing.reason)
            return nothing
        record = replace(self._record, credentials=fresh, renewing_key=None)
        self._step(life.CertificateRenewed(fresh.lifetime), record)
        return fresh

    def _refresh_keys(self) -> None:
        """Look for keys that were added or withdrawn; failure can wait."""
        try:
            self._key_set = self._vendor.key_set(held=self._held())
        except Nothing as nothing:
            self._tell(life.Notice.KEYS_NOT_REFRESHED, nothing.reason)
            return
        self._keep(replace(self._record, key_set=self._key_set.token))
        self._tell(life.Notice.KEYS_REFRESHED)

    def _tell(self, notice: life.Notice, detail: str = "") -> None:
        self._surroundings.tell(life.Announce(notice, detail))

    def _held(self) -> Held:
        time = self.state.time.counted(self._surroundings.clock.uptime())
        return Held(
            generation=self.state.generation,
            certain=max(time.certain, self._firmware.built_at),
            dates_matter=time.doubt is not Doubt.BEHIND,
            key_set=self._key_set,
            credentials=self._record.credentials,
            continuation=self._record.continuation,
        )
