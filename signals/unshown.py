"""To whom nothing was ever shown: their state may be written where the hot store has none.

An open that finds a state goes by what is kept beside it of what was shown and used up. A store that lost the one has
mostly lost the other, and personal caps would begin anew; so the state of whoever was shown anything comes back after
these, once an open misses it (workers/repair.py).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import Numbers

# As a mail is opened by the profile that it was sent to, and what the others of the person were shown counts as well.
_UNSHOWN: Final = text("""
    SELECT p.id FROM profile p WHERE p.id = ANY(:profiles) AND NOT EXISTS (
        SELECT FROM profile m JOIN decision d ON d.profile_id = m.id
        WHERE m.root_id = p.root_id AND d.lane = 'live' AND d.open_number > 0
    )
""")


def unshown(session: Session, profiles: Collection[int]) -> set[int]:
    """Those of these profiles of whose person no open is on record that used anything up."""
    return set(session.scalars(_UNSHOWN, {"profiles": Numbers(profiles)}))
