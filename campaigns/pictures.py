"""Pictures for pages: an offer's creative drawn by the very functions that draw it at an open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from base.blobs import FolderBlobs
from base.errors import InvalidInput, NotFound
from render.binding import resolve
from render.creative import Creative
from render.draw import draw
from render.fonts import Fonts


@cache
def fonts() -> Fonts:
    """The process's fonts, loaded when the first picture is drawn."""
    return Fonts.load()


class StoredAssets(Mapping[str, bytes]):
    """The blob store as drawing asks for it: a picture that is not there is simply absent."""

    def __init__(self, blobs: FolderBlobs) -> None:
        self._blobs = blobs

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._blobs.get(name)
        except (NotFound, InvalidInput):
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return self._blobs.digests()

    def __len__(self) -> int:
        return sum(1 for _ in self._blobs.digests())


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
    return draw(resolved, StoredAssets(blobs), size or (creative.width, creative.height), "jpg", dark, fonts())
