"""Where hosts with names are, for opens: looked up by threads of their own and kept, for a resolver may take seconds.

What is known is used while it is looked up anew, and stays good while nobody can tell better. Only a name that was
never found is waited for, as long as an open may wait for the store.
"""

from __future__ import annotations

import socket
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from base.clock import monotonic

KEPT_SECONDS: Final = 30.0
"""What is known is looked up anew after so long; after a connection failed, once in `AGAIN_SECONDS`."""
AGAIN_SECONDS: Final = 1.0
MAX_NAMES: Final = 256
MAX_ASKING: Final = 8
"""Look-ups at the same time: more than those of a few names that nobody answers for are not begun."""
Spot = tuple[int, Any]
"""An address family, and the address as `socket.connect` takes it."""


def resolved(host: str, port: int) -> tuple[Spot, ...]:
    """What the machine's resolver says. Raises OSError; may take as long as it likes."""
    return _spots(host, port, 0)


class Hostnames:
    """The addresses of hosts, for many threads; `resolve` is asked by threads of this object only."""

    def __init__(self, resolve: Callable[[str, int], tuple[Spot, ...]] = resolved) -> None:
        self._resolve = resolve
        self._known: OrderedDict[tuple[str, int], _Known] = OrderedDict()
        self._lock = threading.Lock()
        self._asking = 0

    @property
    def count(self) -> int:
        """How many names are kept."""
        return len(self._known)

    def look(self, host: str, port: int) -> None:
        """Have a name looked up that is not known, or has not been looked up for long. Waits for nothing."""
        if not _numbered(host, port):
            self._look(host, port, KEPT_SECONDS)

    def spots(self, host: str, port: int, until: float) -> tuple[Spot, ...]:
        """The addresses of a host, waited for until then (monotonic seconds) at the most. Raises OSError."""
        numbered = _numbered(host, port)
        if numbered:
            return numbered
        known = self._look(host, port, KEPT_SECONDS)
        if not known.spots:
            known.told.wait(max(0.0, until - monotonic()))
        if not known.spots:
            raise OSError(f"where {host} is has not been told")
        return known.spots

    def missed(self, host: str, port: int) -> None:
        """Nobody answers where a name leads: it may lead elsewhere by now, and its other addresses are tried first."""
        if _numbered(host, port):
            return
        known = self._look(host, port, AGAIN_SECONDS)
        known.spots = known.spots[1:] + known.spots[:1]

    def _look(self, host: str, port: int, kept_seconds: float) -> _Known:
        with self._lock:
            known = self._known.setdefault((host, port), _Known())
            self._known.move_to_end((host, port))
            while len(self._known) > MAX_NAMES:
                self._known.popitem(last=False)
            now = monotonic()
            is_due = now - known.asked_at >= (kept_seconds if known.spots else AGAIN_SECONDS)
            if not is_due or known.is_asked or self._asking >= MAX_ASKING:
                return known
            known.asked_at, known.is_asked = now, True
            known.told.clear()
            self._asking += 1
        try:
            threading.Thread(target=self._ask, args=(host, port, known), name="host-names", daemon=True).start()
        except RuntimeError:
            self._asked(known)  # The system gives no more threads just now.
        return known

    def _ask(self, host: str, port: int, known: _Known) -> None:
        try:
            known.spots = self._resolve(host, port) or known.spots
        except OSError:
            return  # What was known stays good.
        finally:
            self._asked(known)

    def _asked(self, known: _Known) -> None:
        with self._lock:
            known.is_asked = False
            self._asking -= 1
        known.told.set()


class _Known:
    """What is known of a name."""

    def __init__(self) -> None:
        self.spots: tuple[Spot, ...] = ()
        self.asked_at = -KEPT_SECONDS
        self.is_asked = False
        self.told = threading.Event()
        self.told.set()


def _numbered(host: str, port: int) -> tuple[Spot, ...]:
    """Where an address in numbers is; nothing for a name. Asks nobody."""
    try:
        return _spots(host, port, socket.AI_NUMERICHOST)
    except OSError:
        return ()


def _spots(host: str, port: int, flags: int) -> tuple[Spot, ...]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return tuple(dict.fromkeys((int(family), address) for family, _, _, _, address in found))
