# SPDX-License-Identifier: Apache-2.0
"""Settings: read once from ``PBX_*``, checked, and never changed afterwards.

A value that cannot be used stops the process with a sentence that names the
setting, the value's fault and an example: nothing starts half configured.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path
from typing import Any

from fleet import setting_texts as texts

PREFIX = "PBX_"
SETTINGS_FILE = "PBX_SETTINGS_FILE"

Network = IPv4Network | IPv6Network


class SettingsError(Exception):
    """A setting cannot be used; the text names it and says what would do."""


@dataclass(frozen=True)
class Networks:
    """A list of networks; ``unix`` stands for peers on a Unix socket."""

    ranges: tuple[Network, ...] = ()
    unix: bool = False

    @classmethod
    def of(cls, text: str) -> "Networks":
        """Read a list separated by spaces or commas; raise ``ValueError``."""
        return _networks(text)

    def __bool__(self) -> bool:
        """Whether anybody at all is in the list."""
        return bool(self.ranges) or self.unix

    def __contains__(self, address: str) -> bool:
        """Whether ``address`` is in one of the networks; "" is a Unix socket."""
        if not address:
            return self.unix
        parsed = plain_address(address)
        return parsed is not None and any(parsed in each for each in self.ranges)


@lru_cache(maxsize=4096)
def plain_address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an IP address; an IPv4-mapped IPv6 one is the IPv4 address it means."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_LARGEST_PORT = 65535


def bind_address(value: str) -> str:
    """Read where to listen; raise ``ValueError`` for any other form."""
    if value.startswith("unix:/"):
        return value
    host, _, port = value.rpartition(":")
    if not _is_host(host):
        raise ValueError(
            f"is not HOST:PORT, [IPv6]:PORT or unix:/path: {value!r}; "
            "for example 127.0.0.1:8443"
        )
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= _LARGEST_PORT):
        raise ValueError(
            f"has a port that is none between 1 and {_LARGEST_PORT}: {value!r}"
        )
    return value


def _is_host(text: str) -> bool:
    if not (text.startswith("[") and text.endswith("]")):
        return _HOST_NAME.fullmatch(text) is not None
    try:
        return IPv6Address(text[1:-1]).scope_id is None
    except ValueError:
        return False


def _networks(value: str) -> Networks:
    ranges: list[Network] = []
    unix = False
    for part in value.replace(",", " ").split():
        if part == "unix":
            unix = True
            continue
        try:
            ranges.append(ip_network(part, strict=False))
        except ValueError:
            raise ValueError(
                f"has an entry that is no address or network: {part!r}; "
                "for example 127.0.0.1, 10.0.0.0/8 or unix"
            ) from None
    return Networks(tuple(ranges), unix=unix)


def _setting(
    default: object,
    read: Callable[[str], object],
    about: str,
    *,
    reads_empty: bool = False,
) -> Any:  # noqa: ANN401 -- like dataclasses.field, it stands for a value of any type
    """Declare a field: its default, how its text is read, what it is for.

    An empty text is the default, unless it ``reads_empty``.
    """
    told = {"read": read, "about": about, "reads_empty": reads_empty}
    return field(default=default, metadata=told)


@dataclass(frozen=True)
class Settings:
    """All settings; each field ``x_y`` is the variable ``PBX_X_Y``.

    The defaults run the whole service on one machine, for one person, on
    loopback. Paths are relative to the working directory.
    """

    data_dir: Path = _setting(
        Path("var"),
        texts.folder,
        "folder of the database, the keys and the certificates",
        reads_empty=True,  # which is refused: whose folder was meant?
    )
    database_url: str = _setting(
        "",
        texts.database_url,
        "postgresql+psycopg://...; empty is SQLite under the data directory",
    )
    public_url: str = _setting(
        "https://localhost:8443",
        texts.https_url,
        "how PBXs and people reach the service",
    )
    bind: str = _setting(
        "127.0.0.1:8443",
        bind_address,
        "HOST:PORT or unix:/path that the service listens on",
    )
    tls: bool = _setting(
        True,  # noqa: FBT003 -- a default, named by its field
        texts.switch,
        "on: TLS ends here; off: behind a proxy of PBX_TRUSTED_PROXIES",
    )
    tls_certificate: str = _setting(
        "",
        texts.text,
        "PEM file with this server's certificate chain and key; empty: tls/server.pem "
        "under the data directory",
    )
    trusted_proxies: Networks = _setting(
        Networks(),
        _networks,
        "addresses whose Client-Cert, X-SSL-Client-Cert and X-Forwarded-For are "
        "believed; empty: nobody's",
    )
    metrics_networks: Networks = _setting(
        _networks("127.0.0.0/8 ::1/128 unix"),
        _networks,
        "who may read /metrics; empty: nobody",
        reads_empty=True,
    )
    web_workers: int = _setting(
        0,
        texts.whole(0, 64),
        "web processes; 0: 1 on SQLite, one for each core otherwise",
    )
    web_threads: int = _setting(
        32, texts.whole(2, 512), "threads of a web process that answer short requests"
    )
    bulk_threads: int = _setting(
        8, texts.whole(1, 256), "threads of a web process for uploads and downloads"
    )
    grace_days: int = _setting(
        30,
        texts.whole(1, 3650),
        "days of silence beyond the first 24 hours before a PBX locks",
    )
    outage_credit: bool = _setting(
        True,  # noqa: FBT003 -- a default, named by its field
        texts.switch,
        "on: time in which this service was down is not silence of the PBX",
    )
    clock_tolerance_seconds: int = _setting(
        300,
        texts.whole(1, 10**9),
        "how far this clock may be off the database's, or behind what was seen, "
        "before nothing is signed",
    )
    shop_url: str = _setting(
        "", texts.url, "where a voucher can be bought; empty: no link"
    )
    controller: str = _setting(
        "",
        texts.text,
        "who answers for the data (GDPR): name and address, for the privacy notice",
    )
    privacy_contact: str = _setting(
        "", texts.text, "whom people write to about their data, for the privacy notice"
    )
    supervisory_authority: str = _setting(
        "",
        texts.text,
        "the data protection authority in charge, for the privacy notice",
    )
    server_location: str = _setting(
        "", texts.text, "the country the servers are in, for the privacy notice"
    )
    country_database: str = _setting(
        "",
        texts.text,
        "file that tells the country of an address (.mmdb), for statistics; empty: "
        "none",
    )
    log_level: str = _setting(
        "info", texts.one_of("debug", "info", "warning", "error"), "least level logged"
    )

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read ``PBX_*`` from ``environment`` and, beneath it, from a file.

        ``PBX_SETTINGS_FILE`` names a file of ``NAME=value`` lines (as systemd's
        ``EnvironmentFile``); the environment wins over the file. A variable that
        is there but empty is not set, as where ``${UNSET}`` was written; but an
        empty list of networks is nobody, and an empty folder is refused.

        Raises ``SettingsError`` for a value or a file that cannot be used.
        """
        values = dict(_from_file(environment.get(SETTINGS_FILE, "")))
        values.update({k: v for k, v in environment.items() if k.startswith(PREFIX)})
        chosen: dict[str, object] = {}
        for each in fields(cls):
            variable = PREFIX + each.name.upper()
            text = values.get(variable, "").strip()
            if not text and not (variable in values and each.metadata["reads_empty"]):
                continue
            try:
                chosen[each.name] = each.metadata["read"](text)
            except ValueError as fault:
                raise SettingsError(f"{variable} {fault}") from None
        settings = cls(**chosen)  # type: ignore[arg-type] # each reader returns its field's type
        settings._check_together()
        return settings

    def _check_together(self) -> None:
        if not self.tls and not self.trusted_proxies:
            raise SettingsError(
                "PBX_TLS is off, so a proxy must show the PBXs' certificates, but "
                "PBX_TRUSTED_PROXIES is empty; set it, for example to 127.0.0.1"
            )

    @property
    def sqlite(self) -> bool:
        """Whether the database is the embedded one."""
        return self.effective_database_url.startswith("sqlite:")

    @property
    def effective_database_url(self) -> str:
        """The database's URL with the default filled in."""
        return self.database_url or f"sqlite:///{self.sqlite_path.absolute()}"

    @property
    def sqlite_path(self) -> Path:
        """Where the embedded database lies by default."""
        return self.data_dir / "callhome.sqlite3"

    @property
    def server_certificate(self) -> Path:
        """The PEM file with this server's certificate chain and key."""
        return Path(self.tls_certificate or self.data_dir / "tls" / "server.pem")


def unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """Name the ``PBX_*`` variables that mean nothing here, and what may be meant.

    They do not stop the service (another program may own them), but the doctor
    shows them: a typing error would otherwise be a setting that silently fails.
    """
    known = {variable for variable, _, _ in described()} | {SETTINGS_FILE}
    found = []
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        found.append(f"{name}; did you mean {near[0]}?" if near else name)
    return found


def described() -> Iterable[tuple[str, str, str]]:
    """Yield each setting's variable, its default as text, and what it is for."""
    for each in fields(Settings):
        yield PREFIX + each.name.upper(), spelled(each.default), each.metadata["about"]


def spelled(value: object) -> str:
    """Return a value as it would be written in the environment."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Networks):
        return " ".join([*map(str, value.ranges), *(["unix"] if value.unix else [])])
    return str(value)


def _from_file(path: str) -> Iterable[tuple[str, str]]:
    if not path:
        return
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise SettingsError(
            f"{SETTINGS_FILE}: {path} cannot be read: {fault}"
        ) from None
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, separator, value = text.partition("=")
        if not separator or not name.startswith(PREFIX):
            raise SettingsError(
                f"{SETTINGS_FILE}: {path} line {number} is no PBX_NAME=value"
            )
        yield name.strip(), value.strip().strip("\"'")
