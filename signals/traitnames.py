"""Room for the names of traits: how many browsers may state of one person, so that nobody fills the database by a key
that every visitor can read.

A call that names more is refused and listed whole, with the first name that was too much. That depends on what was
stored when it came, as little else does; who is over the bound already, or was told of by servers, keeps what is known,
and a browser may go on stating it anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from signals.folding import Root
from signals.reading import Item
from signals.sources import Sender

MOST_NAMES: Final = 200

_COUNTS: Final = text("""
    SELECT profile_id, count(*) AS number FROM trait_lineage WHERE profile_id = ANY(:roots) GROUP BY profile_id
""")
_KNOWN: Final = text("""
    SELECT profile_id, name FROM trait_lineage
    JOIN unnest(CAST(:roots AS bigint[]), CAST(:names AS text[])) AS stated (profile_id, name) USING (profile_id, name)
""")


def fitting(session: Session, items: Sequence[Item], roots: Mapping[int, Root], sender: Sender) -> list[Item]:
    """The items whose traits find room; the others are marked as rejected, with their fault. The roots are locked."""
    stated = {(item.person.root().id, name) for item in items for name in item.told.event.traits}
    if sender.is_server or not stated:
        return list(items)
    numbers = {row.profile_id: row.number for row in session.execute(_COUNTS, {"roots": list(roots)})}
    named = {"roots": [root for root, _ in stated], "names": [name for _, name in stated]}
    known = {(row.profile_id, row.name) for row in session.execute(_KNOWN, named)}
    kept = []
    for item in items:
        root = item.person.root().id
        new = [name for name in item.told.event.traits if (root, name) not in known]
        room = max(0, MOST_NAMES - numbers.get(root, 0))
        if len(new) > room:
            item.status = "rejected"
            item.fault = InvalidInput(
                f"traits.{new[room]}", f"is more than the {MOST_NAMES} traits that browsers may state of a person"
            )
            continue
        known.update((root, name) for name in new)
        numbers[root] = numbers.get(root, 0) + len(new)
        kept.append(item)
    return kept
