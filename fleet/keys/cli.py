# SPDX-License-Identifier: Apache-2.0
"""``callhome keys``: the keys of this server, and the ceremony of the root key.

A rotation is ``new``, ``request``; then, on the offline machine that holds the
root key, ``sign``; then ``install``. Nothing secret leaves either machine.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import click

from fleet.clock import rfc3339, utcnow
from fleet.errors import Refusal
from fleet.keys import ceremony, jws
from fleet.keys.errors import CannotSign, KeyFault
from fleet.keys.files import PUBLIC, exposed_files, replace
from fleet.keys.keyring import SECRET_PURPOSES, Keyring
from fleet.keys.keyset import SIGNING_KEY_LIFE, KeySet, ListedKey
from fleet.keys.signing import SigningKeys
from fleet.settings import Settings

# The time that PBXs have to learn of a key before it signs: seven daily checks.
OVERLAP_DAYS = 7

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Refusing(click.Command):
    """A command whose faults of keys and files are one sentence, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- as click has it
        """Run the command; exit code 1 where keys or files are at fault."""
        try:
            return super().invoke(ctx)
        except (KeyFault, Refusal, OSError) as fault:
            because = f" ({fault.__cause__})" if fault.__cause__ else ""
            raise click.ClickException(f"{fault}{because}") from None


@click.group(name="keys")
def keys() -> None:
    """Show, make, rotate and check keys; change the signed key set."""


keys.command_class = _Refusing


@keys.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List signing keys and the versions of symmetric keys."""
    folder, now = _folder(), utcnow()
    key_set = ceremony.installed(folder)
    ring = Keyring.open(folder)
    secrets = {purpose: ring.versions(purpose) for purpose in SECRET_PURPOSES}
    signing = [
        *(_entry(folder, key, now) for key in (key_set.keys if key_set else ())),
        *(_entry(folder, key, None) for key in ceremony.pending(folder)),
    ]
    if as_json:
        described = _described(key_set) if key_set else None
        _show_json({"key_set": described, "signing": signing, "secrets": secrets})
        return
    click.echo(_sentence(key_set) if key_set else "There is no key set.")
    for entry in signing:
        click.echo(_line(entry))
    for purpose, versions in secrets.items():
        click.echo(f"{purpose:15} versions {', '.join(map(str, versions)) or 'none'}")


@keys.command()
@click.option("--purpose", required=True, help="What the key is to sign.")
@click.option(
    "--use-in-days",
    type=click.IntRange(0, 3650),
    help=f"Days until its first use [{OVERLAP_DAYS}; 0 for the first of a purpose].",
)
@click.option(
    "--valid-days",
    type=click.IntRange(1, 36500),
    default=SIGNING_KEY_LIFE.days,
    show_default=True,
    help="Days that it signs for.",
)
@json_option
def new(
    *, purpose: str, use_in_days: int | None, valid_days: int, as_json: bool
) -> None:
    """Make a signing key; it is used once the root has listed it."""
    folder = _folder()
    key_set = ceremony.installed(folder)
    has_one = key_set and any(key.purpose == purpose for key in key_set.keys)
    wait = use_in_days if use_in_days is not None else OVERLAP_DAYS if has_one else 0
    entry = ceremony.create_signing_key(
        folder,
        purpose=purpose,
        now=utcnow(),
        use_in=timedelta(days=wait),
        life=timedelta(days=valid_days),
    )
    if as_json:
        _show_json(entry.as_jwk())
        return
    click.echo(_line(_entry(folder, entry, None)))
    click.echo("Next: callhome keys request, for the holder of the root key.")


@keys.command()
@click.option("--out", type=click.Path(path_type=Path), help="File to write it to.")
@json_option
def request(*, out: Path | None, as_json: bool) -> None:  # noqa: ARG001 -- a request is JSON either way
    """Write down what the holder of the root key is to sign."""
    settings = _settings()
    _write(
        ceremony.signing_request(
            settings.data_dir / "keys", issuer=settings.public_url
        ),
        out,
    )


@keys.command()
@click.option(
    "--root",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The root's private key.",
)
@click.option(
    "--without", multiple=True, metavar="KID", help="Drop a key that was stolen."
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write it to.")
@click.argument("requests", nargs=-1, required=True, type=click.File())
@json_option
def sign(
    *,
    root: Path,
    without: tuple[str, ...],
    out: Path | None,
    requests: tuple[IO[str], ...],
    as_json: bool,
) -> None:
    """Sign a new key set: on the offline machine, from the servers' REQUESTS."""
    token = ceremony.sign_requests(
        [file.read() for file in requests],
        jws.read_private_pem(root.read_bytes()),
        now=utcnow(),
        without=without,
    )
    _write(json.dumps({"keyset": token}) if as_json else token, out)


