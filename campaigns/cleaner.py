"""The child process that decodes a stranger's picture: `python -m campaigns.cleaner`, picture in, clean picture out.

It limits its own memory, time and files before it reads a byte, and knows nothing worth stealing. The first line of the
answer is JSON: `{"width", "height"}` of the picture whose bytes follow, or `{"fault"}`. See campaigns/cleaning.py.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings
from io import BytesIO
from typing import Any, Final

from PIL import GifImagePlugin, Image, ImageCms, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP")
PLUGINS: Final = (GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)
"""Loaded before files are forbidden."""
MEMORY_BYTES: Final = 768 * 1024 * 1024
"""Address space. 20 million pixels are 80 MB as RGBA, held about four times while they are converted and scaled."""
CPU_SECONDS: Final = 10
MAX_PIXELS: Final = 20_000_000
MAX_SIDE: Final = 12_000
KEPT_SIDE: Final = 1_600
"""A hero of 600 pixels is drawn 1,200 wide at twice its size; the rest is room for cropping."""
FLAT_COLOURS: Final = 256
QUALITY: Final = 90


class Unfit(Exception):
    """A picture that is refused; the text is a phrase for people, such as "is cut off"."""


def limit() -> None:
    """Bound what this process may use."""
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def clean(data: bytes) -> tuple[bytes, int, int]:
    """The first frame, upright, in sRGB, without metadata, at most KEPT_SIDE long: bytes, width, height.

    JPEG for photographs, PNG for what has transparency or few colours. Raises Unfit.
    """
    image = _upright(_opened(data))
    image.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    out = BytesIO()
    if image.mode == "RGBA" or image.getcolors(FLAT_COLOURS):
        image.save(out, "PNG", optimize=False)
    else:
        image.save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue(), image.width, image.height


def _opened(data: bytes) -> Image.Image:
    """The picture, known by its content whatever it is called, its size checked before anything is decoded."""
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unfit(f"has more than {MAX_PIXELS // 1_000_000} million pixels") from None
    except (OSError, ValueError, SyntaxError):
        raise Unfit("is not a picture in JPEG, PNG, GIF or WebP") from None
    if max(image.size) > MAX_SIDE:
        raise Unfit(f"is {image.width:,} by {image.height:,} pixels; a side may have at most {MAX_SIDE:,}")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Decode, turn as the camera was held, and make it RGB, or RGBA where something shines through."""
    try:
        image.load()
        profile = image.info.get("icc_profile")
        turned = ImageOps.exif_transpose(image)
        clear = turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info
        if turned.mode.startswith("I") or turned.mode == "F":
            turned = turned.convert("I").point(lambda value: value * (1 / 257)).convert("L")
        plain = _in_srgb(turned, profile, "RGBA" if clear else "RGB")
    except (OSError, ValueError, SyntaxError, IndexError, KeyError, TypeError):
        raise Unfit("is cut off or damaged") from None
    if plain.mode == "RGBA" and plain.getchannel("A").getextrema() == (255, 255):
        plain = plain.convert("RGB")
    # A new picture carries nothing but pixels.
    bare = Image.new(plain.mode, plain.size)
    bare.paste(plain)
    return bare


def _in_srgb(image: Image.Image, profile: Any, mode: str) -> Image.Image:
    if not isinstance(profile, bytes) or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image.convert(mode)
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        made = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode=mode if image.mode == mode else "RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        # A profile that cannot be used is no reason to lose the picture.
        return image.convert(mode)
    return (made or image).convert(mode)


def main() -> None:
    """Answer on standard output for the picture on standard input."""
    limit()
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        body, width, height = clean(sys.stdin.buffer.read())
        head: dict[str, Any] = {"width": width, "height": height}
    except Unfit as error:
        body, head = b"", {"fault": str(error)}
    except MemoryError:
        body, head = b"", {"fault": "needs too much memory to be decoded"}
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + body)


if __name__ == "__main__":
    main()
