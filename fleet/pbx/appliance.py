# SPDX-License-Identifier: Apache-2.0
"""A whole PBX: the rules, its memory, its clock and its way to the vendor.

Everything that a test or a load generator may want to replace (transport, memory,
clock, random draws) is handed in; nothing is reached for.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from fleet.pbx import life
from fleet.pbx.box import Box
from fleet.pbx.channel import Channel
from fleet.pbx.credentials import Credentials
from fleet.pbx.errors import Nothing
from fleet.pbx.factory import Firmware, Identity
from fleet.pbx.function_calls import FunctionCalls
from fleet.pbx.functions import Entitlements, Function
from fleet.pbx.lease import Lease
from fleet.pbx.licence_calls import LicenceCalls
from fleet.pbx.memory import Memory
from fleet.pbx.record import Record
from fleet.pbx.release_codes import Release
from fleet.pbx.surroundings import Surroundings
from fleet.pbx.transport import Transport
from fleet.pbx.vendor import Vendor
from fleet.pbx.voucher_center import Released, VoucherCenter

PERSISTED_EVERY: Final = 3600.0
SHORTEST_SLEEP: Final = 1.0


class ReferencePbx:
    """A PBX that keeps the protocol, its licence, its functions and its nerves."""

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
        self._transport = transport
        self._box = Box(
            identity,
            firmware,
            transport=transport,
            memory=memory,
            surroundings=surroundings or Surroundings(),
        )
        channel = Channel(identity, firmware, transport)
        self._licence = LicenceCalls(self._box, Vendor(channel))
        self._functions = FunctionCalls(self._box, VoucherCenter(channel))
        self._box.calls = {
            life.Initialise: self._licence.initialise,
            life.Check: self._licence.check,
            life.Renew: self._licence.renew,
            life.RefreshKeys: self._licence.refresh_keys,
            life.Sync: self._functions.sync,
        }

    @property
    def state(self) -> life.State:
        """How the PBX stands and why."""
        return self._box.state

    @property
    def standing(self) -> life.Standing:
        """How the PBX stands."""
        return self.state.standing

    @property
    def functions_enabled(self) -> bool:
        """Whether the licensed functions work. Emergency calls always do."""
        return self.state.functions_enabled

    @property
    def functions(self) -> tuple[Function, ...]:
        """What there is to use now: none while the PBX is locked."""
        time = self.state.time.counted(self._box.clock.uptime())
        return replace(self.state, time=time).functions

    @property
    def record(self) -> Record:
        """All that is remembered, private keys included."""
        return self._box.record

    def boot(self) -> None:
        """Switch on."""
        self._box.step(life.Booted(self._box.firmware.built_at))

    def live_for(self, duration: timedelta) -> None:
        """Do what is due, as it falls due, for ``duration`` on the PBX's own clock.

        It wakes at least hourly, to write down how much time has passed.
        """
        clock = self._box.clock
        ends_at = clock.uptime() + duration.total_seconds()
        while (uptime := clock.uptime()) < ends_at:
            self._box.step(life.Ticked())
            self._transport.close()
            due = max(self.state.due_at, uptime + SHORTEST_SLEEP)
            clock.sleep(min(due, uptime + PERSISTED_EVERY, ends_at) - uptime)

    def initialise(self) -> Lease | Nothing:
        """Initialise or re-initialise now; what was heard is returned.

        After a failure the PBX goes on trying by itself while it lives.
        """
        self._box.step(life.InitialisationRequested())
        return self._box.conversation(self._licence.initialise)

    def check(self) -> Lease | Nothing:
        """Check now, whatever the timetable says; what was heard is returned."""
        return self._box.conversation(self._licence.check)

    def renew(self) -> Credentials | Nothing:
        """Renew the certificate now; failure means nothing for the licence."""
        return self._box.conversation(self._licence.renew)

    def sync(self) -> Entitlements | Nothing:
        """Ask for the functions now, as on "update activation licence"."""
        return self._box.conversation(self._functions.sync)

    def redeem(self, typed: str) -> Released | Nothing:
        """Redeem a voucher now; what was heard is returned.

        After a failure the PBX goes on trying by itself while it lives. Raises
        ``Mistyped``.
        """
        return self._box.conversation(lambda: self._functions.redeem(typed))

    def start_trial(self, product_number: int) -> Released | Nothing:
        """Try a product now; what was heard is returned."""
        return self._box.conversation(
            lambda: self._functions.start_trial(product_number)
        )

    def enter_code(self, typed: str) -> Release:
        """Take a release code that a person typed in; raises ``NotAccepted``."""
        return self._functions.enter_code(typed)
