"""Exit on conversion: whoever buys what their mail was about has converted, whoever buys something else did so
elsewhere, and either ends the campaign for them where it says so.

What a mail was about is the thing that began it: of a triggered campaign the cart and the products of the event (its
categories where it names no product), of a replenishment the categories that were due, else the products of the offers
that the plan may show (the categories of those that show no product). Bought is what orders say that happened after
the mail left, or, of a mail that waits, after what began it; for as many days as success is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.blobs import Blobs
from base.errors import NotFound
from base.ids import TEST_BIT
from campaigns import goals, plans
from campaigns.models.campaign import Campaign
from render.plan import SALES_KINDS

Exit = Literal["converted", "converted_elsewhere", "nothing", "open"]
EXITS: Final[Mapping[Exit, str]] = {
    "converted": "bought what the mail was about",
    "converted_elsewhere": "bought something else",
    "nothing": "bought nothing in that time",
    "open": "may still buy",
}
WINDOW_DAYS: Final = 14
"""Where a campaign names no success."""
MAX_ENDED: Final = 10_000
"""Mails that wait which one call looks at."""


@dataclass(frozen=True)
class Exits:
    """How many of the mailed left a campaign how, within `days` after their mail."""

    days: int
    numbers: Mapping[Exit, int]


def exits(session: Session, blobs: Blobs, row: Campaign, now: datetime) -> Exits:
    """How everybody who was mailed left the campaign; the numbers add up to the mails that were accepted."""
    given = _given(session, blobs, row, now)
    found = session.execute(_COUNTED, given)
    numbers: dict[Exit, int] = dict.fromkeys(EXITS, 0)
    for name, number in found:
        numbers[name] = number
    return Exits(given["days"], numbers)


def of(session: Session, blobs: Blobs, row: Campaign, now: datetime) -> dict[tuple[int, int], Exit]:
    """Everybody's exit by run and profile; for small campaigns and for tests of them."""
    found = session.execute(_EACH, _given(session, blobs, row, now))
    return {(one.occurrence, one.profile_id): one.exit for one in found}


def end(session: Session, blobs: Blobs, row: Campaign, now: datetime) -> int:
    """Skip what waits of a campaign that ends with a purchase, for whoever has bought; returns how many.

    Waiting are mails that have not been claimed; whoever left by an earlier run's mail gets no later one either. One
    conditional UPDATE: a row that a sender claims meanwhile is theirs.
    """
    if not row.ends_on_purchase:
        return 0
    return len(session.execute(_END, _given(session, blobs, row, now) | {"most": MAX_ENDED}).all())


def end_all(session: Session, blobs: Blobs, now: datetime) -> int:
    """`end`, for every campaign under way that ends with a purchase; called again and again by the schedule loop."""
    ending = select(Campaign).where(Campaign.ends_on_purchase, Campaign.state.in_(("sending", "paused")))
    return sum(end(session, blobs, row, now) for row in session.scalars(ending.order_by(Campaign.id)))


def _given(session: Session, blobs: Blobs, row: Campaign, now: datetime) -> dict[str, Any]:
    goal = goals.current(session, row.id)
    products, categories = _offered(blobs, row)
    return {
        "campaign": row.id, "now": now, "test": TEST_BIT, "kind": row.kind,
        "days": goal.window_days if goal is not None else WINDOW_DAYS, "products": products, "categories": categories,
    }  # fmt: skip


def _offered(blobs: Blobs, row: Campaign) -> tuple[list[str], list[int]]:
    """The products of what the plan may sell, and the categories of its offers that show no product."""
    if row.plan_hash is None:
        return [], []
    try:
        plan = plans.load(blobs, row.plan_hash)
    except NotFound:
        return [], []
    sold = [offer for offer in plan.offers if offer.kind in SALES_KINDS]
    products = {offer.product for offer in sold if offer.product is not None}
    whole = {offer.purpose_category or offer.category for offer in sold if offer.product is None}
    return sorted(products), sorted(number for number in whole if number is not None)


