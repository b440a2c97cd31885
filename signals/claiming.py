"""Keeping what signals say of homes and households, and noting whose home is to be found anew by that.

Both are written in the transaction of what changed: signals, merges, their undoing, an erasure. Finding the homes
(signals/grouping.py) comes after it, for it needs the rows of people whom the batch does not name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import Binaries, Numbers
from base.errors import InvalidInput
from signals.contents import ORDER_KINDS
from signals.folding import Root
from signals.histories import Told
from signals.homes import AGE_TRAITS, Kind, Said, household_key, said
from signals.reading import Item
from signals.sources import Sender

MAX_CLAIMS: Final = 50
"""Homes and households of one kind that are kept of a profile: those stated last, and those that a person ended."""

_JSON: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Statement:
    """What one call said of the profile that it came by."""

    profile: int
    said: Said
    at: datetime
    message_id: str
    source: int


def hear(
    session: Session,
    items: Sequence[Item],
    roots: Mapping[int, Root],
    merged: Collection[int],
    sender: Sender,
    hash_key: bytes,
) -> None:
    """Keep what a batch says, and mark the roots whose home may be another by it; `merged` were merged into."""
    statements = [
        Statement(item.person.id, item.said, item.signal.time, item.signal.message_id, sender.id)
        for item in items
        if item.said is not None
    ]
    told = [(roots[item.person.root().id], item) for item in items]
    touched = set(merged) | {root.id for root, item in told if sender.is_server and _tells(item, root)}
    if changed := {root.id for root, item in told if item.told.event.kind in _CHANGES}:
        touched |= set(session.scalars(_WHERE_ORDERS_GO, {"roots": list(changed)}))
    if statements:
        keep(session, statements, hash_key)
        touched |= _news(session, items, roots, hash_key)
    mark(session, [roots[number] for number in touched])


def _tells(item: Item, root: Root) -> bool:
    """Whether a server's event says another age, or anything else of being profiled, than was known."""
    event = item.told.event
    traits = {} if root.state is None else root.state.traits
    consent = {} if root.state is None else root.state.consent
    # An age counts from when it was first stated: of an earlier moment the same one says another birth year.
    late = _is_late(item, root)
    return any(late or event.traits[name] != traits.get(name) for name in event.traits.keys() & _AGES) or (
        "profiling" in event.consent and event.consent["profiling"] != consent.get("profiling")
    )


def _is_late(item: Item, root: Root) -> bool:
    """Whether it happened before what was heard of last."""
    return root.state is not None and item.told.event.time_ms < root.state.last_ms


_AGES: Final = frozenset(AGE_TRAITS)
_CHANGES: Final = ORDER_KINDS - {"order"}
"""What may change what an order came to, so that it counts for where somebody lives, or does not any more."""
_WHERE_ORDERS_GO: Final = text("""
    SELECT p.root_id FROM household_claim c JOIN profile p ON p.id = c.profile_id WHERE p.root_id = ANY(:roots)
    GROUP BY p.root_id HAVING bool_or(c.kind = 'order') AND NOT bool_or(c.kind = 'home')
""")
"""People of whom it may matter which of their orders count: of nobody who states an address
(signals/grouping.py)."""
_HOMES: Final = text("SELECT profile_id, address, evidence FROM dwelling WHERE profile_id = ANY(:roots)")


def _news(session: Session, items: Sequence[Item], roots: Mapping[int, Root], hash_key: bytes) -> set[int]:
    """The roots of whom something was said that is not known; that people state their address again is common. Of an
    order another channel may have told already, as of a later day."""
    told = [(item.person.root().id, item.said, item) for item in items if item.said is not None]
    heard = [(root, one, one.kind == "order" and _is_late(item, roots[root])) for root, one, item in told]
    homes = {row.profile_id: row for row in session.execute(_HOMES, {"roots": [root for root, *_ in heard]})}
    return {
        root
        for root, one, late in heard
        if one.kind == "group" or root not in homes
        or homes[root].address != household_key(hash_key, one.kind, one.value)
        or (one.kind == "home" and homes[root].evidence == "order") or (late and homes[root].evidence != "home")
    }  # fmt: skip


