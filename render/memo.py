"""A memory of made things, bounded by their weight in bytes; the least recently used leave first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class Memo(Generic[Key, Made]):
    """Keeps at most `limit` bytes as `weigh` counts them. Threads share it; two may make the same thing at once."""

    def __init__(self, limit: int, weigh: Callable[[Made], int]) -> None:
        self.limit = limit
        self.weight = 0
        self._weigh = weigh
        self._kept: OrderedDict[Key, Made] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key, make: Callable[[], Made]) -> Made:
        """Return what is kept under the key, or make it and keep it; something heavier than the limit is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        weight = self._weigh(made)
        if weight <= self.limit:
            with self._lock:
                if key not in self._kept:
                    self._kept[key] = made
                    self.weight += weight
                while self.weight > self.limit:
                    self.weight -= self._weigh(self._kept.popitem(last=False)[1])
        return made
