"""Pictures as bytes: the formats mail clients show, no metadata, under the slot's ceiling while quality can help."""

from io import BytesIO
from typing import Final

from PIL import Image

FORMATS: Final = ("jpg", "png", "gif", "webp")
CONTENT_TYPES: Final = {"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp"}
MAX_BYTES: Final = 150_000
# Quality and chroma subsampling (0 = 4:4:4, 2 = 4:2:0). Full chroma keeps coloured letters crisp; photographs
# heavy enough to pass the ceiling hide its loss best.
_JPEG_STEPS: Final = ((86, 0), (82, 2), (74, 2), (64, 2), (52, 2), (40, 2), (28, 2), (18, 2), (10, 2), (4, 2))
_COLOUR_STEPS: Final = (256, 128, 64, 32, 16, 8, 4, 2)


def encode(image: Image.Image, fmt: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Return an RGB picture in the format, at the best quality within `max_bytes`, or the smallest there is.

    Equal pictures give equal bytes on the same version of Pillow; no time, name or profile is written into them.
    """
    data = b""
    if fmt == "png":
        data = _save(image, "PNG", compress_level=6)
    elif fmt == "webp":
        for quality, _ in _JPEG_STEPS:
            data = _save(image, "WEBP", quality=quality, method=2)
            if len(data) <= max_bytes:
                break
    elif fmt != "gif":
        for quality, subsampling in _JPEG_STEPS:
            data = _save(image, "JPEG", quality=quality, subsampling=subsampling)
            if len(data) <= max_bytes:
                break
    if fmt in ("png", "gif") and (fmt == "gif" or len(data) > max_bytes):
        for colours in _COLOUR_STEPS:
            flat = image.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            data = _save(flat, fmt.upper(), optimize=False)
            if len(data) <= max_bytes:
                break
    return data


def _save(image: Image.Image, name: str, **options: int | bool) -> bytes:
    out = BytesIO()
    image.save(out, name, **options)
    return out.getvalue()
