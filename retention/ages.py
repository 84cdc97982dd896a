# SPDX-License-Identifier: Apache-2.0
"""How long something may be kept: the rules, one for each way in which that is said.

Pure: values in, an instant out. Each rule answers two questions that agree with one
another: when does it end, for something whose story is known (``ends_at``); and how
old is too old, for whoever deletes many at a time (``cutoff``). At the instant itself
it is too late already.

A day is 24 hours here, so that no clock change makes one longer. Months are those of
the calendar, in UTC, as section 188 (3) of the German Civil Code counts them: where the
last month has no such day, they end with its last one.
"""

from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Protocol

LAST_ZONE = timezone(timedelta(hours=-12))
"""The zone in which each day ends last on Earth."""

MOMENT = timedelta(microseconds=1)
MONTHS_OF_A_YEAR = 12


class AgeFault(ValueError):  # noqa: N818 -- a fault of what was written
    """An age is written in a way that means nothing; the text says what."""


@dataclass(frozen=True)
class Story:
    """What has happened so far to one thing that is stored; None is not yet.

    ``used`` are the instants of its use, in any order. ``ended`` is what ends it
    whatever its age: it was forwarded, changed, withdrawn, or what it belongs to is
    gone.
    """

    began: datetime | None = None
    used: Sequence[datetime] = ()
    ended: datetime | None = None
    support_ends_on: date | None = None


class Rule(Protocol):
    """How long something may be kept.

    ``word`` is the rule's name in the registry, and of its sentence for people.
    """

    @property
    def word(self) -> str:
        """The rule's name."""

    @property
    def numbers(self) -> Mapping[str, int]:
        """The figures of its sentence."""

    def ends_at(self, story: Story) -> datetime | None:
        """Return from when on it must be gone; None while nothing ends it."""

    def cutoff(self, now: datetime) -> datetime | None:
        """Return the latest beginning that is too old; None where age ends nothing."""


@dataclass(frozen=True)
class Span:
    """So many hours after it began, and not one more."""

    hours: int
    word: str = "span"

    @property
    def numbers(self) -> Mapping[str, int]:
        """The hours, and the days where they come out even."""
        days, rest = divmod(self.hours, 24)
        return {"hours": self.hours} if rest else {"hours": self.hours, "days": days}

    def ends_at(self, story: Story) -> datetime | None:
        """Return the beginning, and so much later."""
        return story.began and story.began + timedelta(hours=self.hours)

    def cutoff(self, now: datetime) -> datetime | None:
        """Return the instant so much earlier."""
        return now - timedelta(hours=self.hours)


@dataclass(frozen=True)
class Rotation(Span):
    """A log file that is closed every day, and gone before a line of it is too old."""

    word: str = "rotation"

    def files_kept(self, every: timedelta = timedelta(days=1)) -> int:
        """Return how many closed files may be left beside the one that is written.

        With the last of them its first line goes: it is as old as they all are
        together, and the open one. Raises ``AgeFault`` where not even one may be.
        """
        kept = timedelta(hours=self.hours) // every - 1
        if kept < 1:
            raise AgeFault(f"{self.hours} hours are too few to rotate every {every}")
        return kept


@dataclass(frozen=True)
class AfterUse:
    """So many months after its last use: each use begins them anew."""

    months: int
    word: str = "after-use"

    @property
    def numbers(self) -> Mapping[str, int]:
        """The months."""
        return {"months": self.months}

    def ends_at(self, story: Story) -> datetime | None:
        """Count from the last use, or from the beginning where there was none."""
        uses = [each for each in (story.began, *story.used) if each is not None]
        return later(max(uses), months=self.months) if uses else None

    def cutoff(self, now: datetime) -> datetime | None:
        """Return the latest last use that is too long ago."""
        return latest_before(now, months=self.months)


@dataclass(frozen=True)
class YearsAfterYear:
    """So many years after the year in which it began is over.

    As claims lapse in Germany: sections 195 and 199 of the Civil Code.
    """

    years: int
    word: str = "years-after-year"

    @property
    def numbers(self) -> Mapping[str, int]:
        """The years."""
        return {"years": self.years}

    def ends_at(self, story: Story) -> datetime | None:
        """Return the turn of that year."""
        return story.began and _new_year(story.began.year + self.years + 1)

    def cutoff(self, now: datetime) -> datetime | None:
        """Return the last moment of the last year that is long enough over."""
        return _new_year(now.year - self.years) - MOMENT


@dataclass(frozen=True)
class Support:
    """Kept while the PBX is supported, and then while claims from its use can arise.

    Support lasts until its last day has ended everywhere on Earth; a PBX without an
    end of it is supported. From then on it goes when that is asked for. Unasked it goes
    so many years after the year in which support was over and the PBX last used: one
    that has functions for ever may go on using them.
    """

    years: int
    word: str = "support"

    @property
    def numbers(self) -> Mapping[str, int]:
        """The years."""
        return {"years": self.years}

    def may_end_at(self, story: Story) -> datetime | None:
        """Return from when on it goes if that is asked for; None: not for now."""
        if story.support_ends_on is None:
            return None
        return end_of(story.support_ends_on)

    def ends_at(self, story: Story) -> datetime | None:
        """Return the turn of the year at which it goes unasked."""
        over = self.may_end_at(story)
        if over is None:
            return None
        last = max([over, *story.used])
        return YearsAfterYear(self.years).ends_at(Story(began=last))

    def cutoff(self, now: datetime) -> datetime | None:
        """Return the latest end of support, and last use, that is too long ago."""
        return YearsAfterYear(self.years).cutoff(now)


