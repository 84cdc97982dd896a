# SPDX-License-Identifier: Apache-2.0
"""The rules of a PBX's licence: a pure function of its state and one event.

* It asks every 24 hours, as the lease says, and every hour while it hears nothing.
* Only a validly signed answer changes its standing at once. Everything else is nothing.
* After long silence it warns, and at last locks itself: not before ``lock_at``, and
  not before it has really tried ``minimum_attempts`` times. A clock that jumps or a
  year on a shelf therefore locks nobody.
* Once locked it goes on asking, and the first signed ``active`` unlocks it.
* It asks for its functions after each boot and as often as the vendor says, best right
  after a check. Whatever becomes of that, the licence has nothing to do with it.
* Emergency calls, the admin pages and all data are kept in every state.
"""

from dataclasses import replace
from datetime import timedelta
from functools import singledispatch
from typing import Final

from fleet.pbx.functions import described, quantities
from fleet.pbx.lease import Lease, Verdict
from fleet.pbx.life import (
    Action,
    Announce,
    Answered,
    Booted,
    CertificateRenewed,
    Check,
    CodeEntered,
    Entitled,
    Event,
    HeardNothing,
    InitialisationRequested,
    Initialise,
    Moment,
    Notice,
    NotSynced,
    RefreshKeys,
    Renew,
    SetClock,
    Standing,
    State,
    Sync,
    Ticked,
    VoucherEntered,
)
from fleet.pbx.timekeeping import Doubt

Step = tuple[State, tuple[Action, ...]]

HOUR: Final = 3600
DAY: Final = 24 * HOUR
BOOT_SPREAD: Final = 600.0
"""After a power cut in a region, its PBXs come back within ten minutes, not at once."""
FIRST_FAILURE_SPREAD: Final = 120.0
"""When a server fails, all that were talking to it fail in the same second."""
CHECK_BOUNDS: Final = (60, 7 * DAY)
RETRY_BOUNDS: Final = (60, DAY)
RETRY_IN: Final = HOUR
"""How often to try before any lease has said so."""
SYNC_BOUNDS: Final = (60, 7 * DAY)
SYNCED_EARLY: Final = 2 * HOUR
"""A sync that is due this soon is done with the check: one handshake, not two."""
KEYS_ASKED_EVERY: Final = timedelta(days=7)
TRIES_WITH_AN_OLD_CERTIFICATE: Final = 3

STANDINGS: Final = {
    Verdict.ACTIVE: Standing.RUNNING,
    Verdict.LOCKED: Standing.LOCKED,
    Verdict.BLOCKED: Standing.BLOCKED,
    Verdict.REPLACED: Standing.REPLACED,
}


def step(state: State, event: Event, moment: Moment) -> Step:
    """Return the state after ``event`` and what to do now, in this order.

    The caller stores the new state before it acts.
    """
    counted = state
    if not isinstance(event, Booted):
        counted = replace(state, time=state.time.counted(moment.uptime))
    after, actions = _react(event, counted, moment)
    return after, (*actions, *_what_ended(state, after))


@singledispatch
def _react(event: object, _state: State, _moment: Moment) -> Step:
    """React to one kind of event; each has a rule below."""
    raise TypeError(type(event))


@_react.register
def _booted(event: Booted, state: State, moment: Moment) -> Step:
    time = state.time.booted(moment.rtc, uptime=moment.uptime, built_at=event.built_at)
    at_once = state.initialising or state.certificate is None
    delay = 0.0 if at_once else BOOT_SPREAD * moment.draw
    said: tuple[Action, ...] = (
        Announce(Notice.BOOTED, due_in=timedelta(seconds=delay)),
    )
    if time.doubt is Doubt.BEHIND:
        said += (Announce(Notice.CLOCK_BEHIND), SetClock(time.mark))
    if time.doubt is Doubt.AHEAD and state.lease:
        # A new box comes from a shelf. And the clock is left alone: it may be right,
        # and TLS needs it.
        said += (Announce(Notice.CLOCK_AHEAD),)
    due_at = moment.uptime + delay
    return replace(state, time=time, wake_at=due_at, sync_at=due_at), said


