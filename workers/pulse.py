"""A sign of life for a container's health check: a file that a process touches while what it works with answers.

To look at a file's age costs nothing; a command that connects to everything itself takes seconds of a core, and says
nothing of the process beside it. Whether a loop makes progress is told by the system page and by alarms.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from redis import RedisError

from base import logs
from base.db import Sessions, transaction
from base.errors import Unavailable
from base.schema import SchemaCheck
from base.stores import Store

BEAT_SECONDS: Final = 10.0
_log = logs.logger(__name__)


class Pulse:
    """Touches `path` as long as the database has this code's schema and the stores answer."""

    def __init__(self, path: Path, sessions: Sessions, stores: Sequence[Store]) -> None:
        self._path = path
        self._sessions = sessions
        self._stores = stores
        self._schema = SchemaCheck()
        self._why = ""

    def beat(self) -> bool:
        """Touch the file if all is well; whether it was."""
        try:
            with transaction(self._sessions) as session:
                self._schema.ask(session)
            for store in self._stores:
                store.ping()
            self._path.touch()
        except (Unavailable, RedisError, OSError) as error:
            why = str(error) if isinstance(error, Unavailable) else type(error).__name__
            if why != self._why:
                _log.warning("no sign of life", reason=why)
            self._why = why
            return False
        self._why = ""
        return True

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Beat until told to stop; `stopped` waits so many seconds for that."""
        while True:
            self.beat()
            if stopped(BEAT_SECONDS):
                return


@contextmanager
def pulsing(path: Path | None, sessions: Sessions, stores: Sequence[Store]) -> Iterator[None]:
    """Beat beside the block, by a thread of its own; without a path not at all."""
    if path is None:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=Pulse(path, sessions, stores).run, args=(ended.wait,), name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
