"""Pictures of decisions: from the cache, or drawn in time, or not at all.

A drawing cannot be interrupted, so it runs beside the request that wants it; a request that cannot wait any longer
leaves, and the picture is there for the next. Requests that want the same picture wait for one drawing.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final, NamedTuple

import msgspec

from base.blobs import Blobs
from base.clock import monotonic
from base.errors import InvalidInput, LatebindError, NotFound
from render.binding import BOUND, resolve
from render.cache import Picture, PictureCache
from render.creative import MAX_CELLS, Creative, asset_hashes, countdown_of
from render.draw import NEUTRAL_SIZE, draw, static_picture
from render.encode import CONTENT_TYPES
from render.fonts import Fonts
from render.validity import check

DRAWERS: Final = 2
MAX_WAITING: Final = 32
"""Drawings that may be under way or wait; what comes on top is answered from the ladder at once."""
MAX_DESIGNS: Final = 10_000
"""Designs whose content is known by name."""
_encode: Final = msgspec.json.Encoder(order="deterministic").encode
INCOMPLETE_SECONDS: Final = 30.0
"""How long a picture is kept that was drawn without one of its assets."""
SECOND: Final = 1.0
"""How long a picture is kept that counts the seconds: its key holds the second, so it is of no use afterwards."""


class Late(LatebindError):
    """The picture is not ready by the deadline."""

    def __init__(self) -> None:
        super().__init__("The picture is not ready in time.")


class Wanted(NamedTuple):
    """One picture: what the token promised (size, format), and what the decision put there.

    `source` and the creative's id name the design: the hash of its plan, or another name that is never used again. They
    only spare looking at it: designs of the same content are the same design. `at_ms` is the instant it was asked for,
    which matters to designs that count down.
    """

    source: str
    creative: Creative
    fields: dict[str, str | int]
    size: tuple[int, int]
    fmt: str
    dark: bool
    locale: str
    currency: str
    max_bytes: int
    at_ms: int = 0


class _Design(NamedTuple):
    """A creative as far as its pictures go: SHA-256 of its content, the fields it reads, whether it reads the clock."""

    digest: bytes
    names: tuple[str, ...]
    clock: bool


class Pictures:
    """The pictures of a process. For many threads."""

    def __init__(
        self, fonts: Fonts, blobs: Blobs, cache: PictureCache, drawn: Callable[[], None] = lambda: None
    ) -> None:
        """`drawn` is told of every drawing."""
        self._drawn = drawn
        self._fonts = fonts
        self._blobs = blobs
        self._cache = cache
        self._pool = ThreadPoolExecutor(DRAWERS, thread_name_prefix="draw")
        self._under_way: dict[Hashable, Future[Picture]] = {}
        self._lock = threading.Lock()
        self._designs: dict[tuple[str, int], _Design] = {}
        self._static: dict[tuple[int, int, str], Picture] = {}

    def at_hand(self, wanted: Wanted) -> Picture | None:
        """The picture, if it need not be drawn."""
        return self._cache.get(self._key(wanted))

    def get(self, wanted: Wanted, deadline: float) -> Picture:
        """The picture, drawn if need be. Raises Late at the deadline (monotonic seconds), or what drawing raised."""
        key = self._key(wanted)
        picture = self._cache.get(key)
        if picture is not None:
            return picture
        drawing = self._begin(key, wanted)
        try:
            return drawing.result(timeout=max(0.0, deadline - monotonic()))
        except FutureTimeout:
            raise Late from None

    def static(self, size: tuple[int, int], fmt: str) -> Picture:
        """The neutral picture of a size: needs neither plan nor store, and is always there."""
        key = (*size, fmt)
        picture = self._static.get(key)
        if picture is None:
            picture = Picture(static_picture(*size, fmt), CONTENT_TYPES[fmt])
            if len(self._static) < 64:
                self._static[key] = picture
        return picture

    def neutral(self) -> Picture:
        """The one picture that answers every token we did not mint."""
        return self.static(NEUTRAL_SIZE, "png")

    def close(self) -> None:
        """End the drawers; a drawing under way is finished first."""
        self._pool.shutdown(cancel_futures=True)

    def _begin(self, key: Hashable, wanted: Wanted) -> Future[Picture]:
        with self._lock:
            drawing = self._under_way.get(key)
            if drawing is not None:
                return drawing
            # A drawing is kept before it leaves `_under_way`: one that ended since the cache was asked is there now.
            ended = self._cache.get(key)
            if ended is not None:
                drawing = Future()
                drawing.set_result(ended)
                return drawing
            if len(self._under_way) >= MAX_WAITING:
                raise Late
            drawing = self._under_way[key] = self._pool.submit(self._draw, key, wanted)
        # Called at once when the drawing is already done, so it must not hold the lock.
        drawing.add_done_callback(lambda _: self._done(key))
        return drawing

    def _done(self, key: Hashable) -> None:
        with self._lock:
            self._under_way.pop(key, None)

    def _draw(self, key: Hashable, wanted: Wanted) -> Picture:
        resolved = resolve(wanted.creative, wanted.fields, wanted.locale, wanted.currency, wanted.at_ms)
        assets: dict[str, bytes] = {}
        missing = False
        for name in asset_hashes(resolved):
            try:
                assets[name] = self._blobs.get(name)
            except (NotFound, InvalidInput, OSError):
                missing = True
        body = draw(resolved, assets, wanted.size, wanted.fmt, wanted.dark, self._fonts, wanted.max_bytes)
        kept = SECOND if self._design(wanted).clock else INCOMPLETE_SECONDS if missing else None
        until = monotonic() + kept if kept is not None else None
        picture = Picture(body, CONTENT_TYPES[wanted.fmt], is_personal=resolved.personal, until=until)
        self._drawn()
        self._cache.put(key, picture)
        return picture

    def _key(self, wanted: Wanted) -> Hashable:
        """Equal keys mean equal pictures: only the fields that the creative reads take part."""
        design = self._design(wanted)
        return (
            design.digest,
            wanted.size,
            wanted.fmt,
            wanted.dark,
            wanted.locale,
            wanted.max_bytes,
            tuple(map(wanted.fields.get, design.names)),
            wanted.at_ms // 1000 if design.clock else None,
        )

    def _design(self, wanted: Wanted) -> _Design:
        name = wanted.source, wanted.creative.id
        known = self._designs.get(name)
        if known is None:
            if len(self._designs) > MAX_DESIGNS:
                self._designs.clear()
            known = self._designs[name] = _design_of(wanted.creative)
        return known


def _design_of(creative: Creative) -> _Design:
    """What changes the picture; `product.currency` formats every price without being named, and `BOUND` makes the
    same texts personal."""
    content = _encode(msgspec.structs.replace(creative, id=0, name=""))
    names = list(check(creative))
    of_cells = [name.partition(".")[2] for name in names if name.startswith("products.")]
    names += [f"products.{number}.{name}" for number in range(MAX_CELLS) for name in of_cells]
    clock = countdown_of(creative.layers) is not None
    return _Design(hashlib.sha256(content).digest(), (*names, "product.currency", BOUND), clock)
