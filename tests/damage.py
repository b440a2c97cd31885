"""What is kept sealed, damaged where it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from base.db import Sessions

CONTENT = 20
"""A byte of what is sealed; the first one names the key."""


def flip(sessions: Sessions, column: str, where: str = "true", byte: int = CONTENT) -> None:
    """Turn a bit of one byte of a column such as "event.body" in these rows; once more, and all is as it was."""
    table, _, name = column.partition(".")
    turned = f"UPDATE {table} SET {name} = set_byte({name}, {byte}, get_byte({name}, {byte}) # 64) WHERE {where}"
    with sessions.begin() as session:
        session.execute(text(turned))


@contextmanager
def damaged_signal(sessions: Sessions, profile: int) -> Iterator[int]:
    """Within it the newest signal of a profile is damaged; gives the signal's arrival number."""
    with sessions.begin() as session:
        newest = text("SELECT max(id) FROM event WHERE profile_id = :profile")
        event = int(session.scalars(newest, {"profile": profile}).one())
    flip(sessions, "event.body", f"id = {event}")
    yield event
    flip(sessions, "event.body", f"id = {event}")
