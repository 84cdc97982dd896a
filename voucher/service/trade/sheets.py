# SPDX-License-Identifier: Apache-2.0
"""Voucher cards on paper: a PDF of A4 sheets, ten cards each, with cut marks.

A card is as large as a credit card. Its QR code leads to the page on which people
redeem, with the voucher code behind the ``#``, which a browser sends to nobody;
beneath stands the same code, to be typed. The fonts are in the file, so that it
looks the same wherever it is printed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from itertools import islice
from typing import BinaryIO

import segno
from reportlab.lib.colors import Color
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from fleet.web.languages import Language
from voucher.codes import shown
from voucher.functions import LAST_ZONE

CARD_WIDTH, CARD_HEIGHT = 85.6 * mm, 54 * mm
COLUMNS, ROWS = 2, 5

_LEFT = (A4[0] - COLUMNS * CARD_WIDTH) / 2
_BOTTOM = (A4[1] - ROWS * CARD_HEIGHT) / 2
_PADDING = 5 * mm
_QR_SIZE = 26 * mm
_QUIET = 4
"""Light modules that a QR code needs on each side (ISO/IEC 18004, 6.3.8)."""

_NAME_SIZES, _MOST_LINES = (12, 11, 10, 9, 8, 7, 6), 3

# What is in the file once, however often it is seen.
_MARKS, _SHARED = "cut-marks", "what-all-cards-share"

# Between the symbols of a code, for those who type it.
_SPACED = 0.5

_PLAIN, _BOLD = "callhome", "callhome-bold"
_INK, _GREY = Color(0.07, 0.09, 0.13), Color(0.38, 0.41, 0.46)
_BAND, _HAIRLINE = Color(0.95, 0.96, 0.97), Color(0.6, 0.6, 0.6)

_WORDS: Mapping[Language, Mapping[str, str]] = {
    Language.GERMAN: {
        "kind": "VOUCHER",
        "how": "QR-Code scannen, oder diese Seite öffnen und den Code eingeben:",
        "until": "Einlösbar bis {day}",
        "number": "Nr. {batch}/{number}",
    },
    Language.ENGLISH: {
        "kind": "VOUCHER",
        "how": "Scan the QR code, or open this page and type the code:",
        "until": "Redeem by {day}",
        "number": "No. {batch}/{number}",
    },
    Language.FRENCH: {
        "kind": "BON D\N{RIGHT SINGLE QUOTATION MARK}ACTIVATION",
        "how": "Scannez le code QR, ou ouvrez cette page et saisissez le code :",
        "until": "À utiliser avant le {day} inclus",
        "number": "N° {batch}/{number}",
    },
}

_MONTHS: Mapping[Language, str] = {
    Language.ENGLISH: (
        "January February March April May June July August September October "
        "November December"
    ),
    Language.FRENCH: (
        "janvier février mars avril mai juin juillet août septembre octobre "
        "novembre décembre"
    ),
}


@dataclass(frozen=True)
class Card:
    """One voucher, at the one moment in which its code can be read."""

    number: int
    code: str = field(repr=False)


@dataclass(frozen=True)
class About:
    """What all cards of a batch have in common.

    ``page`` is the address of the page on which vouchers are redeemed.
    """

    batch_id: int
    product_number: int
    product_name: str
    valid_until: datetime | None
    page: str
    language: Language

    def link(self, code: str) -> str:
        """Return the address that redeems ``code``."""
        return f"{self.page}#{code}"


def write_pdf(about: About, cards: Iterable[Card], stream: BinaryIO) -> None:
    """Write the sheets of ``cards`` into ``stream``, page after page."""
    _embed_fonts()
    canvas = Canvas(
        stream,
        pagesize=A4,
        pageCompression=1,
        lang=about.language.value,
        initialFontName=_PLAIN,  # type: ignore[arg-type] # the stubs say a number
    )
    words = _WORDS[about.language]
    canvas.setTitle(f"{words['kind'].capitalize()} {about.batch_id}")
    canvas.setAuthor("")
    printer = _Printer(canvas, about, words)
    printer.prepare()
    left = iter(cards)
    while sheet := list(islice(left, COLUMNS * ROWS)):
        canvas.doForm(_MARKS)
        for place, card in enumerate(sheet):
            row, column = divmod(place, COLUMNS)
            canvas.saveState()
            canvas.translate(
                _LEFT + column * CARD_WIDTH, _BOTTOM + (ROWS - 1 - row) * CARD_HEIGHT
            )
            printer.draw(card)
            canvas.restoreState()
        canvas.showPage()
    canvas.save()


def last_whole_day(valid_until: datetime) -> date:
    """Return the last day that ends before ``valid_until``, everywhere on Earth."""
    return valid_until.astimezone(LAST_ZONE).date() - timedelta(days=1)


def spelled(day: date, language: Language) -> str:
    """Spell a day as people write it."""
    if language not in _MONTHS:
        return day.strftime("%d.%m.%Y")
    month = _MONTHS[language].split()[day.month - 1]
    first = "1er" if language is Language.FRENCH and day.day == 1 else str(day.day)
    return f"{first} {month} {day.year}"


@dataclass
class _Printer:
    """Draws cards, and remembers what is the same on all of them."""

    canvas: Canvas
    about: About
    words: Mapping[str, str]
    mask: int | None = None

    def prepare(self) -> None:
        """Draw once what the sheets and the cards share; they refer to it."""
        self.canvas.beginForm(_MARKS)
        _draw_cut_marks(self.canvas)
        self.canvas.endForm()
        self.canvas.beginForm(_SHARED)
        self._draw_what_it_is()
        self._draw_how()
        self.canvas.endForm()

    def draw(self, card: Card) -> None:
        """Draw one card; the origin is its lower left corner."""
        self.canvas.doForm(_SHARED)
        self._draw_code(card.code)
        self._draw_number(card.number)
        self._draw_qr(self.about.link(card.code))

    def _draw_what_it_is(self) -> None:
        top = CARD_HEIGHT - _PADDING
        width = CARD_WIDTH - 2 * _PADDING - _QR_SIZE
        self._text(_PADDING, top - 6, self.words["kind"], size=6.5, color=_GREY)
        size, lines = _fitted(self.about.product_name, width)
        for place, line in enumerate(lines):
            below = top - 22 - place * size * 1.2
            self._text(_PADDING, below, line, font=_BOLD, size=size)
        if self.about.valid_until is not None:
            day = spelled(last_whole_day(self.about.valid_until), self.about.language)
            text = self.words["until"].format(day=day)
            self._text(_PADDING, 25 * mm, text, size=7, room=width - 2 * mm)

    def _draw_how(self) -> None:
        """Draw the ground of the code, and beneath it where to type it."""
        width = CARD_WIDTH - 2 * _PADDING
        self.canvas.setFillColor(_BAND)
        self.canvas.roundRect(_PADDING, 13 * mm, width, 8.5 * mm, 4, stroke=0, fill=1)
        self._text(_PADDING, 9 * mm, self.words["how"], size=6, color=_GREY)
        page = self.about.page.partition("://")[2].removesuffix("/")
        widest = pdfmetrics.stringWidth(self._numbered(100_000), _PLAIN, 6)
        room = width - 3 * mm - widest
        self._text(_PADDING, 5 * mm, page, font=_BOLD, size=8, room=room)

    def _draw_code(self, code: str) -> None:
        canvas, text = self.canvas, shown(code)
        room = CARD_WIDTH - 2 * _PADDING - 4 * mm - len(text) * _SPACED
        canvas.setFillColor(_INK)
        canvas.setFont(_BOLD, _at_most(12, text, _BOLD, room))
        canvas.drawCentredString(CARD_WIDTH / 2, 15.8 * mm, text, charSpace=_SPACED)

    def _draw_number(self, number: int) -> None:
        self.canvas.setFillColor(_GREY)
        self.canvas.setFont(_PLAIN, 6)
        right = CARD_WIDTH - _PADDING
        self.canvas.drawRightString(right, 5 * mm, self._numbered(number))

    def _numbered(self, number: int) -> str:
        return self.words["number"].format(batch=self.about.batch_id, number=number)

    def _draw_qr(self, link: str) -> None:
        """Draw the dark modules as one shape, so that no seams show between them."""
        # One mask serves all cards: to weigh all eight for each of them would take
        # five times as long.
        symbol = segno.make_qr(link, error="m", mask=self.mask)
        self.mask = symbol.mask
        modules = len(symbol.matrix)
        step = _QR_SIZE / (modules + 2 * _QUIET)
        left = CARD_WIDTH - _PADDING - _QR_SIZE + _QUIET * step
        bottom = CARD_HEIGHT - _PADDING - _QR_SIZE + _QUIET * step
        # The quiet zone reaches into the padding, which is as light.
        shift = _QUIET * step * 0.75
        self.canvas.saveState()
        self.canvas.setFillColorRGB(0, 0, 0)
        self.canvas.translate(left + shift, bottom + shift)
        self.canvas.scale(step, step)
        self.canvas.addLiteral(_squares(symbol.matrix))
        self.canvas.restoreState()

    def _text(  # noqa: PLR0913 -- where, what, and how it looks
        self,
        x: float,
        y: float,
        text: str,
        *,
        font: str = _PLAIN,
        size: float,
        color: Color = _INK,
        room: float = CARD_WIDTH - 2 * _PADDING,
    ) -> None:
        self.canvas.setFillColor(color)
        self.canvas.setFont(font, _at_most(size, text, font, room))
        self.canvas.drawString(x, y, text)


def _at_most(size: float, text: str, font: str, room: float) -> float:
    """Return ``size``, or a smaller one at which ``text`` fits into ``room``."""
    width = pdfmetrics.stringWidth(text, font, size)
    return size if width <= room else size * room / width


def _squares(matrix: tuple[bytearray, ...]) -> str:
    """Return PDF operators that fill the dark modules, one unit each."""
    operators = []
    for row, modules in enumerate(matrix):
        y = len(matrix) - 1 - row
        begin = modules.find(1)
        while begin >= 0:
            end = modules.find(0, begin)
            end = len(modules) if end < 0 else end
            operators.append(f"{begin} {y} {end - begin} 1 re")
            begin = modules.find(1, end)
    return " ".join([*operators, "f"])


def _fitted(name: str, width: float) -> tuple[float, list[str]]:
    """Return the largest size at which a name takes few lines, and the lines."""
    size, lines = _NAME_SIZES[0], [name]
    for size in _NAME_SIZES:
        lines = simpleSplit(name, _BOLD, size, width)
        widest = max(pdfmetrics.stringWidth(line, _BOLD, size) for line in lines)
        if len(lines) <= _MOST_LINES and widest <= width:
            break
    return size, lines


def _draw_cut_marks(canvas: Canvas) -> None:
    """Mark the cuts beside the cards, and by small crosses between them."""
    canvas.setStrokeColor(_HAIRLINE)
    canvas.setLineWidth(0.3)
    right, top = A4[0] - _LEFT, A4[1] - _BOTTOM
    long, gap, arm = 6 * mm, 1 * mm, 1.2 * mm
    columns = [_LEFT + each * CARD_WIDTH for each in range(COLUMNS + 1)]
    rows = [_BOTTOM + each * CARD_HEIGHT for each in range(ROWS + 1)]
    for x in columns:
        canvas.line(x, _BOTTOM - gap, x, _BOTTOM - gap - long)
        canvas.line(x, top + gap, x, top + gap + long)
    for y in rows:
        canvas.line(_LEFT - gap, y, _LEFT - gap - long, y)
        canvas.line(right + gap, y, right + gap + long, y)
    for x in columns[1:-1]:
        for y in rows[1:-1]:
            canvas.line(x - arm, y, x + arm, y)
            canvas.line(x, y - arm, x, y + arm)


@cache
def _embed_fonts() -> None:
    for name, file in ((_PLAIN, "Vera.ttf"), (_BOLD, "VeraBd.ttf")):
        pdfmetrics.registerFont(TTFont(name, file))
