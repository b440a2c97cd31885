"""The endpoint's own code in the web process, for what agents tell: deciding and recording as `/v1/decide` does.

A process that no agent uses builds nothing of it.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

from base.clock import Clock
from base.ids import Delivery
from base.settings import Settings
from render.app import build_parts
from render.parts import Parts
from render.trial import models_of
from signals.moments import unix_ms

DEADLINE_MS: Final = 3_000
"""What an agent waits for at most; a mail program would be shown the default long before."""


class Endpoint:
    """The parts of a render process, built at first use. For many threads."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = replace(settings, deadline_ms=DEADLINE_MS)
        self._clock = clock
        self._lock = threading.Lock()
        self._parts: Parts | None = None

    def ready(self, delivery: Delivery) -> Parts:
        """The parts, with what is live of a campaign read anew and all loaded that decides this delivery."""
        parts = self._built()
        parts.lookup.forget()
        running = parts.lookup.running(delivery.campaign, unix_ms(self._clock.now()))
        if running is None or running.live is None:
            return parts
        # An open goes on without what is not loaded yet. An agent waits for it.
        for model in models_of(running.live, delivery):
            if parts.models.held(model) is None:
                parts.models.load(model)
        learnt = running.live.relations if running.plan is not None and running.plan.wants_relations else None
        if learnt is not None and parts.relations.held(learnt) is None:
            parts.relations.load(learnt)
        return parts

    def close(self) -> None:
        """Let go of what was built."""
        with self._lock:
            if self._parts is not None:
                self._parts.close()
            self._parts = None

    def _built(self) -> Parts:
        with self._lock:
            if self._parts is None:
                self._parts = build_parts(self._settings, self._clock)
                # What could not reach the stream waits on disk until this thread takes it there.
                self._parts.recorder.start()
            return self._parts
