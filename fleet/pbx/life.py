# SPDX-License-Identifier: Apache-2.0
"""The words of a PBX's life: how it stands, what happens to it, what it does.

Nothing here decides anything; ``machine`` does.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from fleet.pbx.functions import Entitlements, Function, Holding, Product
from fleet.pbx.lease import Lease
from fleet.pbx.release_codes import Release
from fleet.pbx.timekeeping import Reckoning


class Standing(StrEnum):
    """How the PBX stands, as it sees itself.

    Whatever it is, emergency calls, the admin pages and all data stay available; only
    the licensed functions come and go.
    """

    UNINITIALISED = "uninitialised"
    RUNNING = "running"
    WARNING = "warning"
    LOCKED_BY_ITSELF = "locked-by-itself"
    LOCKED = "locked"
    BLOCKED = "blocked"
    REPLACED = "replaced"


class Notice(StrEnum):
    """What the PBX tells its admin and its log."""

    BOOTED = "booted"
    CLOCK_BEHIND = "clock-behind"
    CLOCK_AHEAD = "clock-ahead"
    INITIALISED = "initialised"
    ACTIVE = "active"
    UNLOCKED = "unlocked"
    NOTHING = "nothing"
    WARNING = "warning"
    LOCKED_BY_ITSELF = "locked-by-itself"
    LOCKED = "locked"
    BLOCKED = "blocked"
    REPLACED = "replaced"
    CERTIFICATE_RENEWED = "certificate-renewed"
    RENEWAL_FAILED = "renewal-failed"
    KEYS_REFRESHED = "keys-refreshed"
    KEYS_NOT_REFRESHED = "keys-not-refreshed"
    ENTITLED = "entitled"
    NOT_SYNCED = "not-synced"
    NOT_REDEEMED = "not-redeemed"
    CODE_ENTERED = "code-entered"
    FUNCTION_ENDED = "function-ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """The validity of the device certificate."""

    not_before: datetime
    not_after: datetime

    @property
    def renews_at(self) -> datetime:
        """Two thirds of the way: a third of a year is left for trying again."""
        return self.not_before + (self.not_after - self.not_before) * 2 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that the rules look at. ``wake_at`` and ``sync_at`` are uptimes in seconds.

    ``failed_attempts`` counts since the last signed ``active``; ``counted_at`` is how
    long the PBX had run when the last of them was counted.
    """

    time: Reckoning
    standing: Standing = Standing.UNINITIALISED
    lease: Lease | None = None
    certificate: Lifetime | None = None
    initialising: bool = False
    failed_attempts: int = 0
    counted_at: float = 0.0
    warnings_given: int = 0
    keys_asked_at: datetime | None = None
    wake_at: float = 0.0
    sync_at: float = 0.0
    holding: Holding = field(default_factory=Holding)

    @property
    def functions_enabled(self) -> bool:
        """Whether the licensed functions work (nothing else is ever switched off)."""
        return self.standing in {Standing.RUNNING, Standing.WARNING}

    @property
    def functions(self) -> tuple[Function, ...]:
        """What there is to use now: none while locked, and then all of it again."""
        return self.holding.at(self.time.now) if self.functions_enabled else ()

    @property
    def due_at(self) -> float:
        """The uptime at which there is something to do."""
        return min(self.wake_at, self.sync_at) if self.may_sync else self.wake_at

    @property
    def may_sync(self) -> bool:
        """Whether to ask for the functions at all.

        A locked PBX has nothing to use them for. And while checks fail, these are the
        attempts that are made: the first to succeed is followed by a sync.
        """
        return self.functions_enabled and not self.failed_attempts

    @property
    def generation(self) -> int:
        """The generation last seen under a signature; it must not fall."""
        return self.lease.generation if self.lease else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The circumstances of an event: two clocks, and two draws from [0, 1)."""

    rtc: datetime
    uptime: float
    draw: float
    other_draw: float


@dataclass(frozen=True, slots=True)
class Booted:
    """Power came (back) on, under firmware of this build date."""

    built_at: datetime


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A verified lease arrived; with a certificate, it answered an initialisation."""

    lease: Lease
    certificate: Lifetime | None = None


@dataclass(frozen=True, slots=True)
class HeardNothing:
    """An attempt brought no validly signed answer."""

    reason: str
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class InitialisationRequested:
    """The admin asked for (re-)initialisation: it is due at once."""


@dataclass(frozen=True, slots=True)
class CertificateRenewed:
    """EST gave a new certificate over a new key."""

    certificate: Lifetime


@dataclass(frozen=True, slots=True)
class Entitled:
    """Verified entitlements arrived.

    ``sequence`` is that of a release code that came with them: nobody needs to enter
    it any more.
    """

    entitlements: Entitlements
    next_sync_in: int
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class NotSynced:
    """No validly signed entitlements were heard."""

    reason: str
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class VoucherEntered:
    """A voucher waits for its redemption, which is due at once."""


@dataclass(frozen=True, slots=True)
class CodeEntered:
    """A genuine release code was typed in, of a product that is known here."""

    release: Release
    product: Product


Event = (
    Booted
    | Ticked
    | Answered
    | HeardNothing
    | InitialisationRequested
    | CertificateRenewed
    | Entitled
    | NotSynced
    | VoucherEntered
    | CodeEntered
)


@dataclass(frozen=True, slots=True)
class Initialise:
    """Ask for a certificate and a lease with the device secret."""


@dataclass(frozen=True, slots=True)
class Check:
    """Ask for a lease with the certificate."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Ask for a new certificate with the old one."""


@dataclass(frozen=True, slots=True)
class RefreshKeys:
    """Ask for the key set."""


@dataclass(frozen=True, slots=True)
class Sync:
    """Redeem what waits for it, then ask which functions there are."""


@dataclass(frozen=True, slots=True)
class SetClock:
    """Set the real-time clock."""

    to: datetime


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the admin and the log."""

    notice: Notice
    detail: str = ""
    due_in: timedelta | None = None


Action = Initialise | Check | Renew | RefreshKeys | Sync | SetClock | Announce
