# SPDX-License-Identifier: Apache-2.0
"""What an operator types about staff: tokens, and the audit log."""

import json
from datetime import timedelta

import click

from fleet.clock import rfc3339, utcnow
from fleet.database import reading
from fleet.ground import ground
from fleet.staff import audit, tokens
from fleet.staff.audit import AuditFacts, ChainReport, Wanted
from fleet.staff.roles import Role, cli_actor
from fleet.staff.schemas import AuditEntryView, IssuedTokenView, TokenView
from fleet.staff.tokens import TokenFacts
from fleet.web.commands import as_json
from fleet.web.paging import MOST_ITEMS, Page


@click.group("staff")
def staff() -> None:
    """Look after tokens, and see what was changed by whom."""


@staff.command("token")
@click.option("--owner", required=True, help="Who it is for: a person or a tool.")
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]))
@click.option(
    "--dealer", default="", help="With --role dealer: whose vouchers it shows."
)
@click.option(
    "--expires-in-days",
    default=tokens.USUAL_LIFE.days,
    show_default=True,
    type=click.IntRange(1, tokens.LONGEST_LIFE.days),
)
@click.option("--reason", default="issued at the command line", show_default=True)
@as_json
def issue_token(
    *,
    owner: str,
    role: str,
    dealer: str,
    expires_in_days: int,
    reason: str,
    as_json: bool,
) -> None:
    """Print a new bearer token, once: only its digest is kept."""
    issued = tokens.issue(
        owner,
        role=Role(role),
        dealer=dealer,
        life=timedelta(days=expires_in_days),
        reason=reason,
        actor=cli_actor(),
        keyring=ground().keyring,
        now=utcnow(),
    )
    if as_json:
        click.echo(json.dumps(IssuedTokenView().dump(issued)))
        return
    click.echo(issued.token)  # alone on standard output, for scripts
    click.echo(
        f"Token {issued.id} for {issued.owner} ({issued.role}) is valid until "
        f"{rfc3339(issued.expires_at)}. It is not shown again.",
        err=True,
    )


@staff.command("tokens")
@as_json
def list_tokens(*, as_json: bool) -> None:
    """List all tokens: whose, for what, until when, last used when."""
    found: list[TokenFacts] = []
    cursor: str | None = None
    while True:
        page: Page[TokenFacts] = tokens.listed(limit=MOST_ITEMS, cursor=cursor)
        found.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    if as_json:
        click.echo(json.dumps({"items": TokenView(many=True).dump(found)}))
        return
    for token in found:
        click.echo(_token_line(token))


@staff.command("revoke")
@click.argument("token_id", type=click.IntRange(1))
@click.option("--reason", required=True, help="Why; it is written to the audit log.")
@as_json
def revoke_token(*, token_id: int, reason: str, as_json: bool) -> None:
    """End a token at once."""
    revoked = tokens.revoke(token_id, reason=reason, actor=cli_actor(), now=utcnow())
    if as_json:
        click.echo(json.dumps(TokenView().dump(revoked)))
        return
    click.echo(_token_line(revoked))


@staff.command("audit")
@click.option("--verify", is_flag=True, help="Check that no entry was changed.")
@click.option("--subject", help="Only what was done to this, as device:ABC123.")
@click.option("--actor", help="Only what this person or tool did.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, MOST_ITEMS)
)
@as_json
def show_audit(
    *,
    verify: bool,
    subject: str | None,
    actor: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show the latest entries of the audit log, or check all of it."""
    if verify:
        _verify(as_json=as_json)
        return
    page = audit.entries(Wanted(subject=subject, actor=actor), limit=limit)
    if as_json:
        click.echo(json.dumps({"items": AuditEntryView(many=True).dump(page.items)}))
        return
    for entry in page.items:
        click.echo(_entry_line(entry))


def _verify(*, as_json: bool) -> None:
    with reading() as session:
        report = audit.verify_chain(session)
    click.echo(_chain_json(report) if as_json else _chain_line(report))
    if not report.whole:
        raise click.exceptions.Exit(1)


def _chain_json(report: ChainReport) -> str:
    return json.dumps(
        {
            "whole": report.whole,
            "entries": report.entries,
            "last_hash": report.last_hash,
            "broken_at": report.broken_at,
            "fault": report.fault,
        }
    )


def _chain_line(report: ChainReport) -> str:
    if report.whole:
        return f"{report.entries} entries, all as written; last {report.last_hash}"
    return f"Entry {report.broken_at} is {report.fault}; {report.entries} are good."


def _token_line(token: TokenFacts) -> str:
    used = rfc3339(token.last_used_at) if token.last_used_at else "never used"
    ended = f"revoked {rfc3339(token.revoked_at)}" if token.revoked_at else used
    until = rfc3339(token.expires_at)
    whose = f"{token.owner} of {token.dealer}" if token.dealer else token.owner
    return f"{token.id:>6}  {token.role:<16} until {until}  {ended:<28} {whose}"


def _entry_line(entry: AuditFacts) -> str:
    return (
        f"{entry.id:>6}  {rfc3339(entry.happened_at)}  {entry.actor} ({entry.role})  "
        f"{entry.action}  {entry.subject}  {entry.reason}"
    )
