"""Where the story is played: the running system, its connections, its clock, and a voice that tells the time taken."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Engine

from base import db, stores
from base.blobs import FolderBlobs, blobs_from
from base.clock import SteppedClock, monotonic, pause
from base.db import Sessions
from base.errors import StartError
from base.settings import Settings
from base.stores import Store
from campaigns.admin_log import Actor
from workers.demo.calendar import Calendar

BY: Final = Actor("demo")
TIMEOUT_SECONDS: Final = 60.0

Say = Callable[[str], None]


class Voice:
    """Tells a line at a time, with the seconds since the demo began."""

    def __init__(self, write: Say) -> None:
        self._write = write
        self._began = monotonic()

    def __call__(self, text: str) -> None:
        self._write(f"{monotonic() - self._began:7.1f} s  {text}")

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return monotonic() - self._began


@dataclass
class Stage:
    """What the acts of the story share. The story acts through the product's own doors; this holds the keys to them."""

    settings: Settings
    clock: SteppedClock
    calendar: Calendar
    folder: Path
    write_key: str
    say: Voice
    engine: Engine
    sessions: Sessions
    store: Store
    blobs: FolderBlobs
    figures: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, settings: Settings, clock: SteppedClock, calendar: Calendar, write_key: str, say: Voice) -> Stage:
        """Connect to a system that answers."""
        engine = db.connect(settings.database_url, statement_ms=0, application="latebind demo")
        folder = settings.var / "demo"
        folder.mkdir(parents=True, exist_ok=True)
        return cls(
            settings=settings,
            clock=clock,
            calendar=calendar,
            folder=folder,
            write_key=write_key,
            say=say,
            engine=engine,
            sessions=db.sessions(engine),
            store=stores.connect(settings.redis_url),
            blobs=blobs_from(settings),
        )

    def close(self) -> None:
        """Let go of the connections."""
        self.store.close()
        self.engine.dispose()

    @property
    def now(self) -> datetime:
        """The story's present moment."""
        return self.clock.now()

    def await_(self, what: str, is_there: Callable[[], bool], seconds: float = TIMEOUT_SECONDS) -> None:
        """Wait in real time until something holds. Raises StartError, naming it, when it does not come about."""
        deadline = monotonic() + seconds
        while not is_there():
            if monotonic() > deadline:
                raise StartError(f"The demo waited {seconds:.0f} s in vain: {what}.")
            pause(0.05)


class Signals:
    """A shop's server that sends signals over HTTP as any Segment client does, on one connection kept open."""

    def __init__(self, url: str, write_key: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        self._key = "Basic " + base64.b64encode(f"{write_key}:".encode()).decode()

    def batch(self, events: Iterable[bytes]) -> dict[str, Any]:
        """POST /v1/batch: the answer. Raises StartError unless it is 200."""
        return self._post(
            "/v1/batch", b'{"batch":[' + b",".join(line.strip() for line in events) + b"]}", "application/json"
        )

    def products(self, feed: bytes) -> dict[str, Any]:
        """POST /v1/products: the answer to a tab-separated feed. Raises StartError unless it is 200."""
        return self._post("/v1/products", feed, "text/tab-separated-values")

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _post(self, path: str, body: bytes, content_type: str) -> dict[str, Any]:
        for attempt in (1, 2):
            try:
                self._connection.request("POST", path, body, {"Authorization": self._key, "Content-Type": content_type})
                response = self._connection.getresponse()
                content = response.read()
                break
            except (http.client.HTTPException, ConnectionError):
                # A server may close a connection that was idle for seconds; what it got twice it counts once.
                self._connection.close()
                if attempt == 2:
                    raise
        if response.status != 200:
            raise StartError(f"{path} answered {response.status}: {content[:200]!r}")
        answer: dict[str, Any] = msgspec.json.decode(content)
        return answer
