# SPDX-License-Identifier: Apache-2.0
"""What an operator types about batches: make them, hand their codes over, once."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.decorators import FC
from sqlalchemy.exc import DBAPIError

from fleet.clock import utcnow
from fleet.database import transaction
from fleet.staff.roles import cli_actor
from fleet.web.commands import as_json, how_many, tell_of_more
from fleet.web.languages import Language
from voucher.codes import shown
from voucher.schemas.trade import (
    BatchDetailView,
    BatchRequest,
    BatchView,
    ExportRequest,
)
from voucher.service.trade import batches, exporting, selections, totals
from voucher.service.trade.batches import BatchFacts, NewBatch, Progress
from voucher.service.trade.exporting import Form, Wanted
from voucher.service.trade.filing import NewFile, new_file
from voucher.service.trade.sealing import Seal
from voucher.service.trade.selections import Selection
from voucher.typed import dry_run, progress_bar, read_by, why_if_said
from voucher.views import batch_detail_view, batch_view


@click.group("batch")
def batch() -> None:
    """Make batches of vouchers, and export their codes once."""


def _handing_over(command: FC) -> FC:
    """Give a command the options that say how codes are handed over."""
    for option in (
        click.option(
            "--output",
            type=click.Path(dir_okay=False, path_type=Path),
            help="The file to be made; never one that is there.",
        ),
        click.option(
            "--language",
            default=Language.ENGLISH.value,
            show_default=True,
            type=click.Choice([each.value for each in Language]),
            help="Of the product's name and of the cards.",
        ),
        click.option(
            "--passphrase-file",
            type=click.File("r", encoding="utf-8"),
            help="Its first line is the passphrase; - is standard input.",
        ),
        click.option("--recipient", help="age1..., as age-keygen prints it."),
        click.option(
            "--format",
            "form",
            default=Form.CSV.value,
            show_default=True,
            type=click.Choice([each.value for each in Form]),
            help="csv: an encrypted list; pdf: cards to be printed.",
        ),
    ):
        command = option(command)
    return command


@batch.command("create")
@click.option("--product", type=int, required=True, help="The product's number.")
@click.option("--count", type=int, required=True)
@click.option("--dealer", help="Whose they are.")
@click.option("--order-reference", help="The order that they are made for.")
@click.option("--valid-until", help="A day (its end, everywhere) or an instant.")
@click.option("--activate", is_flag=True, help="They are sold; needs an export.")
@click.option("--plain", is_flag=True, help="Print the codes, once, instead of a file.")
@_handing_over
@dry_run
@why_if_said
@as_json
def create(*, activate: bool, plain: bool, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Make a batch; export and activate it at once if that is asked for.

    Without --plain, --output, --recipient, --passphrase-file or --activate no code
    is made yet: callhome voucher batch export does that later.
    """
    new, now = _read_batch(said), utcnow()
    named = any(said[each] for each in ("output", "recipient", "passphrase_file"))
    if plain and named:
        raise click.UsageError("Either --plain or a file.")
    if said["dry_run"]:
        batches.check(new, now=now)
        told = {"product_number": new.product_number, "count": new.count}
        click.echo(json.dumps(told) if as_json else f"would make {new.count} vouchers")
        return
    wanted = _read_export(said) if named or (activate and not plain) else None
    steps = 2 if plain or wanted else 1
    with (
        progress_bar(steps * new.count, "vouchers") as bar,
        ExitStack() as files,
        transaction(),
    ):
        act = _Act(said["reason"], now, bar.update)
        told = act.make(files, new, wanted, said["output"], plain=plain)
        if activate:
            told |= act.activate(told["id"])
        if plain:
            # Before the commit: a code that nobody could read was never good.
            _print(told, as_json=as_json)
    if not plain:
        _tell(told, as_json=as_json)


@batch.command("list")
@how_many
@as_json
def list_batches(*, limit: int, cursor: str | None, as_json: bool) -> None:
    """List batches, newest first."""
    page = batches.listed(limit=limit, cursor=cursor)
    rows = BatchView(many=True).dump([batch_view(each) for each in page.items])
    if as_json:
        click.echo(json.dumps({"items": rows, "next_cursor": page.next_cursor}))
        return
    for row in rows:
        click.echo(_line(row))
    tell_of_more(page.next_cursor)


@batch.command("show")
@click.argument("batch_id", metavar="BATCH", type=click.IntRange(1))
@as_json
def show(*, batch_id: int, as_json: bool) -> None:
    """Show the batch BATCH, and how many of its vouchers are in which state."""
    _tell(_detail(batches.show(batch_id), utcnow()), as_json=as_json)


