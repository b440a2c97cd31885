"""Whose identifiers are whose, in PostgreSQL: reading them for a batch and writing what its resolution found.

Locks are taken in one order by everyone: identifiers by type and value, then profiles by id. Rows of another
transaction that got there first show as a `Lost` race, and the caller begins again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import Binaries, Numbers, Texts
from base.vault import vault_of
from signals import countoutbox, sealingkeys
from signals.identity import Claim, Link, Person, value_hash
from signals.profiles import IDENTIFIER_VALUE
from signals.resolution import NewIdentifier, Resolution
from signals.sources import Sender


class Lost(Exception):
    """Another transaction changed the same identifiers or profiles first; begin again with fresh eyes."""


@dataclass(frozen=True)
class Known:
    """What is stored about the identifiers of a batch: whose they are, how many merges each has made, and which are
    only presumed (signals/profiles.py)."""

    owners: dict[Claim, Person]
    ties: dict[Claim, int]
    ahead: set[Claim]


_FIND = text("""
    SELECT w.place, i.ties, i.presumed, p.id, p.root_id
    FROM unnest((SELECT CAST(:types AS text[])), (SELECT CAST(:hashes AS bytea[])))
         WITH ORDINALITY AS w (type, value_hash, place) JOIN identifier i USING (type, value_hash)
    JOIN profile p ON p.id = i.profile_id WHERE i.owns
""")
# What several profiles stated counts once, what nobody came under not at all. Fences (OFFSET 0) keep each person's own
# look-ups: with no statistics, whole tables would be read for one. (SELECT ...): one plan for however many, made once.
_DETAILS = text("""
    SELECT r.id AS root_id, (SELECT count(*) FROM profile m WHERE m.root_id = r.id) AS members, d.*
    FROM unnest((SELECT CAST(:roots AS bigint[]))) AS r (id) CROSS JOIN LATERAL (
        SELECT array_agg(h.type) AS kinds, array_agg(h.type) FILTER (WHERE NOT h.owns) AS types,
               array_agg(h.value) FILTER (WHERE NOT h.owns) AS sealed,
               array_agg(h.value_hash) FILTER (WHERE NOT h.owns) AS hashes,
               array_agg(CASE WHEN NOT h.owns THEN (
                   SELECT p.root_id FROM identifier o JOIN profile p ON p.id = o.profile_id WHERE o.owns
                   AND o.type = h.type AND o.value_hash = h.value_hash) END) FILTER (WHERE NOT h.owns) AS owners
        FROM (
            SELECT i.type, i.value_hash, bool_or(i.owns) AS owns, (array_agg(i.value))[1] AS value FROM profile m
            CROSS JOIN LATERAL (SELECT * FROM identifier WHERE profile_id = m.id AND NOT presumed OFFSET 0) AS i
            WHERE m.root_id = r.id GROUP BY i.type, i.value_hash) AS h
    ) AS d
""")
_APART = text("""
    SELECT c.root_id AS one, p.root_id AS other
    FROM profile_link l JOIN profile c ON c.id = l.child_end JOIN profile p ON p.id = l.parent_end
    WHERE l.apart AND c.root_id = ANY(:roots) AND p.root_id = ANY(:roots) AND c.root_id <> p.root_id
""")


def find(session: Session, claims: Iterable[Claim], hash_key: bytes, *, ties: bool) -> Known:
    """The stored owners of these identifiers. `ties`: the batch may tie identifiers, so persons come in full."""
    wanted = list(claims)
    rows = session.execute(
        _FIND,
        {"types": Texts(one[0] for one in wanted), "hashes": Binaries(value_hash(hash_key, *one) for one in wanted)},
    ).all()
    roots = {row.root_id: Person(row.root_id) for row in rows}
    members = {
        row.id: roots[row.root_id] if row.id == row.root_id else _member(row.id, roots[row.root_id]) for row in rows
    }
    ahead = {wanted[row.place - 1] for row in rows if row.presumed}
    if roots and (ties or ahead):
        describe(session, roots)
    return Known(
        {wanted[row.place - 1]: members[row.id] for row in rows},
        {wanted[row.place - 1]: row.ties for row in rows},
        ahead,
    )


def describe(session: Session, roots: Mapping[int, Person]) -> None:
    """Say of these roots, by their id, what a merge must know. A damaged name goes by its hash: it is like no other."""
    for row in session.execute(_DETAILS, {"roots": Numbers(roots)}):
        person = roots[row.root_id]
        person.members, person.held = row.members, Counter(row.kinds or ())
        legible = partial(sealingkeys.legible, session, kind=IDENTIFIER_VALUE, profile=row.root_id)
        shared = zip(row.types or (), row.sealed or (), row.hashes or (), row.owners or (), strict=True)
        person.shares = {(kind, legible(one) or hashed.hex()): roots.get(owner) for kind, one, hashed, owner in shared}
    if len(roots) > 1:
        for row in session.execute(_APART, {"roots": list(roots)}):
            roots[row.one].apart.add(roots[row.other])
            roots[row.other].apart.add(roots[row.one])


def _member(profile: int, root: Person) -> Person:
    return Person(profile, merged_into=root)


def member(profile: int, root: int) -> Person:
    """A stored profile with the root that speaks for it."""
    return Person(profile) if profile == root else _member(profile, Person(root))


_CREATE = text("""
    INSERT INTO profile (id, root_id, created_at)
    SELECT n, n, :now FROM (SELECT nextval('profile_id_seq') AS n FROM generate_series(1, :count)) AS ids
    RETURNING id
