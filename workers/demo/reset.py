"""Taking back an earlier telling of the story: its campaigns and what came of them, its signals, its mails.

What was loaded, what was learnt, and whatever people did in between with campaigns of their own stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.orm import Session

from base import db, keys
from base.ids import Delivery
from render.facts import decode_used, encode_used
from signals.intake import Intake
from signals.products import publish_products
from signals.publishing import ANYBODY
from signals.rebuild import rebuild
from workers.demo.memory import restore_states
from workers.demo.restock import NAME
from workers.demo.stage import Stage
from workers.demo.tales import GATE_NAME, SHOES_NAME
from workers.inbox import Mail

CAMPAIGNS: Final = (NAME, SHOES_NAME, GATE_NAME)
SOURCE_PREFIX: Final = "Demo shop"
_OLD: Final = "SELECT id FROM campaign WHERE name = ANY(:names)"
# In the order in which rows hang on each other.
_BY_CAMPAIGN: Final = (
    "DELETE FROM sent_facts WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM outcome WHERE campaign_id = ANY(:campaigns)",
    'DELETE FROM "fetch" WHERE campaign_id = ANY(:campaigns)',
    "DELETE FROM decision WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM click WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM delivery WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM replenish_entry WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM holdout_assignment WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM occurrence WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM plan WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM campaign_goal WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM profit_terms WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM ratio_check WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM trigger_entry WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM model_move WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM model_shadow WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM model_verdict WHERE campaign_id = ANY(:campaigns)",
    "DELETE FROM campaign WHERE id = ANY(:campaigns)",
    "DELETE FROM message WHERE id = ANY(:messages)",
    "DELETE FROM offer WHERE id = ANY(:offers)",
)
_ENGAGEMENT: Final = """
    DELETE FROM event WHERE source_id = (SELECT id FROM source WHERE name = 'latebind') AND message_id IN (
        SELECT 'click-' || id FROM click WHERE campaign_id = ANY(:campaigns)
        UNION ALL SELECT 'open-' || id FROM decision WHERE campaign_id = ANY(:campaigns)
    ) RETURNING profile_id
"""
_PEOPLE: Final = """
    SELECT m.id FROM profile p JOIN profile m ON m.root_id = p.root_id WHERE p.id = ANY(:profiles)
"""
_SOURCES: Final = "SELECT id FROM source WHERE name LIKE :prefix"
_TOUCHED: Final = """
    SELECT DISTINCT m.id FROM event e JOIN profile p ON p.id = e.profile_id JOIN profile m ON m.root_id = p.root_id
    WHERE e.source_id = ANY(:sources)
"""
_BY_SOURCE: Final = (
    "DELETE FROM outcome WHERE event_id IN (SELECT id FROM event WHERE source_id = ANY(:sources))",
    "DELETE FROM consent WHERE event_id IN (SELECT id FROM event WHERE source_id = ANY(:sources))",
    "DELETE FROM trait_lineage WHERE event_id IN (SELECT id FROM event WHERE source_id = ANY(:sources))",
    "DELETE FROM event WHERE source_id = ANY(:sources)",
    "UPDATE source SET disabled_at = coalesce(disabled_at, :now) WHERE id = ANY(:sources)",
)
_PRODUCTS: Final = """
    UPDATE product SET feed_at = :now, price_told_at = LEAST(price_told_at, :now),
        stock_told_at = LEAST(stock_told_at, :now), rest_told_at = LEAST(rest_told_at, :now)
    WHERE feed_at > :now RETURNING id
