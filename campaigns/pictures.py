"""Pictures for pages: an offer's creative drawn by the very functions that draw it at an open."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from base.blobs import FolderBlobs
from base.errors import InvalidInput, NotFound
from render.binding import resolve
from render.creative import Creative, asset_hashes
from render.draw import draw
from render.fonts import Fonts


@cache
def fonts() -> Fonts:
    """The process's fonts, loaded when the first picture is drawn."""
    return Fonts.load()


def drawn(
    creative: Creative,
    fields: Mapping[str, str | int | float],
    blobs: FolderBlobs,
    *,
    size: tuple[int, int] | None = None,
    dark: bool = False,
    locale: str = "en",
    currency: str = "EUR",
) -> bytes:
    """The creative as a JPEG of the declared size, at the density of mails."""
    resolved = resolve(creative, dict(fields), locale, currency)
    assets = {}
    for name in asset_hashes(resolved):
        try:
            assets[name] = blobs.get(name)
        except (NotFound, InvalidInput):
            continue  # draw() has art for what is missing
    return draw(resolved, assets, size or (creative.width, creative.height), "jpg", dark, fonts())