""")
_NAME = text("""
    INSERT INTO identifier
        (type, value, value_hash, profile_id, owns, presumed, source_id, trust, first_seen, last_seen)
    SELECT type, value, hash, profile_id, owns, presumed, :source, :trust, at, at
    FROM unnest(CAST(:types AS text[]), CAST(:values AS bytea[]), CAST(:hashes AS bytea[]), CAST(:profiles AS bigint[]),
                CAST(:owns AS boolean[]), CAST(:presumed AS boolean[]), CAST(:ats AS timestamptz[]))
         AS new (type, value, hash, profile_id, owns, presumed, at)
    ON CONFLICT DO NOTHING RETURNING owns
""")


def write(session: Session, resolution: Resolution, sender: Sender, hash_key: bytes, now: datetime) -> None:
    """Insert the new persons and identifiers. Raises Lost when another transaction has just named one of them."""
    if resolution.new:
        ids = sorted(session.scalars(_CREATE, {"now": now, "count": len(resolution.new)}))
        for person, number in zip(resolution.new, ids, strict=True):
            person.id = number
    if resolution.taken_up:
        _take_up(session, resolution.taken_up, sender, hash_key)
    if resolution.identifiers or resolution.presumed:
        _name(session, resolution, sender, hash_key)
    if resolution.tied:
        _count_ties(session, resolution, hash_key)
    if resolution.refused:
        _refuse(session, resolution, sender, hash_key, now)


def _name(session: Session, resolution: Resolution, sender: Sender, hash_key: bytes) -> None:
    rows = sorted([*resolution.identifiers, *resolution.presumed.values()], key=lambda new: new.claim)
    vault = vault_of(session)
    owned = session.scalars(
        _NAME,
        {
            "types": [new.claim[0] for new in rows],
            "values": Binaries(vault.seal(new.claim[1].encode(), IDENTIFIER_VALUE.place) for new in rows),
            "hashes": Binaries(value_hash(hash_key, *new.claim) for new in rows),
            "profiles": [new.person.id for new in rows],
            "owns": [new.owns for new in rows],
            "presumed": [new.presumed for new in rows],
            "ats": [new.at for new in rows],
            "source": sender.id,
            "trust": sender.trust,
        },
    )
    if sum(owned) != sum(new.owns for new in rows):
        raise Lost


_TAKE_UP = text("""
    UPDATE identifier i
    SET profile_id = w.profile_id, presumed = false, source_id = :source, trust = :trust, first_seen = w.at,
        last_seen = w.at
    FROM unnest(CAST(:types AS text[]), CAST(:hashes AS bytea[]), CAST(:profiles AS bigint[]),
                CAST(:ats AS timestamptz[])) AS w (type, value_hash, profile_id, at)
    WHERE i.presumed AND i.type = w.type AND i.value_hash = w.value_hash
""")


def _take_up(session: Session, rows: Sequence[NewIdentifier], sender: Sender, hash_key: bytes) -> None:
    """Give user ids that were presumed to the profiles that have come up under them. Raises Lost when another
    transaction has just done so."""
    result = session.execute(
        _TAKE_UP,
        {
            "types": [new.claim[0] for new in rows],
            "hashes": Binaries(value_hash(hash_key, *new.claim) for new in rows),
            "profiles": [new.person.id for new in rows],
            "ats": [new.at for new in rows],
            "source": sender.id,
            "trust": sender.trust,
        },
    )
    if result.rowcount != len(rows):  # type: ignore[attr-defined]
        raise Lost


_TIED = text("""
    UPDATE identifier i SET ties = w.seen + w.more
    FROM unnest(CAST(:types AS text[]), CAST(:hashes AS bytea[]), CAST(:seen AS int[]), CAST(:more AS int[]))
         AS w (type, value_hash, seen, more)
    WHERE i.owns AND i.type = w.type AND i.value_hash = w.value_hash AND i.ties = w.seen
