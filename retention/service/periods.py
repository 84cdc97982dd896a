# SPDX-License-Identifier: Apache-2.0
"""What time a counter is of: how it is kept, and who may be told."""

from datetime import date, timedelta

DAY = "day"
"""A day whose groups have enough sources each."""

WEEK = "week"
"""The quiet days of an ISO week, from its Monday: together they have enough."""

HELD = "held"
"""A quiet day that waits for its week to be over; nobody is told of it."""

EVER = "ever"
"""Quiet days that not even their week could hide: told without any time."""

EVER_BEGINS = date(1970, 1, 1)

WEEK_LONG = timedelta(weeks=1)


def monday_of(day: date) -> date:
    """Return the Monday of the ISO week of ``day``."""
    return day - timedelta(days=day.weekday())
