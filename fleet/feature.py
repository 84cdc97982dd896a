# SPDX-License-Identifier: Apache-2.0
"""What a feature plugs into the house: one form in which all five are handed over."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from click import Command
from flask import Blueprint, Flask
from sqlalchemy.orm import InstrumentedAttribute


@dataclass(frozen=True)
class Job:
    """Work that is done again and again by the jobs process.

    ``work`` is one service call with the present instant; it must be safe to
    repeat and to miss, since what is due is derived from the data. One that is done
    ``everywhere`` is about the host as well: every jobs process does it, whether or not
    it has the lease, so it must also be safe to be done by several at once.
    """

    name: str
    every: timedelta
    work: Callable[[datetime], object]
    everywhere: bool = False


@dataclass(frozen=True)
class KeyUse:
    """A column that holds the versions of a secret key that rows were written with.

    A key that rows refer to can only be restored; a new one in its place would
    make every one of those rows void without a word.
    """

    purpose: str
    version: InstrumentedAttribute[int]


@dataclass(frozen=True)
class Gauge:
    """A number for Prometheus that is read from the data when it is asked for.

    ``name`` ends in its unit; ``labels`` never hold what a client chose.
    """

    name: str
    about: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Feature:
    """One of the five features, as ``wsgi`` hands it to ``fleet.app``.

    ``problems`` is the file with its problem pages; ``prepare`` is called once
    with the finished application. The rest is called in its context: ``warnings``
    are sentences, open to everybody, about what must be seen to although this process
    can serve; ``gauges`` are asked for at each scrape, so both must be quick however
    much is stored; ``before_serving`` is done by ``callhome serve`` before it listens.
    """

    name: str
    blueprints: Sequence[Blueprint] = ()
    commands: Sequence[Command] = ()
    jobs: Sequence[Job] = ()
    key_uses: Sequence[KeyUse] = ()
    problems: Path | None = None
    prepare: Callable[[Flask], None] | None = field(default=None)
    warnings: Callable[[], Sequence[str]] | None = None
    gauges: Callable[[], Iterable[Gauge]] | None = None
    before_serving: Callable[[], None] | None = None
