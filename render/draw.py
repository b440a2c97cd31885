"""Draw a resolved creative: pure, no file and no network, the same bytes for the same design on the same versions.

Everything is drawn at `DENSITY` times the declared size, which dense screens show in the box of the declared one.
"""

import hashlib
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final

import PIL
from msgspec.structs import replace
from PIL import Image

from render.animation import animated
from render.art import draw_art
from render.colour import Paint
from render.creative import (
    Art,
    Background,
    Badge,
    Box,
    Cell,
    Cells,
    Column,
    Panel,
    Picture,
    Resolved,
    asset_hashes,
    canonical,
)
from render.encode import MAX_BYTES, encode
from render.fonts import Fonts
from render.grid import grid
from render.layout import Style, set_text
from render.photo import Assets, place
from render.shape import fill_rounded, shape
from render.stack import Sheet, stack

DENSITY: Final = 2
VERSION: Final = "3"
"""Raise it with every change that moves a pixel: the picture cache and stored pictures are keyed by it."""
_NUMBER: Final = re.compile(r"([\u0e00-\u0eff\u3000-\uffef]*)([-–+]?[\d.,]+[%％]?)([\u0e00-\u0eff\u3000-\uffef]*)")
RIM: Final = 3
"""Design pixels of ground around a badge, which part it from art in its own colour."""
MAX_DRAWN: Final = 2560
"""Longest declared side that is drawn; a token can promise at most 1260 by 2550."""
NEUTRAL_SIZE: Final = (600, 200)
"""The declared size of the picture that answers a token nobody minted."""