@_react.register
def _ticked(_event: Ticked, state: State, moment: Moment) -> Step:
    state, said = _judge_silence(state)
    if moment.uptime < state.wake_at:
        due = state.may_sync and moment.uptime >= state.sync_at
        return state, (*said, Sync()) if due else said
    if _needs_initialisation(state, moment):
        return state, (*said, Initialise())
    return state, (*said, Check())


@_react.register
def _requested(_: InitialisationRequested, state: State, moment: Moment) -> Step:
    return replace(state, initialising=True, wake_at=moment.uptime), ()


@_react.register
def _answered(event: Answered, state: State, moment: Moment) -> Step:
    lease, initialised = event.lease, event.certificate is not None
    answered = replace(
        state,
        standing=STANDINGS[lease.verdict],
        lease=lease,
        time=state.time.confirmed(lease.server_time, lower_mark=initialised),
        certificate=event.certificate or state.certificate,
        initialising=state.initialising and not initialised,
        counted_at=0.0,
        warnings_given=0,
        wake_at=moment.uptime + _bounded(lease.next_check_in, CHECK_BOUNDS),
    )
    if lease.verdict is Verdict.ACTIVE:
        answered = replace(answered, failed_attempts=0)
    if not state.functions_enabled:
        answered = replace(answered, sync_at=moment.uptime)
    said = (SetClock(lease.server_time), _verdict_notice(state, event))
    answered, errands = _errands(answered, lease, initialised=initialised)
    if answered.may_sync and answered.sync_at <= moment.uptime + SYNCED_EARLY:
        errands += (Sync(),)
    return answered, said + errands


@_react.register
def _heard_nothing(event: HeardNothing, state: State, moment: Moment) -> Step:
    retry_in = state.lease.retry_in if state.lease else RETRY_IN
    usual = _bounded(retry_in, RETRY_BOUNDS)
    wait = usual * (0.75 + moment.draw / 2)
    if state.failed_attempts == 0:
        wait += FIRST_FAILURE_SPREAD * moment.other_draw
    if event.retry_after is not None:
        wait = _bounded(event.retry_after, RETRY_BOUNDS)
    state = replace(_with_attempt(state, usual), wake_at=moment.uptime + wait)
    state, said = _judge_silence(state)
    nothing = Announce(
        Notice.NOTHING, detail=event.reason, due_in=timedelta(seconds=wait)
    )
    return state, (nothing, *said)


@_react.register
def _renewed(event: CertificateRenewed, state: State, _moment: Moment) -> Step:
    renewed = replace(state, certificate=event.certificate)
    return renewed, (Announce(Notice.CERTIFICATE_RENEWED),)


@_react.register
def _entitled(event: Entitled, state: State, moment: Moment) -> Step:
    holding = state.holding.signed(event.entitlements)
    if event.sequence is not None:
        holding = holding.with_used(event.sequence)
    due_in = _bounded(event.next_sync_in, SYNC_BOUNDS)
    said = Announce(
        Notice.ENTITLED,
        detail=described(holding.at(state.time.now)),
        due_in=timedelta(seconds=due_in),
    )
    return replace(state, holding=holding, sync_at=moment.uptime + due_in), (said,)


@_react.register
def _not_synced(event: NotSynced, state: State, moment: Moment) -> Step:
    wait = HOUR * (0.75 + moment.draw / 2)
    if event.retry_after is not None:
        wait = _bounded(event.retry_after, RETRY_BOUNDS)
    said = Announce(
        Notice.NOT_SYNCED, detail=event.reason, due_in=timedelta(seconds=wait)
    )
    return replace(state, sync_at=moment.uptime + wait), (said,)


@_react.register
def _voucher_entered(_: VoucherEntered, state: State, moment: Moment) -> Step:
    return replace(state, sync_at=moment.uptime), ()


