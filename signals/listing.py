"""What stands among a source's refused signals already, so that what is refused again is listed once, and newly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import Numbers, Sessions, transaction
from signals import journal, sealingkeys
from signals.events import REJECTED_CONTENT
from signals.journal import Refusal
from signals.sources import Sender

OF_A_FILE: Final = ("invalid", "untrusted", "plan", "row")
"""Reasons for which rows of files are refused."""
_LISTED: Final = text("""
    SELECT id, reason, message, body FROM rejected_event
    WHERE source_id = :source AND at < :before AND replayed_at IS NULL AND reason = ANY(:reasons)
""")
_FORGET: Final = text("DELETE FROM rejected_event WHERE id = ANY(:ids) AND replayed_at IS NULL")


class _Told(msgspec.Struct, rename="camel"):
    """By what a call is known again."""

    message_id: Any = None
    timestamp: Any = None
    original_timestamp: Any = None


_TOLD: Final = msgspec.json.Decoder(_Told)


class Listed:
    """The refused signals of a source from before a moment, for a file that is taken in pieces or a call that repeats.

    Bodies are sealed, so each of at most REJECTED_KEPT is opened: once, the first time that something is refused.
    """

    def __init__(
        self, sessions: Sessions, sender: Sender, before: datetime, reasons: Sequence[str] = OF_A_FILE
    ) -> None:
        self._sessions = sessions
        self._given = {"source": sender.id, "before": before, "reasons": list(reasons)}

    def look(self) -> None:
        """Find them now, so that no transaction that holds locks has to wait for it."""
        self._known  # noqa: B018

    def forget(self, session: Session, refusals: Sequence[Refusal]) -> None:
        """Take off the list what these refusals are to be listed for anew: what said the same and was refused for such
        a reason. Of what no content is kept, a row alone is known again, by the number in its message."""
        names = [_name(one.reason, journal.message(one), journal.kept(one.body)) for one in refusals]
        if names:
            ids = [number for name in names if name is not None for number in self._known.get(name, ())]
            session.execute(_FORGET, {"ids": Numbers(ids)})

    @cached_property
    def _known(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        with transaction(self._sessions) as session:
            for row in session.execute(_LISTED, self._given, execution_options={"yield_per": 1000}):
                body = sealingkeys.legible(session, row.body, REJECTED_CONTENT, id=row.id)
                if body is not None and (name := _name(row.reason, row.message, body)):
                    found.setdefault(name, []).append(row.id)
        return found


def _name(reason: str, message: str, body: str) -> bytes | None:
    """By what a refusal is known again; None where it is not."""
    said = body or (message if reason == "row" else "")
    if reason in ("invalid", "untrusted", "plan") and _counts_each_time(body):
        return None
    return sha256(f"{reason}\n{said}".encode("utf-8", "surrogatepass")).digest()[:16] if said else None


def _counts_each_time(body: str) -> bool:
    """Whether a call has neither an id nor a time: two of the same content are two then, not one that came again."""
    try:
        told = _TOLD.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return not (told.message_id or told.timestamp or told.original_timestamp)
