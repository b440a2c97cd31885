"""Learnt things in memory, by hash: loaded beside the opens that want them, never in front of one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from base.blobs import Blobs
from base.clock import monotonic
from base.errors import InvalidInput, LatebindError
from base.logs import logger
from render.model import Model
from render.relations import Relations

MAX_MODELS: Final = 8
"""Models kept: a campaign's live key names one, at times one on trial beside it, and the one before is gone back to."""
MAX_RELATIONS: Final = 2
"""Relations kept: the newest, and those before for the second in which some live keys still name them."""
RETRY_SECONDS: Final = 1.0
MAX_WANTED: Final = 16


class Named(Protocol):
    """What is kept under the hash of its bytes."""

    @property
    def hash(self) -> str: ...


Thing = TypeVar("Thing", bound=Named)


class Shelf(Generic[Thing]):
    """Artefacts of one kind that live keys name. For many threads."""

    def __init__(self, blobs: Blobs, kind: str, read: Callable[[bytes], Thing], most: int) -> None:
        """`read` makes the thing of its bytes, or raises a LatebindError; `kind` names it in the log."""
        self._blobs = blobs
        self._kind = kind
        self._read = read
        self._most = most
        self._held: OrderedDict[str, Thing] = OrderedDict()
        self._wanted: dict[str, float] = {}
        self._lock = threading.Lock()
        self._called = threading.Event()
        self._stopped = threading.Event()
        self._loader: threading.Thread | None = None

    def get(self, digest: str | None) -> Thing | None:
        """The thing, if it is loaded; else it is asked for, and this open does without it."""
        if digest is None:
            return None
        with self._lock:
            held = self._held.get(digest)
            if held is not None:
                self._held.move_to_end(digest)
                return held
            if digest not in self._wanted:
                # The first asked for makes room: it may be one that can never be loaded, and is asked for again if not.
                while len(self._wanted) >= MAX_WANTED:
                    self._wanted.pop(next(iter(self._wanted)))
                self._wanted[digest] = 0.0
        self._called.set()
        return None

    def held(self, digest: str | None) -> Thing | None:
        """The thing, if it is loaded; it is not asked for."""
        return self._held.get(digest) if digest is not None else None

    def load(self, digest: str) -> bool:
        """Load one now; False when its bytes are missing or mean nothing to this release."""
        try:
            held = self._read(self._blobs.get(digest))
            if held.hash != digest:
                raise InvalidInput(self._kind, f"is not what its name says: its bytes hash to {held.hash}")
        except (LatebindError, OSError) as error:
            logger(__name__).warning(f"{self._kind} not loaded", hash=digest, reason=str(error))
            return False
        with self._lock:
            self._held[digest] = held
            self._wanted.pop(digest, None)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return True

    def start(self) -> None:
        """Begin to load what is asked for, in the background."""
        self._loader = threading.Thread(target=self._load_forever, name=self._kind, daemon=True)
        self._loader.start()

    def stop(self) -> None:
        """End the background work."""
        self._stopped.set()
        self._called.set()
        if self._loader is not None:
            self._loader.join(timeout=5)

    def _load_forever(self) -> None:
        while not self._stopped.is_set():
            self._called.wait()
            self._called.clear()
            for digest in self._due():
                if not self.load(digest):
                    with self._lock:
                        if digest in self._wanted:
                            self._wanted[digest] = monotonic() + RETRY_SECONDS
                if self._stopped.is_set():
                    return

    def _due(self) -> list[str]:
        now = monotonic()
        with self._lock:
            return [digest for digest, not_before in self._wanted.items() if not_before <= now]


class ModelShelf(Shelf[Model]):
    """The models that score slots of mode "model"."""

    def __init__(self, blobs: Blobs, features: Sequence[str]) -> None:
        names = tuple(features)
        super().__init__(blobs, "model", lambda data: Model.load(data, names), MAX_MODELS)


class RelationsShelf(Shelf[Relations]):
    """What stored orders say of products and categories."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, "relations", Relations.load, MAX_RELATIONS)

    def current(self, digest: str | None) -> Relations | None:
        """Those of this name, or the ones before until they are loaded; None where there are none."""
        found = self.get(digest)
        if found is not None or digest is None:
            return found
        with self._lock:
            return next(reversed(self._held.values()), None)
