"""What records counted is counted on when they are deleted: each number moves from the rows to `expired_count`.

People are counted by the name their records are kept under, once a campaign run. Somebody whose records go in parts is
counted with the last of them, so the people of deleted rows and of those that are left add up. Rows of a run are looked
at by profile, which is indexed; erased people have none and are looked at by their name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import select, text, tuple_
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns.expired import Counts
from campaigns.opens import FALLBACKS, Decision
from render.facts import ANSWERS
from workers.recording import SEEN

SETS: Final = {"surely": ("person", "proxy"), "possibly": SEEN, "machine": ("prefetch", "scanner")}
"""As `campaigns.reports` counts people."""
FLAGS: Final = ("ambiguous", "unseen", "unresolved")


class Who(NamedTuple):
    """Somebody in one run of a campaign."""

    campaign: int
    occurrence: int
    profile: int | None
    subject: Any


class Reserved(msgspec.Struct):
    """What is read of a decision's canonical form: the total caps it took."""

    reserved: tuple[int, ...] = ()


_VALUES: Final = """
    SELECT DISTINCT v.number FROM unnest(
        CAST(:numbers AS int[]), CAST(:campaigns AS int[]), CAST(:occurrences AS bigint[]), CAST(:profiles AS bigint[]),
        CAST(:subjects AS uuid[]){more}
    ) AS v(number, campaign, occurrence, profile, subject{names})
    CROSS JOIN LATERAL (
        (SELECT FROM {rows} AND f.profile_id = v.profile LIMIT 1)
        UNION ALL
        (SELECT FROM {rows} AND v.profile IS NULL AND f.profile_id IS NULL AND f.subject_id = v.subject LIMIT 1)
    ) hit
"""
_ROWS: Final = """"fetch" f{join}
        WHERE f.campaign_id = v.campaign AND f.occurrence = v.occurrence AND f.fetch_class = ANY(:classes)"""
# As the report's own count of who may have seen an offer.
_SEEN_ROWS: Final = """
        AND f.slot < 255 AND f.rung <> 'static' AND (f.rung <> 'default' OR d.rung = 'default')
        AND (d.slots ->> f.slot::text)::int = v.offer"""
# Each person is looked up by an index: the limit keeps the planner from reading all rows of everybody instead.
_LEFT: Final = text(_VALUES.format(more="", names="", rows=_ROWS.format(join="")))
_STILL_SEEN: Final = text(
    _VALUES.format(
        more=", CAST(:offers AS int[])",
        names=", offer",
        rows=_ROWS.format(join=" JOIN decision d ON d.id = f.decision_id AND d.at = f.decision_at") + _SEEN_ROWS,
    )
)


def fetches(session: Session, rows: Sequence[Any]) -> Counts:
    """What these fetches, deleted in the caller's transaction, had counted."""
    counts: Counts = Counter()
    rows = [row for row in rows if row.occurrence < TEST_BIT]
    for row in rows:
        counts[row.campaign_id, "fetch", row.fetch_class] += 1
        counts[row.campaign_id, "fallback", ""] += row.rung in FALLBACKS
    for name, classes in SETS.items():
        people = list(dict.fromkeys(_who(row) for row in rows if row.fetch_class in classes))
        left = _left(session, _LEFT, people, {"classes": list(classes)})
        for number, who in enumerate(people):
            counts[who.campaign, "people", name] += number not in left
    seen = _seen(session, rows)
    left = _left(
        session, _STILL_SEEN, [who for who, _ in seen], {"classes": list(SEEN), "offers": [offer for _, offer in seen]}
    )
    for number, (who, offer) in enumerate(seen):
        counts[who.campaign, "seen", str(offer)] += number not in left
    return counts


def clicks(rows: Sequence[Any]) -> Counts:
    """What these deleted clicks had counted; what was said in a call was counted as no click."""
    counts: Counts = Counter()
    for row in rows:
        if row.occurrence >= TEST_BIT or row.outcome in ANSWERS:
            continue
        if row.fetch_class in SETS["machine"]:
            counts[row.campaign_id, "click", "machine"] += 1
        if row.fetch_class != "person":
            continue
        counts[row.campaign_id, "click", "people"] += 1
        if row.offer_id is not None:
            counts[row.campaign_id, "clicked", str(row.offer_id)] += 1
        for flag in FLAGS:
            counts[row.campaign_id, "click", flag] += getattr(row, flag)
    return counts


def anonymous(rows: Sequence[Any]) -> Counts:
    """What these deleted fetches and clicks that name nobody had counted: themselves, no people."""
    counts: Counts = Counter()
    for row in rows:
        if row.occurrence >= TEST_BIT:
            continue
        if row.kind == "click":
            counts[row.campaign_id, "anonymous_click", row.fetch_class] += 1
            if row.fetch_class == "person" and row.offer_id is not None:
                counts[row.campaign_id, "anonymous_clicked", str(row.offer_id)] += 1
            continue
        counts[row.campaign_id, "anonymous_fetch", row.fetch_class] += 1
        if row.fetch_class in SEEN and row.offer_id is not None:
            counts[row.campaign_id, "anonymous_seen", str(row.offer_id)] += 1
    return counts


def decisions(rows: Sequence[Any]) -> Counts:
    """What these deleted decisions had counted; total caps stay taken for good."""
    counts: Counts = Counter()
    for row in rows:
        if row.lane != "live":
            continue
        for offer in msgspec.json.decode(row.public, type=Reserved).reserved:
            counts[row.campaign_id, "reserved", str(offer)] += 1
        if row.occurrence < TEST_BIT and row.shadow is not None:
            counts[row.campaign_id, "swap", "compared"] += 1
            counts[row.campaign_id, "swap", "differing"] += row.slots != row.shadow
    return counts


def _who(row: Any) -> Who:
    return Who(row.campaign_id, row.occurrence, row.profile_id, row.subject_id)


def _seen(session: Session, rows: Sequence[Any]) -> list[tuple[Who, int]]:
    """Who may have seen which offer in these fetches, each once."""
    shown = [
        row for row in rows
        if row.fetch_class in SEEN and row.slot < 255 and row.rung != "static" and row.decision_at is not None
    ]  # fmt: skip
    keys = {(row.decision_id, row.decision_at) for row in shown}
    opened = {
        (row.id, row.at): row
        for row in session.execute(
            select(Decision.id, Decision.at, Decision.slots, Decision.rung).where(
                tuple_(Decision.id, Decision.at).in_(keys)
            )
        )
    }
    found: dict[tuple[Who, int], None] = {}
    for row in shown:
        decision = opened.get((row.decision_id, row.decision_at))
        if decision is None or (row.rung == "default" and decision.rung != "default"):
            continue
        offer = decision.slots.get(str(row.slot))
        if offer is not None:
            found[_who(row), offer] = None
    return list(found)


def _left(session: Session, query: Any, people: Sequence[Who], more: dict[str, Any]) -> Collection[int]:
    """Which of these people, by place in the list, have rows left."""
    if not people:
        return ()
    columns: dict[str, list[Any]] = {"numbers": list(range(len(people)))}
    columns["campaigns"] = [who.campaign for who in people]
    columns["occurrences"] = [who.occurrence for who in people]
    columns["profiles"] = [who.profile for who in people]
    columns["subjects"] = [who.subject for who in people]
    return set(session.scalars(query, columns | more))
