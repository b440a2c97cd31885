"""The fifth act, second half: recorded opens computed again from what the database holds.

Three ways: the record replayed as it is; the state folded anew from the stored signals, as training does it, with the
same features to the bit; the send-time choice made again from the facts the sender kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.orm import Session

from base import db
from base.ids import Delivery
from campaigns import sentfacts
from campaigns.recorded import records
from render.decide import decide
from render.facts import Used, decode_used
from render.model import Model
from render.plan import Plan
from render.plan import decode as decode_plan
from render.record import DecisionRecord
from render.relations import Relations
from render.replay import facts_of, replay, same_outcome
from signals.catalog import Categories
from signals.fold import fold_all
from signals.foldevent import MAIL_KINDS
from signals.histories import history
from signals.productfacts import ProductFacts
from signals.state import ProfileState, decode
from workers.demo.claims import Claims
from workers.demo.proof import one
from workers.demo.restock import Restock
from workers.demo.stage import Stage

SAMPLE: Final = 200
_SAMPLED: Final = """
    SELECT id, profile_id, plan_hash, model_hash, public, personal, slots, shadow FROM decision
    WHERE campaign_id = :campaign AND lane = 'live' AND personal IS NOT NULL ORDER BY sha256(id::bytea) LIMIT :count
"""
_SWAP: Final = """
    SELECT count(*) AS compared, count(*) FILTER (WHERE EXISTS (
        SELECT 1 FROM jsonb_each_text(d.slots) opened FULL JOIN jsonb_each_text(d.shadow) sent USING (key)
        WHERE opened.value IS DISTINCT FROM sent.value
    )) AS differing
    FROM decision d WHERE d.campaign_id = :campaign AND d.lane = 'live' AND d.shadow IS NOT NULL
"""
_product: Final = msgspec.msgpack.Decoder(ProductFacts).decode


@dataclass
class _Counts:
    records: int = 0
    replayed: int = 0
    featured: int = 0
    refolded: int = 0
    shadows: int = 0
    agreeing: int = 0


@dataclass(frozen=True)
class _World:
    """What a record was decided with, and the categories its signals name."""

    plan: Plan
    model: Model | None
    relations: Relations | None
    categories: Categories


def recompute(stage: Stage, restock: Restock, claims: Claims) -> None:
    """Compute a sample of the opens again, and the share of swapped opens from all rows."""
    counts = _Counts()
    categories = Categories(stage.sessions)
    categories.learn((), create=False)
    plans: dict[str, Plan] = {}
    models: dict[str, Model] = {}
    learnt: dict[str, Relations] = {}
    with db.transaction(stage.sessions) as session:
        for row in session.execute(text(_SAMPLED), {"campaign": restock.campaign, "count": SAMPLE}).all():
            if row.plan_hash not in plans:
                plans[row.plan_hash] = decode_plan(stage.blobs.get(row.plan_hash))
            if row.model_hash and row.model_hash not in models:
                models[row.model_hash] = Model.load(stage.blobs.get(row.model_hash))
            [(_, record)] = records(session, [row], stage.settings.subject_key)
            if record.relations and record.relations not in learnt:
                learnt[record.relations] = Relations.load(stage.blobs.get(record.relations))
            world = _World(
                plans[row.plan_hash], models.get(row.model_hash or ""), learnt.get(record.relations or ""), categories
            )
            _compare(stage, session, record, row, world, counts)
    claims.check(
        "recorded opens replay to the same decision",
        counts.records > 0 and counts.replayed == counts.records,
        f"{counts.replayed} of {counts.records}",
    )
    claims.check(
        "features recomputed from the signals are the logged ones, bit for bit",
        counts.featured > 0 and counts.refolded == counts.featured,
        f"{counts.refolded} of {counts.featured}",
    )
    claims.check(
        "send-time choices made again from the sender's facts are the stored ones",
        counts.shadows > 0 and counts.agreeing == counts.shadows,
        f"{counts.agreeing} of {counts.shadows}",
    )
    swap = one(stage, _SWAP, {"campaign": restock.campaign})
    told = stage.api.get(f"/campaigns/{restock.campaign}/report")
    claims.check(
        "the share of swapped opens is what the raw rows say",
        swap.compared > 0
        and (swap.compared, swap.differing) == (told["compared_with_send_time"], told["differing_from_send_time"]),
        f"{swap.differing:,} of {swap.compared:,} opens",
    )


def _compare(
    stage: Stage,
    session: Session,
    record: DecisionRecord,
    row: Any,
    world: _World,
    counts: _Counts,
) -> None:
    counts.records += 1
    counts.replayed += same_outcome(replay(record, world.plan, world.model, world.relations), record)
    if record.features is not None:
        counts.featured += 1
        counts.refolded += any(
            replay(record, world.plan, world.model, world.relations, state=state).features == record.features
            for state in _refolded(session, record, world.categories)
        )
    if row.shadow is not None:
        counts.shadows += 1
        counts.agreeing += _shadow(stage, session, record, world) == row.shadow


def _refolded(session: Session, record: DecisionRecord, categories: Categories) -> Iterator[ProfileState]:
    """The state from the stored signals that had arrived by the open; intents, which no feature reads, stay out.

    Clicks and opens move no version, so of those told after it any number may have been known: a state for each.
    """
    version = record.state_version or 0
    told = [entry.event for entry in history(session, [record.profile], categories) if entry.folds]
    later = [event.arrival for event in told if event.kind in MAIL_KINDS and event.arrival > version]
    for upto in [version, *sorted(later)]:
        yield fold_all(
            event for event in told if event.arrival <= version or (event.kind in MAIL_KINDS and event.arrival <= upto)
        )


def _shadow(stage: Stage, session: Session, record: DecisionRecord, world: _World) -> dict[str, int] | None:
    delivery = Delivery(record.profile, record.campaign, record.occurrence)
    kept = sentfacts.read(session, stage.blobs, delivery, stage.settings.subject_key)
    if kept is None:
        return None
    person, shared, sent_at = kept
    facts = replace(
        facts_of(record, world.model, world.relations),
        state=decode(person.state) if person.state is not None else None,
        used=decode_used(person.used) if person.used else Used(),
        products={name: _product(data) for name, data in shared.products.items()},
        caps=shared.caps,
        last=None,
        refused=frozenset(),
    )
    decision = decide(world.plan.shown_to(record.profile), facts, sent_at, record.seed)
    return {str(slot.slot): slot.offer for slot in decision.slots}
