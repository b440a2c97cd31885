"""Whose identifiers are whose, in PostgreSQL: reading them for a batch and writing what its resolution found.

Locks are taken in one order by everyone: identifiers by type and value, then profiles by id. Rows of another
transaction that got there first show as a `Lost` race, and the caller begins again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from signals.identity import Claim, Link, Person, Resolution, value_hash
from signals.sources import Sender


class Lost(Exception):
    """Another transaction changed the same identifiers or profiles first; begin again with fresh eyes."""


@dataclass(frozen=True)
class Known:
    """What is stored about the identifiers of a batch."""

    owners: dict[Claim, Person]
    shared: list[tuple[Claim, Person]]


_FIND = text("""
    SELECT i.type, i.value, i.owns, p.root_id
    FROM unnest(CAST(:types AS text[]), CAST(:values AS text[])) AS w (type, value)
    JOIN identifier i USING (type, value) JOIN profile p ON p.id = i.profile_id
""")
_DETAILS = text("""
    SELECT m.root_id, count(DISTINCT m.id) AS members, array_remove(array_agg(i.value), NULL) AS user_ids
    FROM profile m LEFT JOIN identifier i ON i.profile_id = m.id AND i.type = 'user_id' AND i.owns
    WHERE m.root_id = ANY(:roots) GROUP BY m.root_id
""")


def find(session: Session, claims: Iterable[Claim], *, ties: bool) -> Known:
    """The stored owners of these identifiers. `ties`: the batch may tie identifiers, so persons come in full."""
    wanted = list(claims)
    rows = session.execute(
        _FIND, {"types": [claim[0] for claim in wanted], "values": [claim[1] for claim in wanted]}
    ).all()
    persons = {row.root_id: Person(row.root_id) for row in rows}
    if ties and persons:
        for detail in session.execute(_DETAILS, {"roots": list(persons)}):
            persons[detail.root_id].user_ids = set(detail.user_ids)
            persons[detail.root_id].members = detail.members
    return Known(
        {(row.type, row.value): persons[row.root_id] for row in rows if row.owns},
        [((row.type, row.value), persons[row.root_id]) for row in rows if not row.owns],
    )


_CREATE = text("""
    INSERT INTO profile (id, root_id, created_at)
    SELECT n, n, :now FROM (SELECT nextval('profile_id_seq') AS n FROM generate_series(1, :count)) AS ids
    RETURNING id
""")
_NAME = text("""
    INSERT INTO identifier (type, value, value_hash, profile_id, owns, source_id, trust, first_seen, last_seen)
    SELECT type, value, hash, profile_id, owns, :source, :trust, at, at
    FROM unnest(CAST(:types AS text[]), CAST(:values AS text[]), CAST(:hashes AS bytea[]),
                CAST(:profiles AS bigint[]), CAST(:owns AS boolean[]), CAST(:ats AS timestamptz[]))
         AS new (type, value, hash, profile_id, owns, at)
    ON CONFLICT DO NOTHING
""")


def write(session: Session, resolution: Resolution, sender: Sender, hash_key: bytes, now: datetime) -> None:
    """Insert the new persons and identifiers. Raises Lost when another transaction has just named one of them."""
    if resolution.new:
        ids = sorted(session.scalars(_CREATE, {"now": now, "count": len(resolution.new)}))
        for person, number in zip(resolution.new, ids, strict=True):
            person.id = number
    if not resolution.identifiers:
        return
    rows = sorted(resolution.identifiers, key=lambda new: new.claim)
    result = session.execute(
        _NAME,
        {
            "types": [new.claim[0] for new in rows],
            "values": [new.claim[1] for new in rows],
            "hashes": [value_hash(hash_key, *new.claim) for new in rows],
            "profiles": [new.person.id for new in rows],
            "owns": [new.owns for new in rows],
            "ats": [new.at for new in rows],
            "source": sender.id,
            "trust": sender.trust,
        },
    )
    if result.rowcount != len(rows):  # type: ignore[attr-defined]
        raise Lost


_LOCK = text("SELECT id, root_id, erased_at FROM profile WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")


def lock(session: Session, roots: Sequence[int]) -> None:
    """Take the row locks of these root profiles. Raises Lost when one was merged or erased in the meantime."""
    rows = session.execute(_LOCK, {"ids": sorted(roots)}).all()
    if len(rows) != len(set(roots)) or any(row.root_id != row.id or row.erased_at is not None for row in rows):
        raise Lost


_LOCK_ROOTS = text("SELECT id FROM profile WHERE id = ANY(:ids) AND root_id = id ORDER BY id FOR UPDATE")


def lock_roots(session: Session, roots: Sequence[int]) -> list[int]:
    """Take the row locks of those that are roots now, erased or not; returns them."""
    return list(session.scalars(_LOCK_ROOTS, {"ids": list(roots)}))


_MOVE = text("UPDATE profile SET root_id = :parent WHERE root_id = :child")
_LINK = text("""
    INSERT INTO profile_link (child_id, parent_id, reason, source_id, at)
    VALUES (:child, :parent, :reason, :source, :now)
""")
_FORGET = (
    text("DELETE FROM profile_state WHERE profile_id = :child"),
    text("DELETE FROM trait_lineage WHERE profile_id = :child"),
    text("DELETE FROM profile_score WHERE profile_id = :child"),
)


def link(session: Session, links: Sequence[Link], sender: Sender, now: datetime) -> None:
    """Write merges, oldest first; both roots are locked. What was derived for a child is from now on its parent's."""
    for merge in links:
        child, parent = merge.child.id, merge.parent.id
        session.execute(_MOVE, {"child": child, "parent": parent})
        session.execute(
            _LINK, {"child": child, "parent": parent, "reason": merge.reason, "source": sender.id, "now": now}
        )
        for statement in _FORGET:
            session.execute(statement, {"child": child})


_LIVING = text("SELECT id, root_id FROM profile WHERE id = ANY(:ids) AND erased_at IS NULL")


def living(session: Session, profiles: Iterable[int]) -> dict[int, int]:
    """The root of each of these profiles that exists and is not erased."""
    return {row.id: row.root_id for row in session.execute(_LIVING, {"ids": list(profiles)})}


_SEEN = text("""
    UPDATE identifier i SET last_seen = w.at
    FROM unnest(CAST(:types AS text[]), CAST(:values AS text[]), CAST(:roots AS bigint[]), CAST(:ats AS timestamptz[]))
         AS w (type, value, root_id, at), profile p
    WHERE i.type = w.type AND i.value = w.value AND p.id = i.profile_id AND p.root_id = w.root_id AND i.last_seen < w.at
""")


def restate(session: Session, stated: Sequence[tuple[Claim, int, datetime]]) -> None:
    """Note when a contact was last stated by its root profile; the roots are locked."""
    if stated:
        session.execute(
            _SEEN,
            {
                "types": [claim[0] for claim, _, _ in stated],
                "values": [claim[1] for claim, _, _ in stated],
                "roots": [root for _, root, _ in stated],
                "ats": [at for _, _, at in stated],
            },
        )
