"""What is kept sealed, damaged where it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import text

from base.db import Sessions

_FLIP: Final = text("UPDATE event SET body = set_byte(body, 20, get_byte(body, 20) # 64) WHERE id = :event")
_NEWEST: Final = text("SELECT max(id) FROM event WHERE profile_id = :profile")


@contextmanager
def damaged_signal(sessions: Sessions, profile: int) -> Iterator[int]:
    """Within it a bit of the newest signal of a profile is another; gives the signal's arrival number."""
    with sessions.begin() as session:
        event = int(session.scalars(_NEWEST, {"profile": profile}).one())
        session.execute(_FLIP, {"event": event})
    yield event
    with sessions.begin() as session:
        session.execute(_FLIP, {"event": event})
