# SPDX-License-Identifier: Apache-2.0
"""What a feature plugs into the house: one form in which all five are handed over."""

from collections.abc import Callable, Sequence
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
    repeat and to miss, since what is due is derived from the data.
    """

    name: str
    every: timedelta
    work: Callable[[datetime], object]


@dataclass(frozen=True)
class KeyUse:
    """A column that holds the versions of a secret key that rows were written with.

    A key that rows refer to can only be restored; a new one in its place would
    make every one of those rows void without a word.
    """

    purpose: str
    version: InstrumentedAttribute[int]


@dataclass(frozen=True)
class Feature:
    """One of the five features, as ``wsgi`` hands it to ``fleet.app``.

    ``problems`` is the file with its problem pages; ``prepare`` is called once
    with the finished application.
    """

    name: str
    blueprints: Sequence[Blueprint] = ()
    commands: Sequence[Command] = ()
    jobs: Sequence[Job] = ()
    key_uses: Sequence[KeyUse] = ()
    problems: Path | None = None
    prepare: Callable[[Flask], None] | None = field(default=None)
