"""Products side by side: cells of one size, pictures of one height, and items that stand in rows across the cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PIL import Image

from render.creative import Cell, Cells, Column
from render.shape import fill_rounded, shape
from render.stack import Part, Sheet, fit, row_heights, stack_rows

WIDEST: Final = 0.5
"""Part of the box that a cell takes at most: a single product does not stretch over all of it."""
_SHRINK: Final = 0.92
_LEAST: Final = 0.6
PictureOf = Callable[[Cell, tuple[int, int], str], Image.Image]
"""Draws the picture of a cell in a size of output pixels, fitted in or covering."""


def grid(sheet: Sheet, bound: Cells, box: tuple[int, int, int, int], picture_of: PictureOf) -> None:
    """Draw a grid in a box of output pixels; fewer products than cells stand in the middle."""
    layer, (x, y, w, h) = bound.grid, box
    count, gap, pad = len(bound.cells), round(layer.gap * sheet.scale), round(layer.padding * sheet.scale)
    width = min((w - gap * (count - 1)) // count, round(w * WIDEST))
    left = x + (w - count * width - gap * (count - 1)) // 2
    radius, high = round(layer.radius * sheet.scale), round(layer.picture_height * sheet.scale)
    inner, room = max(1, width - 2 * pad), max(1, h - high - 2 * pad)
    columns: list[tuple[int, list[Part]]] = []
    parts = _measured(sheet, bound, inner, room)
    if high:
        # The pictures take what the items leave.
        spare = room - max(height_of(parts), 0)
        high, room = high + spare, room - spare
    cells = list(zip(bound.cells, parts, strict=True))
    for number, (cell, items) in enumerate(reversed(cells) if sheet.rtl else cells):
        at = left + number * (width + gap)
        fill_rounded(sheet.image, sheet.paint(layer.colour), (at, y, width, h), radius)
        if high:
            # The picture's mask is as high as the cell, so that only the upper corners of the picture are round.
            whole = shape("rounded", width, h, radius).crop((0, 0, width, high))
            sheet.image.paste(picture_of(cell, (width, high), layer.fit), (at, y), whole)
        columns.append((at + pad, items))
    stack_rows(sheet, columns, (y + high + pad, inner, room), layer.align)


def height_of(columns: list[list[Part]]) -> int:
    """The height that the items of all cells take: in rows where they have them, else the highest cell's."""
    gaps = max((sum(part.gap for part in parts[1:]) for parts in columns), default=0)
    rows = row_heights(columns, 1_000_000)
    return gaps + (sum(rows) if rows else max(sum(part.height for part in parts) for parts in columns))


def _measured(sheet: Sheet, bound: Cells, width: int, height: int) -> list[list[Part]]:
    """Measure every cell's items in one height, smaller together until their rows fit as well."""
    layer, room = bound.grid, float(height)
    while True:
        columns = [fit(sheet, Column(layer.box, cell.items, layer.align), width, round(room)) for cell in bound.cells]
        is_hopeless = len({len(parts) for parts in columns}) != 1 or room < height * _LEAST
        if is_hopeless or row_heights(columns, height) is not None:
            return columns
        room *= _SHRINK
