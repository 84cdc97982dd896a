# SPDX-License-Identifier: Apache-2.0
"""``callhome device-ca``: the CAs that are trusted, and the roll-over to a new one."""

import json
from pathlib import Path

import click

from fleet.clock import rfc3339, utcnow
from fleet.identity import authority
from fleet.identity.authority import DeviceAuthority
from fleet.identity.device_ca import AuthorityFault
from fleet.identity.trust import TrustAnchors
from fleet.settings import Settings

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(name="device-ca")
def device_ca() -> None:
    """Show the CAs that certify PBXs, and begin a roll-over."""


@device_ca.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the trusted CAs; one of them issues."""
    _show(_folder(), as_json=as_json)


@device_ca.command(name="roll-over")
@json_option
def roll_over(*, as_json: bool) -> None:
    """Make a new CA that issues from now on; the one before stays trusted."""
    folder = _folder()
    try:
        authority.begin_rollover(folder, now=utcnow())
    except (AuthorityFault, OSError) as fault:
        raise click.ClickException(str(fault)) from None
    _show(folder, as_json=as_json)


def _folder() -> Path:
    settings = click.get_current_context().find_object(Settings)
    if settings is None:
        raise click.ClickException("run this as callhome device-ca")
    return settings.data_dir / "device-ca"


def _show(folder: Path, *, as_json: bool) -> None:
    try:
        (issuing,) = DeviceAuthority.load(folder).chain()
        trusted = TrustAnchors.load(folder).certificates()
    except AuthorityFault as fault:
        raise click.ClickException(str(fault)) from None
    entries = [
        {
            "subject": each.subject.rfc4514_string(),
            "expires_at": rfc3339(each.not_valid_after_utc),
            "issues": each == issuing,
        }
        for each in trusted
    ]
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    for entry in entries:
        role = "issues" if entry["issues"] else "trusted"
        click.echo(f"{role:8} {entry['subject']}, until {entry['expires_at']}")
