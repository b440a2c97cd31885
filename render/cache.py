"""Pictures kept in memory, bounded in bytes; the least recently shown leave first."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from base.clock import monotonic

MAX_BYTES: Final = 48 * 1024 * 1024
"""A render process may take 200 MB in all; the libraries and a model take some 110 of them."""
HANDED_ANEW_MS: Final = 7 * 86_400_000
"""How long one hand-over of a picture's bytes is relied on. Kept bytes outlive their last fetch by twice as long, so
none is let go of while some process takes it for handed."""
_OVERHEAD: Final = 600
"""Bytes an entry costs beside the picture: its key, its texts, its place in the order."""


class Picture:
    """A drawn picture as it leaves: its bytes never change.

    `is_personal` says that a person's field is in it. `handed_ms` is when a record last carried the bytes away, Unix
    ms, so that each process hands a picture over once a week. `until` (monotonic seconds) bounds one that was drawn in
    want of something; None keeps it.
    """

    __slots__ = ("body", "content_type", "handed_ms", "is_personal", "sha256", "until")

    def __init__(
        self, body: bytes, content_type: str, *, is_personal: bool = False, until: float | None = None
    ) -> None:
        self.body = body
        self.content_type = content_type
        self.sha256 = hashlib.sha256(body).hexdigest()
        self.is_personal = is_personal
        self.handed_ms: int | None = None
        self.until = until

    def is_handed(self, now_ms: int) -> bool:
        """Whether a record has carried the bytes away lately enough."""
        return self.handed_ms is not None and now_ms - self.handed_ms < HANDED_ANEW_MS

    def hand(self, now_ms: int) -> None:
        """Note that a record is safe which carried the bytes, if they had to be."""
        if not self.is_handed(now_ms):
            self.handed_ms = now_ms


class PictureCache:
    """Pictures by all that determines them. For many threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, Picture] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes held now, as they are counted against the bound."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Picture | None:
        """The picture, if it is kept and still good."""
        with self._lock:
            picture = self._kept.get(key)
            if picture is None:
                return None
            if picture.until is not None and monotonic() > picture.until:
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return picture

    def put(self, key: Hashable, picture: Picture) -> None:
        """Keep a picture; one that is larger than the whole bound is not kept."""
        weight = len(picture.body) + _OVERHEAD
        if weight > self._max_bytes:
            return
        with self._lock:
            if key in self._kept:
                self._drop(key)
            self._kept[key] = picture
            self._bytes += weight
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        self._bytes -= len(self._kept.pop(key).body) + _OVERHEAD
