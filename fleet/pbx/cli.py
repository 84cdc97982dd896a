# SPDX-License-Identifier: Apache-2.0
"""``callhome pbx``: a reference PBX in a terminal, one line for each event.

Without ``--json`` the lines are for people; with it, each line is one JSON object.
"""

from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from fleet.pbx.clocks import AcceleratedClock, SystemClock
from fleet.pbx.rehearsal import Cast, Plug, Script, perform
from fleet.pbx.stage import Stage
from fleet.pbx.workshop import NoPlate, Plate

DEFAULTS: Final = {
    "device_type": "reference-pbx",
    "software_version": "1.0.0",
    "catalogue": "",
}
Command = TypeVar("Command", bound=Callable[..., object])


@click.group("pbx")
def commands() -> None:
    """Be a PBX: the other side of the protocol, for demonstrations and tests."""


def _staged(command: Command) -> Command:
    """Add the two options that every command has."""
    folder = click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("var/reference-pbx"),
        show_default=True,
        help="Where this PBX keeps its data plate and its memory.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="One JSON a line.")
    return folder(as_json(command))


@commands.command()
@_staged
@click.option("--serial-number", help="As the factory list has it.")
@click.option("--device-secret", envvar="PBX_DEVICE_SECRET", help="From the same list.")
@click.option("--url", help="Of the service.")
@click.option("--ca-file", help="The CA to trust for the service's TLS certificate.")
@click.option("--root-key", help="Public half of the offline root key, PEM.")
@click.option("--device-type", help="As the factory list has it.")
@click.option("--software-version", help="Of the firmware it pretends to run.")
@click.option("--catalogue", help="What product numbers mean, JSON; for typed codes.")
def initialise(*, folder: Path, as_json: bool, **given: str | None) -> None:
    """Initialise, or re-initialise, the PBX in a folder.

    The options are written to the data plate and need not be given again; one that is
    given again replaces what is there.
    """
    _engrave(folder, {name: value for name, value in given.items() if value})
    stage = Stage(folder, as_json=as_json)
    pbx = stage.pbx(SystemClock())
    pbx.boot()
    stage.finish(pbx, pbx.initialise())


@commands.command()
@_staged
def check(*, folder: Path, as_json: bool) -> None:
    """Check the licence now."""
    stage = Stage(folder, as_json=as_json)
    pbx = stage.pbx(SystemClock())
    pbx.boot()
    stage.finish(pbx, pbx.check())


@commands.command()
@_staged
def renew(*, folder: Path, as_json: bool) -> None:
    """Renew the certificate now (EST simplereenroll)."""
    stage = Stage(folder, as_json=as_json)
    pbx = stage.pbx(SystemClock())
    pbx.boot()
    stage.finish(pbx, pbx.renew())


@commands.command()
@_staged
def sync(*, folder: Path, as_json: bool) -> None:
    """Ask which functions there are, now: "update activation licence"."""
    stage = Stage(folder, as_json=as_json)
    pbx = stage.pbx(SystemClock())
    pbx.boot()
    stage.finish(pbx, pbx.sync())


@commands.command()
@_staged
def redeem(*, folder: Path, as_json: bool) -> None:
    """Redeem a voucher; the code is asked for, or read from a pipe.

    Where the service cannot be reached, the PBX tries again while it lives.
    """
    stage = Stage(folder, as_json=as_json)
    pbx = stage.pbx(SystemClock())
    pbx.boot()
    stage.finish(pbx, stage.type_in("Voucher code", pbx.redeem))


@commands.command("try")
@_staged
@click.option("--product", type=int, required=True, help="Its product number.")
def start_trial(*, folder: Path, as_json: bool, product: int) -> None:
    """Try a product, once for each PBX."""
    stage = Stage(folder, as_json=as_json)
    pbx = stage.pbx(SystemClock())
    pbx.boot()
    stage.finish(pbx, pbx.start_trial(product))


@commands.command()
@_staged
def enter_code(*, folder: Path, as_json: bool) -> None:
    """Type in a release code, without any network.

    The code is asked for, or read from a pipe. What its product number means must be
    in the catalogue of the data plate.
    """
    stage = Stage(folder, as_json=as_json)
    pbx = stage.pbx(SystemClock())
    pbx.boot()
    stage.type_in("Release code", pbx.enter_code)
    stage.finish(pbx)


@commands.command()
@_staged
def functions(*, folder: Path, as_json: bool) -> None:
    """Show the functions there are, without asking anybody."""
    stage = Stage(folder, as_json=as_json)
    stage.list_functions(stage.pbx(SystemClock()))


@commands.command()
@_staged
def status(*, folder: Path, as_json: bool) -> None:
    """Show how the PBX stands, without asking anybody."""
    stage = Stage(folder, as_json=as_json)
    stage.finish(stage.pbx(SystemClock()))


@commands.command()
@_staged
@click.option("--days", default=2.0, show_default=True, help="How long to live.")
@click.option(
    "--speed",
    default=14400.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Simulated seconds for each real one; 1 is real time.",
)
@click.option(
    "--outage-from",
    default=9.0,
    show_default=True,
    help="Hour in which power fails, and the network with it.",
)
@click.option(
    "--outage-for",
    default=3.5,
    show_default=True,
    help="Hours for which the network stays away; 0 for an uneventful life.",
)
def live(*, folder: Path, as_json: bool, speed: float, **script: float) -> None:
    """Live some days on an accelerated clock, with an outage in between.

    Only the PBX's own clock is accelerated; the service is asked in earnest.
    """
    stage = Stage(folder, as_json=as_json)
    clock = AcceleratedClock(SystemClock().now(), speed=speed)
    plug = Plug(stage.transport())
    cast = Cast(
        pbx=lambda: stage.pbx(clock, plug),
        clock=clock,
        plug=plug,
        narrate=lambda event, said: stage.line(clock, event, said),
    )
    pbx = perform(
        Script(
            lasts=timedelta(days=script["days"]),
            outage_from=timedelta(hours=script["outage_from"]),
            outage_for=timedelta(hours=script["outage_for"]),
        ),
        cast,
    )
    stage.finish(pbx)


def _engrave(folder: Path, given: dict[str, str]) -> None:
    """Write the data plate, from what is there and what is given."""
    try:
        engraved: dict[str, Any] = asdict(Plate.read(folder))
    except NoPlate:
        engraved = {}
    built_at = {"built_at": SystemClock().now().isoformat()}
    wanted = {**DEFAULTS, **built_at, **engraved, **given}
    missing = {each.name for each in fields(Plate)} - wanted.keys()
    if missing:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(missing))
        raise click.UsageError(f"there is no PBX in {folder} yet: give {options} too")
    if wanted != engraved:
        Plate(**wanted).write(folder)