@dataclass(frozen=True)
class UntilEnded:
    """Kept until something ends it; which, the ``word`` says.

    ``on-change``: the old value goes as the new one comes. ``at-once``: it is
    forwarded, and gone. ``session``: the browser is closed. ``until-withdrawn``:
    somebody takes it back. ``with-pbx``: the PBX it belongs to is taken off the list.
    ``as-contents``: a file is emptied of what is in it. ``with-service``: nobody runs
    the service any more.
    """

    word: str

    @property
    def numbers(self) -> Mapping[str, int]:
        """No figure."""
        return {}

    def ends_at(self, story: Story) -> datetime | None:
        """Return the instant of that event itself: not a moment is added."""
        return story.ended

    def cutoff(self, now: datetime) -> datetime | None:  # noqa: ARG002 -- as every rule
        """Age ends nothing."""
        return None


@dataclass(frozen=True)
class Never:
    """It is never stored at all."""

    word: str = "never"

    @property
    def numbers(self) -> Mapping[str, int]:
        """No figure."""
        return {}

    def ends_at(self, story: Story) -> datetime | None:
        """Whatever is there should not have begun to be."""
        return story.began

    def cutoff(self, now: datetime) -> datetime | None:
        """Even what begins now is too old."""
        return now


@dataclass(frozen=True)
class ForEver:
    """It is about nobody, so nothing ends it."""

    word: str = "for-ever"

    @property
    def numbers(self) -> Mapping[str, int]:
        """No figure."""
        return {}

    def ends_at(self, story: Story) -> datetime | None:  # noqa: ARG002 -- as every rule
        """Nothing does."""
        return None

    def cutoff(self, now: datetime) -> datetime | None:  # noqa: ARG002 -- as every rule
        """No age is too old."""
        return None


ENDED_BY = frozenset(
    [
        "on-change",
        "at-once",
        "session",
        "until-withdrawn",
        "with-pbx",
        "as-contents",
        "with-service",
    ]
)
_COUNTED: Mapping[str, Callable[[int], Rule]] = {
    "hours": Span,
    "rotated_hours": Rotation,
    "months_after_use": AfterUse,
    "years_after_year": YearsAfterYear,
    "years_after_support": Support,
}
_UNCOUNTED: dict[str, Rule] = {word: UntilEnded(word) for word in sorted(ENDED_BY)}
_UNCOUNTED |= {"never": Never(), "for-ever": ForEver()}


def rule_of(said: object) -> Rule:
    """Return the rule that the registry means: a word, or one figure with its unit.

    Raises ``AgeFault`` for anything else.
    """
    if isinstance(said, str) and said in _UNCOUNTED:
        return _UNCOUNTED[said]
    if isinstance(said, Mapping) and len(said) == 1:
        [(unit, figure)] = said.items()
        whole = isinstance(figure, int) and not isinstance(figure, bool)
        if unit in _COUNTED and whole and figure > 0:
            return _COUNTED[unit](figure)
    raise AgeFault(f"this is no age: {said!r}")


def end_of(day: date) -> datetime:
    """Return the instant at which ``day`` has ended everywhere on Earth."""
    return datetime.combine(
        day + timedelta(days=1), time(), tzinfo=LAST_ZONE
    ).astimezone(UTC)


def later(instant: datetime, *, months: int) -> datetime:
    """Return the same time of the same day, so many months later, in UTC.

    Where that month has no such day, its end: 29 February and twelve months are the
    end of 28 February. A later ``instant`` never gives an earlier one.
    """
    instant = instant.astimezone(UTC)
    year, month = _moved(instant, months)
    if instant.day > monthrange(year, month)[1]:
        return _begin_of_month(*_moved(date(year, month, 1), 1))
    return instant.replace(year=year, month=month)


def latest_before(instant: datetime, *, months: int) -> datetime:
    """Return the latest one that is so many months old at ``instant``, or older."""
    instant = instant.astimezone(UTC)
    year, month = _moved(instant, -months)
    if instant.day > monthrange(year, month)[1]:
        return _begin_of_month(*_moved(date(year, month, 1), 1)) - MOMENT
    return instant.replace(year=year, month=month)


def _moved(day: date, months: int) -> tuple[int, int]:
    """Return the year and month so many months from that of ``day``."""
    year, month = divmod(day.year * MONTHS_OF_A_YEAR + day.month - 1 + months, 12)
    return year, month + 1


def _begin_of_month(year: int, month: int) -> datetime:
    return datetime(year, month, 1, tzinfo=UTC)


def _new_year(year: int) -> datetime:
    return _begin_of_month(year, 1)
