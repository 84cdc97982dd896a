# SPDX-License-Identifier: Apache-2.0
"""What an operator types to see policies and inventory, and to print the notice."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from click.decorators import FC
from flask import render_template

from fleet.ground import ground
from fleet.web import pages
from fleet.web.commands import as_json
from fleet.web.languages import Language
from retention.notice import Notice, markdown, responsible
from retention.notice import notice as told_notice
from retention.schemas.policies import InventoryView, PoliciesView
from retention.service import inventory as stored

HERE = Path(__file__).parent


def _in_language(command: FC) -> FC:
    return click.option(
        "--language",
        type=click.Choice([each.value for each in Language]),
        default=Language.ENGLISH.value,
        show_default=True,
        help="The language of the texts.",
    )(command)


@click.command("policies")
@_in_language
@as_json
def policies(*, language: str, as_json: bool) -> None:
    """Say how long each kind of data is kept, and what becomes of it."""
    wanted = Language(language)
    items = stored.items(wanted)
    if as_json:
        said = PoliciesView().dump({"language": language, "items": items})
        click.echo(json.dumps(said, ensure_ascii=False))
        return
    for each in items:
        click.echo(f"{each.name}: {each.duration}; {each.action}")


@click.command("inventory")
@_in_language
@as_json
def inventory(*, language: str, as_json: bool) -> None:
    """Say what is stored of whom, where, why and how it is had."""
    wanted = Language(language)
    items, who = stored.items(wanted), responsible(ground().settings, wanted)
    if as_json:
        told = {"language": language, "responsible": who, "items": items}
        click.echo(json.dumps(InventoryView().dump(told), ensure_ascii=False))
        return
    for fact in who:
        click.echo(f"{fact.name}: {fact.says}")
    for each in items:
        _tell(
            each.title,
            {
                each.name: each.contents,
                "": f"{'; '.join(each.whose)} — {'; '.join(each.basis)}",
                " ": f"{each.duration} — {each.place}, {each.frequency}",
                "  ": each.access,
            },
        )


@click.command("notice")
@_in_language
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "html"]),
    default="md",
    show_default=True,
    help="Markdown, or a page of its own.",
)
@as_json
def notice(*, language: str, form: str, as_json: bool) -> None:
    """Print the privacy notice of this installation."""
    told = told_notice(ground().settings, Language(language))
    text = page_of(told) if form == "html" else markdown(told)
    if as_json:
        said = {"language": language, "format": form, "text": text}
        click.echo(json.dumps(said, ensure_ascii=False))
        return
    click.echo(text)


def page_of(told: Notice) -> str:
    """Return the notice as a page that needs no other file."""
    sheets: Sequence[Path] = (
        pages.HERE / "static" / "page.css",
        HERE / "static" / "notice.css",
    )
    style = "\n".join(each.read_text("utf-8") for each in sheets)
    return render_template("notice_document.html", told=told, style=style)


def _tell(title: str, said: Mapping[str, str]) -> None:
    click.echo(f"\n{title}")
    for name, text in said.items():
        click.echo(f"  {f'[{name}] ' if name.strip() else ''}{text}")
