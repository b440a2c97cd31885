"""Outcomes: orders credited to the decision that led to them.

The rule `clicked-7d`: an order goes to the last click of a person within 7 days before it, by event time, and with it
to the very block, offer and decision that were last served before that click. What they took in a call or a chat counts
like a click. Where there is neither it goes to the last decision of a live mail whose picture a person, a proxy or an
undecided client fetched in that time. Each order is credited once; an order that comes late, or twice, is credited at
most once (unique by event). What a machine fetched or clicked earns nothing, nor does a picture that fell back to less
than was decided. Returns and cancellations are taken off when they arrive. This says what preceded an order, not what
caused it: lift comes from holdouts alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from campaigns.cursors import LoopCursor
from campaigns.opens import Outcome
from signals.catalog import Categories
from signals.histories import readable_history
from signals.orders import CORRECTING, resolve
from signals.profiles import Profile
from workers.backlog import NOBODY, Absent

RULE = "clicked-7d"
"""Rows of `seen-7d`, the rule of earlier releases, stay as they were credited."""
WINDOW = timedelta(days=7)
CURSOR = "outcomes"
AHEAD = "outcomes ahead"
"""How far others' orders were credited while those of some people had to wait; behind `CURSOR` nobody's wait."""
LOOK_BACK = 5_000
"""Arrival numbers before the cursor that are looked at again: while a new version is started, an intake of the one
before does not say which numbers it is still to commit (journal.newest)."""
EVENTS_A_STEP = 20_000


CREDIT = text(
    """
    INSERT INTO outcome (rule, event_id, order_id, at, credited_at, profile_id, campaign_id, occurrence, decision_id,
                         decision_at, click_id, offer_id, slot, category_id, cents, currency)
    SELECT :rule, e.id, e.order_id, e.event_time, :now, root.id, led.campaign_id, led.occurrence, led.decision_id,
           led.decision_at, led.click_id, led.offer, led.slot, NULL, coalesce(e.order_total_cents, 0),
           e.figures #>> '{properties,currency}'
    FROM event e
    JOIN profile member ON member.id = e.profile_id
    JOIN profile root ON root.id = member.root_id
    JOIN LATERAL (
        (
            SELECT 0 AS place, c.campaign_id, c.occurrence, c.decision_id, c.decision_at, c.slot, c.offer_id AS offer,
                   c.id AS click_id
            FROM click c
            WHERE c.profile_id IN (SELECT p.id FROM profile p WHERE p.root_id = root.id)
              AND c.at < e.event_time AND c.at >= e.event_time - :window
              AND c.fetch_class = 'person' AND c.outcome <> 'refused'
              AND c.offer_id IS NOT NULL AND c.decision_at IS NOT NULL
            ORDER BY c.at DESC, c.id LIMIT 1
        ) UNION ALL (
            SELECT 1, f.campaign_id, f.occurrence, f.decision_id, f.decision_at, f.slot,
                   (d.slots ->> f.slot::text)::int, NULL
            FROM "fetch" f
            JOIN decision d ON d.id = f.decision_id AND d.at = f.decision_at
            WHERE f.profile_id IN (SELECT p.id FROM profile p WHERE p.root_id = root.id)
              AND f.at < e.event_time AND f.at >= e.event_time - :window
              AND f.lane = 'live' AND f.fetch_class IN ('person', 'proxy', 'undecided') AND f.slot < 255
              AND f.rung <> 'static' AND (f.rung <> 'default' OR d.rung = 'default')
            ORDER BY f.at DESC, f.slot, f.id LIMIT 1
        ) ORDER BY place LIMIT 1
    ) led ON true
    WHERE e.id > :after AND e.id <= :upto AND e.name = 'Order Completed' AND e.folds
      AND NOT EXISTS (SELECT 1 FROM outcome o WHERE o.event_id = e.id AND o.rule <> :rule)
      AND root.id <> ALL(:later)
    ON CONFLICT (rule, event_id) DO NOTHING
    """
)

BUYERS = text(
    """
    SELECT DISTINCT person.root_id, person.id FROM event e
    JOIN profile member ON member.id = e.profile_id
    JOIN profile person ON person.root_id = member.root_id
    WHERE e.id > :after AND e.id <= :upto AND e.name = 'Order Completed' AND e.folds
    """
)
"""Everybody who ordered, with all their profiles: what they saw may stand under any."""
CORRECTED = text(
    """
    SELECT DISTINCT member.root_id FROM event e
    JOIN profile member ON member.id = e.profile_id
    JOIN profile person ON person.root_id = member.root_id
    JOIN outcome o ON o.profile_id = person.id
    JOIN event credited ON credited.id = o.event_id
    WHERE e.id > :after AND e.id <= :upto AND (lower(e.name) = ANY(:names) OR NOT credited.folds)
    """
)
"""People whose orders came to something else than was credited. An order no longer folds when an earlier call of the
same order arrives after it."""


def credit(session: Session, categories: Categories, newest: int, now: datetime, absent: Absent = NOBODY) -> int:
    """Credit the orders that arrived since the last call; returns how many arrival numbers were looked at.

    Runs in the caller's transaction; `newest` is the last arrival number to look at: what was seen before that must be
    on record, or an order is credited to an older sight than its own. Of people who are `absent` it may not be: their
    orders wait for a call when nobody is.
    """
    cursor = AHEAD if absent else CURSOR
    position = session.scalar(select(func.max(LoopCursor.position)).where(LoopCursor.name.in_((CURSOR, cursor)))) or 0
    upto = min(newest, position + EVENTS_A_STEP)
    if upto <= position:
        return 0
    window = {"rule": RULE, "after": max(0, position - LOOK_BACK), "upto": upto}
    later = {row.root_id for row in session.execute(BUYERS, window) if row.id in absent} if absent else ()
    session.execute(CREDIT, window | {"now": now, "window": WINDOW, "later": list(later)})
    for person in session.scalars(CORRECTED, window | {"names": list(CORRECTING)}).all():
        _correct(session, categories, person)
    session.execute(
        insert(LoopCursor)
        .values(name=cursor, position=upto)
        .on_conflict_do_update(index_elements=[LoopCursor.name], set_={"position": upto})
    )
    return int(upto - position)


def _correct(session: Session, categories: Categories, person: int) -> None:
    """Make a person's outcomes what their orders come to now; one whose call tells of no order of its own goes.

    What came of an order stays as it is where a signal that tells of it is damaged, while its call is the one that
    counts.
    """
    members = session.scalars(select(Profile.id).where(Profile.root_id == person)).all()
    told = readable_history(session, members, categories)
    named = {entry.event.arrival: entry.event.order_id for entry in told}
    unclear = {entry.event.order_id for entry in told if entry.damaged and entry.event.order_id}
    counting = [entry.event for entry in told if entry.folds]
    counted = {event.arrival for event in counting}
    orders = {counting[index].arrival: placement for index, placement in resolve(counting).placements.items()}
    for outcome in session.scalars(select(Outcome).where(Outcome.profile_id.in_(members))):
        if outcome.event_id in counted and named[outcome.event_id] in unclear:
            continue
        if (order := orders.get(outcome.event_id)) is None:
            session.delete(outcome)
            continue
        outcome.cents = order.amount
        if order.currency and order.currency != (outcome.currency or "").upper():
            outcome.currency = order.currency