_THINGS: Final = """
    WITH mail AS (
        SELECT d.id, d.occurrence, d.profile_id, p.root_id, d.state, d.sent_at,
               coalesce(d.sent_at, began.event_time, d.created_at) AS since, began.body -> 'properties' AS said,
               began.category_ids AS began_categories,
               (SELECT array_agg(r.category_id) FROM replenish_entry r
                WHERE r.campaign_id = d.campaign_id AND r.occurrence = d.occurrence AND r.profile_id = d.profile_id
               ) AS due_categories
        FROM delivery d JOIN profile p ON p.id = d.profile_id
        LEFT JOIN trigger_entry t ON t.campaign_id = d.campaign_id AND t.occurrence = d.occurrence
                                 AND t.profile_id = d.profile_id
        LEFT JOIN event began ON began.id = t.event_id
        WHERE d.campaign_id = :campaign AND d.occurrence < :test AND {wanted}
    ), thing AS (
        SELECT m.id, m.occurrence, m.profile_id, m.root_id, m.sent_at, m.since, m.said ->> 'cart_id' AS cart,
               CASE WHEN :kind = 'triggered' THEN named.products WHEN :kind = 'broadcast' THEN CAST(:products AS text[])
               END AS products,
               CASE WHEN :kind = 'triggered' AND named.products IS NULL THEN m.began_categories
                    WHEN :kind = 'replenishment' THEN m.due_categories
                    WHEN :kind = 'broadcast' THEN CAST(:categories AS int[]) END AS categories
        FROM mail m
        LEFT JOIN LATERAL (
            SELECT array_agg(product) AS products FROM (
                SELECT m.said ->> 'product_id' AS product
                UNION ALL
                SELECT line ->> 'product_id' FROM json_array_elements(
                    CASE WHEN json_typeof(m.said -> 'products') = 'array' THEN m.said -> 'products' ELSE '[]' END
                ) AS line
            ) AS listed WHERE product IS NOT NULL
        ) named ON true
    ), bought AS (
        SELECT t.id, t.occurrence, t.profile_id, t.sent_at, t.since, count(o.id) AS orders, coalesce(bool_or(
            coalesce(o.body -> 'properties' ->> 'cart_id' = t.cart, false)
            OR coalesce(o.category_ids && t.categories, false)
            OR EXISTS (
                SELECT 1 FROM json_array_elements(
                    CASE WHEN json_typeof(o.body -> 'properties' -> 'products') = 'array'
                         THEN o.body -> 'properties' -> 'products' ELSE '[]' END
                ) AS line WHERE line ->> 'product_id' = ANY(t.products)
            )
        ), false) AS is_thing
        FROM thing t
        LEFT JOIN (
            SELECT e.id, e.event_time, e.category_ids, e.body, member.root_id FROM event e
            JOIN profile member ON member.id = e.profile_id
            WHERE e.name = 'Order Completed' AND e.folds
        ) o ON o.root_id = t.root_id AND o.event_time > t.since AND o.event_time <= :now
           AND o.event_time <= t.since + make_interval(days => :days)
        GROUP BY t.id, t.occurrence, t.profile_id, t.sent_at, t.since
    ), left_by AS (
        SELECT b.id, b.occurrence, b.profile_id, CASE
            WHEN b.is_thing THEN 'converted' WHEN b.orders > 0 THEN 'converted_elsewhere'
            WHEN b.since + make_interval(days => :days) <= :now THEN 'nothing' ELSE 'open' END AS exit
        FROM bought b
    )
"""
_MAILED: Final = _THINGS.format(wanted="d.state = 'accepted'")
_COUNTED: Final = text(_MAILED + " SELECT exit, count(*) FROM left_by GROUP BY exit")  # noqa: S608 - every part is written here
_EACH: Final = text(_MAILED + " SELECT occurrence, profile_id, exit FROM left_by")  # noqa: S608
_BOUGHT: Final = "('converted', 'converted_elsewhere')"
_WAITS: Final = """d.profile_id IN (
    SELECT w.profile_id FROM delivery w WHERE w.campaign_id = :campaign AND w.occurrence < :test
    AND w.state IN ('queued', 'deferred') ORDER BY w.id LIMIT :most
) AND d.state IN ('queued', 'deferred', 'accepted')"""
# A person's exit is that of the newest mail by which they left: of the one that waits, or of an earlier one.
_END: Final = text(f"""
    {_THINGS.format(wanted=_WAITS)}, gone AS (
        SELECT DISTINCT ON (profile_id) profile_id, exit FROM left_by WHERE exit IN {_BOUGHT}
        ORDER BY profile_id, exit, id DESC
    )
    UPDATE delivery d SET state = 'skipped', reason = gone.exit, settled_at = :now
    FROM gone WHERE d.campaign_id = :campaign AND d.occurrence < :test AND d.profile_id = gone.profile_id
      AND d.state IN ('queued', 'deferred')
    RETURNING d.id
""")  # noqa: S608 - every part is written here
