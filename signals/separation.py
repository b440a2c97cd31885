"""Undoing a merge: one person becomes the two again that they were, each with their own history.

Identifiers and signals belong to the profiles they came by and never moved, so a merge is undone by cutting its link:
of the profiles that were one person, those still tied to its one end go with that, the others with the other. States
and what is derived are folded again from each side's signals. What cannot be derived, scores and segments that a state
cannot answer, comes back as it was kept with the link.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.errors import InvalidInput, NotFound
from signals import belonging, claiming, countoutbox, folding, journal, origins
from signals.belonging import Lost
from signals.catalog import Categories
from signals.definitions import Definitions
from signals.folding import Root, Standing
from signals.identity import CONTACTS, Claim, value_hash
from signals.intent import assess
from signals.livesegments import LiveSegments, place
from signals.origins import Origin

HUB_CUTS: Final = 100
"""Merges by one hub that are taken apart in one go; the next signal that names it goes on."""


class HubFound(Exception):
    """A value turned out to be many people's; `links` are merges that it made before that was known."""

    def __init__(self, links: Sequence[int]) -> None:
        super().__init__(f"{len(links)} merges by a hub")
        self.links = links


@dataclass(frozen=True, slots=True)
class Cut:
    """A merge that is undone: the root that stays, the one that is one again, and all their states, to be published."""

    stays: int
    leaves: int
    standings: list[Standing]


Along = Callable[[Session, Cut], None]
"""What is done in the transaction of a merge that is undone, once it is."""

_BY_HUB: Final = text("""
    SELECT l.id FROM unnest(CAST(:types AS text[]), CAST(:hashes AS bytea[])) AS w (type, hash)
    JOIN profile_link l ON l.claim_hash = w.hash AND l.claim_type = w.type
    WHERE l.undone_at IS NULL ORDER BY l.id LIMIT :most
""")


def made_by(session: Session, claims: Collection[Claim], hash_key: bytes) -> list[int]:
    """The merges in force that these claims made, at most HUB_CUTS."""
    values = {"types": [one[0] for one in claims], "hashes": [value_hash(hash_key, *one) for one in claims]}
    return list(session.scalars(_BY_HUB, values | {"most": HUB_CUTS}))


_LINK: Final = text("""
    SELECT l.id, l.child_id, l.parent_id, l.child_end, l.parent_end, l.undone_at, p.root_id, p.erased_at
    FROM profile_link l JOIN profile p ON p.id = l.child_end WHERE l.id = :id
""")


def cut(
    session: Session,
    categories: Categories,
    definitions: Definitions,
    segments: LiveSegments,
    link: int,
    now: datetime,
    *,
    apart: bool,
    by: str = "",
    along: Along,
) -> Cut:
    """Undo one merge. `apart`: a person (`by`) said that they are two, so nothing but a person joins them again.

    Raises NotFound, InvalidInput when it is undone already, Lost when another transaction got in between.
    """
    row = session.execute(_LINK, {"id": link}).one_or_none()
    if row is None or row.erased_at is not None:
        raise NotFound("merge", link)
    if apart:  # The ties of a hub stay counted, so that it stays one.
        session.execute(_UNTIE, {"id": link})
    belonging.lock(session, [row.root_id])
    row = session.execute(_LINK, {"id": link}).one()
    if row.undone_at is not None:
        raise InvalidInput("merge", "is undone already")
    stays = folding.load(session, [row.root_id])[row.root_id]
    if row.child_end not in stays.members:
        raise Lost
    session.execute(_MARK, {"id": link, "now": now, "apart": apart, "by": by or None})
    session.execute(_NOTE, {"id": link, "kinds": list(CONTACTS)})
    leaves = _leave(session, row, stays)
    countoutbox.note(session, (stays.id, leaves.id))
    claiming.mark(session, (stays, leaves))
    done = Cut(stays.id, leaves.id, _stand(session, categories, definitions, segments, (stays, leaves), now))
    along(session, done)
    return done


# Identifiers before profiles, as everybody takes them; undone by the time the lock is there, all of it is taken back.
_UNTIE: Final = text("""
    UPDATE identifier i SET ties = i.ties - 1 FROM profile_link l
    WHERE l.id = :id AND i.owns AND i.ties > 0 AND i.type = l.claim_type AND i.value_hash = l.claim_hash
""")
_MARK: Final = text("UPDATE profile_link SET undone_at = :now, apart = :apart, undone_by = :by WHERE id = :id")

