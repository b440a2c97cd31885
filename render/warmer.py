"""Gets ready what opens will want before they want it: live plans, their models, their default pictures.

It works beside the opens and nothing waits for it: an open that comes first finds everything by itself.
"""

from __future__ import annotations

import threading
from typing import Final

import hiredis

from base.errors import Unavailable
from render.fallback import Ladder
from render.lookup import Lookup
from render.wire import Hot

PAUSE_SECONDS: Final = 0.5
MAX_CAMPAIGNS: Final = 200
_PREFIX: Final = b"live:"


class Warmer:
    """A background thread of one process."""

    def __init__(self, hot: Hot, lookup: Lookup, ladder: Ladder) -> None:
        self._hot = hot
        self._lookup = lookup
        self._ladder = ladder
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._warmed: dict[str, None] = {}

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="warmer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; a plan under way is finished first."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        for campaign in self._campaigns():
            if self._stopped.is_set():
                return
            self._lookup.running(campaign, 0)
        while True:
            for digest, plan in self._lookup.plans():
                if self._stopped.is_set():
                    return
                if digest not in self._warmed:
                    self._warmed[digest] = None
                    self._ladder.warm(plan, digest)
            while len(self._warmed) > 10 * MAX_CAMPAIGNS:
                self._warmed.pop(next(iter(self._warmed)))
            if self._stopped.wait(PAUSE_SECONDS):
                return

    def _campaigns(self) -> list[int]:
        """Campaigns that have a live key, as many as are worth warming; none when the store is away."""
        try:
            names = self._hot.names(_PREFIX, MAX_CAMPAIGNS)
        except (Unavailable, hiredis.ReplyError):
            return []
        return [int(name[len(_PREFIX) :]) for name in names if name[len(_PREFIX) :].isdigit()][:MAX_CAMPAIGNS]