@keys.command()
@click.argument("file", type=click.File())
@json_option
def install(*, file: IO[str], as_json: bool) -> None:
    """Check a key set that the root has signed, and use it."""
    key_set = ceremony.install(_folder(), file.read(), now=utcnow())
    if as_json:
        _show_json(_described(key_set))
    else:
        click.echo(_sentence(key_set))


@keys.command(name="rotate-secret")
@click.option("--purpose", required=True, type=click.Choice(SECRET_PURPOSES))
@json_option
def rotate_secret(*, purpose: str, as_json: bool) -> None:
    """Make the next version of a symmetric key; the earlier ones stay."""
    version = Keyring.open(_folder()).rotate(purpose).version
    if as_json:
        _show_json({"purpose": purpose, "version": version})
    else:
        click.echo(f"{purpose} is now at version {version}.")


@keys.command()
@json_option
def check(*, as_json: bool) -> None:
    """Sign and verify with each key, and say what is exposed or ends soon."""
    settings = _settings()
    faults, warnings = _signing_state(settings.data_dir / "keys", utcnow())
    faults += _missing_secrets(Keyring.open(settings.data_dir / "keys"))
    warnings += [
        f"others on this machine can read {path}: chmod 600"
        for path in exposed_files(settings.data_dir)
    ]
    if as_json:
        _show_json({"faults": faults, "warnings": warnings})
    else:
        for kind, texts in (("fault", faults), ("warning", warnings)):
            for text in texts:
                click.echo(f"{kind}: {text}")
        if not faults:
            click.echo("All keys can sign.")
    if faults:
        raise SystemExit(1)


def _settings() -> Settings:
    settings = click.get_current_context().find_object(Settings)
    if settings is None:
        raise click.ClickException("run this as callhome keys")
    return settings


def _folder() -> Path:
    return _settings().data_dir / "keys"


def _described(key_set: KeySet) -> dict[str, object]:
    return {
        "version": key_set.version,
        "issued_at": rfc3339(key_set.issued_at),
        "expires_at": rfc3339(key_set.expires_at),
    }


def _sentence(key_set: KeySet) -> str:
    return f"Key set {key_set.version}, good until {rfc3339(key_set.expires_at)}."


def _entry(folder: Path, key: ListedKey, now: datetime | None) -> dict[str, object]:
    """Describe a key; without ``now``, one that the root has not listed yet."""
    timely = "in its time" if now and key.may_sign_at(now) else "not in its time"
    here = ceremony.private_key_file(folder, key.kid).exists()
    state = timely if now else "awaits the root"
    return {**key.as_jwk(), "state": state, "on_this_server": here}


def _line(entry: Mapping[str, object]) -> str:
    where = "on this server" if entry["on_this_server"] else "elsewhere"
    span = f"{entry['not_before']} to {entry['not_after']}"
    return f"{entry['purpose']!s:15} {entry['kid']} {span} {entry['state']}, {where}"


def _signing_state(folder: Path, now: datetime) -> tuple[list[str], list[str]]:
    try:
        signing = SigningKeys.load(folder, now)
        signing.self_test(now)
    except CannotSign as fault:
        return [f"{fault} {fault.__cause__ or ''}".strip()], []
    return [], signing.warnings(now)


def _missing_secrets(ring: Keyring) -> list[str]:
    return [
        f"there is no key for {purpose}: callhome init makes one"
        for purpose in SECRET_PURPOSES
        if not ring.versions(purpose)
    ]


def _show_json(result: object) -> None:
    click.echo(json.dumps(result, indent=2))


def _write(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text)
    else:
        replace(out, f"{text.strip()}\n".encode(), mode=PUBLIC)
