"""Drawn geometry for pictures without photographs: calm patterns in a scheme's colours, the same for the same seed."""

import hashlib
from typing import Final

from PIL import Image

from render.colour import Rgb, Scheme
from render.fonts import Fonts, Run
from render.memo import Memo
from render.pictogram import pictogram
from render.shape import shape

ART_BYTES: Final = 12_000_000
"""Room for some fourteen hero sides: a campaign shows few categories, and their art is most of a picture's work."""
_Key = tuple[tuple[str, ...], int, int, int, str, str, str, Scheme, Rgb, bool]
_kept: Memo[_Key, Image.Image] = Memo(ART_BYTES, lambda art: 3 * art.width * art.height)
_TILES: Final = ("quarter", "quarter", "leaf", "leaf", "half", "quarter-ring", "disc", "dots", "plain", "triangle")


SLIVER: Final = 0.34
"""Part of a tile that is not worth showing: the whole ones are stretched over it instead."""


class Chance:
    """Numbers that look random and belong to a seed for ever; Python's own generators promise that of no method."""

    def __init__(self, seed: str) -> None:
        self._bytes = iter(hashlib.shake_256(seed.casefold().encode("utf-8", "replace")).digest(1024))

    def below(self, bound: int) -> int:
        """Return 0 to bound - 1; after 1,024 draws always 0, which no pattern reaches."""
        return next(self._bytes, 0) % bound


def draw_art(
    fonts: Fonts,
    size: tuple[int, int],
    seed: str,
    style: str,
    sign: str,
    colours: Scheme,
    disc: Rgb,
    flip: bool = False,
) -> Image.Image:
    """Return a pattern of `size` output pixels, flipped for right-to-left, with the sign for `sign` on a disc.

    The image is shared: stamp it, never draw into it.
    """
    w, h = max(1, size[0]), max(1, size[1])
    key = (fonts.missing, len(fonts.faces), w, h, seed, style, sign, colours, disc, flip)
    return _kept.get(key, lambda: _draw(fonts, w, h, seed, style, sign, colours, disc, flip))


def _draw(
    fonts: Fonts, w: int, h: int, seed: str, style: str, sign: str, colours: Scheme, disc: Rgb, flip: bool
) -> Image.Image:
    image = Image.new("RGB", (w, h), colours.tint)
    _STYLES.get(style, _plain)(image, Chance(f"{style}:{seed}"), colours)
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    glyph = pictogram(sign)
    if glyph:
        x, y, part = _SIGN_AT.get(style, (0.5, 0.5, 0.62))
        _stamp_sign(fonts, image, glyph, (1 - x if flip else x, y, part), colours, disc)
    return image


def _plain(image: Image.Image, chance: Chance, colours: Scheme) -> None:
    image.paste(colours.soft, (0, 0, image.width, image.height))


