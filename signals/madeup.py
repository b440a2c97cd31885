"""Somebody made up, for mails that are sent as a test: a profile that nobody told anything of.

It has no identifier, no event and no stored state, so it is in no audience, segment, score or count; only the hot store
holds what is supposed to be known of it, where opens look. A rebuild leaves it alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from signals.intake import Intake
from signals.state import ProfileState, encode

EDITION: Final = 1
"""Nothing else writes the state of somebody made up."""
_MAKE: Final = text("""
    INSERT INTO profile (id, root_id, created_at, made_up)
    SELECT n, n, :now, true FROM (SELECT nextval(pg_get_serial_sequence('profile', 'id')) AS n) AS numbered
    RETURNING id
""")


def make_up(intake: Intake, state: ProfileState, now: datetime) -> int:
    """The profile of a new person of whom this is known, ready to be opened for. Raises Unavailable."""

    def made(session: Session) -> int:
        return int(session.scalars(_MAKE, {"now": now}).one())

    number = intake.settle(made)
    intake.publisher.write_states([(number, EDITION, encode(state))], {number})
    return number
