"""Stack a column's items in its box: measured, shrunk together, thinned out if they must be, never overlapping."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from PIL import Image

from render.clockface import ClockFace, Look
from render.colour import Paint, Rgb
from render.coupon import BARS_LEAST, BARS_QUIET, BLACK, QR_LEAST, QR_QUIET, WHITE, bars, enlarged, qr
from render.creative import Align, Button, Column, Countdown, Coupon, Item, Pill, Price, Rating, Text
from render.fonts import Fonts
from render.layout import Block, Style, set_text
from render.shape import fill_rounded

_GENTLE: Final = (1.0, 0.94, 0.88, 0.82)
_HARD: Final = (*_GENTLE, 0.76, 0.7, 0.64, 0.58)
"""Factors on all sizes of a column. Optional items leave before the hard ones are tried."""
_BESIDE: Final = (*_GENTLE, 0.76, 0.7)
"""Factors on a price and its former one, tried before the former one is left out."""
_FORMER: Final = 0.58
_FORMER_LEAST: Final = 11
"""A former price as a part of the price's size, and the design pixels it has at least: what a line leaves readable."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What items are drawn on: the image, the fonts, the colours, and output pixels per design pixel.

    `clocks` are the faces of the countdowns that were drawn, for whoever lets them run.
    """

    image: Image.Image
    fonts: Fonts
    paint: Paint
    scale: float
    rtl: bool
    locale: str
    clocks: list[ClockFace] = field(default_factory=list)

    def block(
        self, text: str, width: int, item: Text | Price | Button | Pill | Rating, factor: float, lines: int = 1
    ) -> Block:
        """Set one item's text with the column's factor on its size."""
        size = max(8, round(item.size * self.scale * factor))
        least = item.min_size if not isinstance(item, Rating) else item.size
        weight = item.weight if not isinstance(item, Rating) else 500
        smallest = min(size, max(8, round(least * self.scale * min(1.0, factor / 0.82))))
        return set_text(self.fonts, text, width, Style(size, smallest, lines, weight, self.rtl, self.locale))

    def write(self, block: Block, x: int, y: int, width: int, align: Align, colour: Rgb) -> None:
        """Stamp a block whose top is at `y` into the width from `x` on."""
        baseline = y + block.ascent
        for line in block.lines:
            left = x + aligned(line.width, width, align, self.rtl)
            for ink, pen in line.stamps:
                if ink.mask is not None:
                    self.image.paste(colour, (round(left + pen) + ink.x, baseline + ink.y), ink.mask)
            baseline += block.line_height


def aligned(inner: float, outer: float, align: Align, rtl: bool) -> int:
    """Return how far from the left something of width `inner` begins; start and end follow the reading direction."""
    if align == "center":
        return round((outer - inner) / 2)
    return round(outer - inner) if (align == "end") != rtl else 0


@dataclass(frozen=True, slots=True)
class Part:
    """A measured item: its size in output pixels, the gap before it, and how to draw it at a place."""

    width: int
    height: int
    gap: int
    put: Callable[[int, int], None]


def row_heights(columns: list[list[Part]], height: int) -> list[int] | None:
    """The heights of rows that columns share; None where they have not as many items, or their rows do not fit."""
    if len({len(parts) for parts in columns}) != 1:
        return None
    heights = [max(part.height for part in row) for row in zip(*columns, strict=True)]
    gaps = max(sum(part.gap for part in parts[1:]) for parts in columns)
    return heights if sum(heights) + gaps <= height else None


def stack_rows(sheet: Sheet, columns: list[tuple[int, list[Part]]], box: tuple[int, int, int], align: Align) -> None:
    """Draw measured columns, each at its x, in rows where they have them; `box` is their top, width and height."""
    top, width, height = box
    rows = row_heights([parts for _, parts in columns], height)
    for x, parts in columns:
        heights = rows or [part.height for part in parts]
        y = top
        for number, (part, high) in enumerate(zip(parts, heights, strict=True)):
            y += part.gap if number else 0
            part.put(x + aligned(part.width, width, align, sheet.rtl), y)
            y += high


def stack(sheet: Sheet, column: Column, box: tuple[int, int, int, int]) -> None:
    """Draw a column in a box of output pixels."""
    x, y, w, h = box
    parts = fit(sheet, column, w, h)
    total = _total(parts)
    top = y + {"start": 0, "center": (h - total) // 2, "end": h - total}[column.valign]
    for number, part in enumerate(parts):
        top += part.gap if number else 0
        part.put(x + aligned(part.width, w, column.align, sheet.rtl), top)
        top += part.height


def _total(parts: list[Part]) -> int:
    return sum(part.height for part in parts) + sum(part.gap for part in parts[1:])


def fit(sheet: Sheet, column: Column, width: int, height: int) -> list[Part]:
    """Return measured parts that fit the height, giving up as little as possible and the first item last."""
    items = list(column.items)
    while True:
        optional = [index for index, item in enumerate(items) if item.optional]
        for factor in _GENTLE if optional else _HARD:
            parts = [_measure(sheet, item, width, column.align, factor) for item in items]
            if _total(parts) <= height:
                return parts
        if optional:
            items.pop(optional[-1])
        elif len(items) > 1:
            # A button or price stands at the end and matters more than a second paragraph.
            texts = [index for index, item in enumerate(items) if index and isinstance(item, Text | Pill)]
            items.pop(texts[-1] if texts else -1)
        elif isinstance(items[0], Text) and items[0].max_lines > 1:
            first = items[0]
            items[0] = Text(first.text, first.size, first.min_size, first.max_lines - 1, first.weight, first.colour)
        else:
            return parts


def _measure(sheet: Sheet, item: Item, width: int, align: Align, factor: float) -> Part:
    match item:
        case Text():
            return _text(sheet, item, width, align, factor)
        case Price():
            return _price(sheet, item, width, factor)
        case Button():
            return _label(sheet, item, width, factor, 1.15, 0.78, round(item.radius * sheet.scale))
        case Pill():
            return _label(sheet, item, width, factor, 0.75, 0.42, 999)
        case Rating():
            return _rating(sheet, item, width, factor)
        case Countdown():
            return _countdown(sheet, item, width, factor)
        case Coupon():
            return _coupon(sheet, item, width, factor)


def _gap(sheet: Sheet, item: Item, factor: float) -> int:
    return round(item.gap * sheet.scale * factor)


def _text(sheet: Sheet, item: Text, width: int, align: Align, factor: float) -> Part:
    block = sheet.block(item.text, width, item, factor, item.max_lines)
    colour = sheet.paint(item.colour)
    return Part(
        width, block.height, _gap(sheet, item, factor), lambda x, y: sheet.write(block, x, y, width, align, colour)
    )


def _price(sheet: Sheet, item: Price, width: int, factor: float) -> Part:
    """A price; the former one is smaller, beside it on the same baseline, with a line through it.

    Both shrink a little before the former one is left out.
    """
    now, gap, former = _prices(sheet, item, width, factor)
    total = now.width + (gap + former.width if former else 0)

    def put(x: int, y: int) -> None:
        first, second = (x, x + now.width + gap) if not sheet.rtl else (x + total - now.width, x)
        sheet.write(now, first, y, now.width, "center", sheet.paint(item.colour))
        if former:
            drop = y + now.ascent - former.ascent
            muted = sheet.paint("muted")
            sheet.write(former, second, drop, former.width, "center", muted)
            middle = drop + round(former.ascent - former.size * 0.34)
            thick = max(2, round(former.size * 0.07))
            sheet.image.paste(muted, (second - thick, middle, second + former.width + thick, middle + thick))

    return Part(total, now.height, _gap(sheet, item, factor), put)


def _prices(sheet: Sheet, item: Price, width: int, factor: float) -> tuple[Block, int, Block | None]:
    """The price, the gap after it and the former price, if there is one and both fit the width."""
    for smaller in _BESIDE if item.struck else ():
        now = sheet.block(item.amount, width, item, factor * smaller)
        part = max(_FORMER, min(1.0, _FORMER_LEAST / (item.size * factor * smaller)))
        former, gap = sheet.block(item.struck, width, item, factor * smaller * part), round(now.size * 0.35)
        if now.width + gap + former.width <= width:
            return now, gap, former
    return sheet.block(item.amount, width, item, factor), 0, None


def _label(sheet: Sheet, item: Button | Pill, width: int, factor: float, side: float, rise: float, radius: int) -> Part:
    """A text on a ground of its own; `side` and `rise` are the padding as parts of its size."""
    size = round(item.size * sheet.scale * factor)
    across, up = round(size * side), round(size * rise)
    block = sheet.block(item.text, max(1, width - 2 * across), item, factor)
    w, h = min(width, block.width + 2 * across), block.ascent + 2 * up
    ground, colour = sheet.paint(item.fill), sheet.paint(item.colour)

    def put(x: int, y: int) -> None:
        fill_rounded(sheet.image, ground, (x, y, w, h), round(radius * factor))
        sheet.write(block, x, y + up, w, "center", colour)

    return Part(w, h, _gap(sheet, item, factor), put)


def _rating(sheet: Sheet, item: Rating, width: int, factor: float) -> Part:
    """Five stars, filled from the reading side as far as the value goes, and how many rated."""
    stars = sheet.block("★★★★★", width, item, factor)
    note = sheet.block(f"{item.value} ({item.count})", width, item, factor)
    gap = round(stars.size * 0.5)
    shown = bool(stars.lines) and stars.width + gap + note.width <= width
    total = stars.width + gap + note.width if shown else note.width

    def put(x: int, y: int) -> None:
        if shown:
            _stars(sheet, item, stars, x + total - stars.width if sheet.rtl else x, y)
        sheet.write(note, x if sheet.rtl else x + total - note.width, y, note.width, "start", sheet.paint(item.colour))

    return Part(total, max(stars.height, note.height), _gap(sheet, item, factor), put)


def _countdown(sheet: Sheet, item: Countdown, width: int, factor: float) -> Part:
    """A tile for each unit, with its name beneath."""
    paint, size = sheet.paint, max(8, round(item.size * sheet.scale * factor))
    least = min(size, max(8, round(item.min_size * sheet.scale * min(1.0, factor / 0.82))))
    look = Look(
        size, least, item.weight, paint(item.fill), paint(item.colour), paint(item.label), sheet.rtl, sheet.locale
    )
    face = ClockFace(sheet.fonts, int(item.until), width, look)

    def put(x: int, y: int) -> None:
        face.put(sheet.image, x, y)
        sheet.clocks.append(face)

    return Part(face.width, face.height, _gap(sheet, item, factor), put)


def _coupon(sheet: Sheet, item: Coupon, width: int, factor: float) -> Part:
    """A scanner's code on a white plate, with the text beneath; the text alone where no code would be readable."""
    size = round(item.size * sheet.scale * factor)
    letters = max(16, round(item.label * sheet.scale * factor))
    line, radius, pad = max(2, round(sheet.scale / 2)), round(8 * sheet.scale), round(letters * 0.6)
    # So far in, the round corners and the line leave the whole quiet zone of a QR code white.
    edge = line + (round(radius * 0.3) if item.form == "qr" else 0)
    code = _code(item, size, width - 2 * edge)
    inner = code[0].width + 2 * code[1] if code is not None else width - 2 * (edge + pad)
    label = set_text(sheet.fonts, item.text, inner, Style(letters, max(14, letters // 2), 2, 600, locale=sheet.locale))
    if code is None:
        w, top, h = label.width + 2 * (edge + pad), 0, label.height + 2 * pad
    else:
        quiet = code[1] if item.form == "qr" else pad
        w, top = inner + 2 * edge, edge + quiet
        h = top + code[0].height + (quiet if item.form == "qr" else round(pad * 0.8)) + label.height + pad

    def put(x: int, y: int) -> None:
        fill_rounded(sheet.image, sheet.paint("line"), (x, y, w, h), radius)
        fill_rounded(sheet.image, WHITE, (x + line, y + line, w - 2 * line, h - 2 * line), max(0, radius - line))
        if code is not None:
            sheet.image.paste(BLACK, (x + edge + code[1], y + top), code[0])
        sheet.write(label, x, y + h - pad - label.height, w, "center", BLACK)

    return Part(w, h, _gap(sheet, item, factor), put)


def _code(item: Coupon, size: int, width: int) -> tuple[Image.Image, int] | None:
    """The code in whole pixels and its quiet zone; None where it would be too fine to be read, or cannot be made."""
    if item.form == "qr":
        small = qr(item.text)
        module = min(size, width) // (small.width + 2 * QR_QUIET) if small is not None else 0
        return (enlarged(small, module), QR_QUIET * module) if small is not None and module >= QR_LEAST else None
    small = bars(item.text)
    module = min(4, width // (small.width + 2 * BARS_QUIET)) if small is not None else 0
    return (enlarged(small, module, size), BARS_QUIET * module) if small is not None and module >= BARS_LEAST else None


def _stars(sheet: Sheet, item: Rating, stars: Block, x: int, y: int) -> None:
    """Draw the row lit, keep its lit part, draw it unlit, and put the lit part back: a star may be lit by half."""
    lit = round(stars.width * float(item.value) / 5)
    row = (x, y, x + stars.width, y + stars.height)
    part = (row[2] - lit, y, row[2], row[3]) if sheet.rtl else (x, y, x + lit, row[3])
    bare = sheet.image.crop(row)
    sheet.write(stars, x, y, stars.width, "start", sheet.paint(item.fill))
    shining = sheet.image.crop(part)
    sheet.image.paste(bare, row[:2])
    sheet.write(stars, x, y, stars.width, "start", sheet.paint("line"))
    sheet.image.paste(shining, part[:2])
