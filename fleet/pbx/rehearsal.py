# SPDX-License-Identifier: Apache-2.0
"""Some days in a PBX's life, with a power cut and an outage, to be looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fleet.pbx.appliance import ReferencePbx
from fleet.pbx.clocks import AcceleratedClock
from fleet.pbx.errors import Unreachable
from fleet.pbx.transport import Answer, Request, Transport

DARK_FOR: Final = timedelta(minutes=20)


class Plug:
    """A network plug in front of a transport, for somebody to pull."""

    def __init__(self, transport: Transport) -> None:
        """Begin plugged in."""
        self._transport = transport
        self.pulled = False

    def send(self, request: Request) -> Answer:
        """Send, if the plug is in."""
        if self.pulled:
            raise Unreachable("the network is unplugged")
        return self._transport.send(request)

    def close(self) -> None:
        """Drop connections that are still open."""
        self._transport.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How long to live; when power fails and how long the network stays away."""

    lasts: timedelta
    outage_from: timedelta
    outage_for: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who plays: a PBX put together anew at each boot, its clock, plug and narrator."""

    pbx: Callable[[], ReferencePbx]
    clock: AcceleratedClock
    plug: Plug
    narrate: Callable[[str, str], None]


def perform(script: Script, cast: Cast) -> ReferencePbx:
    """Play ``script`` and return the PBX as it stands at the end."""
    pbx = cast.pbx()
    pbx.boot()
    before = min(script.outage_from, script.lasts)
    pbx.live_for(before)
    rest = script.lasts - before
    if rest <= DARK_FOR or not script.outage_for:
        pbx.live_for(rest)
        return pbx
    cast.narrate("power-cut", "Power fails, and with it the network.")
    cast.plug.pulled = True
    cast.clock.switch_off(DARK_FOR.total_seconds())
    pbx = cast.pbx()
    pbx.boot()
    outage = min(script.outage_for, rest - DARK_FOR)
    pbx.live_for(outage)
    cast.plug.pulled = False
    cast.narrate("network-back", "The network is back; the PBX will find out.")
    pbx.live_for(rest - DARK_FOR - outage)
    return pbx
