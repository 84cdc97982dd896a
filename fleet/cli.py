# SPDX-License-Identifier: Apache-2.0
"""``callhome``: the one command that an operator types.

The groups of the rooms and of the features hang below it. Settings are read
here, once; a command that needs the database runs inside the application.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import cast

import click
from flask import Flask
from sqlalchemy.exc import DBAPIError

from fleet import doctor, installation, migrations
from fleet.clock import rfc3339, utcnow
from fleet.database import db, stand_alone_engine, writing
from fleet.devices.cli import devices
from fleet.errors import Refusal
from fleet.feature import Feature, Job, KeyUse
from fleet.identity.cli import device_ca
from fleet.identity.device_ca import AuthorityFault
from fleet.key_uses import uses_of
from fleet.keys.cli import keys
from fleet.keys.errors import KeyFault
from fleet.pbx.cli import commands as pbx
from fleet.server import jobs as jobs_process
from fleet.server import pulse
from fleet.server import serve as web
from fleet.server.address import check_address
from fleet.server.tls import TlsError
from fleet.settings import (
    SETTINGS_FILE,
    Settings,
    SettingsError,
    bind_address,
    described,
)
from fleet.settings_in_force import in_force
from fleet.staff.cli import staff
from fleet.upkeep import GROUND_JOBS
from fleet.web import logs

# What is told in one sentence rather than as a traceback.
FAULTS = (
    SettingsError,
    installation.InstallationFault,
    KeyFault,
    AuthorityFault,
    TlsError,
    Refusal,
    OSError,
    migrations.UnknownRevision,
)

# Where a command finds which columns refer to secret keys, and what features advise.
KEY_USES = "callhome.key_uses"
ADVICE = "callhome.advice"

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Plain(click.Group):
    """A group whose faults are one sentence on standard error, and exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except FAULTS as fault:
            raise click.ClickException(_sentence(fault)) from None
        except DBAPIError as fault:
            kind = type(fault.orig).__name__
            raise click.ClickException(
                f"the database failed ({kind}); callhome doctor says more"
            ) from None


def command_line(
    make_app: Callable[[Settings], Flask], features: Sequence[Feature]
) -> click.Group:
    """Return the command ``callhome`` over an application and its features."""
    within = [devices, staff, *(each for one in features for each in one.commands)]

    @click.group("callhome", cls=_Plain)
    @click.option(
        "--settings",
        "file",
        type=click.Path(exists=True, dir_okay=False),
        help=f"File of PBX_NAME=value lines, as {SETTINGS_FILE}.",
    )
    @click.pass_context
    def callhome(ctx: click.Context, *, file: str | None) -> None:
        """Run the backend of a PBX vendor's fleet."""
        environment = dict(os.environ) | ({SETTINGS_FILE: file} if file else {})
        settings = Settings.read(environment)
        logs.configure(settings)
        ctx.obj = settings
        ctx.meta[KEY_USES] = uses_of(features)
        ctx.meta[ADVICE] = _advice(make_app, features)
        if ctx.invoked_subcommand in {each.name for each in within}:
            ctx.with_resource(make_app(settings).app_context())

    for command in (*OWN, *within, keys, device_ca, pbx):
        callhome.add_command(command)
    callhome.add_command(_serve(make_app, features))
    callhome.add_command(_jobs(make_app, features))
    return callhome


def _sentence(fault: BaseException) -> str:
    """Say a fault in a line: each field that was wrong, and what is wrong with it."""
    if not isinstance(fault, Refusal):
        return str(fault)
    if not fault.fields:
        return fault.detail
    said = "; ".join(f"{name}: {_told(what)}" for name, what in fault.fields.items())
    return said if fault.detail == fault.reason else f"{fault.detail} {said}"


def _told(what: object) -> str:
    return " ".join(map(str, what)) if isinstance(what, list) else str(what)


@click.command("init")
@json_option
@click.pass_obj
def init(settings: Settings, *, as_json: bool) -> None:
    """Create what is missing under PBX_DATA_DIR; safe to repeat."""
    made = installation.initialise(settings, _key_uses())
    if as_json:
        click.echo(json.dumps({"made": made}))
        return
    for each in made:
        click.echo(f"made {each}")
    if not made:
        click.echo("nothing was missing")


@click.command("doctor")
@json_option
@click.pass_obj
def examine(settings: Settings, *, as_json: bool) -> None:
    """Say what is wrong and what to do; exit code 1 if anything must be done."""
    advice = cast("doctor.Advice", click.get_current_context().meta[ADVICE])
    findings = list(doctor.examine(settings, os.environ, _key_uses(), advice))
    if as_json:
        click.echo(json.dumps({"findings": [asdict(each) for each in findings]}))
    else:
        for each in findings:
            click.echo(f"{each.state.upper():<8}{each.about}: {each.says}")
    if any(each.state == doctor.WRONG for each in findings):
        sys.exit(1)