def _tiles(image: Image.Image, chance: Chance, colours: Scheme) -> None:
    """A quilt of quarter discs, leaves and dots: four tiles on the shorter side, three where that is small."""
    # The longer side holds whole tiles, and the shorter one does where a sliver of one would be left at its end.
    longer, shorter = max(image.size), min(image.size)
    tile = max(24, -(-longer // max(1, round((4 if shorter >= 300 else 3) * longer / shorter))))
    whole = shorter // tile
    if whole and shorter % tile < tile * SLIVER:
        flat = image.width >= image.height
        quilt = Image.new("RGB", (longer, whole * tile) if flat else (whole * tile, longer))
        _quilt(quilt, chance, colours, tile)
        image.paste(quilt.resize(image.size, Image.Resampling.BICUBIC))
    else:
        _quilt(image, chance, colours, tile)


def _quilt(image: Image.Image, chance: Chance, colours: Scheme, tile: int) -> None:
    pairs = (
        (colours.soft, colours.mid),
        (colours.mid, colours.soft),
        (colours.pale, colours.mid),
        (colours.soft, colours.bold),
        (colours.bold, colours.soft),
        (colours.pale, colours.soft),
        (colours.mid, colours.pale),
        (colours.pale, colours.spark),
    )
    for y in range(0, image.height, tile):
        for x in range(0, image.width, tile):
            ground, figure = pairs[chance.below(len(pairs))]
            name, turn = _TILES[chance.below(len(_TILES))], chance.below(4)
            image.paste(ground, (x, y, min(x + tile, image.width), min(y + tile, image.height)))
            if name != "plain":
                image.paste(figure, (x, y), shape(name, tile, tile, 4 if name == "dots" else turn))


def _confetti(image: Image.Image, chance: Chance, colours: Scheme) -> None:
    """Small shapes strewn on a jittered grid, so that they never clump or overlap."""
    image.paste(colours.soft, (0, 0, image.width, image.height))
    step = max(44, round(min(image.size) / 7))
    inks = (colours.bold, colours.mid, colours.spark, colours.pale, colours.mid, colours.pale)
    for y in range(-step // 2, image.height, step):
        for x in range(-step // 2, image.width, step):
            kind = chance.below(8)
            side = round(step * (0.22, 0.3, 0.38, 0.46)[chance.below(4)])
            at = x + chance.below(max(1, step - side)), y + chance.below(max(1, step - side))
            ink = inks[chance.below(len(inks))]
            if kind < 3:
                image.paste(ink, at, shape("disc", side, side))
            elif kind == 3:
                image.paste(ink, at, shape("ring", side, side, max(3, side // 5)))
            elif kind == 4:
                image.paste(ink, at, shape("rounded", side, max(4, side // 3), side))
            elif kind == 5:
                image.paste(ink, at, shape("rounded", max(4, side // 3), side, side))
            elif kind == 6:
                image.paste(ink, at, shape("leaf", side, side, chance.below(2)))


def _steps(image: Image.Image, chance: Chance, colours: Scheme) -> None:
    """Columns with round heads that rise from left to right."""
    image.paste(colours.soft, (0, 0, image.width, image.height))
    inks = (colours.pale, colours.mid, colours.pale, colours.mid, colours.bold)
    gap = round(image.width * 0.03)
    width = (image.width - 6 * gap) // 5
    first = chance.below(3)
    for number, ink in enumerate(inks):
        height = round(image.height * (0.24 + 0.02 * first + 0.135 * number))
        image.paste(ink, (gap + number * (width + gap), image.height - height), shape("arch", width, height))
    sun = round(width * 0.8)
    image.paste(colours.spark, (gap + width // 2, round(image.height * 0.14)), shape("disc", sun, sun))


def _rings(image: Image.Image, chance: Chance, colours: Scheme) -> None:
    """Wide rings around the lower right corner, like a pond after a drop."""
    start = 0.94 + 0.01 * chance.below(5)
    for number, ink in enumerate((colours.soft, colours.pale, colours.mid, colours.soft, colours.bold)):
        radius = round(min(image.size) * start * (1 - 0.19 * number))
        # A quarter disc whose centre is the lower right corner of its square.
        image.paste(ink, (image.width - radius, image.height - radius), shape("quarter", radius, radius, 2))


def _hills(image: Image.Image, chance: Chance, colours: Scheme) -> None:
    """Three round hills and a sun; what matters stands to the right, where a panel leaves room."""
    w, h = image.size
    sun = round(min(w, h) * 0.3)
    image.paste(colours.spark, (round(w * (0.66 + 0.03 * chance.below(4))), round(h * 0.13)), shape("disc", sun, sun))
    shift = chance.below(4) / 40
    for ink, left, top in (
        (colours.soft, 0.4 + shift, 0.42),
        (colours.mid, -0.3 - shift, 0.5),
        (colours.bold, 0.3, 0.7),
    ):
        image.paste(ink, (round(w * left), round(h * top)), shape("hill", round(w * 1.1), round(h * (1 - top)) + 1))


_STYLES: Final = {"tiles": _tiles, "confetti": _confetti, "steps": _steps, "rings": _rings, "hills": _hills}


_SIGN_AT: Final = {"steps": (0.31, 0.27, 0.5)}
"""Where a style has room for a sign: its middle, and the disc's part of the shorter side."""


def _stamp_sign(
    fonts: Fonts, image: Image.Image, glyph: str, at: tuple[float, float, float], colours: Scheme, disc: Rgb
) -> None:
    """Put a glyph on a disc at a place; without the emoji font, nothing."""
    face = fonts.pick(glyph)
    if face is None:
        return
    side = round(min(image.size) * at[2])
    cx, cy = round(image.width * at[0]), round(image.height * at[1])
    image.paste(disc, (cx - side // 2, cy - side // 2), shape("disc", side, side))
    ink = fonts.ink(Run(face, glyph), max(12, round(side * 0.5)), 400)
    if ink.mask is not None:
        image.paste(colours.deep, (cx - ink.mask.width // 2, cy - ink.mask.height // 2), ink.mask)