# Both stated the address or phone that had tied them: it stays the owner's, and is noted for the other.
_NOTE: Final = text("""
    INSERT INTO identifier (type, value, value_hash, profile_id, owns, source_id, trust, first_seen, last_seen)
    SELECT i.type, i.value, i.value_hash, side.profile_id, false, l.source_id, i.trust, l.at, l.at
    FROM profile_link l JOIN identifier i ON i.type = l.claim_type AND i.value_hash = l.claim_hash AND i.owns
    CROSS JOIN unnest(ARRAY[l.child_end, l.parent_end]) AS side (profile_id)
    WHERE l.id = :id AND side.profile_id <> i.profile_id AND l.claim_type = ANY(:kinds)
    ON CONFLICT DO NOTHING
""")


_TIES: Final = text("""
    SELECT child_end, parent_end FROM profile_link
    WHERE undone_at IS NULL AND child_end = ANY(:members) AND parent_end = ANY(:members)
""")
_USERS: Final = text("""
    SELECT min(profile_id) FROM identifier WHERE type = 'user_id' AND owns AND profile_id = ANY(:members)
""")
_MOVE: Final = text("UPDATE profile SET root_id = :root WHERE id = ANY(:members)")


def _leave(session: Session, row: Any, stays: Root) -> Root:
    """Move the profiles that are no longer tied to the root under a root of their own; `stays` keeps the others."""
    ties = [(one.child_end, one.parent_end) for one in session.execute(_TIES, {"members": stays.members})]
    one = _reached(row.child_end, ties)
    other = _reached(row.parent_end, ties)
    gone = sorted(other if stays.id in one else one)
    # Whoever was the root before the merge is it again; where other merges moved on since, who has a user id speaks.
    known = next((end for end in (row.child_id, row.parent_id) if end in gone), None)
    root = known or session.scalar(_USERS, {"members": gone}) or gone[0]
    session.execute(_MOVE, {"root": root, "members": gone})
    stays.members = [number for number in stays.members if number not in set(gone)]
    return Root(root, gone)


def _reached(start: int, ties: Iterable[tuple[int, int]]) -> set[int]:
    """The profiles that are still tied to this one."""
    beside: dict[int, list[int]] = {}
    for one, other in ties:
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    found, waiting = {start}, [start]
    while waiting:
        fresh = [number for number in beside.get(waiting.pop(), ()) if number not in found]
        found.update(fresh)
        waiting += fresh
    return found


_KEPT: Final = text("SELECT kept -> 'segments' FROM profile_link WHERE child_id = :root ORDER BY id DESC LIMIT 1")
_SCORES: Final = text("""
    INSERT INTO profile_score (profile_id, name, value, as_of, run_id)
    SELECT l.child_id, s.name, s.value, s.as_of, s.run_id
    FROM (SELECT child_id, kept FROM profile_link WHERE child_id = :root ORDER BY id DESC LIMIT 1) AS l,
         jsonb_to_recordset(l.kept -> 'scores') AS s (name text, value float8, as_of timestamptz, run_id int)
""")


def _stand(
    session: Session,
    categories: Categories,
    definitions: Definitions,
    segments: LiveSegments,
    roots: tuple[Root, Root],
    now: datetime,
) -> list[Standing]:
    """Fold both sides again and write what is derived."""
    stays, leaves = roots
    session.execute(_SCORES, {"root": leaves.id})
    kept = tuple(session.scalar(_KEPT, {"root": leaves.id}) or ())
    categories.learn((), create=False)
    intents, live = definitions.current(session), segments.current(session)
    (edition,) = journal.numbers(session, 1)
    standings: list[Standing] = []
    found: list[Origin] = []
    for root in roots:
        again = folding.fold_again(session, root, categories)
        if root is leaves:
            again.state.segments = kept
        standings.append(folding.standing(root, place(assess(again.state, intents), live, now), edition))
        found += again.origins
    folding.write(session, standings, now)
    origins.write(session, found, anew=[stays.id, leaves.id])
    return standings
