"""How far behind a process is, and which rungs of the ladder it leaves out for that.

A request that waits for a thread has not reached the app's first line, so the deadline cannot see its wait. It is
estimated instead: how many wait, times what one took lately. A process that is behind first does without the model,
then without a new decision: the last one that the rules still admit, or the default. It climbs back by itself, a rung
at a time, once the wait has stayed short for a while; the way down is taken at once.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from threading import Lock
from typing import Final

from base.clock import monotonic

NO_MODEL_SHARE: Final = 0.25
"""The part of the deadline that a request may wait for a thread before opens do without the model."""
NO_DECISION_SHARE: Final = 0.5
"""The same, before opens do without a new decision."""
CALM_SECONDS: Final = 0.5
"""How long the wait must have been below half of what made it step down, before a process takes one step back up."""
_FIRST_GUESS: Final = 0.001
_WEIGHT: Final = 0.05
"""Of the newest request in the mean of what one takes: some twenty requests are remembered."""


class Step(IntEnum):
    """What an open may cost: the higher, the cheaper."""

    FULL = 0
    NO_MODEL = 1
    NO_DECISION = 2


class Shedding:
    """The rule alone: told at each request how many wait, it says what that request may cost. Times are seconds."""

    def __init__(self, deadline_seconds: float) -> None:
        self._limits = (0.0, NO_MODEL_SHARE * deadline_seconds, NO_DECISION_SHARE * deadline_seconds)
        self._each = _FIRST_GUESS
        self._before = 0.0
        self._was_waiting = False
        self._step = Step.FULL
        self._pressed_at = 0.0

    def observe(self, waiting: int, now: float) -> Step:
        """The step of a request that begins `now` (monotonic), while `waiting` others wait for a thread."""
        if self._was_waiting:
            # Somebody waited all the time since, so the gap is what the process needs for one.
            self._each += (now - self._before - self._each) * _WEIGHT
        self._before, self._was_waiting = now, waiting > 0
        wait = waiting * self._each
        wanted = Step(sum(wait > limit for limit in self._limits[1:]))
        if wanted > self._step:
            self._step, self._pressed_at = wanted, now
        elif self._step:
            if wait > self._limits[self._step] / 2:
                self._pressed_at = now
            calm = int((now - self._pressed_at) / CALM_SECONDS)
            if calm:
                self._step = Step(max(0, self._step - calm))
                self._pressed_at = now
        return self._step


class Pressure:
    """A process's own: knows whom to ask how many wait. For many threads."""

    def __init__(self, deadline_seconds: float) -> None:
        self._shedding = Shedding(deadline_seconds)
        self._waiting: Callable[[], int] | None = None
        self._lock = Lock()

    def watch(self, waiting: Callable[[], int]) -> None:
        """Tell how to find out how many requests wait for a thread; without it nothing is ever left out."""
        self._waiting = waiting

    def step(self) -> Step:
        """What the request that begins now may cost."""
        if self._waiting is None:
            return Step.FULL
        with self._lock:
            return self._shedding.observe(self._waiting(), monotonic())
