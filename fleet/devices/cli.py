# SPDX-License-Identifier: Apache-2.0
"""What an operator types about the registry: import the factory list, find a PBX."""

import io
import json
import sys
from pathlib import Path
from typing import BinaryIO, NoReturn

import click
from tqdm import tqdm

from fleet.clock import utcnow
from fleet.devices import registry
from fleet.devices.factory_list import PASSES, FactoryListReport, import_factory_list
from fleet.devices.registry import DeviceFacts
from fleet.devices.schemas import DeviceView, FactoryListReportView
from fleet.ground import ground
from fleet.staff.roles import cli_actor
from fleet.web.commands import as_json
from fleet.web.paging import MOST_ITEMS

STANDARD_INPUT = Path("-")


@click.group("devices")
def devices() -> None:
    """Look after the registered PBXs."""


@devices.command("import")
@click.argument(
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@click.option(
    "--replace-secrets",
    is_flag=True,
    help="Let a PBX that is registered already get the secret in the list.",
)
@click.option("--reason", help="Why; it is written to the audit log.")
@as_json
def import_list(
    *,
    file: Path,
    dry_run: bool,
    replace_secrets: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Take the factory list FILE (CSV) in: all of it, or nothing.

    Each faulty line is named. The same list may be imported again. A FILE of - is
    standard input.
    """
    with _opened(file) as stream, progress_bar(stream) as bar:
        report = import_factory_list(
            stream,
            keyring=ground().keyring,
            actor=cli_actor(),
            reason=reason or f"factory list {_name(file)}",
            now=utcnow(),
            dry_run=dry_run,
            replace_secrets=replace_secrets,
            progress=bar.update,
        )
    if as_json:
        click.echo(json.dumps(FactoryListReportView().dump(report)))
    else:
        _tell(report)
    if not report.accepted:
        raise click.exceptions.Exit(1)


@devices.command("find")
@click.argument("text")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, MOST_ITEMS)
)
@as_json
def find(*, text: str, limit: int, as_json: bool) -> None:
    """Find PBXs by TEXT: part of a serial number or MAC, customer, note."""
    page = registry.search(text, limit=limit)
    if as_json:
        click.echo(json.dumps({"items": DeviceView(many=True).dump(page.items)}))
        return
    for device in page.items:
        click.echo(_device_line(device))
    if page.next_cursor is not None:
        click.echo(f"There are more than {limit}.", err=True)


def _opened(file: Path) -> BinaryIO:
    """Open a list to be read several times; a pipe is kept in memory.

    Not on a disk: the secrets of the PBXs stand in it.
    """
    if file == STANDARD_INPUT:
        return io.BytesIO(sys.stdin.buffer.read())
    return file.open("rb")


def _name(file: Path) -> str:
    return "standard input" if file == STANDARD_INPUT else file.name


def progress_bar(stream: BinaryIO) -> "tqdm[NoReturn]":
    """Return a bar on standard error, if somebody is looking."""
    if not stream.seekable():
        raise click.UsageError("The list is read several times: name a file, no pipe.")
    size = stream.seek(0, 2)
    return tqdm(
        total=PASSES * size,
        unit="B",
        unit_scale=True,
        desc="factory list",
        leave=False,
        disable=not sys.stderr.isatty(),
    )


def _tell(report: FactoryListReport) -> None:
    for each in report.faults:
        click.echo(f"line {each.line}: {each.field} {each.fault}", err=True)
    if not report.accepted:
        click.echo("Nothing was imported.", err=True)
        return
    would = "would be " if report.dry_run else ""
    click.echo(
        f"{report.rows} rows: {report.added} {would}added, {report.updated} "
        f"{would}updated, {report.unchanged} unchanged, "
        f"{report.secrets_replaced} secrets {would}replaced"
    )


def _device_line(device: DeviceFacts) -> str:
    mac = device.mac_address or "-"
    ends = str(device.support_ends_on or "-")
    return (
        f"{device.serial_number:<32} {mac:<17} {device.device_type:<20} "
        f"{ends:<10} {device.customer}"
    )
