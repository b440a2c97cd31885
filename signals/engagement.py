"""Clicks and opens of our own mails as signals that we tell ourselves, so that what is known of a person counts them.

The records of an open are the truth about it; these signals repeat them, once each, for the fold and for rules. So who
lists signals beside records, or asks what *others* told, leaves these out.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, or_, select

from signals.events import Event
from signals.sources import INTERNAL, Source

OPENED: Final = "Email Opened"
CLICKED: Final = "Email Link Clicked"


def is_no_own_mail() -> ColumnElement[bool]:
    """Which signals are none of those: whatever others told, and what else we learnt."""
    ours = select(Source.id).where(Source.name == INTERNAL)
    return or_(Event.name.is_(None), Event.name.not_in((OPENED, CLICKED)), Event.source_id.not_in(ours))
