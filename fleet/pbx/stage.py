# SPDX-License-Identifier: Apache-2.0
"""Puts the PBX of a folder together and prints what it says."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import click

from fleet.pbx.appliance import ReferencePbx
from fleet.pbx.clocks import AcceleratedClock, Clock
from fleet.pbx.codes import NotAccepted
from fleet.pbx.functions import Function, described
from fleet.pbx.life import Announce
from fleet.pbx.memory import DiskMemory
from fleet.pbx.narration import BAD_NEWS, GOOD_NEWS, sentence
from fleet.pbx.surroundings import Surroundings
from fleet.pbx.transport import HttpsTransport, Transport
from fleet.pbx.voucher_center import Released
from fleet.pbx.workshop import NoPlate, Plate

DAY: Final = 86400

Typed = TypeVar("Typed")


class Stage:
    """One PBX in one folder, in front of one audience."""

    def __init__(self, folder: Path, *, as_json: bool) -> None:
        """Work in ``folder`` and print for people or, ``as_json``, for programs."""
        self._folder = folder
        self._as_json = as_json

    def transport(self) -> Transport:
        """Return the way to the vendor that the data plate names."""
        try:
            plate = Plate.read(self._folder)
            return HttpsTransport(plate.url, ca_file=Path(plate.ca_file))
        except (NoPlate, ValueError) as error:
            raise _unusable(error) from error

    def pbx(self, clock: Clock, transport: Transport | None = None) -> ReferencePbx:
        """Put the PBX together, without power; raises ``click.ClickException``."""
        try:
            plate = Plate.read(self._folder)
            firmware = plate.firmware
        except (NoPlate, OSError, ValueError) as error:
            raise _unusable(error) from error
        return ReferencePbx(
            plate.identity,
            firmware,
            transport=transport or self.transport(),
            memory=DiskMemory(self._folder),
            surroundings=Surroundings(clock=clock, tell=self._teller(clock)),
        )

    def line(
        self, clock: Clock, event: str, said: str, *, colour: str | None = None
    ) -> None:
        """Print one line; click drops the colour where the output is no terminal."""
        at = _stamp(clock)
        if self._as_json:
            click.echo(json.dumps({"at": at, "event": event, "text": said}))
        else:
            click.secho(f"{at}  {said}", fg=colour)

    def finish(self, pbx: ReferencePbx, outcome: object = None) -> None:
        """Print how the PBX stands, and exit with 1 unless all is well.

        All is well when the functions work and ``outcome`` is not ``Nothing``.
        """
        facts = _facts(pbx)
        if isinstance(outcome, Released) and outcome.release_code:
            facts["release_code"] = outcome.release_code
        if self._as_json:
            listed = [_function(each) for each in pbx.functions]
            click.echo(json.dumps({**facts, "functions": listed}))
        else:
            facts["functions"] = described(pbx.functions)
            for name, value in facts.items():
                click.echo(f"{name.replace('_', ' '):>20}  {value}")
        if isinstance(outcome, Exception) or not pbx.functions_enabled:
            raise SystemExit(1)

    def list_functions(self, pbx: ReferencePbx) -> None:
        """Print the functions, one a line."""
        for each in pbx.functions:
            until = f"until {each.expires_on}" if each.expires_on else "for ever"
            said = f"{each.quantity:>6} {each.function} {until} ({each.source})"
            click.echo(json.dumps(_function(each)) if self._as_json else said)

    def type_in(self, what: str, enter: Callable[[str], Typed]) -> Typed:
        """Ask the person for a code, which stands in no history of the shell.

        Through a pipe it is read without asking. Raises ``click.ClickException`` where
        the PBX does not take it.
        """
        try:
            asks = sys.stdin.isatty()
            typed = click.prompt(what) if asks else sys.stdin.readline()
            return enter(typed)
        except NotAccepted as refused:
            raise click.ClickException(f"{refused.reason}.") from refused

    def _teller(self, clock: Clock) -> Callable[[Announce], None]:
        def tell(announced: Announce) -> None:
            colour = "green" if announced.notice in GOOD_NEWS else None
            if announced.notice in BAD_NEWS:
                colour = "red"
            self.line(clock, announced.notice, sentence(announced), colour=colour)

        return tell


def _unusable(error: Exception) -> click.ClickException:
    return click.ClickException(
        f"{error}. `callhome pbx initialise` with its options makes a PBX."
    )


def _stamp(clock: Clock) -> str:
    """Say when: day and time of a simulated life, or the time on the wall."""
    if not isinstance(clock, AcceleratedClock):
        return _utc(clock.now())
    days, seconds = divmod(int(clock.elapsed), DAY)
    return f"day {days + 1} {seconds // 3600:02}:{seconds // 60 % 60:02}"


def _utc(instant: datetime) -> str:
    """Spell an instant as the wire does: RFC 3339 in UTC, with ``Z``."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _function(each: Function) -> dict[str, str | int | None]:
    return {
        "function": each.function,
        "quantity": each.quantity,
        "expires_on": each.expires_on.isoformat() if each.expires_on else None,
        "source": each.source,
    }


def _facts(pbx: ReferencePbx) -> dict[str, str | int | bool | None]:
    state = pbx.state
    lease, certificate = state.lease, state.certificate
    return {
        "standing": state.standing.value,
        "functions_enabled": state.functions_enabled,
        "generation": state.generation,
        "failed_attempts": state.failed_attempts,
        "answered_at": _utc(lease.server_time) if lease else None,
        "locks_at": _utc(lease.locks_at) if lease else None,
        "certificate_until": _utc(certificate.not_after) if certificate else None,
    }