@click.command("settings")
@json_option
@click.pass_obj
def list_settings(settings: Settings, *, as_json: bool) -> None:
    """List every setting: its value in force, its default, what it is for."""
    values = in_force(settings)
    rows = [
        {"name": name, "value": values[name], "default": default, "about": about}
        for name, default, about in described()
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        same = row["value"] == row["default"]
        beside = "the default" if same else f"default: {row['default'] or 'empty'}"
        click.echo(f"{row['name']}={row['value']} ({beside})\n    {row['about']}")


@click.command("migrate")
@click.option("--to", "revision", default="head", help="Revision; head is the newest.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--lose-data", is_flag=True, help="Go back although tables are dropped.")
@json_option
@click.pass_obj
def migrate(
    settings: Settings, *, revision: str, dry_run: bool, lose_data: bool, as_json: bool
) -> None:
    """Bring the database to this version's schema, or back to an earlier one."""
    engine = stand_alone_engine(settings)
    with engine.connect() as connection:
        before = migrations.current(connection)
    after = migrations.resolved(revision)
    if not dry_run and after > before:
        migrations.upgrade(engine, after)
    elif not dry_run and after < before:
        if not lose_data:
            raise click.UsageError(
                "going back drops tables and what is in them; say --lose-data"
            )
        migrations.downgrade(engine, after or "base")
    engine.dispose()
    told = {"before": before or "empty", "after": after or "empty"}
    click.echo(
        json.dumps(told) if as_json else f"schema: {told['before']} -> {told['after']}"
    )


@click.command("clock")
@click.option(
    "--accept", is_flag=True, help="This clock is right, although it is behind."
)
@json_option
@click.pass_obj
def clock(settings: Settings, *, accept: bool, as_json: bool) -> None:
    """Show this clock and the last instant served; accept a mended clock."""
    engine = stand_alone_engine(settings)
    now = utcnow()
    with writing(engine) as connection:
        mark = pulse.last_beat(connection)
        if accept:
            pulse.accept_clock(connection, now)
    engine.dispose()
    told = {"now": rfc3339(now), "last_served": rfc3339(mark) if mark else None}
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo(f"now {told['now']}, last served {told['last_served'] or 'never'}")


def _advice(
    make_app: Callable[[Settings], Flask], features: Sequence[Feature]
) -> doctor.Advice:
    """Return what asks features for their warnings, in an application of its own."""

    def ask(settings: Settings) -> list[str]:
        app = make_app(settings)
        with app.app_context():
            try:
                found = [each.warnings() for each in features if each.warnings]
            finally:
                db.session.remove()
                db.engine.dispose()
        return [sentence for each in found for sentence in each]

    return ask


def _key_uses() -> Sequence[KeyUse]:
    return cast("Sequence[KeyUse]", click.get_current_context().meta[KEY_USES])


OWN = (init, examine, list_settings, migrate, clock)


def _serve(
    make_app: Callable[[Settings], Flask], features: Sequence[Feature]
) -> click.Command:
    @click.command("serve")
    @click.option(
        "--bind", callback=_bind, help="HOST:PORT or unix:/path, instead of PBX_BIND."
    )
    @click.pass_context
    def serve(ctx: click.Context, *, bind: str | None) -> None:
        """Run the whole service on this machine: web workers and jobs."""
        settings: Settings = ctx.obj
        chosen = replace(settings, bind=bind) if bind else settings
        installation.check(chosen)
        check_address(chosen.bind)
        web.restart_with_metrics(chosen)
        if file := ctx.find_root().params["file"]:
            os.environ[SETTINGS_FILE] = file  # for the jobs process
        first = [each.before_serving for each in features if each.before_serving]
        web.serve(chosen, make_app, first)

    return serve


def _bind(
    _ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    try:
        return None if value is None else bind_address(value)
    except ValueError as fault:
        raise SettingsError(f"--bind {fault}") from None


def _jobs(
    make_app: Callable[[Settings], Flask], features: Sequence[Feature]
) -> click.Command:
    @click.command("jobs")
    @click.option("--until-gone", type=int, help="End when this parent process ends.")
    @click.pass_obj
    def jobs(settings: Settings, *, until_gone: int | None) -> None:
        """Run the jobs alone; of any number of these, one works."""
        own: Sequence[Job] = GROUND_JOBS
        work = [*own, *(job for one in features for job in one.jobs)]
        jobs_process.run(make_app(settings), work, until_gone=until_gone)

    return jobs
