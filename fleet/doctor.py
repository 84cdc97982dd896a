# SPDX-License-Identifier: Apache-2.0
"""``callhome doctor``: what is wrong with this installation, and what to do.

Every finding names the thing, its state, and, where something is to be done, the
command that does it. Nothing is changed.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from fleet import migrations
from fleet.clock import rfc3339, utcnow
from fleet.database import stand_alone_engine
from fleet.feature import KeyUse
from fleet.identity.authority import DeviceAuthority
from fleet.identity.device_ca import AuthorityFault
from fleet.identity.server_certificate import ends_at
from fleet.identity.trust import TrustAnchors
from fleet.key_uses import lost_keys
from fleet.keys.ceremony import root_file
from fleet.keys.errors import CannotSign, KeyFault, MissingKey
from fleet.keys.files import exposed_files
from fleet.keys.keyring import SECRET_PURPOSES, Keyring
from fleet.keys.signing import SigningKeys
from fleet.server import pulse
from fleet.settings import Settings, unknown_settings

GOOD = "ok"
SOON = "warning"
WRONG = "wrong"

# Faults whose text is ours, and names files but no secret.
OUR_FAULTS = (KeyFault, CannotSign, MissingKey, AuthorityFault, OSError)

TLS_WARNING = timedelta(days=30)
LEAST_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    about: str
    state: str
    says: str


Advice = Callable[[Settings], Sequence[str]]

# What lets access records outlive their age in PostgreSQL's own files, and what to set.
# Each as superuser, then ``SELECT pg_reload_conf()``.
POSTGRES_KEEPS = {
    "wal_recycle": (
        frozenset(["on"]),
        (
            "segments of the write-ahead log are used again with what they held, "
            "deleted access records as well: ALTER SYSTEM SET wal_recycle = off"
        ),
    ),
    "log_parameter_max_length": (
        frozenset(["-1"]),
        (
            "a statement that is logged, as a slow one may be, is logged with the "
            "addresses in it: ALTER SYSTEM SET log_parameter_max_length = 0"
        ),
    ),
    "log_error_verbosity": (
        frozenset(["default", "verbose"]),
        (
            "an error is logged with the values of the row that caused it: ALTER "
            "SYSTEM SET log_error_verbosity = terse"
        ),
    ),
    "archive_mode": (
        frozenset(["on", "always"]),
        (
            "the archive of the write-ahead log holds access records: delete what is "
            "older than 14 days there, too"
        ),
    ),
}


def examine(
    settings: Settings,
    environment: Mapping[str, str],
    uses: Sequence[KeyUse],
    advice: Advice = lambda _settings: (),
) -> Iterator[Finding]:
    """Look at everything that a running service needs.

    ``uses`` are the columns that refer to secret keys (``fleet.key_uses``); ``advice``
    is what features would have somebody see to.
    """
    yield from _settings(settings, environment)
    for about, look in (
        ("data directory", _data_dir),
        ("secret keys", _secrets),
        ("signing keys", _signing),
        ("device CA", _device_ca),
        ("TLS certificate", _tls),
        ("database", lambda it: _database(it, uses, advice)),
    ):
        yield from _looked(about, look, settings)


def _looked(
    about: str, look: Callable[[Settings], Iterator[Finding]], settings: Settings
) -> Iterator[Finding]:
    """Turn a fault on the way into a finding: a doctor does not fall ill."""
    if not settings.data_dir.is_dir():
        yield Finding(about, WRONG, f"{settings.data_dir} is missing: callhome init")
        return
    try:
        yield from look(settings)
    except OUR_FAULTS as fault:
        because = f" ({fault.__cause__})" if fault.__cause__ else ""
        yield Finding(about, WRONG, f"{fault}{because}")
    except DBAPIError as fault:
        kind = type(fault.orig).__name__
        yield Finding(about, WRONG, f"does not answer ({kind}): PBX_DATABASE_URL")
    except Exception as fault:  # noqa: BLE001 -- whatever it is, it is a finding
        # Its text may repeat a setting, and so a password.
        yield Finding(about, WRONG, f"cannot be looked at ({type(fault).__name__})")


def _settings(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    unknown = unknown_settings(environment)
    for each in unknown:
        yield Finding("settings", SOON, f"means nothing here: {each}")
    if not unknown:
        yield Finding("settings", GOOD, "all are known")
    if settings.tls and settings.trusted_proxies:
        yield Finding(
            "settings",
            SOON,
            "TLS ends here, and proxies are trusted as well: make sure that only "
            "they can connect from PBX_TRUSTED_PROXIES; their certificate headers "
            "are not read",
        )


def _data_dir(settings: Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(settings.data_dir).free
    state = GOOD if free > LEAST_FREE_BYTES else WRONG
    yield Finding("disk", state, f"{free >> 20} MiB free at the data directory")
    for path in (settings.data_dir, settings.sqlite_path):
        if path.exists() and not os.access(path, os.W_OK):
            yield Finding("data directory", WRONG, f"{path} cannot be written")
    for path in exposed_files(settings.data_dir):
        yield Finding("data directory", WRONG, f"others can read {path}: chmod 600")
    if root_file(settings.data_dir).exists():
        yield Finding(
            "offline root",
            SOON,
            f"{root_file(settings.data_dir)} is still here: carry it away, the "
            "service runs without it",
        )


def _secrets(settings: Settings) -> Iterator[Finding]:
    keyring = Keyring.open(settings.data_dir / "keys")
    missing = [each for each in SECRET_PURPOSES if not keyring.versions(each)]
    if missing:
        yield Finding(
            "secret keys",
            WRONG,
            f"missing: {', '.join(missing)}. If there is a backup of the data "
            "directory, restore them from it; only a new installation may make "
            "new ones (callhome init)",
        )
    else:
        yield Finding("secret keys", GOOD, "all purposes have one")


def _signing(settings: Settings) -> Iterator[Finding]:
    now = utcnow()
    signing = SigningKeys.load(settings.data_dir / "keys", now)
    signing.self_test(now)
    yield Finding("signing keys", GOOD, f"key set {signing.key_set().version} signs")
    for each in signing.warnings(now):
        yield Finding("signing keys", SOON, each)


def _device_ca(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir / "device-ca"
    authority = DeviceAuthority.load(folder)
    trusted = len(TrustAnchors.load(folder).certificates())
    end = authority.chain()[0].not_valid_after_utc
    yield Finding("device CA", GOOD, f"issues until {rfc3339(end)}; {trusted} trusted")
    for each in authority.warnings(utcnow()):
        yield Finding("device CA", SOON, each)


def _tls(settings: Settings) -> Iterator[Finding]:
    if not settings.tls:
        yield Finding("TLS certificate", GOOD, "TLS ends at the proxy")
        return
    end = ends_at(settings.server_certificate)
    left = end - utcnow()
    if left <= timedelta(0):
        yield Finding("TLS certificate", WRONG, f"ended at {rfc3339(end)}: renew it")
    elif left < TLS_WARNING:
        yield Finding("TLS certificate", SOON, f"ends at {rfc3339(end)}: renew it")
    else:
        yield Finding("TLS certificate", GOOD, f"good until {rfc3339(end)}")


def _database(
    settings: Settings, uses: Sequence[KeyUse], advice: Advice
) -> Iterator[Finding]:
    engine = stand_alone_engine(settings)
    try:
        with engine.connect() as connection:
            at, newest = migrations.current(connection), migrations.head()
            if at != newest:
                yield Finding(
                    "database",
                    WRONG,
                    f"schema {at or 'empty'}, this version needs {newest}: "
                    "callhome migrate",
                )
                return
            yield Finding("database", GOOD, f"{engine.dialect.name}, schema {at}")
            yield from _clock(settings, connection)
            yield from _kept_by_postgres(connection)
        keyring = Keyring.open(settings.data_dir / "keys")
        for lost in lost_keys(engine, keyring, uses):
            yield Finding(
                "secret keys",
                WRONG,
                f"{lost} is lost, and the database was written with it: restore it "
                "from a backup of the data directory",
            )
    finally:
        engine.dispose()
    for each in advice(settings):
        about, _, says = each.partition(": ")
        yield Finding(about, SOON, says)


def _kept_by_postgres(connection: Connection) -> Iterator[Finding]:
    if connection.dialect.name != "postgresql":
        return
    for setting, (unwanted, says) in POSTGRES_KEEPS.items():
        value = connection.execute(select(func.current_setting(setting))).scalar_one()
        if value in unwanted:
            yield Finding("PostgreSQL", SOON, f"{setting} = {value}: {says}")


def _clock(settings: Settings, connection: Connection) -> Iterator[Finding]:
    now = utcnow()
    tolerance = timedelta(seconds=settings.clock_tolerance_seconds)
    mark = pulse.last_beat(connection)
    if mark is not None and mark - now > tolerance:
        yield Finding(
            "clock",
            WRONG,
            f"it is {rfc3339(now)} here, but {rfc3339(mark)} was served before: mend "
            "the clock, or, if it is right now, callhome clock --accept",
        )
        return
    if connection.dialect.name == "postgresql":
        theirs = connection.execute(select(func.clock_timestamp())).scalar_one()
        if abs(theirs - now) > tolerance:
            yield Finding(
                "clock",
                WRONG,
                f"it is {rfc3339(now)} here and {rfc3339(theirs)} at the database: "
                "let both keep time by NTP",
            )
            return
    yield Finding("clock", GOOD, f"{rfc3339(now)}, agrees with what was served")
