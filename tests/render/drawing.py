"""What the tests of pictures share: the fonts, loaded once, and golden pictures with the command that writes them anew.

`python -m tests.render.drawing` draws every starting creative, rewrites golden_pictures.json and the two sheets in
docs/creatives.md; look at the sheets before committing them.
"""

import base64
import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, features

from render.binding import resolve
from render.creative import Creative
from render.draw import compose
from render.fonts import Fonts
from render.samples import SAMPLE_AT_MS, SAMPLES
from render.starting import STARTING

DOCS = Path(__file__).resolve().parents[2] / "docs"
GOLDEN = Path(__file__).with_name("golden_pictures.json")
THUMBNAIL = (30, 15)
VIEW = "ab" * 32
"""The name of the photograph below, as a blob store would name it."""


@cache
def fonts() -> Fonts:
    return Fonts.load()


def stack_versions() -> str:
    """The versions that decide about single pixels."""
    libraries = [f"{name} {features.version(name)}" for name in ("freetype2", "harfbuzz", "raqm")]
    fonts = ("fontpkg-inter", "fontpkg-noto-sans", "manimgx-fonts", "manimgx-fonts-cjk")
    return ", ".join([f"pillow {version('pillow')}", *libraries, *(f"{name} {version(name)}" for name in fonts)])


def sample(creative: Creative, dark: bool) -> Image.Image:
    fields = {**SAMPLES[creative.id], "offer.picture": VIEW}
    resolved = resolve(creative, fields, at_ms=SAMPLE_AT_MS)
    return compose(resolved, {VIEW: mountains()}, (creative.width, creative.height), dark, fonts())


@cache
def mountains() -> Image.Image:
    """A view over ridges in the evening, for designs on a photograph: made here, so that none has to be kept."""
    width, height = 1200, 800
    x = np.arange(width)
    sky = np.linspace(0, 1, height)[:, None, None]
    scene = (np.array([255, 210, 160]) * sky + np.array([110, 170, 235]) * (1 - sky)).repeat(width, axis=1)
    for number, (top, far) in enumerate(((0.42, 0.8), (0.52, 0.6), (0.62, 0.42), (0.74, 0.24), (0.86, 0.08))):
        waves = ((0.0043, 1.7, 46), (0.0121, 0.6, 22), (0.031, 2.9, 9), (0.083, 1.1, 3))
        shift = sum(high * np.sin(x * pace + start * (number + 1)) for pace, start, high in waves)
        ridge = np.round(height * top + shift, 1)
        colour = np.array([196, 178, 214]) * far + np.array([16, 58, 84]) * (1 - far)
        scene[np.arange(height)[:, None] > ridge[None, :]] = colour
    return Image.fromarray(np.round(scene).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))


def thumbnail(image: Image.Image) -> bytes:
    return image.resize(THUMBNAIL, Image.Resampling.BOX).tobytes()


def pixels(image: Image.Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def cases() -> list[tuple[str, Creative, bool]]:
    return [
        (f"{creative.name}, {'dark' if dark else 'light'}", creative, dark)
        for creative in STARTING
        for dark in (False, True)
    ]


def write() -> None:
    pictures = {}
    for name, creative, dark in cases():
        image = sample(creative, dark)
        pictures[name] = {"pixels": pixels(image), "thumbnail": base64.b64encode(thumbnail(image)).decode()}
    GOLDEN.write_text(json.dumps({"versions": stack_versions(), "pictures": pictures}, indent=1) + "\n")
    for dark in (False, True):
        sheet(dark).save(DOCS / f"creatives-{'dark' if dark else 'light'}.jpg", quality=84)


def sheet(dark: bool) -> Image.Image:
    """All starting creatives at their declared size: heroes two in a row, tiles four."""
    heroes = [sample(creative, dark).reduce(2) for creative in STARTING if creative.width == 600]
    tiles = [sample(creative, dark).reduce(2) for creative in STARTING if creative.width == 280]
    rows = (len(heroes) + 1) // 2, (len(tiles) + 3) // 4
    size = 1240, 13 + rows[0] * 314 + rows[1] * 214
    whole = Image.new("RGB", size, (38, 40, 46) if dark else (222, 224, 229))
    for number, image in enumerate(heroes):
        whole.paste(image, (13 + number % 2 * 614, 13 + number // 2 * 314))
    for number, image in enumerate(tiles):
        whole.paste(image, (13 + number % 4 * 311, 13 + rows[0] * 314 + number // 4 * 214))
    return whole


if __name__ == "__main__":
    write()