"""


def take_back(stage: Stage) -> None:
    """Take back what an earlier run told, if it told anything."""
    with db.transaction(stage.sessions) as session:
        campaigns = list(session.scalars(text(_OLD), {"names": list(CAMPAIGNS)}))
        sources = list(session.scalars(text(_SOURCES), {"prefix": f"{SOURCE_PREFIX}%"}))
    if not campaigns and not sources:
        return
    stage.say("taking back the story of the run before")
    with db.transaction(stage.sessions) as session:
        engaged = set(session.scalars(text(_ENGAGEMENT), {"campaigns": campaigns}))
        stale = _forget_campaigns(session, stage, campaigns)
        people = set(session.scalars(text(_PEOPLE), {"profiles": list(engaged)}))
        touched = list(people.union(session.scalars(text(_TOUCHED), {"sources": sources})))
        for statement in _BY_SOURCE:
            session.execute(text(statement), {"sources": sources, "now": stage.now})
        products = session.scalars(text(_PRODUCTS), {"now": stage.calendar.story}).all()
    stale += [keys.product(product) for product in products]
    # A state goes back in time here, which nothing but a repair may do: the newer one has to be gone first.
    stale += [keys.state(profile) for profile in touched]
    for start in range(0, len(stale), 1000):
        stage.store.delete(*stale[start : start + 1000])
    intake = Intake(stage.sessions, stage.store, stage.settings.hash_key)
    for start in range(0, len(products), 1000):
        publish_products(intake, products[start : start + 1000])
    restored, others = restore_states(stage, intake, touched)
    folded = rebuild(intake, stage.now, only=others, whole=ANYBODY).profiles if others else 0
    stage.say(
        f"  {len(campaigns)} campaigns gone; of the profiles with a live week {restored:,} put back as they stood, "
        f"{folded:,} folded again"
    )


def _forget_campaigns(session: Session, stage: Stage, campaigns: list[int]) -> list[str]:
    """Delete the campaigns with all that came of them; returns the keys to delete from the store."""
    rows = session.execute(
        text("SELECT id, message_id, slots, plan_hash FROM campaign WHERE id = ANY(:campaigns)"),
        {"campaigns": campaigns},
    ).all()
    named = {offer for row in rows for slot in row.slots for offer in slot["offers"]}
    deliveries = session.execute(
        text("SELECT profile_id, campaign_id, occurrence FROM delivery WHERE campaign_id = ANY(:campaigns)"),
        {"campaigns": campaigns},
    ).all()
    plans = session.scalars(text("SELECT hash FROM plan WHERE campaign_id = ANY(:campaigns)"), {"campaigns": campaigns})
    stale = [keys.plan(digest) for digest in plans]
    stale += [keys.live(number) for number in campaigns] + [keys.cap(number) for number in sorted(named)]
    stale += [
        keys.shown(row.profile_id, Delivery(row.profile_id, row.campaign_id, row.occurrence).name) for row in deliveries
    ]
    _unuse(stage, sorted({row.profile_id for row in deliveries}), named)
    given = {
        "campaigns": campaigns,
        "messages": [row.message_id for row in rows if row.message_id is not None],
        "offers": sorted(named),
    }
    for statement in _BY_CAMPAIGN:
        session.execute(text(statement), given)
    return stale


def _unuse(stage: Stage, profiles: list[int], offers: set[int]) -> None:
    """Take the showings of these offers out of what was used."""
    for start in range(0, len(profiles), 500):
        some = profiles[start : start + 500]
        pipeline = stage.store.pipeline(transaction=False)
        held: Sequence[bytes | None] = stage.store.mget([keys.used(profile) for profile in some])  # type: ignore[assignment]
        for profile, data in zip(some, held, strict=True):
            if data is None:
                continue
            used = decode_used(data)
            kept = {offer: use for offer, use in used.offers.items() if offer not in offers}
            answers = {offer: given for offer, given in used.answers.items() if offer not in offers}
            pipeline.set(keys.used(profile), encode_used(replace(used, offers=kept, answers=answers)), keepttl=True)
        pipeline.execute()


def clear_inbox(folder: Path, first: int, last: int) -> None:
    """Remove the mails `first` to `last` of an earlier run from the inbox. Only while the sink is not running."""
    index = folder / "index.jsonl"
    if not index.exists() or last < first:
        return
    kept = [line + b"\n" for line in index.read_bytes().splitlines() if not _is_between(line, first, last)]
    index.write_bytes(b"".join(kept))
    for number in range(first, last + 1):
        (folder / f"{number:08d}.eml").unlink(missing_ok=True)


def _is_between(line: bytes, first: int, last: int) -> bool:
    try:
        return first <= msgspec.json.decode(line, type=Mail).number <= last
    except msgspec.DecodeError:
        return False


class Trace(msgspec.Struct):
    """What a run leaves for the next: the mails it brought (numbers), and how often the story was told."""

    run: int = 0
    first_mail: int = 1
    last_mail: int = 0


def kept_trace(folder: Path) -> Trace:
    """The trace of the run before."""
    try:
        return msgspec.json.decode((folder / "trace.json").read_bytes(), type=Trace)
    except (FileNotFoundError, msgspec.DecodeError):
        return Trace()


def keep_trace(folder: Path, trace: Trace) -> None:
    """Leave it for the next run."""
    (folder / "trace.json").write_bytes(msgspec.json.encode(trace))
