"""What the web process is made of: built once by `campaigns.app`, handed to views by `parts()`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import cast

from flask import current_app
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.clock import Clock
from base.db import Sessions, transaction
from base.schema import SchemaCheck
from base.settings import Settings
from base.stores import Store
from campaigns.endpoint import Endpoint
from signals.intake import Intake

EXTENSION = "latebind"


@dataclass(frozen=True)
class Parts:
    """Settings and connections of one process. Nothing here connects before it is used."""

    settings: Settings
    sessions: Sessions
    store: Store
    queues: Store
    blobs: FolderBlobs
    clock: Clock
    endpoint: Endpoint

    def now(self) -> datetime:
        return self.clock.now()

    @cached_property
    def schema(self) -> SchemaCheck:
        """Whether the database has the schema of this code."""
        return SchemaCheck()

    @cached_property
    def intake(self) -> Intake:
        """By which what support corrects and adds becomes a signal."""
        return Intake(self.sessions, self.store, self.settings.hash_key)

    def close(self) -> None:
        """Let go of every connection."""
        self.endpoint.close()
        self.sessions.kw["bind"].dispose()
        self.store.close()
        self.queues.close()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits when the block ends and rolls back when it raises."""
        with transaction(self.sessions) as session:
            yield session


def parts() -> Parts:
    """The parts of the app that answers the present request."""
    return cast(Parts, current_app.extensions[EXTENSION])
