"""Where the story is played: the running system, its connections, its clock, and a voice that tells the time taken."""

from __future__ import annotations

import base64
import http.client
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from base.vault import Vault
from workers.demo.calendar import Calendar

TIMEOUT_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
SILENCE_SECONDS: Final = 30.0

Say = Callable[[str], None]


class Voice:
    """Tells a line at a time, with the seconds since the demo began."""

    def __init__(self, write: Say) -> None:
        self._write = write
        self._began = self._spoke = monotonic()

    def __call__(self, text: str) -> None:
        self._spoke = monotonic()
        self._write(f"{self.seconds:7.1f} s  {text}")

    @contextmanager
    def unbroken(self, seconds: float = SILENCE_SECONDS) -> Iterator[None]:
        """Meanwhile no silence is longer than so many seconds: a line says that it goes on."""
        over = threading.Event()
        thread = threading.Thread(target=self._fill, args=(over, seconds), name="voice", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _fill(self, over: threading.Event, seconds: float) -> None:
        while not over.wait(max(self._spoke + seconds - monotonic(), 0)):
            if monotonic() - self._spoke >= seconds:
                self("  … it goes on")

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
    api: Api
    say: Voice
    engine: Engine
    sessions: Sessions
    store: Store
    blobs: FolderBlobs
    data: Path | None = None
    """Where the retail data lie; None: in the installed package."""
    write_key: str = ""
    feeds: tuple[bytes, ...] = ()
    """What the shop's server last told of its products, and the key it told it with."""

    @classmethod
    def open(cls, settings: Settings, clock: SteppedClock, calendar: Calendar, api_key: str, say: Voice) -> Stage:
        """Connect to a system that answers."""
        engine = db.connect(
            settings.database_url, vault=Vault.of(settings), statement_ms=0, application="latebind demo"
        )
        folder = settings.var / "demo"
        folder.mkdir(parents=True, exist_ok=True)
        return cls(
            settings=settings,
            clock=clock,
            calendar=calendar,
            folder=folder,
            api=Api(settings.web_url, api_key),
            say=say,
            engine=engine,
            sessions=db.sessions(engine),
            store=stores.connect(settings.redis_url),
            blobs=blobs_from(settings),
        )

    def close(self) -> None:
        """Let go of the connections."""
        self.api.close()
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
            pause(POLL_SECONDS)


class Caller:
    """An HTTP client of one server, on one connection kept open. A connection that was closed is made anew once."""

    def __init__(self, url: str, authorization: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        self._authorization = authorization

    def call(self, method: str, path: str, body: bytes | None, content_type: str = "application/json") -> Any:
        """The decoded JSON of the answer. Raises StartError, with what the server says, unless it is 200 or 201."""
        headers = {"Authorization": self._authorization}
        if body is not None:
            headers["Content-Type"] = content_type
        for attempt in (1, 2):
            try:
                self._connection.request(method, path, body, headers)
                response = self._connection.getresponse()
                content = response.read()
                break
            except (http.client.HTTPException, ConnectionError):
                # Servers close connections that were idle for seconds.
                self._connection.close()
                if attempt == 2:
                    raise
        if response.status not in (200, 201):
            raise StartError(f"{method} {path} answered {response.status}: {content[:300].decode(errors='replace')}")
        return msgspec.json.decode(content)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class Api(Caller):
    """The manager's API."""

    def __init__(self, web_url: str, api_key: str) -> None:
        super().__init__(web_url, f"Bearer {api_key}")

    def get(self, path: str) -> Any:
        """GET below /api/v1."""
        return self.call("GET", f"/api/v1{path}", None)

    def post(self, path: str, content: object = None) -> Any:
        """POST below /api/v1; structs and plain values alike are sent as JSON."""
        return self.call("POST", f"/api/v1{path}", msgspec.json.encode({} if content is None else content))

    def put(self, path: str, content: object) -> Any:
        """PUT below /api/v1."""
        return self.call("PUT", f"/api/v1{path}", msgspec.json.encode(content))


class Signals(Caller):
    """A shop's server that sends signals as any Segment client does, and its product feed."""

    def __init__(self, signals_url: str, write_key: str) -> None:
        super().__init__(signals_url, "Basic " + base64.b64encode(f"{write_key}:".encode()).decode())
        self.feeds: list[bytes] = []

    def batch(self, events: Iterable[bytes]) -> None:
        """POST /v1/batch. Raises StartError unless every event was taken."""
        lines = [line.strip() for line in events]
        answer = self.call("POST", "/v1/batch", b'{"batch":[' + b",".join(lines) + b"]}")
        if answer["accepted"] != len(lines):
            raise StartError(f"Of {len(lines)} signals {answer['accepted']} were taken: {answer}")

    def products(self, feed: bytes) -> None:
        """POST /v1/products, tab-separated, items of a catalogue. Raises StartError unless every item was taken."""
        answer = self.call("POST", "/v1/products?feed=part", feed, "text/tab-separated-values")
        if answer.get("rejected"):
            raise StartError(f"The product feed was refused in part: {answer}")
        self.feeds.append(feed)
