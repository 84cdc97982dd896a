# SPDX-License-Identifier: Apache-2.0
"""Cards on paper: read by a scanner and by a person, in three languages."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from flask import Flask
from PIL import Image
from programs import path_of
from reportlab.lib.pagesizes import A4
from trading import Desk, faults, manager, problem

from fleet.web.languages import Language
from voucher.functions import ends_at
from voucher.service.trade.exporting import MOST_CARDS
from voucher.service.trade.sheets import (
    CARD_HEIGHT,
    CARD_WIDTH,
    COLUMNS,
    ROWS,
    About,
    Card,
    last_whole_day,
    spelled,
    write_pdf,
)

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
LONG = "Erweiterung um 25 zusätzliche Teilnehmer für COMtrexx Business, unbefristet"


@pytest.fixture
def desk(app: Flask) -> Desk:
    desk = manager(app)
    desk.product()
    return desk


def run(program: str, *words: str | Path) -> str:
    done = subprocess.run(
        [path_of(program), *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def scanned(pdf: Path, count: int) -> list[str]:
    """Return what a scanner reads on the first ``count`` cards, each held to it."""
    folder = pdf.with_suffix("")
    folder.mkdir()
    run("pdftoppm", "-r", "200", "-gray", "-png", pdf, folder / "page")
    cards = [
        card
        for page in sorted(folder.glob("page-*.png"))
        for card in _cut(page, folder / f"card-{page.stem}")
    ]
    quietly = ("--quiet", "--raw", "-Sdisable", "-Sqrcode.enable")
    return run("zbarimg", *quietly, *cards[:count]).split()


def _cut(page: Path, beside: Path) -> Iterator[Path]:
    """Cut a sheet along its marks, from left to right and from top to bottom."""
    with Image.open(page) as sheet:
        dot = sheet.width / A4[0]
        width, height = CARD_WIDTH * dot, CARD_HEIGHT * dot
        left = (sheet.width - COLUMNS * width) / 2
        top = (sheet.height - ROWS * height) / 2
        for place in range(ROWS * COLUMNS):
            row, column = divmod(place, COLUMNS)
            x, y = left + column * width, top + row * height
            card = beside.with_name(f"{beside.name}-{place}.png")
            sheet.crop((round(x), round(y), round(x + width), round(y + height))).save(
                card
            )
            yield card


@pytest.mark.foreign("pdftoppm")
@pytest.mark.foreign("pdftotext")
@pytest.mark.foreign("zbarimg")
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", ["10 Benutzer", "Einlösbar bis 31.12.2037", "QR-Code scannen"]),
        ("en", ["10 users", "Redeem by 31 December 2037", "Scan the QR code"]),
        ("fr", ["10 utilisateurs", "31 décembre 2037 inclus", "Scannez le code QR"]),
    ],
)
@ON_SQLITE
def test_every_card_is_read_by_a_scanner_and_by_a_person(
    desk: Desk, tmp_path: Path, language: str, words: list[str]
) -> None:
    batch = desk.batch(23, valid_until="2037-12-31")
    answer = desk.export(batch, format="pdf", language=language)
    assert (answer.status_code, answer.mimetype) == (200, "application/pdf")
    pdf = tmp_path / "cards.pdf"
    pdf.write_bytes(answer.data)
    links = scanned(pdf, 23)
    assert len(set(links)) == 23
    text = run("pdftotext", "-layout", pdf, "-")
    for each in words:
        assert text.count(each) == 23, each
    for link in links:
        address, code = link.split("#")
        assert address == "https://localhost:8443/voucher/"
        assert "-".join(code[at : at + 5] for at in range(0, 20, 5)) in text
    for number in (1, 23):
        assert f"{batch}/{number}\n" in text.replace(" ", "\n") + "\n"
    # The sheets hold codes that are good.
    sold = desk.post("activations", {"code": links[-1].partition("#")[2]})
    assert sold.get_json()["changed"] == 1


@pytest.mark.foreign("pdffonts")
@pytest.mark.foreign("pdftoppm")
@pytest.mark.foreign("zbarimg")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param("https://a.de/voucher/", id="a short one"),
        pytest.param(f"https://{'callhome.' * 8}example.com/voucher/", id="a long one"),
    ],
)
def test_any_address_and_any_name_fit_on_a_card(tmp_path: Path, page: str) -> None:
    code = "W" * 20
    pdf = tmp_path / "cards.pdf"
    about = About(1, 7, f"{LONG} {LONG}", None, page, Language.GERMAN)
    with pdf.open("wb") as stream:
        write_pdf(about, [Card(100_000, code)] * 12, stream)
    assert scanned(pdf, 12) == [f"{page}#{code}"] * 12
    fonts = run("pdffonts", pdf).splitlines()[2:]
    assert fonts
    assert all(" yes yes yes " in each for each in fonts)  # embedded, subset, unicode


@ON_SQLITE
def test_more_cards_than_one_file_takes_are_refused_before_a_code_is_drawn(
    desk: Desk,
) -> None:
    batch = desk.batch(MOST_CARDS + 1)
    answer = desk.export(batch, format="pdf")
    assert faults(answer) == ["format"]
    assert "csv" in answer.get_json()["fields"]["format"][0]
    assert desk.states(batch) == {"created": MOST_CARDS + 1}
    part = desk.export(batch, key="a part", format="pdf", first=MOST_CARDS - 3)
    assert part.status_code == 200
    named = f"vouchers-{batch}-{MOST_CARDS - 3}-{MOST_CARDS + 1}.pdf"
    assert named in part.headers["Content-Disposition"]
    again = desk.export(batch, key="again", format="pdf", last=MOST_CARDS)
    assert problem(again) == (409, "codes-already-exported")


@pytest.mark.parametrize(
    ("ends", "day"),
    [
        pytest.param(ends_at(date(2027, 12, 31)), date(2027, 12, 31), id="a day's end"),
        pytest.param(
            ends_at(date(2027, 12, 31)) - timedelta(seconds=1),
            date(2027, 12, 30),
            id="a second less is a day less",
        ),
        pytest.param(
            datetime(2027, 12, 31, 9, tzinfo=timezone(timedelta(hours=14))),
            date(2027, 12, 29),
            id="somewhere it is still the day before",
        ),
        pytest.param(
            datetime(2028, 1, 1, 12, tzinfo=UTC), date(2027, 12, 31), id="UTC"
        ),
    ],
)
def test_a_card_promises_no_day_that_does_not_end_everywhere_before(
    ends: datetime, day: date
) -> None:
    assert last_whole_day(ends) == day
    assert ends_at(day) <= ends


def test_days_are_spelled_as_people_do() -> None:
    day = date(2027, 3, 1)
    told = [spelled(day, each) for each in Language]
    assert told == ["01.03.2027", "1 March 2027", "1er mars 2027"]
