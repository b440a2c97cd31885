"""A sender's word that it is alive: the claims of its batch are renewed by a thread of its own while it works at them.

So a claim can be short, and what a killed sender leaves waits a minute and a half. A sender that is stuck is believed
for `HOLD` since it last took rows or marked a group, and no longer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from base import logs
from base.clock import Clock, monotonic
from base.db import Sessions, transaction
from base.errors import Unavailable
from campaigns import deliveries
from campaigns.deliveries import HOLD, LEASE

BEAT_SECONDS: Final = 15.0
END_SECONDS: Final = 5.0
_log = logs.logger(__name__)


class Heartbeat:
    """Renews the claims of one sender, by its name; for the sender's thread and its own."""

    def __init__(self, sessions: Sessions, clock: Clock, claimer: str, beat_seconds: float = BEAT_SECONDS) -> None:
        self._sessions = sessions
        self._clock = clock
        self._claimer = claimer
        self._beat_seconds = beat_seconds
        self._renewed_at = self._worked_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether the claims surely last for two more beats: without that no mail is begun."""
        return monotonic() - self._renewed_at <= LEASE.total_seconds() - 2 * self._beat_seconds

    def worked(self, began: float) -> None:
        """Rows were claimed or marked by a transaction that began then (monotonic seconds)."""
        self._worked_at = self._renewed_at = began

    @contextmanager
    def over(self, ids: Sequence[int]) -> Iterator[None]:
        """Renew what is claimed of these rows while the block runs."""
        ended = threading.Event()
        self.worked(monotonic())
        thread = threading.Thread(target=self._renew, args=(list(ids), ended), name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(END_SECONDS)

    def _renew(self, ids: Sequence[int], ended: threading.Event) -> None:
        while not ended.wait(self._beat_seconds):
            began = monotonic()
            if began - self._worked_at > HOLD.total_seconds():
                continue
            try:
                with transaction(self._sessions) as session:
                    deliveries.renew(session, ids, self._claimer, self._clock.now())
            except Unavailable as error:
                _log.warning("claims not renewed", error=str(error))
            else:
                self._renewed_at = max(self._renewed_at, began)
