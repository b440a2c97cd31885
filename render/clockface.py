"""The face of a countdown: a tile for each unit with its digits, and the unit's name beneath.

The digits stand in places of one width, so that a second that passes changes nothing but the ink in them: an animated
countdown sends those places alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from PIL import Image

from render.calendar import Units, unit_names
from render.colour import Rgb
from render.fonts import Fonts, Ink, Run
from render.layout import Block, Style, set_text
from render.shape import fill_rounded

MAX_DAYS: Final = 999
_PAD, _RISE, _GAP, _ROUND = 0.36, 0.36, 0.22, 0.26
"""Padding beside and above the digits, the gap between tiles and the corners' radius, as parts of the digits' size."""
_LABEL: Final = 0.38
_SHRINK: Final = 0.94
Rect = tuple[int, int, int, int]
"""Left, top, right and bottom in output pixels."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a face is set: the digits' size in output pixels and at least, their weight, the colours, the direction."""

    size: int
    least: int
    weight: int
    fill: Rgb
    colour: Rgb
    label: Rgb
    rtl: bool
    locale: str


def reading(left: int, days: int) -> str:
    """Return what the digits say with `left` seconds to go: `days` digits of days (0: none), two of each other unit."""
    left = min(left, MAX_DAYS * 86_400 + 86_399)
    rest = f"{left % 86_400 // 3600:02d}{left % 3600 // 60:02d}{left % 60:02d}"
    return f"{left // 86_400:0{days}d}{rest}" if days else rest


class ClockFace:
    """A measured face: `width` and `height`, then `put` at a place, then `show` for every second."""

    def __init__(self, fonts: Fonts, left: int, width: int, look: Look) -> None:
        self.left = left
        self.look = look
        self.days = 0 if left < 86_400 else max(2, len(str(min(left // 86_400, MAX_DAYS))))
        size = look.size
        while True:
            self.size = size
            self.inks = _inks(fonts, size, look.weight)
            self.step = round(max(ink.advance for ink in self.inks) + 0.5)
            self.pad, self.gap = round(size * _PAD), round(size * _GAP)
            self.tiles = [count * self.step + 2 * self.pad for count in self._counts()]
            self.width = sum(self.tiles) + self.gap * (len(self.tiles) - 1)
            if self.width <= width or size <= look.least:
                break
            size = max(look.least, int(size * _SHRINK))
        self.top = max(-ink.y for ink in self.inks)
        low = max((ink.mask.height + ink.y if ink.mask else 0) for ink in self.inks)
        self.tall = self.top + low
        self.tile_height = self.tall + 2 * round(size * _RISE)
        self.labels = self._labels(fonts)
        self.label_gap = round(size * 0.16)
        self.height = self.tile_height + self.label_gap + max(block.height for block in self.labels)
        self.places: tuple[Rect, ...] = ()

    def _counts(self) -> list[int]:
        return [self.days, 2, 2, 2] if self.days else [2, 2, 2]

    def _labels(self, fonts: Fonts) -> list[Block]:
        """The units' names beneath the tiles; short ones where the long ones would not fit at their size."""
        look = self.look
        size = max(18, round(self.size * _LABEL))
        room = [tile + self.gap - size // 4 for tile in self.tiles]
        blocks: list[Block] = []
        for length in ("long", "short"):
            names: Units | tuple[str, ...] = unit_names(look.locale, length)
            names = names if self.days else names[1:]
            style = Style(size, size * 3 // 4, 1, 500, look.rtl, look.locale)
            blocks = [set_text(fonts, name, space, style) for name, space in zip(names, room, strict=True)]
            if all(block.size == size for block in blocks):
                break
        return blocks

    def put(self, image: Image.Image, x: int, y: int) -> None:
        """Draw the face with its upper left corner at a place; right to left, days stand on the right."""
        order = list(range(len(self.tiles)))
        if self.look.rtl:
            order.reverse()
        places: dict[int, list[Rect]] = {}
        radius = round(self.size * _ROUND)
        for unit in order:
            tile = self.tiles[unit]
            fill_rounded(image, self.look.fill, (x, y, tile, self.tile_height), radius)
            top = y + (self.tile_height - self.tall) // 2
            places[unit] = [
                (x + self.pad + number * self.step, top, x + self.pad + (number + 1) * self.step, top + self.tall)
                for number in range(self._counts()[unit])
            ]
            block = self.labels[unit]
            _write(image, block, x + tile // 2, y + self.tile_height + self.label_gap, self.look.label)
            x += tile + self.gap
        self.places = tuple(place for unit in range(len(self.tiles)) for place in places[unit])
        self.show(image, self.at(self.left))

    def at(self, left: int) -> str:
        """What this face says with `left` seconds to go."""
        return reading(left, self.days)

    def show(self, image: Image.Image, now: str, before: str = "") -> Rect | None:
        """Draw the digits of a reading; with the one `before`, those alone that differ. Returns what has changed."""
        changed: Rect | None = None
        for place, digit, old in zip(self.places, now, before or " " * len(now), strict=True):
            if digit != old:
                image.paste(self.look.fill, place)
                ink = self.inks[int(digit)]
                if ink.mask is not None:
                    at = place[0] + (self.step - round(ink.advance)) // 2 + ink.x, place[1] + self.top + ink.y
                    image.paste(self.look.colour, at, ink.mask)
                changed = place if changed is None else _around(changed, place)
        return changed


def _inks(fonts: Fonts, size: int, weight: int) -> list[Ink]:
    face = fonts.pick("0") or 0
    return [fonts.ink(Run(face, digit), size, weight) for digit in "0123456789"]


def _around(one: Rect, other: Rect) -> Rect:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _write(image: Image.Image, block: Block, middle: int, top: int, colour: Rgb) -> None:
    """Stamp a block of one line around a middle."""
    for line in block.lines:
        for ink, pen in line.stamps:
            if ink.mask is not None:
                at = round(middle - line.width / 2 + pen) + ink.x, top + block.ascent + ink.y
                image.paste(colour, at, ink.mask)
