# SPDX-License-Identifier: Apache-2.0
"""Lists, page by page: ``?limit=&cursor=`` in, ``{"items", "next_cursor"}`` out.

A page begins after the last row of the one before (a keyset), not at a count of
rows: what is added or removed meanwhile neither repeats nor hides a row, and the
thousandth page costs no more than the first. The cursor is the position in plain
base64url; it is opaque by contract and secret to nobody, since it only says
where to go on in a list that the caller may read anyway.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, cast

from marshmallow import Schema, fields, validate
from sqlalchemy import ColumnElement, UnaryExpression, literal, true, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from fleet.errors import Invalid

MOST_ITEMS = 200
USUAL_ITEMS = 50
LONGEST_CURSOR = 512

Row = TypeVar("Row")
Item = TypeVar("Item")

# What a list may be ordered by. A column that can be NULL cannot be one of them.
Value = int | str | datetime
Column = ColumnElement[Any] | InstrumentedAttribute[Any]

_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LARGEST = 2**63 - 1  # of a database's integer


class PageQuery(Schema):
    """The query of a list; an endpoint's own adds its filters."""

    limit = fields.Integer(
        load_default=USUAL_ITEMS,
        validate=validate.Range(1, MOST_ITEMS),
        metadata={"description": "How many items at most."},
    )
    cursor = fields.String(
        load_default=None,
        validate=validate.Length(1, LONGEST_CURSOR),
        metadata={"description": "`next_cursor` of the page before."},
    )


class PageView(Schema):
    """One page of a list; an endpoint's own adds ``items``."""

    next_cursor = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Ask with it for the next page; null: the end."},
    )


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some items of a list, and where it goes on, if it does."""

    items: Sequence[Item]
    next_cursor: str | None


@dataclass(frozen=True)
class Order:
    """What a list is sorted by; the last of ``columns`` tells any two rows apart.

    ``name`` keeps the cursor of one list from being taken for that of another.
    ``columns`` map each column to the type of its values.
    """

    name: str
    columns: Mapping[Column, type[Value]]
    descending: bool = False

    @property
    def by(self) -> list[UnaryExpression[Any]]:
        """What a statement is ordered by."""
        return [
            column.desc() if self.descending else column.asc()
            for column in self.columns
        ]

    def after(self, cursor: str | None) -> ColumnElement[bool]:
        """Return the condition for rows after ``cursor``; without one, for all.

        Raises ``Invalid`` for a cursor that this list did not give out.
        """
        if cursor is None:
            return true()
        # A comparison of whole rows is one range of an index on both databases.
        here = tuple_(*self.columns)
        there = tuple_(
            *(
                literal(value, column.type)
                for column, value in zip(self.columns, self.read(cursor), strict=True)
            )
        )
        return here < there if self.descending else here > there

    def page(
        self,
        rows: Sequence[Row],
        *,
        limit: int,
        position: Callable[[Row], tuple[Value, ...]],
        view: Callable[[Row], Item],
    ) -> Page[Item]:
        """Make a page of ``rows``, of which one more than ``limit`` was asked for.

        ``position`` returns the values of the order's columns in a row.
        """
        kept = rows[:limit]
        more = len(rows) > limit
        return Page(
            items=[view(row) for row in kept],
            next_cursor=self.cursor(position(kept[-1])) if more else None,
        )

    def cursor(self, position: tuple[Value, ...]) -> str:
        """Spell a position for the caller."""
        text = json.dumps([self.name, *map(_plain, position)], ensure_ascii=False)
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    def read(self, cursor: str) -> list[Value]:
        """Return the position that ``cursor`` spells; raise ``Invalid``."""
        try:
            values = _parsed(cursor, self.name)
            kinds = self.columns.values()
            return [
                _value(value, kind) for value, kind in zip(values, kinds, strict=True)
            ]
        except (ValueError, OverflowError, RecursionError):
            raise Invalid(
                fields={"cursor": ["Not a cursor that this list has given out."]}
            ) from None


def _parsed(cursor: str, name: str) -> list[object]:
    if len(cursor) > LONGEST_CURSOR or not _ALPHABET.fullmatch(cursor):
        raise ValueError("not base64url")
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        value = json.loads(base64.urlsafe_b64decode(padded))
    except binascii.Error as fault:
        raise ValueError("not base64url") from fault
    if not isinstance(value, list) or value[:1] != [name]:
        raise ValueError("not a position in this list")
    return cast("list[object]", value[1:])


def _plain(value: Value) -> int | str:
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    return value


def _value(plain: object, kind: type[Value]) -> Value:
    """Return what a cursor says, as a value that a database can compare with."""
    if kind is str:
        if not isinstance(plain, str) or "\0" in plain:
            raise ValueError("not a text")
        plain.encode("utf-8")  # half a character is a ValueError
        return plain
    if type(plain) is not int or abs(plain) > _LARGEST:
        raise ValueError("not a number")
    if issubclass(kind, datetime):
        return _EPOCH + plain * _MICROSECOND
    return plain
