"""Writing into the states who is in the segments that opens ask for, a piece at a time beside all else that is done.

A pass goes through everybody once. Its first question, whom a segment is about that a state does not say so of, takes a
second for a million people; what is then to be written takes minutes where many changed, and is done in pieces, so that
the loop goes on meanwhile and mails that leave are not kept waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain

from base.clock import monotonic
from base.db import transaction
from campaigns import atopens
from signals import livesegments
from signals.intake import Intake


class Members:
    """The pass that is under way, if any, by the moment that `now` gives. `unready`: newly named segments that are not
    written yet."""

    def __init__(self, intake: Intake, now: Callable[[], datetime]) -> None:
        self._intake = intake
        self._now = now
        self._known: set[int] = set()
        self._passing: Iterator[int] | None = None
        self.unready: set[int] = set()

    def want(self, segments: Sequence[int], *, anew: bool) -> bool:
        """Say which segments are asked for now; new ones go first, and all are gone through if `anew`.

        Whether there are new ones. What was written before this process began is not. Raises Unavailable.
        """
        new = [one for one in segments if one not in self._known]
        if new:
            with transaction(self._intake.sessions) as session:
                done = livesegments.written(session)
            new = [one for one in new if one not in done]
        if anew and self._passing is None:
            self._passing = self._through([*new, *sorted(set(segments) - set(new))])
        elif new:
            self._passing = chain(self._through(new), self._passing or iter(()))
        self.unready = (self.unready | set(new)) & set(segments)
        self._known = set(segments)
        return bool(new)

    def go_on(self, seconds: float) -> int:
        """Write pieces until so much time has passed; how many states changed. Raises Unavailable.

        What fails is begun again.
        """
        changed, began = 0, monotonic()
        while self._passing is not None:
            try:
                piece = next(self._passing, None)
            except BaseException:
                self._passing, self._known = None, self._known - self.unready
                raise
            if piece is None:
                self._passing, self.unready = None, set()
            else:
                changed += piece
            if monotonic() - began >= seconds:
                break
        return changed

    def _through(self, segments: Iterable[int]) -> Iterator[int]:
        """Each is ready when it is done, whatever becomes of those after it."""
        for one in segments:
            yield from atopens.going_through(self._intake, [one], self._now)
            self.unready.discard(one)
