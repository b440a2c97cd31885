"""Smooth shapes as 8-bit masks: the distance of every pixel to the outline, cut off at half a pixel on either side.

A mask is made once for its size and kept; stamping it takes some 50 microseconds.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from render.memo import Memo

Distance = NDArray[np.float32]
MASK_BYTES: Final = 6_000_000
MAX_EXACT: Final = 1_000_000
"""Pixels up to which a mask is computed one by one."""
_kept: Memo[tuple[str, int, int, int], Image.Image] = Memo(MASK_BYTES, lambda mask: mask.width * mask.height)


def shape(name: str, w: int, h: int, arg: int = 0) -> Image.Image:
    """Return the mask of a named shape of `w` by `h` pixels; `arg` is a corner, a side, a radius or a thickness."""
    return _kept.get((name, w, h, arg), partial(_make, name, max(1, w), max(1, h), arg))


def fill_rounded(image: Image.Image, colour: tuple[int, int, int], box: tuple[int, int, int, int], radius: int) -> None:
    """Fill a rounded rectangle (x, y, width, height): plain fills and four small corners, not one large mask."""
    x, y, w, h = box
    r = min(radius, w // 2, h // 2)
    image.paste(colour, (x + r, y, x + w - r, y + h))
    if not r:
        return
    for left in (x, x + w - r):
        image.paste(colour, (left, y + r, left + r, y + h - r))
    # The quarter disc that lies in the upper left corner of the rectangle has its centre at its own lower right (2).
    for left, top, centre in ((x, y, 2), (x + w - r, y, 3), (x + w - r, y + h - r, 0), (x, y + h - r, 1)):
        image.paste(colour, (left, top), shape("quarter", r, r, centre))


def _make(name: str, w: int, h: int, arg: int) -> Image.Image:
    if w * h > MAX_EXACT:
        # An edge a pixel softer is not seen in a shape this large; a hundred megabytes of distances would be felt.
        half = _make(name, w // 2, h // 2, arg // 2 if name in ("rounded", "ring") else arg)
        return half.resize((w, h), Image.Resampling.BILINEAR)
    x = np.arange(w, dtype=np.float32)[None, :] + np.float32(0.5)
    y = np.arange(h, dtype=np.float32)[:, None] + np.float32(0.5)
    distance = np.broadcast_to(_SHAPES[name](x, y, w, h, arg), (h, w))
    return Image.fromarray((np.clip(0.5 - distance, 0, 1) * 255).astype(np.uint8))


def _length(dx: Distance, dy: Distance) -> Distance:
    """Square root, product and sum round alike on every processor, which hypot does not promise."""
    return np.sqrt(dx * dx + dy * dy)


def _disc_at(x: Distance, y: Distance, cx: float, cy: float, radius: float) -> Distance:
    return np.asarray(_length(x - cx, y - cy) - radius, dtype=np.float32)


def _disc(x: Distance, y: Distance, w: int, h: int, _: int) -> Distance:
    return _disc_at(x, y, w / 2, h / 2, min(w, h) / 2)


def _ring(x: Distance, y: Distance, w: int, h: int, thickness: int) -> Distance:
    return np.abs(_disc_at(x, y, w / 2, h / 2, (min(w, h) - thickness) / 2)) - np.float32(thickness / 2)


def _corner(w: int, h: int, number: int) -> tuple[int, int]:
    return ((0, 0), (w, 0), (w, h), (0, h))[number % 4]


def _quarter(x: Distance, y: Distance, w: int, h: int, corner: int) -> Distance:
    return _disc_at(x, y, *_corner(w, h, corner), w)


def _quarter_ring(x: Distance, y: Distance, w: int, h: int, corner: int) -> Distance:
    return np.abs(_disc_at(x, y, *_corner(w, h, corner), w * 0.75)) - np.float32(w / 4)


def _half(x: Distance, y: Distance, w: int, h: int, side: int) -> Distance:
    cx, cy = ((w / 2, 0), (w, h / 2), (w / 2, h), (0, h / 2))[side % 4]
    return _disc_at(x, y, cx, cy, w / 2)


def _leaf(x: Distance, y: Distance, w: int, h: int, diagonal: int) -> Distance:
    return np.maximum(_quarter(x, y, w, h, diagonal), _quarter(x, y, w, h, diagonal + 2))


def _triangle(x: Distance, y: Distance, w: int, h: int, corner: int) -> Distance:
    cx, cy = _corner(w, h, corner)
    return np.asarray((np.abs(x - cx) + np.abs(y - cy) - w) / np.float32(1.4142), dtype=np.float32)


def _dots(x: Distance, y: Distance, w: int, h: int, count: int) -> Distance:
    step = w / count
    return _disc_at(np.mod(x, step), np.mod(y, step), step / 2, step / 2, step * 0.22)


def _stripes(x: Distance, y: Distance, w: int, h: int, count: int) -> Distance:
    step = w / count
    along = x if count % 2 else y
    return np.abs(np.mod(along, step) - step / 2) - np.float32(step / 4)


def _rounded(x: Distance, y: Distance, w: int, h: int, radius: int) -> Distance:
    held = min(radius, w / 2, h / 2)
    dx = np.maximum(np.abs(x - w / 2) - (w / 2 - held), 0)
    dy = np.maximum(np.abs(y - h / 2) - (h / 2 - held), 0)
    return np.asarray(_length(dx, dy) - held, dtype=np.float32)


def _arch(x: Distance, y: Distance, w: int, h: int, _: int) -> Distance:
    return np.where(y < w / 2, _disc_at(x, y, w / 2, w / 2, w / 2), np.abs(x - w / 2) - np.float32(w / 2))


def _hill(x: Distance, y: Distance, w: int, h: int, _: int) -> Distance:
    """A circle's crown: it touches the top in the middle and the bottom at both ends."""
    radius = (w * w / 4 + h * h) / (2 * h)
    return _disc_at(x, y, w / 2, radius, radius)


def _burst(x: Distance, y: Distance, w: int, h: int, points: int) -> Distance:
    radius = min(w, h) / 2
    away = _length(x - w / 2, y - h / 2)
    cosine = (x - w / 2) / np.maximum(away, np.float32(0.5))
    # The cosine of `points` times the angle, by Chebyshev's recurrence: a processor's own cosine and arctangent may
    # differ in their last bit from another's, products and differences do not.
    before, wave = np.ones_like(cosine), cosine
    for _ in range(points - 1):
        before, wave = wave, 2 * cosine * wave - before
    return np.asarray(away - radius * (0.955 + 0.045 * wave), dtype=np.float32)


_SHAPES: Final[dict[str, Callable[[Distance, Distance, int, int, int], Distance]]] = {
    "disc": _disc,
    "ring": _ring,
    "quarter": _quarter,
    "quarter-ring": _quarter_ring,
    "half": _half,
    "leaf": _leaf,
    "triangle": _triangle,
    "dots": _dots,
    "stripes": _stripes,
    "rounded": _rounded,
    "arch": _arch,
    "hill": _hill,
    "burst": _burst,
}
