# SPDX-License-Identifier: Apache-2.0
"""Whether this process can serve, said check by check.

A check is asked in a thread of its own and waited for only so long: a database
that hangs must not hang the answer that says so. Advice is waited for less, and never
makes a process unready: what it is about is no reason to send PBXs elsewhere. Nothing
here repeats the words of an exception: the answer is open to everybody.
"""

import functools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from flask import Flask, current_app
from sqlalchemy import Engine, text
from sqlalchemy.engine import Connection

from fleet.web.asking import Question

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
ADVICE_SECONDS = 0.5
CACHED_SECONDS = 1.0


@dataclass(frozen=True)
class Finding:
    """What a check found; warnings are for later, and change nothing now."""

    ok: bool
    says: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """A named question to this process; asked inside an application context.

    ``vital`` ones make it unready where they are not ok, or not answered.
    """

    name: str
    ask: Callable[[], Finding]
    vital: bool = True


@dataclass(frozen=True)
class Report:
    """All findings of one moment."""

    findings: Mapping[str, Finding]

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return all(each.ok for each in self.findings.values())

    def document(self) -> dict[str, object]:
        """Return the report as it is answered."""
        return {
            "status": "ready" if self.ready else "not-ready",
            "checks": {
                name: {"ok": each.ok, "says": each.says}
                for name, each in self.findings.items()
            },
            "warnings": [
                warning for each in self.findings.values() for warning in each.warnings
            ],
        }


class Readiness:
    """Asks all checks, at most once a second."""

    def __init__(self, app: Flask, checks: Sequence[Check]) -> None:
        """Ask ``checks`` in the context of ``app``."""
        self._questions = [_Question(app, check) for check in checks]
        self._guard = threading.Lock()
        self._report: Report | None = None
        self._made_at = 0.0

    def report(self) -> Report:
        """Return a report that is at most a second old."""
        with self._guard:
            fresh = monotonic() - self._made_at < CACHED_SECONDS
            if self._report is None or not fresh:
                self._report = self._make()
                self._made_at = monotonic()
            return self._report

    def _make(self) -> Report:
        for question in self._questions:
            question.put()
        began = monotonic()
        return Report({each.name: each.finding(began) for each in self._questions})


class _Question:
    """One check, asked in a thread."""

    def __init__(self, app: Flask, check: Check) -> None:
        self.name = check.name
        self._check = check
        self._question = Question(app, self._ask)

    def put(self) -> None:
        self._question.put()

    def finding(self, began: float) -> Finding:
        seconds = CHECK_SECONDS if self._check.vital else ADVICE_SECONDS
        found = self._question.answer(began + seconds)
        return found or self._unknown("Has not answered in time.")

    def _ask(self) -> Finding:
        try:
            return self._check.ask()
        except Exception as fault:  # noqa: BLE001 -- a failed check is a finding
            log.warning("check %s failed: %s", self.name, type(fault).__name__)
            return self._unknown("Failed; the log says more.")

    def _unknown(self, says: str) -> Finding:
        if self._check.vital:
            return Finding(ok=False, says=says)
        return Finding(ok=True, says=says, warnings=(f"{self.name}: not known",))


def database_answers(engine: Engine) -> Check:
    """Return the check that the database takes a question."""

    def ask() -> Finding:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        return Finding(ok=True, says="Answers.")

    return Check("database", ask)


def migrations_done(
    engine: Engine, *, wanted: Callable[[], str], current: Callable[[Connection], str]
) -> Check:
    """Return the check that the database is at the schema of this version."""
    newest = functools.cache(wanted)  # reads files, and never changes while we run

    def ask() -> Finding:
        with engine.connect() as connection:
            if current(connection) == newest():
                return Finding(ok=True, says="The schema is this version's.")
        return Finding(ok=False, says="Not at this version; run: callhome init")

    return Check("migrations", ask)


def works(
    name: str,
    attempt: Callable[[], object],
    *,
    says: str,
    otherwise: str,
    warnings: Callable[[], Sequence[str]] = tuple,
) -> Check:
    """Return a check that something can be done: ``attempt`` raises if it cannot.

    ``otherwise`` is all that is told of the failure; the log has its type.
    """

    def ask() -> Finding:
        try:
            attempt()
        except Exception as fault:  # noqa: BLE001 -- a failed check is a finding
            log.warning("check %s failed: %s", name, type(fault).__name__)
            return Finding(ok=False, says=otherwise)
        return Finding(ok=True, says=says, warnings=tuple(warnings()))

    return Check(name, ask)


def advice(name: str, warnings: Callable[[], Sequence[str]]) -> Check:
    """Return what ``warnings`` says as a check that makes no process unready."""

    def ask() -> Finding:
        found = tuple(warnings())
        says = (
            "To be seen to: look at the warnings." if found else "Nothing to warn of."
        )
        return Finding(ok=True, says=says, warnings=found)

    return Check(name, ask, vital=False)


def register(app: Flask, checks: Sequence[Check]) -> None:
    """Give ``app`` the checks that ``GET /health/ready`` asks."""
    app.extensions["readiness"] = Readiness(app, checks)


def readiness() -> Readiness:
    """Return the checks of the application in context."""
    found = current_app.extensions["readiness"]
    if not isinstance(found, Readiness):
        raise TypeError("the readiness of this application is something else")
    return found