""")


def _count_ties(session: Session, resolution: Resolution, hash_key: bytes) -> None:
    """Count the merges that each identifier made. Raises Lost when another transaction has just counted one."""
    rows = sorted(resolution.tied.items())
    result = session.execute(
        _TIED,
        {
            "types": [claim[0] for claim, _ in rows],
            "hashes": Binaries(value_hash(hash_key, *claim) for claim, _ in rows),
            "seen": [resolution.ties[claim] - more for claim, more in rows],
            "more": [more for _, more in rows],
        },
    )
    if result.rowcount != len(rows):  # type: ignore[attr-defined]
        raise Lost


_REFUSE = text("""
    INSERT INTO refused_tie (type, value_hash, reason, times, first_at, last_at, source_id)
    SELECT type, hash, reason, times, :now, :now, :source
    FROM unnest(CAST(:types AS text[]), CAST(:hashes AS bytea[]), CAST(:reasons AS text[]), CAST(:times AS int[]))
         AS new (type, hash, reason, times)
    ON CONFLICT (type, value_hash, reason) DO UPDATE
    SET times = refused_tie.times + excluded.times, last_at = excluded.last_at, source_id = excluded.source_id
""")


def _refuse(session: Session, resolution: Resolution, sender: Sender, hash_key: bytes, now: datetime) -> None:
    rows = sorted(resolution.refused.items())
    session.execute(
        _REFUSE,
        {
            "types": [claim[0] for (claim, _), _ in rows],
            "hashes": [value_hash(hash_key, *claim) for (claim, _), _ in rows],
            "reasons": [reason for (_, reason), _ in rows],
            "times": [times for _, times in rows],
            "now": now,
            "source": sender.id,
        },
    )


_LOCK = text("SELECT id, root_id, erased_at FROM profile WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")


def check_ties(session: Session, links: Sequence[Link]) -> None:
    """Raises Lost where somebody said by now that two who are to be one are two people; their roots are locked."""
    whose = {person.id: person.root() for link in links for person in (link.child, link.parent)}
    apart = session.execute(_APART, {"roots": list(whose)}) if links else ()
    if any(whose[row.one] is whose[row.other] for row in apart):
        raise Lost


def lock(session: Session, roots: Sequence[int]) -> None:
    """Take the row locks of these root profiles. Raises Lost when one was merged or erased in the meantime."""
    rows = session.execute(_LOCK, {"ids": Numbers(sorted(roots))}).all()
    if len(rows) != len(set(roots)) or any(row.root_id != row.id or row.erased_at is not None for row in rows):
        raise Lost


_LOCK_ROOTS = text("SELECT id FROM profile WHERE id = ANY(:ids) AND root_id = id ORDER BY id FOR UPDATE")


def lock_roots(session: Session, roots: Sequence[int]) -> list[int]:
    """Take the row locks of those that are roots now, erased or not; returns them."""
    return list(session.scalars(_LOCK_ROOTS, {"ids": list(roots)}))


_LOCK_FREE = text("SELECT id FROM profile WHERE id = ANY(:ids) AND root_id = id ORDER BY id FOR UPDATE SKIP LOCKED")
_STILL_ROOTS = text("SELECT id FROM profile WHERE id = ANY(:ids) AND root_id = id")


def lock_free(session: Session, roots: Collection[int]) -> tuple[list[int], list[int]]:
    """Take the row locks of those that are roots now and that nobody holds, without waiting; returns them, and those
    that somebody else holds."""
    locked = list(session.scalars(_LOCK_FREE, {"ids": list(roots)}))
    missed = set(roots).difference(locked)
    return locked, list(session.scalars(_STILL_ROOTS, {"ids": list(missed)})) if missed else []


_MOVE = text("""
    UPDATE profile p SET root_id = w.root
    FROM unnest(CAST(:children AS bigint[]), CAST(:roots AS bigint[])) AS w (child, root) WHERE p.root_id = w.child
