# SPDX-License-Identifier: Apache-2.0
"""Pictures of statistics: every count is in them, to be seen, read and heard."""

from collections.abc import Iterable
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from browser import Browser, opened

from fleet.errors import Invalid
from retention.charts import (
    COLOURS,
    DARK,
    LIGHT,
    MOST_BARS,
    MOST_SERIES,
    MOST_SLOTS,
    POLICY,
    REST_COLOUR,
    picture,
)
from retention.service.statistics import (
    Group,
    Item,
    Span,
    Statistics,
    Wanted,
    week_of,
)

SVG = "{http://www.w3.org/2000/svg}"
DAY = timedelta(days=1)
MONDAY = date(2026, 11, 23)


def make_statistics(*items: Item, by: Iterable[Group] = (Group.DAY,)) -> Statistics:
    return Statistics(Wanted(tuple(by)), items, ())


def on(day: date, *named: str, count: int) -> Item:
    """One count of a day."""
    label = day.isoformat()
    return Item((label, *named), Span(day, 1, label), count)


def parts(svg: str) -> dict[str, tuple[float, ...]]:
    """Return each rectangle that stands for a count, by its words."""
    found = {}
    for each in ET.fromstring(svg).iter(f"{SVG}rect"):
        words = each.findtext(f"{SVG}title")
        if words is not None:
            names = ("x", "y", "width", "height")
            found[words] = tuple(float(each.get(name, "")) for name in names)
    return found


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(svg).iter(f"{SVG}text")]


def test_columns_stand_one_beside_another_in_scale() -> None:
    drawn = parts(
        picture(
            make_statistics(
                on(MONDAY, count=100),
                on(MONDAY + DAY, count=50),
                on(MONDAY + 3 * DAY, count=25),
            )
        )
    )
    (one, two, four) = drawn.values()
    assert list(drawn) == [
        "2026-11-23, requests: 100",
        "2026-11-24, requests: 50",
        "2026-11-26, requests: 25",
    ]
    assert one[3] == pytest.approx(2 * two[3], rel=0.01)
    assert one[3] == pytest.approx(4 * four[3], rel=0.01)
    # The day without requests has its place.
    assert four[0] - two[0] == pytest.approx(2 * (two[0] - one[0]), rel=0.01)
    assert one[1] + one[3] == pytest.approx(two[1] + two[3], rel=0.01)


def test_versions_are_stacked_and_none_covers_another() -> None:
    by = (Group.DAY, Group.SOFTWARE_VERSION)
    items = [
        on(MONDAY + day * DAY, version, count=count)
        for day in range(3)
        for version, count in (("2.0.0", 30), ("2.0.1", 20), ("other", 10))
    ]
    svg = picture(make_statistics(*items, by=by))
    drawn = parts(svg)
    assert len(drawn) == 9
    first = [
        drawn[f"2026-11-23, {each}"] for each in ("2.0.0: 30", "2.0.1: 20", "other: 10")
    ]
    for below, above in pairwise(first):
        assert above[1] + above[3] == pytest.approx(below[1], abs=0.02)
    assert [each for each in texts(svg) if each in {"2.0.0", "2.0.1", "other"}] == [
        "other",
        "2.0.1",
        "2.0.0",
    ], "the legend is in the order of the columns"


def test_the_many_small_ones_are_drawn_together() -> None:
    by = (Group.DAY, Group.SOFTWARE_VERSION)
    items = [on(MONDAY, f"1.{each}", count=100 - each) for each in range(20)]
    svg = picture(make_statistics(*items, by=by))
    assert len(parts(svg)) == MOST_SERIES + 1
    rest = sum(100 - each for each in range(MOST_SERIES, 20))
    assert f"2026-11-23, all others: {rest:,}" in parts(svg)


def test_a_quiet_week_is_spread_over_its_days_and_said_to_be() -> None:
    week = Item((week_of(MONDAY),), Span(MONDAY, 7, week_of(MONDAY)), 70)
    drawn = parts(picture(make_statistics(on(MONDAY + DAY, count=40), week)))
    quiet = {words for words in drawn if "quiet days" in words}
    assert len(drawn) == 8
    assert quiet == {
        f"{MONDAY + offset * DAY}, quiet days, spread: 10" for offset in range(7)
    }


def test_a_quiet_week_between_two_months_is_shared_by_days() -> None:
    begins_on = date(2026, 11, 30)
    items = [
        Item(("2026-11",), Span(date(2026, 11, 1), 30, "2026-11"), 100),
        Item(("2026-W49",), Span(begins_on, 7, "2026-W49"), 70),
    ]
    drawn = parts(picture(make_statistics(*items, by=(Group.MONTH,))))
    assert set(drawn) == {
        "2026-11, requests: 100",
        "2026-11, quiet days, spread: 10",
        "2026-12, quiet days, spread: 60",
    }