_SAY: Final = text("""
    INSERT INTO household_claim
        (profile_id, kind, key, role, gone, size, others, since, said_at, message_id, source_id)
    SELECT profile, kind, key, role, gone, size, CAST(others AS jsonb), since, at, message, source
    FROM unnest(CAST(:profiles AS bigint[]), CAST(:kinds AS text[]), CAST(:keys AS bytea[]), CAST(:roles AS text[]),
                CAST(:gone AS boolean[]), CAST(:sizes AS smallint[]), CAST(:others AS text[]),
                CAST(:since AS timestamptz[]), CAST(:ats AS timestamptz[]), CAST(:messages AS text[]),
                CAST(:sources AS int[]))
         AS new (profile, kind, key, role, gone, size, others, since, at, message, source)
    ON CONFLICT (profile_id, kind, key) DO UPDATE SET
        since = least(household_claim.since, excluded.since),
        (role, gone, size, others, said_at, message_id, source_id) = (
            SELECT w.role, w.gone, w.size, w.others, w.said_at, w.message_id, w.source_id
            FROM (SELECT (household_claim).* UNION ALL SELECT (excluded).*) AS w
            ORDER BY w.said_at DESC, w.message_id COLLATE "C" DESC, w.source_id DESC LIMIT 1
        )
""")
_OLDEST: Final = text("""
    DELETE FROM household_claim c USING (
        SELECT id, row_number() OVER (
            PARTITION BY profile_id, kind ORDER BY said_at DESC, message_id COLLATE "C" DESC, source_id DESC
        ) AS place
        FROM household_claim WHERE profile_id = ANY(:profiles) AND ended_at IS NULL
    ) AS w WHERE c.id = w.id AND w.place > :most
""")


def keep(session: Session, statements: Iterable[Statement], hash_key: bytes) -> None:
    """Keep these statements; of one profile and one home or household the newest word holds, in whatever order."""
    newest: dict[tuple[int, Kind, bytes], Statement] = {}
    since: dict[tuple[int, Kind, bytes], datetime] = {}
    for one in sorted(statements, key=lambda one: (one.at, one.message_id, one.source)):
        name = (one.profile, one.said.kind, household_key(hash_key, one.said.kind, one.said.value))
        newest[name] = one
        since.setdefault(name, one.at)
    if not newest:
        return
    rows = sorted(newest.items())
    words = [one.said for _, one in rows]
    session.execute(
        _SAY,
        {
            "profiles": [name[0] for name, _ in rows],
            "kinds": [name[1] for name, _ in rows],
            "keys": Binaries(name[2] for name, _ in rows),
            "roles": [one.role for one in words],
            "gone": [one.left for one in words],
            "sizes": [one.size for one in words],
            "others": [None if one.others is None else _JSON.encode(one.others).decode() for one in words],
            "since": [since[name] for name, _ in rows],
            "ats": [one.at for _, one in rows],
            "messages": [one.message_id for _, one in rows],
            "sources": [one.source for _, one in rows],
        },
    )
    session.execute(_OLDEST, {"profiles": sorted({name[0] for name, _ in rows}), "most": MAX_CLAIMS})


# Fenced (OFFSET 0) as in signals/belonging.py: each person's own look-ups, whatever the statistics say,
# and one plan, made once.
_QUEUE: Final = text("""
    WITH member AS MATERIALIZED (
        SELECT p.id, p.root_id FROM unnest((SELECT CAST(:roots AS bigint[]))) AS r (id)
        CROSS JOIN LATERAL (SELECT id, root_id FROM profile WHERE root_id = r.id OFFSET 0) AS p
    ), due AS (
        INSERT INTO household_due (profile_id)
        SELECT m.id FROM member m WHERE EXISTS (SELECT FROM dwelling d WHERE d.profile_id = m.id OFFSET 0)
        UNION SELECT m.root_id FROM member m
        WHERE EXISTS (SELECT FROM household_claim c WHERE c.profile_id = m.id OFFSET 0)
        RETURNING profile_id
    ) SELECT DISTINCT m.root_id FROM due JOIN member m ON m.id = due.profile_id
""")


def mark(session: Session, roots: Collection[Root]) -> None:
    """Note that the homes of these locked roots are to be found anew, in the notes and in the roots."""
    if roots:
        due = set(queue(session, [root.id for root in roots]))
        for root in roots:
            root.regroup = root.id in due


def queue(session: Session, roots: Collection[int]) -> list[int]:
    """Note that the homes of these people are to be found anew; those of whom anything was ever said."""
    return list(session.scalars(_QUEUE, {"roots": Numbers(sorted(roots))}))


_SERVERS: Final = text("SELECT id FROM source WHERE kind <> 'browser'")


def servers(session: Session) -> frozenset[int]:
    """The sources whose word on homes and households counts."""
    return frozenset(session.scalars(_SERVERS))


def retold(told: Iterable[Told], believed: Collection[int]) -> list[Statement]:
    """What stored events say, also those that came before anybody listened for it."""
    found = []
    for entry in told:
        if entry.body is None or entry.event.source not in believed:
            continue
        at = datetime.fromtimestamp(entry.event.time_ms / 1000, UTC)
        try:
            one = said(entry.body, at)
        except InvalidInput:
            continue  # It was stored before a household was understood.
        if one is not None:
            found.append(Statement(entry.profile, one, at, entry.event.message_id, entry.event.source))
    return found