@_react.register
def _code_entered(event: CodeEntered, state: State, _moment: Moment) -> Step:
    state = replace(
        state, holding=state.holding.with_code(event.release, event.product)
    )
    said = described(state.holding.at(state.time.now))
    return state, (Announce(Notice.CODE_ENTERED, detail=said),)


def _judge_silence(state: State) -> Step:
    """Warn about silence, and at last lock.

    A PBX that has not yet failed to reach anybody has nothing to say: it may just have
    come back from a long holiday.
    """
    lease = state.lease
    if lease is None or not state.functions_enabled or not state.failed_attempts:
        return state, ()
    now = state.time.now
    if now >= lease.locks_at and state.failed_attempts >= lease.minimum_attempts:
        locked = replace(state, standing=Standing.LOCKED_BY_ITSELF)
        return locked, (Announce(Notice.LOCKED_BY_ITSELF),)
    due = sum(at <= now for at in lease.warn_at)
    if due <= state.warnings_given:
        return state, ()
    warned = replace(state, standing=Standing.WARNING, warnings_given=due)
    return warned, (Announce(Notice.WARNING, due_in=lease.locks_at - now),)


def _with_attempt(state: State, usual: float) -> State:
    """Count a failed attempt, unless the one before is less than half a turn ago.

    Otherwise a stranger who answers "try again in a minute", or an impatient admin,
    could use up in hours the attempts that are meant to take weeks.
    """
    spaced = state.time.ran - state.counted_at >= usual / 2
    if state.failed_attempts and not spaced:
        return state
    return replace(
        state,
        failed_attempts=state.failed_attempts + 1,
        counted_at=state.time.ran,
    )


def _needs_initialisation(state: State, moment: Moment) -> bool:
    """Whether to prove itself by the device secret instead of the certificate.

    A certificate that looks expired is tried all the same, for it is our own clock
    that says so; only after some failures does the PBX act upon it.
    """
    if state.initialising or state.certificate is None:
        return True
    now = max(state.time.now, moment.rtc)
    tried = state.failed_attempts >= TRIES_WITH_AN_OLD_CERTIFICATE
    return tried and state.certificate.not_after < now


def _errands(state: State, lease: Lease, *, initialised: bool) -> Step:
    """Return what is best done while the vendor is known to answer, and the time.

    A blocked or replaced PBX would not be given a certificate.
    """
    now = lease.server_time
    errands: tuple[Action, ...] = ()
    if initialised:
        return replace(state, keys_asked_at=now), errands
    barred = state.standing in {Standing.BLOCKED, Standing.REPLACED}
    if state.certificate and now >= state.certificate.renews_at and not barred:
        errands += (Renew(),)
    if state.keys_asked_at is None or now - state.keys_asked_at >= KEYS_ASKED_EVERY:
        state = replace(state, keys_asked_at=now)
        errands += (RefreshKeys(),)
    return state, errands


def _what_ended(before: State, after: State) -> tuple[Announce, ...]:
    """Tell what came to its last day, as far as time alone took it away."""
    if before.holding != after.holding or not before.functions_enabled:
        return ()
    had = before.holding.at(before.time.now)
    there = quantities(after.holding.at(after.time.now))
    return tuple(
        Announce(Notice.FUNCTION_ENDED, detail=f"{there.get(name, 0)} {name} are left")
        for name, quantity in quantities(had).items()
        if there.get(name, 0) < quantity
    )


def _verdict_notice(before: State, event: Answered) -> Announce:
    lease = event.lease
    due_in = timedelta(seconds=_bounded(lease.next_check_in, CHECK_BOUNDS))
    notice = Notice.ACTIVE
    if lease.verdict is not Verdict.ACTIVE:
        notice = Notice(lease.verdict.value)
    elif event.certificate is not None:
        notice = Notice.INITIALISED
    elif not before.functions_enabled:
        notice = Notice.UNLOCKED
    return Announce(notice, detail=lease.reason, due_in=due_in)


def _bounded(seconds: int, bounds: tuple[int, int]) -> int:
    lowest, highest = bounds
    return min(max(seconds, lowest), highest)