def test_countries_are_bars_the_longest_first() -> None:
    items = [Item((f"A{chr(65 + each)}",), None, 10 + each) for each in range(26)]
    items.append(Item(("",), None, 1))
    svg = picture(make_statistics(*items, by=(Group.COUNTRY,)))
    drawn = parts(svg)
    assert len(drawn) == MOST_BARS + 1
    widths = [each[2] for each in drawn.values()]
    assert widths[:-1] == sorted(widths[:-1], reverse=True)
    assert next(iter(drawn)) == "AZ: 35"
    assert list(drawn)[-1] == f"all others: {sum(range(10, 16)) + 1}"


def test_names_and_words_are_only_ever_text() -> None:
    name = '</title><script>alert("1")</script>&'
    for by, item in (
        ((Group.SOFTWARE_VERSION,), Item((name,), None, 5)),
        ((Group.DAY, Group.SOFTWARE_VERSION), on(MONDAY, name, count=5)),
    ):
        svg = picture(make_statistics(item, by=by))
        assert "<script" not in svg
        assert any(name in words for words in parts(svg))


def test_somebody_who_does_not_see_it_is_told() -> None:
    by = (Group.DAY, Group.COUNTRY)
    found = Statistics(
        Wanted(by, service="cic"),
        (on(MONDAY, "DE", count=1200), on(MONDAY + DAY, "AT", count=34)),
        ("2026-W47",),
    )
    tree = ET.fromstring(picture(found))
    assert tree.get("role") == "img"
    assert tree.get("aria-labelledby") == "title description"
    said = {each.get("id"): each.text for each in tree if each.get("id")}
    assert said == {
        "title": "Requests of cic by day and country",
        "description": "1,234 requests in all, from 2026-11-23 to 2026-11-24; most: "
        "DE 1,200, AT 34; without the quiet days of 2026-W47.",
    }


def test_nothing_is_a_picture_too() -> None:
    assert "No requests were counted" in picture(make_statistics())


def test_what_no_picture_can_show_is_refused() -> None:
    for by in ((), (Group.SERVICE, Group.COUNTRY)):
        with pytest.raises(Invalid):
            picture(make_statistics(by=by))
    far = on(MONDAY + MOST_SLOTS * DAY, count=1)
    with pytest.raises(Invalid):
        picture(make_statistics(on(MONDAY, count=1), far))
    near = on(MONDAY + (MOST_SLOTS - 1) * DAY, count=1)
    assert picture(make_statistics(on(MONDAY, count=1), near))


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 11, 99, 101, 4999, 10**15])
def test_the_scale_reaches_beyond_the_highest_column(count: int) -> None:
    svg = picture(make_statistics(on(MONDAY, count=count)))
    (column,) = parts(svg).values()
    assert column[1] >= 56
    assert column[3] > (420 - 52 - 56) / 4.01


def luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colour", [*COLOURS, REST_COLOUR])
@pytest.mark.parametrize("ground", [LIGHT, DARK])
def test_every_colour_is_seen_on_both_grounds(colour: str, ground: str) -> None:
    darker, lighter = sorted([luminance(colour), luminance(ground)])
    assert (lighter + 0.05) / (darker + 0.05) >= 3


@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_it_on_either_ground(tmp_path: Path, *, dark: bool) -> None:
    by = (Group.DAY, Group.SOFTWARE_VERSION)
    items = [on(MONDAY + day * DAY, f"2.{day % 3}", count=9 + day) for day in range(30)]
    svg = picture(make_statistics(*items, by=by))
    file = tmp_path / "picture.html"
    policy = POLICY.replace("frame-ancestors 'none'; ", "")
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    file.write_text(f"<!doctype html><head>{head}</head><body>{svg}", "utf-8")
    with opened(tmp_path, file.as_uri()) as browser:
        shows(browser, dark=dark)


def shows(browser: Browser, *, dark: bool) -> None:
    """Look at the picture as a person with this taste."""
    browser.begin(dark=dark)
    browser.open("")
    ground, ink = (
        browser.ask(f"return getComputedStyle(document.querySelector('.{each}')).fill")
        for each in ("ground", "ink")
    )
    assert ground == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
    assert ink == ("rgb(230, 233, 238)" if dark else "rgb(27, 31, 36)")
    assert browser.complaints() == []
    outside = browser.ask(
        "const all = document.querySelector('svg').getBoundingClientRect();"
        "return [...document.querySelectorAll('text, .part')]"
        ".map(each => each.getBoundingClientRect())"
        ".filter(each => each.right > all.right + 1 || each.left < all.left - 1"
        " || each.bottom > all.bottom + 1).length"
    )
    assert outside == 0
    overlap = browser.ask(
        "const marks = [...document.querySelectorAll('text[text-anchor=middle]')]"
        ".map(each => each.getBoundingClientRect());"
        "return marks.slice(1).filter((each, i) => each.left < marks[i].right).length"
    )
    assert overlap == 0
