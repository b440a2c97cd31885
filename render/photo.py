"""Product pictures as they are placed: decoded within bounds, scaled and cropped once, then kept."""

from collections.abc import Mapping
from functools import partial
from io import BytesIO
from typing import Final

from PIL import Image

from render.colour import Rgb
from render.memo import Memo

Asset = bytes | Image.Image
Assets = Mapping[str, Asset]
MAX_PIXELS: Final = 20_000_000
"""Pictures are stored far smaller; this holds should a store give us something else."""
FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP")
PHOTO_BYTES: Final = 12_000_000


def _bytes(photo: Image.Image | None) -> int:
    """Return the weight of a placed picture; a failure weighs too much to be kept, so the next open tries again."""
    return PHOTO_BYTES + 1 if photo is None else 3 * photo.width * photo.height


_Key = tuple[str, int, int, str, float, float, Rgb]
_kept: Memo[_Key, Image.Image | None] = Memo(PHOTO_BYTES, _bytes)


def place(
    name: str, asset: Asset, size: tuple[int, int], fit: str, focus: tuple[float, float], ground: Rgb
) -> Image.Image | None:
    """Return a picture scaled into `size` output pixels, or None if it cannot be decoded.

    `cover` fills the box and crops around the focus (0-1 from the left and top); `contain` shows it all on the ground.
    `name` is the blob's hash: equal names are taken for equal pictures.
    """
    key = (name, *size, fit, *focus, ground)
    return _kept.get(key, partial(_place, asset, size, fit, focus, ground))


def _place(
    asset: Asset, size: tuple[int, int], fit: str, focus: tuple[float, float], ground: Rgb
) -> Image.Image | None:
    try:
        photo = _decode(asset, size, ground)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    w, h = size
    scale = (max if fit == "cover" else min)(w / photo.width, h / photo.height)
    scaled = photo.resize(
        (max(1, round(photo.width * scale)), max(1, round(photo.height * scale))), Image.Resampling.BICUBIC
    )
    if fit == "cover":
        left, top = round((scaled.width - w) * focus[0]), round((scaled.height - h) * focus[1])
        return scaled.crop((left, top, left + w, top + h))
    placed = Image.new("RGB", size, ground)
    placed.paste(scaled, ((w - scaled.width) // 2, (h - scaled.height) // 2))
    return placed


def _decode(asset: Asset, size: tuple[int, int], ground: Rgb) -> Image.Image:
    """Return the first frame as opaque RGB; transparent parts take the ground's colour."""
    photo = asset if isinstance(asset, Image.Image) else Image.open(BytesIO(asset), formats=FORMATS)
    if photo.width * photo.height > MAX_PIXELS:
        raise ValueError(f"has more than {MAX_PIXELS} pixels")
    # A JPEG can be decoded at an eighth to a half of its size for nothing.
    photo.draft("RGB", (2 * size[0], 2 * size[1]))
    if photo.mode in ("RGBA", "LA", "PA") or "transparency" in photo.info:
        clear = photo.convert("RGBA")
        opaque = Image.new("RGB", clear.size, ground)
        opaque.paste(clear, mask=clear.getchannel("A"))
        return opaque
    return photo.convert("RGB")
