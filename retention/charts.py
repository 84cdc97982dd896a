# SPDX-License-Identifier: Apache-2.0
"""Pictures of statistics as SVG: columns over time, or bars side by side.

Geometry here, the drawing in ``templates/chart.svg``. reportlab's own charts were
looked at first: they have one look for paper, no words for a screen reader, and
no way to say what a column is when it is pointed at.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from hashlib import sha256
from math import floor, log10

from jinja2 import Environment, PackageLoader, StrictUndefined

from fleet.errors import Invalid
from retention.service.statistics import Group, Item, Span, Statistics, week_of

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 76, 220, 56, 52
MOST_SLOTS = 400
MOST_SERIES = 8
MOST_BARS = 20
LONGEST_NAME = 24

# Each has a contrast of 3 to 1 at least with both grounds (WCAG 2.2, 1.4.11).
LIGHT, DARK = "#ffffff", "#14171c"
COLOURS = (
    "#2f7ed8",
    "#c8641b",
    "#2e8b57",
    "#b9479a",
    "#8a6fd1",
    "#0e8a96",
    "#a6761d",
    "#d0434a",
)
REST_COLOUR = "#7a8089"

# What only a screen has: the rest are attributes, so that the picture is right
# wherever a style sheet is not let in.
STYLE = (
    "@media (prefers-color-scheme: dark){"
    f".ground{{fill:{DARK}}}.ink{{fill:#e6e9ee}}.faint{{stroke:#3d4550}}"
    f".part{{stroke:{DARK}}}}}"
)
POLICY = (
    "default-src 'none'; frame-ancestors 'none'; style-src 'sha256-"
    f"{base64.b64encode(sha256(STYLE.encode()).digest()).decode()}'"
)

REST = "all others"
QUIET = "quiet days, spread"
_UNNAMED = "not told"
_DAY = timedelta(days=1)

_WORDS = {
    Group.DAY: "day",
    Group.WEEK: "week",
    Group.MONTH: "month",
    Group.SERVICE: "service",
    Group.DEVICE_TYPE: "device type",
    Group.SOFTWARE_VERSION: "software version",
    Group.COUNTRY: "country",
}

_template = Environment(
    loader=PackageLoader("retention"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("chart.svg")


@dataclass(frozen=True)
class Part:
    """A rectangle, its colour's place (-1: the rest, -2: quiet days), its words."""

    x: float
    y: float
    width: float
    height: float
    colour: int
    words: str


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where, and what stands there."""

    at: float
    words: str


@dataclass(frozen=True)
class Entry:
    """A line of the legend, or the name and the number of a bar."""

    y: float
    colour: int
    name: str
    whole_name: str
    number: str
    x: float = 0


def picture(found: Statistics) -> str:
    """Return an SVG picture of ``found``.

    Columns over time where a period is asked for, alone or with one thing more;
    else bars. Raises ``Invalid`` for what no picture can show.
    """
    wanted = found.wanted
    if len(wanted.others) > 1 or not wanted.group_by:
        fault = "A picture shows a period, or one thing more, or both."
        raise Invalid(fields={"group_by": [fault]})
    if not found.items:
        return _drawn(found, empty=True)
    if wanted.period is None:
        return _bars(found)
    dated = tuple(each for each in found.items if each.span is not None)
    if not dated:
        return _drawn(found, empty=True)
    return _columns(found, replace(found, items=dated), wanted.period)


def _drawn(found: Statistics, **parts: object) -> str:
    by = " and ".join(_WORDS[each] for each in found.wanted.group_by)
    of = f" of {found.wanted.service}" if found.wanted.service else ""
    known: dict[str, object] = {
        "title": f"Requests{of} by {by}",
        "description": _description(found),
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "base": HEIGHT - BOTTOM,
        "light": LIGHT,
        "colours": (*COLOURS, "url(#quiet)", REST_COLOUR),  # -2 and -1 from the end
        "rest_colour": REST_COLOUR,
        "style": STYLE,
        "parts": (),
        "across": (),
        "up": (),
        "entries": (),
        "empty": False,
    }
    return _template.render(known | parts) + "\n"


def _description(found: Statistics) -> str:
    if not found.items:
        return "No requests were counted in this time."
    spans = [each.span for each in found.items if each.span is not None]
    told = f"{sum(each.count for each in found.items):,} requests in all"
    if spans:
        last = max(each.begins_on + (each.days - 1) * _DAY for each in spans)
        told += f", from {min(spans).begins_on} to {last}"
    if found.wanted.period is not None:
        undated = sum(each.count for each in found.items if each.span is None)
        if undated:
            told += f"; {undated:,} of them undated, and not drawn"
    ranks = _ranked(found.items, found.wanted.group_by)[:3]
    if found.wanted.others:
        told += "; most: " + ", ".join(f"{name} {count:,}" for name, count in ranks)
    if found.weeks_cut:
        told += "; without the quiet days of " + ", ".join(found.weeks_cut)
    return told + "."


def _bars(found: Statistics) -> str:
    ranks = _ranked(found.items, found.wanted.group_by)
    shown = ranks[:MOST_BARS]
    rest = sum(count for _, count in ranks[MOST_BARS:])
    if rest:
        shown.append((REST, rest))
    left = LEFT + 110
    most = max(count for _, count in shown)
    pitch, room = 24, WIDTH - left - 120
    parts, entries = [], []
    for place, (name, count) in enumerate(shown):
        y = TOP + place * pitch
        width = max(1.0, count / most * room)
        colour = -1 if name == REST and place == MOST_BARS else 0
        words = f"{name}: {count:,}"
        parts.append(Part(left, y, width, pitch - 6, colour, words))
        entries.append(
            Entry(y + 13, colour, _short(name), name, f"{count:,}", left + width + 6)
        )
    height = TOP + len(shown) * pitch + 16
    return _drawn(found, parts=parts, entries=entries, height=height, left=left)


def _columns(found: Statistics, dated: Statistics, period: Group) -> str:
    slots = _slots(dated.items, period)
    series = _series(dated)
    heights = _stacked(dated, period, slots, series)
    most = max(sum(each.values()) for each in heights)
    top = _round_up(most)
    base, room = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    pitch = (WIDTH - RIGHT - LEFT) / len(slots)
    parts = []
    for place, (slot, column) in enumerate(zip(slots, heights, strict=True)):
        y = float(base)
        for name in series:
            if not column.get(name):
                continue
            height = column[name] / top * room
            y -= height
            words = f"{slot.label}, {name}: {_number(column[name])}"
            x = LEFT + place * pitch + pitch * 0.06
            parts.append(Part(x, y, pitch * 0.88, height, series[name], words))
    steps = 4
    return _drawn(
        found,
        parts=parts,
        up=[
            Tick(base - room * each / steps, _number(top * each / steps))
            for each in range(steps + 1)
        ],
        across=_labels(slots, pitch),
        entries=_legend(series, heights),
    )


def _slots(items: Sequence[Item], period: Group) -> list[Span]:
    """Return every period from the first to the last, those without requests too."""
    spans = [each.span for each in items if each.span is not None]
    begins_on = min(spans).begins_on
    ends_on = max(each.begins_on + (each.days - 1) * _DAY for each in spans)
    slots = []
    slot = _slot(begins_on, period)
    while slot.begins_on <= ends_on:
        slots.append(slot)
        if len(slots) > MOST_SLOTS:
            fault = f"More than {MOST_SLOTS} columns: name a longer period."
            raise Invalid(fields={"group_by": [fault]})
        slot = _slot(slot.begins_on + slot.days * _DAY, period)
    return slots


def _slot(day: date, period: Group) -> Span:
    if period is Group.DAY:
        return Span(day, 1, day.isoformat())
    if period is Group.WEEK:
        return Span(day - day.weekday() * _DAY, 7, week_of(day))
    first = day.replace(day=1)
    following = (first + 31 * _DAY).replace(day=1)
    return Span(first, (following - first).days, f"{first:%Y-%m}")


def _series(found: Statistics) -> dict[str, int]:
    """Return the names that a column is stacked of, from below, with their colours."""
    names = [name for name, _ in _ranked(found.items, found.wanted.group_by)]
    series = {name: place for place, name in enumerate(names[:MOST_SERIES])}
    if len(names) > MOST_SERIES:
        series[REST] = -1
    return series | {QUIET: -2}


def _stacked(
    found: Statistics, period: Group, slots: Sequence[Span], series: Mapping[str, int]
) -> list[dict[str, float]]:
    """Return for each slot how many requests of each series there were.

    A week of quiet days in a picture of days or months is spread over its days
    evenly: nobody knows more of it, and so the areas are still right.
    """
    places = {slot.begins_on: place for place, slot in enumerate(slots)}
    heights: list[dict[str, float]] = [{} for _ in slots]
    for item in found.items:
        if item.span is None:
            continue
        label = _slot(item.span.begins_on, period).label
        name = _name(item, found.wanted.group_by)
        if item.span.label == label:
            name = name if name in series else REST
            column = heights[places[item.span.begins_on]]
            column[name] = column.get(name, 0) + item.count
            continue
        for offset in range(item.span.days):
            day = item.span.begins_on + offset * _DAY
            column = heights[places[_slot(day, period).begins_on]]
            column[QUIET] = column.get(QUIET, 0) + item.count / item.span.days
    return heights


def _labels(slots: Sequence[Span], pitch: float) -> list[Tick]:
    every = max(1, -(-len(slots) // 9))
    return [
        Tick(LEFT + (place + 0.5) * pitch, slots[place].label)
        for place in range(0, len(slots), every)
    ]


def _legend(
    series: Mapping[str, int], heights: Sequence[Mapping[str, float]]
) -> list[Entry]:
    """Return a line for each series, the uppermost first, as in the columns."""
    lines: list[Entry] = []
    for name, colour in reversed(list(series.items())):
        total = sum(each.get(name, 0) for each in heights)
        if total:
            y = TOP + 10 + 34 * len(lines)
            lines.append(Entry(y, colour, _short(name), name, _number(total)))
    return lines


def _ranked(items: Iterable[Item], group_by: Sequence[Group]) -> list[tuple[str, int]]:
    """Return what is told apart besides the period, with sums, the greatest first."""
    sums: dict[str, int] = {}
    for each in items:
        name = _name(each, group_by)
        sums[name] = sums.get(name, 0) + each.count
    return sorted(sums.items(), key=lambda each: (-each[1], each[0]))


def _name(item: Item, group_by: Sequence[Group]) -> str:
    pairs = zip(group_by, item.named, strict=True)
    others = [value or _UNNAMED for group, value in pairs if group in _OTHERS]
    return others[0] if others else "requests"


_OTHERS = frozenset(_WORDS) - {Group.DAY, Group.WEEK, Group.MONTH}


def _round_up(most: float) -> float:
    """Return a number not below ``most`` whose quarters are easily read."""
    scale = 10.0 ** floor(log10(most))
    steps = (1, 2, 4, 6, 8, 10)
    return max(4.0, next(each * scale for each in steps if each * scale >= most))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 or not value else f"{value:.1f}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
