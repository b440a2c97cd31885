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

from PIL import Image, features

from render.binding import resolve
from render.creative import Creative
from render.draw import compose
from render.fonts import Fonts
from render.samples import SAMPLE_AT_MS, SAMPLES
from render.starting import STARTING

DOCS = Path(__file__).resolve().parents[2] / "docs"
GOLDEN = Path(__file__).with_name("golden_pictures.json")
THUMBNAIL = (30, 15)


@cache
def fonts() -> Fonts:
    return Fonts.load()


def stack_versions() -> str:
    """The versions that decide about single pixels."""
    libraries = [f"{name} {features.version(name)}" for name in ("freetype2", "harfbuzz", "raqm")]
    fonts = ("fontpkg-inter", "fontpkg-noto-sans", "manimgx-fonts", "manimgx-fonts-cjk")
    return ", ".join([f"pillow {version('pillow')}", *libraries, *(f"{name} {version(name)}" for name in fonts)])


def sample(creative: Creative, dark: bool) -> Image.Image:
    resolved = resolve(creative, SAMPLES[creative.id], at_ms=SAMPLE_AT_MS)
    return compose(resolved, {}, (creative.width, creative.height), dark, fonts())


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
