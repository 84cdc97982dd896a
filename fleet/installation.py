# SPDX-License-Identifier: Apache-2.0
"""Makes what a new installation lacks, and never touches what it has.

``callhome init`` is this: database and migrations, keyed secrets, signing keys
and the offline root, the device CA, a TLS certificate for localhost. It may be
interrupted and repeated at any time.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from fleet import migrations
from fleet.clock import utcnow
from fleet.database import stand_alone_engine
from fleet.feature import KeyUse
from fleet.identity import authority
from fleet.identity.server_certificate import create_server_certificate
from fleet.identity.trust import TrustAnchors
from fleet.key_uses import has_devices, lost_keys
from fleet.keys.ceremony import establish, key_set_file
from fleet.keys.errors import CannotSign
from fleet.keys.files import make_folder
from fleet.keys.keyring import SECRET_PURPOSES, Keyring
from fleet.keys.signing import SigningKeys
from fleet.settings import Settings

RESTORE = "restore it from the backup; a new installation is made by callhome init."


class InstallationFault(Exception):  # noqa: N818 -- a fault of what is installed
    """This installation cannot serve; the text says what is missing or broken."""


def initialise(settings: Settings, uses: Sequence[KeyUse] = ()) -> list[str]:
    """Create what is missing under the data directory; say what that was.

    ``uses`` are the columns that refer to secret keys (``fleet.key_uses``). Raises
    ``InstallationFault`` where a database that is in use needs a key that is
    lost, and ``OSError``, or a fault that names the file, where something is there
    but broken: it is left as it is.
    """
    make_folder(settings.data_dir)
    engine = stand_alone_engine(settings)
    try:
        _refuse_loss(settings, engine, uses)
        made = make_files(settings)
        with engine.connect() as connection:
            before = migrations.current(connection)
        migrations.upgrade(engine)
    finally:
        engine.dispose()
    if before != migrations.head():
        made.append(f"database: schema {migrations.head()}")
    return made


def make_files(settings: Settings) -> list[str]:
    """Create the keys and certificates that are missing; say what that was."""
    make_folder(settings.data_dir)
    return list(_keys_and_certificates(settings, utcnow()))


def _refuse_loss(settings: Settings, engine: Engine, uses: Sequence[KeyUse]) -> None:
    """Make no new key in place of a lost one that PBXs or the database rely on."""
    keys = settings.data_dir / "keys"
    lost = lost_keys(engine, Keyring.open(keys), uses)
    if not key_set_file(keys).exists() and has_devices(engine):
        # PBXs hold a version of it, and refuse any that begins again at 1.
        lost.append(f"{key_set_file(keys).name}, the signed key set")
    if lost:
        raise InstallationFault(
            f"the database is in use, but under {keys} this is lost: "
            f"{'; '.join(lost)}. Restore it from a backup of the data directory."
        )


def check(settings: Settings) -> None:
    """Raise where something that serving needs is missing or unusable, and name it.

    Called before anything is served: half a service would be found out by the
    PBXs. Raises ``InstallationFault``, ``KeyFault``, ``AuthorityFault`` or
    ``OSError``.
    """
    keys = settings.data_dir / "keys"
    keyring = Keyring.open(keys)
    for purpose in SECRET_PURPOSES:
        if not keyring.versions(purpose):
            raise InstallationFault(f"{keys / purpose} holds no key: {RESTORE}")
    if not any((keys / "signing").glob("*.pem")):
        raise InstallationFault(f"{keys / 'signing'} holds no key: {RESTORE}")
    try:
        SigningKeys(keys)
    except CannotSign as fault:
        raise InstallationFault(str(fault.__cause__ or fault)) from None
    device_ca = settings.data_dir / "device-ca"
    authority.DeviceAuthority.load(device_ca)
    TrustAnchors.load(device_ca)
    if settings.tls:
        settings.server_certificate.read_bytes()
    _check_database(settings)


def _check_database(settings: Settings) -> None:
    """Refuse a database without our tables; one that is away may come back."""
    engine = stand_alone_engine(settings)
    file = engine.url.database if settings.sqlite else None
    try:
        if file is not None and not Path(file).exists():
            raise InstallationFault(f"{file} is missing: {RESTORE}")
        with engine.connect() as connection:
            is_empty = not migrations.current(connection)
    except DBAPIError as fault:
        if file is None:
            return  # readiness says so, until it is back
        raise InstallationFault(f"{file} cannot be used: {fault.orig}") from None
    finally:
        engine.dispose()
    if is_empty:
        raise InstallationFault("The database has no tables: callhome init makes them.")


def _keys_and_certificates(settings: Settings, now: datetime) -> Iterator[str]:
    data_dir = settings.data_dir
    for purpose in Keyring.open(data_dir / "keys").create_missing(SECRET_PURPOSES):
        yield f"secret key: {purpose}"
    yield from establish(data_dir, issuer=settings.public_url, now=now)
    if authority.create(data_dir / "device-ca", now=now):
        yield "device CA"
    if settings.tls and not settings.tls_certificate:
        host = urlsplit(settings.public_url).hostname or "localhost"
        if create_server_certificate(Path(data_dir / "tls"), host=host, now=now):
            yield f"TLS certificate for {' and '.join(sorted({host, 'localhost'}))}"
