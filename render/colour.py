"""Colours that go together: a scheme for every seed, made in OKLCH so that all look equally light and strong."""

import hashlib
from functools import lru_cache
from math import cos, radians, sin
from typing import Final, NamedTuple

from render.creative import SCHEME_COLOURS, Palette

Rgb = tuple[int, int, int]

# Hue angles in OKLCH that stay clean both as a pale tint and as a deep ink: from coral over amber, green, blue to rose.
_HUES: Final = (28, 52, 78, 138, 162, 192, 232, 258, 288, 322, 358)


# Lightness and chroma of tint, soft, mid, deep, pale and bold. `deep` carries signs and buttons, so it is the far end
# of each row; `bold` fills areas, which in dark would glare in a colour that is light enough for signs.
_LIGHT: Final = ((0.955, 0.022), (0.87, 0.075), (0.73, 0.13), (0.42, 0.105), (0.92, 0.045), (0.42, 0.105))
_DARK: Final = ((0.27, 0.032), (0.36, 0.058), (0.50, 0.095), (0.86, 0.075), (0.315, 0.045), (0.64, 0.115))


class Scheme(NamedTuple):
    """Four colours of one hue, from the quietest to the strongest, and a spark that stands out from them.

    `pale` and `bold` are for drawn areas: seen on the tint and on the surface, and never brighter than a text.
    """

    tint: Rgb
    soft: Rgb
    mid: Rgb
    deep: Rgb
    spark: Rgb
    pale: Rgb
    bold: Rgb


@lru_cache(maxsize=512)
def scheme(seed: str, dark: bool) -> Scheme:
    """Return the scheme of a seed, such as a category's name; equal seeds always get equal colours."""
    hue = _HUES[hashlib.sha256(seed.casefold().encode("utf-8", "replace")).digest()[0] % len(_HUES)]
    # Gold stands out against every hue but its neighbours, where a quiet teal does.
    spark = oklch(0.80, 0.085, 190) if 40 < hue < 120 else oklch(0.86, 0.13, 86)
    steps = _DARK if dark else _LIGHT
    tint, soft, mid, deep, pale, bold = (oklch(lightness, chroma, hue) for lightness, chroma in steps)
    return Scheme(tint, soft, mid, deep, spark, pale, bold)


def oklch(lightness: float, chroma: float, hue: float) -> Rgb:
    """Return an OKLCH colour (lightness 0-1, chroma 0-0.4, hue in degrees) as sRGB, less strong if out of gamut.

    The matrices are Björn Ottosson's (2020), https://bottosson.github.io/posts/oklab/.
    """
    while True:
        a, b = chroma * cos(radians(hue)), chroma * sin(radians(hue))
        long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
        medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
        short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
        linear = (
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        )
        if chroma <= 0 or all(-0.0005 <= channel <= 1.0005 for channel in linear):
            red, green, blue = (_gamma(channel) for channel in linear)
            return red, green, blue
        chroma -= 0.004


def _gamma(linear: float) -> int:
    """Return one sRGB channel (IEC 61966-2-1) of a linear one."""
    held = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * held if held <= 0.0031308 else 1.055 * held ** (1 / 2.4) - 0.055))


def contrast(one: Rgb, other: Rgb) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Rgb) -> float:
    parts = [channel / 255 for channel in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


class Paint:
    """Looks up the colours of one picture: roles of its palette, colours of its seed's scheme, or plain hex."""

    def __init__(self, palette: Palette, seed: str, dark: bool) -> None:
        self.palette = palette
        self.scheme = scheme(seed, dark)
        self.dark = dark

    def __call__(self, name: str) -> Rgb:
        """Return a colour by any of its names; an unknown one is the ink, readable on the surface."""
        if name.startswith("#"):
            return from_hex(name)
        if name in SCHEME_COLOURS:
            return self.scheme[SCHEME_COLOURS.index(name)]
        return self(str(getattr(self.palette, name, self.palette.ink)))


def from_hex(text: str) -> Rgb:
    """Return the colour of `#rrggbb`."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