def draw(
    resolved: Resolved,
    assets: Assets,
    size: tuple[int, int],
    fmt: str,
    dark: bool,
    fonts: Fonts,
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """Return the picture's bytes, exactly `DENSITY` times the declared `size` in pixels and opaque.

    `assets` maps blob hashes to encoded or decoded pictures; one that is missing or broken is replaced by drawn art. No
    field, text or asset makes this raise; sizes are held to 1 to MAX_DRAWN. A countdown moves in a GIF; in any other
    format it shows what was left when it was asked for.
    """
    drawing = _Drawing(resolved, assets, size, dark, fonts)
    if fmt != "gif" or not drawing.sheet.clocks:
        return encode(drawing.image, fmt, max_bytes)
    end = replace(resolved, layers=resolved.over, over=())
    over = compose(end, assets, size, dark, fonts) if resolved.over else None
    return animated(drawing.image, drawing.sheet.clocks[0], over, max_bytes)


def compose(resolved: Resolved, assets: Assets, size: tuple[int, int], dark: bool, fonts: Fonts) -> Image.Image:
    """Return the drawn RGB picture before it is encoded."""
    return _Drawing(resolved, assets, size, dark, fonts).image


def content_key(
    resolved: Resolved, size: tuple[int, int], fmt: str, dark: bool, max_bytes: int = MAX_BYTES,
    assets: Collection[str] | None = None,
) -> str:  # fmt: skip
    """Return the SHA-256, in hex, of all that determines the picture's bytes, so equal keys mean equal pictures.

    `assets` names the blobs at hand (default: all that are wanted), for a picture drawn without one looks different.
    """
    wanted = asset_hashes(resolved)
    absent = () if assets is None else tuple(name for name in wanted if name not in assets)
    parts = (VERSION, PIL.__version__, f"{size[0]}x{size[1]}", fmt, "dark" if dark else "light", max_bytes, *absent)
    head = "\n".join(str(part) for part in parts)
    return hashlib.sha256(head.encode() + b"\0" + canonical(resolved)).hexdigest()


class _Drawing:
    """One picture being drawn: its scale, its colours and its image."""

    def __init__(self, resolved: Resolved, assets: Assets, size: tuple[int, int], dark: bool, fonts: Fonts) -> None:
        self.width, self.height = (DENSITY * min(max(1, side), MAX_DRAWN) for side in size)
        self.across = self.width / resolved.width
        self.down = self.height / resolved.height
        self.scale = min(self.across, self.down)
        self.resolved = resolved
        self.assets = assets
        self.fonts = fonts
        self.dark = dark
        self.paint = Paint(resolved.palette_dark if dark else resolved.palette_light, resolved.seed, dark)
        self.ground = self.paint("surface")
        self.image = Image.new("RGB", (self.width, self.height), self.ground)
        self.sheet = Sheet(self.image, fonts, self.paint, self.scale, resolved.rtl, resolved.locale)
        for layer in resolved.layers:
            match layer:
                case Background():
                    self.background(layer)
                case Art():
                    self.art(layer.box, layer.seed, layer.style, layer.pictogram, 0)
                case Picture():
                    self.picture(layer)
                case Panel():
                    x, y, w, h = self.box(layer.box)
                    fill_rounded(self.image, self.paint(layer.colour), (x, y, w, h), round(layer.radius * self.scale))
                case Badge():
                    self.badge(layer)
                case Cells():
                    grid(self.sheet, layer, self.box(layer.grid.box), self.product)
                case Column():
                    stack(self.sheet, layer, self.box(layer.box))

    def box(self, box: Box) -> tuple[int, int, int, int]:
        """Return x, y, width and height in output pixels, mirrored where the text runs right to left."""
        left = self.resolved.width - box.x - box.w if self.resolved.rtl else box.x
        x, y = round(left * self.across), round(box.y * self.down)
        return x, y, max(1, round((left + box.w) * self.across) - x), max(1, round((box.y + box.h) * self.down) - y)

    def background(self, layer: Background) -> None:
        whole = (self.width, self.height)
        self.ground = colour = self.paint(layer.colour)
        asset = self.assets.get(layer.picture) if layer.picture else None
        photo = None
        if asset is not None:
            photo = place(layer.picture, asset, whole, "cover", (layer.focus_x, layer.focus_y), colour)
        if photo is not None:
            self.image.paste(photo, (0, 0))
            if layer.shade:
                self.image.paste((0, 0, 0), (0, 0), shade(whole, layer.shade, layer.shade_to, self.resolved.rtl))
        elif layer.to:
            self.image.paste(gradient(colour, self.paint(layer.to), whole, layer.vertical), (0, 0))
        elif layer.colour != "surface":
            self.image.paste(colour, (0, 0, *whole))

    def picture(self, layer: Picture) -> None:
        x, y, w, h = self.box(layer.box)
        focus = layer.focus_x, layer.focus_y
        photo = self.photo(layer.source, (w, h), layer.fit, focus)
        if photo is None:
            self.art(layer.box, layer.seed, layer.style, layer.pictogram, layer.radius)
        elif layer.radius:
            self.image.paste(photo, (x, y), shape("rounded", w, h, round(layer.radius * self.scale)))
        else:
            self.image.paste(photo, (x, y))

    def photo(
        self, source: str, size: tuple[int, int], fit: str, focus: tuple[float, float] = (0.5, 0.5)
    ) -> Image.Image | None:
        """Return a product picture in a size of output pixels, or None where it is missing or broken."""
        asset = self.assets.get(source) if source else None
        ground = self.paint("plate") if fit == "contain" else self.paint("surface")
        return place(source, asset, size, fit, focus, ground) if asset is not None else None

    def product(self, cell: Cell, size: tuple[int, int], fit: str) -> Image.Image:
        """Return the picture of a grid's cell: the product's, or art in its stead."""
        photo = self.photo(cell.source, size, fit)
        if photo is not None:
            return photo
        disc, rtl = self.disc(), self.resolved.rtl
        return draw_art(self.fonts, size, cell.seed, "tiles", cell.pictogram, self.paint.scheme, disc, rtl)

    def disc(self) -> tuple[int, int, int]:
        """The ground of a sign: in dark tinted, for plain black would look like a hole in the picture."""
        return self.paint("@tint" if self.dark else "surface")

    def art(self, box: Box, seed: str, style: str, sign: str, radius: int) -> None:
        x, y, w, h = self.box(box)
        drawn = draw_art(self.fonts, (w, h), seed, style, sign, self.paint.scheme, self.disc(), self.resolved.rtl)
        if radius:
            self.image.paste(drawn, (x, y), shape("rounded", w, h, round(radius * self.scale)))
        else:
            self.image.paste(drawn, (x, y))

    def badge(self, layer: Badge) -> None:
        """Draw a badge, cut out from what is under it; in a disc, the word with the number stands large."""
        x, y, w, h = self.box(layer.box)
        rim = round(RIM * self.scale)
        if layer.shape == "pill":
            fill_rounded(self.image, self.ground, (x - rim, y - rim, w + 2 * rim, h + 2 * rim), h + 2 * rim)
            fill_rounded(self.image, self.paint(layer.fill), (x, y, w, h), h)
            inner, parts = (round(w - h * 0.7), round(h * 0.9)), [(layer.text, 0.5)]
        else:
            side = min(w, h)
            x, y, w, h = x + (w - side) // 2, y + (h - side) // 2, side, side
            around = shape(layer.shape, side + 2 * rim, side + 2 * rim, 20)
            self.image.paste(self.ground, (x - rim, y - rim), around)
            self.image.paste(self.paint(layer.fill), (x, y), shape(layer.shape, side, side, 20))
            inner, parts = (round(side * 0.74), round(side * 0.62)), badge_parts(layer.text)
        blocks = [
            set_text(
                self.fonts,
                text,
                inner[0],
                Style(max(8, round(h * part)), 8, 2 if len(parts) == 1 else 1, layer.weight, self.resolved.rtl),
            )
            for text, part in parts
        ]
        gap = round(h * 0.035)
        top = y + (h - sum(block.height for block in blocks) - gap * (len(blocks) - 1)) // 2
        for block in blocks:
            self.sheet.write(block, x, top, w, "center", self.paint(layer.colour))
            top += block.height + gap


def badge_parts(text: str) -> list[tuple[str, float]]:
    """Return a badge's text as lines with their height as a part of the badge's: a word with digits is set large.

    Scripts without spaces have their number cut out: `20%オフ` is set as `20% オフ`. A single sign fills the badge.
    """
    words = text.split(" ")
    if len(text) == 1:
        return [(text, 0.62)]
    if len(words) == 1 and (told := _NUMBER.fullmatch(text)):
        words = [part for part in told.groups() if part]
    number = next((index for index, word in enumerate(words) if any(char.isdigit() for char in word)), None)
    if number is None or len(words) == 1:
        return [(text, 0.2 if number is None else 0.3)]
    lines = [(" ".join(words[:number]), 0.145), (words[number], 0.3), (" ".join(words[number + 1 :]), 0.145)]
    return [(line, part) for line, part in lines if line]


@lru_cache(maxsize=8)
def shade(size: tuple[int, int], most: float, to: float, rtl: bool) -> Image.Image:
    """Return the mask of a shade: as dark as said as far as the part `to` of the width, then fading to a fifth."""
    width = size[0]
    whole = round(width * to)
    steps = (255 * most * (1 - 0.8 * _eased((x - whole) / max(1, width - whole))) for x in range(width))
    strip = Image.frombytes("L", (width, 1), bytes(round(step) for step in steps))
    strip = strip.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rtl else strip
    return strip.resize(size, Image.Resampling.NEAREST)


def _eased(part: float) -> float:
    """Return 0 to 1 without a kink at either end."""
    held = min(max(part, 0.0), 1.0)
    return held * held * (3 - 2 * held)


def gradient(
    start: tuple[int, int, int], end: tuple[int, int, int], size: tuple[int, int], vertical: bool
) -> Image.Image:
    """Return a straight gradient: one row or column is computed and stretched, a tenth of the cost of blending."""
    length = size[1] if vertical else size[0]
    row = bytes(
        round(a + (b - a) * at / max(1, length - 1)) for at in range(length) for a, b in zip(start, end, strict=True)
    )
    strip = Image.frombytes("RGB", (1, length) if vertical else (length, 1), row)
    return strip.resize(size, Image.Resampling.NEAREST)


@lru_cache(maxsize=64)
def static_picture(width: int, height: int, fmt: str) -> bytes:
    """Return the neutral picture of a declared size: no text, no brand, no claim; the last thing that can be shown.

    It needs no font, plan or store. The 64 last sizes are kept in memory; a picture of them takes some 10 KB.
    """
    w, h = (DENSITY * min(max(1, side), MAX_DRAWN) for side in (width, height))
    # All channels fall alike, so the steps of the gradient have no hue of their own.
    image = gradient((241, 244, 249), (226, 229, 234), (w, h), vertical=False)
    for x, y, ink in ((0.35, 0.42, (233, 237, 243)), (0.55, 0.62, (218, 223, 231))):
        image.paste(ink, (round(w * x), round(h * y)), shape("hill", round(w * 0.9), round(h * (1 - y)) + 1))
    return encode(image, fmt, max_bytes=MAX_BYTES if w * h <= 4_000_000 else 10 * MAX_BYTES)
