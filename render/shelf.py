"""Models in memory: loaded beside the opens that want them, never in front of one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from base.blobs import Blobs
from base.clock import monotonic
from base.errors import InvalidInput, LatebindError
from base.logs import logger
from render.model import Model

MAX_MODELS: Final = 8
"""Models kept: a campaign's live key names one, at times one on trial beside it, and the one before is gone back to."""
RETRY_SECONDS: Final = 1.0
MAX_WANTED: Final = 16


class ModelShelf:
    """The models that live plans name. For many threads."""

    def __init__(self, blobs: Blobs, features: Sequence[str]) -> None:
        self._blobs = blobs
        self._features = tuple(features)
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._wanted: dict[str, float] = {}
        self._lock = threading.Lock()
        self._called = threading.Event()
        self._stopped = threading.Event()
        self._loader: threading.Thread | None = None

    def get(self, digest: str | None) -> Model | None:
        """The model, if it is loaded; else it is asked for, and this open does without it."""
        if digest is None:
            return None
        with self._lock:
            model = self._models.get(digest)
            if model is not None:
                self._models.move_to_end(digest)
                return model
            if digest not in self._wanted:
                # The first asked for makes room: it may be one that can never be loaded, and is asked for again if not.
                while len(self._wanted) >= MAX_WANTED:
                    self._wanted.pop(next(iter(self._wanted)))
                self._wanted[digest] = 0.0
        self._called.set()
        return None

    def held(self, digest: str | None) -> Model | None:
        """The model, if it is loaded; it is not asked for."""
        return self._models.get(digest) if digest is not None else None

    def load(self, digest: str) -> bool:
        """Load one model now; False when its bytes are missing or are no model for this release."""
        try:
            model = Model.load(self._blobs.get(digest), self._features)
            if model.hash != digest:
                raise InvalidInput("model", f"is not what its name says: its bytes hash to {model.hash}")
        except (LatebindError, OSError) as error:
            logger(__name__).warning("model not loaded", model=digest, reason=str(error))
            return False
        with self._lock:
            self._models[digest] = model
            self._wanted.pop(digest, None)
            while len(self._models) > MAX_MODELS:
                self._models.popitem(last=False)
        return True

    def start(self) -> None:
        """Begin to load what is asked for, in the background."""
        self._loader = threading.Thread(target=self._load_forever, name="models", daemon=True)
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