@batch.command("export")
@click.argument("batch_id", metavar="BATCH", type=click.IntRange(1))
@_handing_over
@click.option("--first", type=int, help="First number of a part; else from 1.")
@click.option("--last", type=int, help="Last number of a part; else to the end.")
@dry_run
@why_if_said
@as_json
def export(*, batch_id: int, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Export the codes of the batch BATCH into a file: once, and never again."""
    now = utcnow()
    which = Wanted(Form(said["form"]), Seal(), first=said["first"], last=said["last"])
    count = exporting.preview(batch_id, which, now=now)
    told: dict[str, object] = {"batch_id": batch_id, "count": count}
    if said["dry_run"]:
        click.echo(json.dumps(told) if as_json else f"would export {count} codes")
        return
    wanted = _read_export(said)
    with progress_bar(count, "codes") as bar, ExitStack() as files, transaction():
        act = _Act(said["reason"], now, bar.update)
        path = act.write(files, batch_id, wanted, said["output"])
    told["file"] = str(path)
    click.echo(json.dumps(told) if as_json else f"{count} codes are in {path}")


@dataclass(frozen=True)
class _Act:
    """Why, when, and who is told how far it has come."""

    reason: str
    now: datetime
    progress: Progress

    def make(
        self,
        files: ExitStack,
        new: NewBatch,
        wanted: Wanted | None,
        output: Path | None,
        *,
        plain: bool,
    ) -> dict[str, Any]:
        """Make a batch, hand its codes over if asked to, and return what to tell."""
        made = batches.create(
            new,
            reason=self.reason,
            by=cli_actor(),
            now=self.now,
            progress=self.progress,
        )
        handed: dict[str, object] = {}
        if wanted is not None:
            handed = {"file": str(self.write(files, made.id, wanted, output))}
        elif plain:
            handed = {"codes": self.drawn(made.id)}
        return _detail(made, self.now) | handed

    def write(
        self, files: ExitStack, batch_id: int, wanted: Wanted, output: Path | None
    ) -> Path:
        """Export into a file that gets its name once the transaction is committed."""
        first = "" if wanted.first is None else f"-from-{wanted.first}"
        last = "" if wanted.last is None else f"-to-{wanted.last}"
        usual = Path(f"vouchers-{batch_id}{first}{last}{wanted.suffix}")
        file = files.enter_context(_file_of_codes(output or usual))
        exporting.export(
            batch_id,
            wanted,
            stream=file.stream,
            reason=self.reason,
            by=cli_actor(),
            now=self.now,
            progress=self.progress,
        )
        file.keep()
        return output or usual

    def drawn(self, batch_id: int) -> list[str]:
        """Export, and return the codes as they are printed on cards."""
        codes = exporting.export_plain(
            batch_id,
            reason=self.reason,
            by=cli_actor(),
            now=self.now,
            progress=self.progress,
        )
        return [shown(each) for each in codes]

    def activate(self, batch_id: int) -> dict[str, Any]:
        """Sell all of a batch, and return what it has become."""
        selections.activate(
            Selection(batch_id=batch_id),
            reason=self.reason,
            by=cli_actor(),
            now=self.now,
        )
        return _detail(batches.show(batch_id), self.now)


@contextmanager
def _file_of_codes(path: Path) -> Iterator[NewFile]:
    """Make a file; where nobody can know whether its codes are good, say so."""
    file = None
    try:
        with new_file(path) as file:
            yield file
    except DBAPIError:
        if file is None or not file.kept:
            raise
        raise click.ClickException(
            "the database failed at the very end. If callhome voucher batch show says "
            f"that the vouchers are exported, their codes are in {file.path}; if not, "
            "delete that file."
        ) from None


def _read_batch(said: Mapping[str, Any]) -> NewBatch:
    names = ("product", "count", "dealer", "valid_until", "order_reference", "reason")
    read = read_by(BatchRequest, {each: said[each] for each in names})
    return NewBatch(
        product_number=read["product"],
        count=read["count"],
        dealer=read["dealer"],
        order_reference=read["order_reference"],
        valid_until=read["valid_until"],
    )


def _read_export(said: Mapping[str, Any]) -> Wanted:
    read = read_by(
        ExportRequest,
        {
            "format": said["form"],
            "recipient": said["recipient"],
            "passphrase": _passphrase(said),
            "language": said["language"],
            "first": said.get("first"),
            "last": said.get("last"),
        },
    )
    return Wanted(
        form=read["format"],
        seal=Seal(read["recipient"], read["passphrase"]),
        language=read["language"],
        first=read["first"],
        last=read["last"],
    )


def _passphrase(said: Mapping[str, Any]) -> str | None:
    """Return the passphrase, where one is needed: from a file, or from a person."""
    if said["passphrase_file"]:
        return str(said["passphrase_file"].readline()).rstrip("\r\n")
    if said["recipient"] or said["form"] != Form.CSV.value:
        return None
    if not sys.stdin.isatty():
        raise click.UsageError("Name a --recipient or a --passphrase-file.")
    return str(
        click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    )


def _detail(made: BatchFacts, now: datetime) -> dict[str, Any]:
    found = totals.totals(batch_id=made.id, now=now)
    told: dict[str, Any] = BatchDetailView().dump(batch_detail_view(made, found))
    return told


def _print(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(told))
    else:
        for code in told["codes"]:
            click.echo(code)
        click.echo(_line(told), err=True)
    sys.stdout.flush()


def _tell(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(_line(told))
    for state, count in told["states"].items():
        click.echo(f"{count:>8} {state}")
    if "file" in told:
        click.echo(f"The codes are in {told['file']}, and nowhere else.")


def _line(row: Mapping[str, Any]) -> str:
    until = f"until {row['valid_until']}" if row["valid_until"] else "without end"
    return (
        f"{row['id']:>6}  {row['count']:>6} of product {row['product_number']} "
        f"v{row['product_version']}  {until}  {row['dealer']}  {row['order_reference']}"
    ).rstrip()
