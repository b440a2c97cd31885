"""How often something may be asked for: a bucket a name that fills steadily, of a bounded number of names."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final

from base.clock import monotonic

MAX_NAMES: Final = 20_000


class Rates:
    """Buckets of one process. For many threads."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, name: str, per_second: float, burst: float) -> bool:
        """Whether one more is allowed now; `burst` are allowed at once, after that `per_second`."""
        now = monotonic()
        with self._lock:
            left, at = self._buckets.get(name, (burst, now))
            left = min(burst, left + (now - at) * per_second)
            allowed = left >= 1
            self._buckets[name] = (left - 1 if allowed else left, now)
            self._buckets.move_to_end(name)
            while len(self._buckets) > MAX_NAMES:
                self._buckets.popitem(last=False)
        return allowed
