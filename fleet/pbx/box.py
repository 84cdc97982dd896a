# SPDX-License-Identifier: Apache-2.0
"""What is inside a PBX: its state, its memory, and how an event becomes actions."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar

from fleet.pbx import life
from fleet.pbx.channel import Held
from fleet.pbx.documents import KeySet
from fleet.pbx.factory import Firmware, Identity
from fleet.pbx.machine import step
from fleet.pbx.memory import Memory
from fleet.pbx.record import Record, recall, write_record
from fleet.pbx.surroundings import Surroundings
from fleet.pbx.timekeeping import Doubt
from fleet.pbx.transport import Transport

Heard = TypeVar("Heard")

# How long after its initialisation a PBX repeats its first question. An answer that was
# held back meanwhile is genuine, and could turn its time back by that much.
FIRST_NONCE_LASTS: Final = timedelta(days=2)


class Box:
    """One PBX without anybody to ask; ``calls`` says what asking means."""

    def __init__(
        self,
        identity: Identity,
        firmware: Firmware,
        *,
        transport: Transport,
        memory: Memory,
        surroundings: Surroundings,
    ) -> None:
        """Recall what was remembered; no power yet."""
        self.identity = identity
        self.firmware = firmware
        self.clock = surroundings.clock
        self.calls: Mapping[type[life.Action], Callable[[], object]] = {}
        self._transport = transport
        self._memory = memory
        self._surroundings = surroundings
        self.record = recall(memory, built_at=firmware.built_at)
        self._key_set = self.record.trusted_key_set(firmware.root_key)

    @property
    def state(self) -> life.State:
        """How the PBX stands and why."""
        return self.record.state

    def conversation(self, call: Callable[[], Heard]) -> Heard:
        """Make ``call`` and all that follows from it over connections kept alive."""
        try:
            return call()
        finally:
            self._transport.close()

    def step(
        self,
        event: life.Event,
        record: Record | None = None,
        *,
        key_set: KeySet | None = None,
    ) -> None:
        """Store the new state, together with what was received, then act.

        ``record`` is what was received, where it is more than the event says, and
        ``key_set`` the keys that it was verified with.
        """
        moment = life.Moment(
            rtc=self.clock.now(),
            uptime=self.clock.uptime(),
            draw=self._surroundings.draw(),
            other_draw=self._surroundings.draw(),
        )
        state, actions = step(self.state, event, moment)
        self.keep(replace(record or self.record, state=state), key_set=key_set)
        for action in actions:
            self._perform(action)

    def keep(self, record: Record, *, key_set: KeySet | None = None) -> None:
        """Remember ``record``, whatever happens next."""
        if key_set is not None:
            record = replace(record, key_set=key_set.token)
        self._memory.write(write_record(record))
        self.record = record
        self._key_set = key_set or self._key_set

    def tell(self, notice: life.Notice, detail: str = "") -> None:
        """Tell whoever listens."""
        self._surroundings.tell(life.Announce(notice, detail))

    def held(self) -> Held:
        """Return what the PBX brings to a call."""
        time = self.state.time.counted(self.clock.uptime())
        repeats = time.ran < FIRST_NONCE_LASTS.total_seconds()
        return Held(
            generation=self.state.generation,
            certain=max(time.certain, self.firmware.built_at),
            dates_matter=time.doubt is not Doubt.BEHIND,
            key_set=self._key_set,
            credentials=self.record.credentials,
            continuation=self.record.continuation,
            first_nonce=self.record.first_nonce if repeats else None,
        )

    def _perform(self, action: life.Action) -> None:
        if isinstance(action, life.Announce):
            self._surroundings.tell(action)
        elif isinstance(action, life.SetClock):
            self.clock.set(action.to)
        else:
            self.calls[type(action)]()
