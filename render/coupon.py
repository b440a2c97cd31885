"""A coupon's code as a scanner reads it: a QR code or a Code 128, black on a white plate in light and in dark.

Modules are whole pixels, and the quiet zone that the standards ask for is part of the plate: four modules around a QR
code (ISO/IEC 18004), ten beside a Code 128 (ISO/IEC 15417).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import barcode
import segno
from PIL import Image
from segno.encoder import DataOverflowError

MAX_QR: Final = 200
"""Characters of a QR code; at correction level M they make 69 modules a side, which a picture can still show."""
MAX_BARS: Final = 40
QR_QUIET: Final = 4
BARS_QUIET: Final = 10
QR_LEAST: Final = 4
BARS_LEAST: Final = 2
"""Output pixels of a module, at least: 2 and 1 on a screen, what cameras of telephones read at arm's length."""
BLACK: Final = (0, 0, 0)
WHITE: Final = (255, 255, 255)


@lru_cache(maxsize=256)
def qr(text: str) -> Image.Image | None:
    """Return a QR code, a pixel a module and no quiet zone, as the mask of its dark modules; None for no such code."""
    if not 0 < len(text) <= MAX_QR:
        return None
    try:
        rows = segno.make_qr(text, error="m").matrix
    except (DataOverflowError, ValueError):
        return None
    side = len(rows)
    return Image.frombytes("L", (side, side), bytes(255 if module else 0 for row in rows for module in row))


@lru_cache(maxsize=256)
def bars(text: str) -> Image.Image | None:
    """Return a Code 128, a pixel a module and one high, as the mask of its bars; None for no such code."""
    if not 0 < len(text) <= MAX_BARS or not all(" " <= char <= "~" for char in text):
        return None
    (modules,) = barcode.get("code128", text).build()
    return Image.frombytes("L", (len(modules), 1), bytes(255 if module == "1" else 0 for module in modules))


def enlarged(code: Image.Image, module: int, height: int | None = None) -> Image.Image:
    """Return a code with modules of so many pixels; bars are `height` pixels high."""
    size = code.width * module, height if height is not None else code.height * module
    return code.resize(size, Image.Resampling.NEAREST)