""")
_LINK = text("""
    INSERT INTO profile_link (child_id, parent_id, child_end, parent_end, reason, claim_type, claim_hash, message_id,
                              source_id, by, at, evidence, kept)
    SELECT child, parent, child_end, parent_end, reason, type, hash, message, :source, :by, :now,
           CAST(:evidence AS jsonb),
           (SELECT jsonb_build_object('segments', s.document -> 'segments', 'scores', (
                SELECT coalesce(jsonb_agg(to_jsonb(c) - 'profile_id'), '[]')
                FROM profile_score c WHERE c.profile_id = child
            )) FROM profile_state s WHERE s.profile_id = child)
    FROM unnest(CAST(:children AS bigint[]), CAST(:parents AS bigint[]), CAST(:child_ends AS bigint[]),
                CAST(:parent_ends AS bigint[]), CAST(:reasons AS text[]), CAST(:types AS text[]),
                CAST(:hashes AS bytea[]), CAST(:messages AS text[]))
         WITH ORDINALITY AS new (child, parent, child_end, parent_end, reason, type, hash, message, n)
    ORDER BY n RETURNING id
""")
_FORGET = (
    text("DELETE FROM profile_state WHERE profile_id = ANY(:children)"),
    text("DELETE FROM trait_lineage WHERE profile_id = ANY(:children)"),
    text("DELETE FROM profile_score WHERE profile_id = ANY(:children)"),
)


def link(
    session: Session,
    links: Sequence[Link],
    hash_key: bytes,
    now: datetime,
    *,
    source: int | None = None,
    by: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> list[int]:
    """Write merges, oldest first, and return their numbers; all their roots are locked.

    What was derived for a child is from now on its parent's. What cannot be derived again, its scores and segments, is
    kept with the link for the day it is undone. `by` names the person who merged by hand, `evidence` what
    spoke for a merge by likeness.
    """
    if not links:
        return []
    children = [merge.child.id for merge in links]
    numbers = session.scalars(
        _LINK,
        {
            "children": children,
            "parents": [merge.parent.id for merge in links],
            "child_ends": [merge.ends[1].id for merge in links],
            "parent_ends": [merge.ends[0].id for merge in links],
            "reasons": [merge.reason for merge in links],
            "types": [merge.claim[0] if merge.claim else None for merge in links],
            "hashes": [value_hash(hash_key, *merge.claim) if merge.claim else None for merge in links],
            "messages": [merge.message_id for merge in links],
            "source": source,
            "by": by or None,
            "evidence": None if evidence is None else json.dumps(evidence),
            "now": now,
        },
    ).all()
    roots = [merge.child.root().id for merge in links]
    session.execute(_MOVE, {"children": children, "roots": roots})
    countoutbox.note(session, set(roots))
    for statement in _FORGET:
        session.execute(statement, {"children": children})
    return list(numbers)


_KEEP_APART = text("""
    INSERT INTO profile_link (child_id, parent_id, child_end, parent_end, reason, by, at, undone_at, undone_by, apart)
    VALUES (:child, :parent, :child, :parent, :reason, :by, :now, :now, :by, true)
""")
KEPT_APART = "kept apart"
"""The reason of a link that never was a merge: somebody looked at two customers and said that they are two."""


def keep_apart(session: Session, one: int, other: int, now: datetime, by: str) -> None:
    """Note that two roots are two people, as if they had been merged and taken apart: only a person joins them."""
    values = {"child": max(one, other), "parent": min(one, other), "reason": KEPT_APART, "by": by, "now": now}
    session.execute(_KEEP_APART, values)


_LIVING = text("SELECT id, root_id FROM profile WHERE id = ANY(:ids) AND erased_at IS NULL")


def living(session: Session, profiles: Iterable[int]) -> dict[int, int]:
    """The root of each of these profiles that exists and is not erased."""
    return {row.id: row.root_id for row in session.execute(_LIVING, {"ids": list(profiles)})}


_SEEN = text("""
    UPDATE identifier i SET first_seen = least(i.first_seen, w.since), last_seen = greatest(i.last_seen, w.until)
    FROM unnest(CAST(:types AS text[]), CAST(:hashes AS bytea[]), CAST(:profiles AS bigint[]),
                CAST(:since AS timestamptz[]), CAST(:until AS timestamptz[]))
         AS w (type, value_hash, profile_id, since, until)
    WHERE i.type = w.type AND i.value_hash = w.value_hash AND i.profile_id = w.profile_id
      AND (i.first_seen > w.since OR i.last_seen < w.until)
""")


def restate(session: Session, stated: Mapping[tuple[Claim, int], Sequence[datetime]], hash_key: bytes) -> None:
    """Note when contacts were first and last stated by a profile, in whatever order; the roots are locked."""
    if stated:
        rows = sorted(stated.items())
        session.execute(
            _SEEN,
            {
                "types": [claim[0] for (claim, _), _ in rows],
                "hashes": Binaries(value_hash(hash_key, *claim) for (claim, _), _ in rows),
                "profiles": [profile for (_, profile), _ in rows],
                "since": [min(times) for _, times in rows],
                "until": [max(times) for _, times in rows],
            },
        )
