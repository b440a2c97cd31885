"""Exit on conversion: whoever buys what their mail was about has converted, whoever buys something else did so
elsewhere, and either ends the campaign for them where it says so.

What a mail was about is the thing that began it: of a triggered campaign the cart and the products of the event (its
categories where it names no product), of a replenishment the categories that were due, else the products of the offers
that the plan may show (the categories of those that show no product). Bought is what orders say that happened after
the mail left, or, of a mail that waits, after what began it; for as many days as success is counted. An order of which
nothing is left, as it was cancelled, came back whole or was emptied, is none; of another the categories count that are
left, and the products and the cart that it was placed with.
Orders of an erased person are gone; how they had left by a purchase is kept as a sum (campaigns/remainder.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.blobs import Blobs
from base.errors import NotFound
from base.ids import TEST_BIT
from campaigns import goals, plans, reckoning, troubles
from campaigns.expired import Counts, expired
from campaigns.models.campaign import Campaign
from render.plan import SALES_KINDS
from signals.emptied import emptied

Exit = Literal["converted", "converted_elsewhere", "nothing", "open"]
EXITS: Final[Mapping[Exit, str]] = {
    "converted": "bought what the mail was about",
    "converted_elsewhere": "bought something else",
    "nothing": "bought nothing in that time",
    "open": "may still buy",
}
BOUGHT: Final[tuple[Exit, ...]] = ("converted", "converted_elsewhere")
WINDOW_DAYS: Final = 14
"""Where a campaign names no success."""
MAX_COUNTED: Final = 100_000
"""The newest mails of a campaign, by which it is told how people left it."""
PIECE: Final = 10_000
"""Signals that one call looks through for orders."""


@dataclass(frozen=True)
class Exits:
    """How many of the mailed left a campaign how, within `days` after their mail; `is_part`: only the newest count."""

    days: int
    numbers: Mapping[Exit, int]
    is_part: bool


def exits(session: Session, blobs: Blobs, row: Campaign, now: datetime, *, anew: bool = False) -> Exits:
    """How everybody who was mailed left the campaign; the numbers add up to the mails that were accepted.

    Of more than MAX_COUNTED mails the newest are told of. `anew`: counted in any case, and kept. Raises NotCounted of a
    large campaign before its first count.
    """
    return reckoning.reckoned(
        session, row.id, "exits", Exits, lambda: _exits(session, blobs, row, now), now if anew else None
    )


def _exits(session: Session, blobs: Blobs, row: Campaign, now: datetime) -> Exits:
    given = _given(session, blobs, row, now) | {"most": MAX_COUNTED}
    numbers: dict[Exit, int] = dict.fromkeys(EXITS, 0)
    erased: dict[Exit, int] = dict.fromkeys(EXITS, 0)
    for one in session.execute(_COUNTED, given):
        numbers[one.exit] += one.number
        if one.is_erased:
            erased[one.exit] += one.number
    kept = expired(session, row.id)
    for name in BOUGHT:
        _move(numbers, erased, name, kept["exit", name])
    return Exits(given["days"], numbers, sum(numbers.values()) >= MAX_COUNTED)


def _move(numbers: dict[Exit, int], erased: dict[Exit, int], name: Exit, number: int) -> None:
    """Count so many of the erased, whose orders are gone, as having left by a purchase after all."""
    for other in ("open", "nothing"):
        moved = min(number, erased[other])
        erased[other] -= moved
        numbers[other] -= moved
        numbers[name] += moved
        number -= moved


def left_by(session: Session, blobs: Blobs, campaign_id: int, root: int, now: datetime) -> Counts:
    """How a person left a campaign by purchases, a mail each: to be kept when their orders are erased."""
    left = Counts()
    given = _given(session, blobs, session.get_one(Campaign, campaign_id), now) | {"root": root}
    for one in session.execute(_LEFT_BY, given):
        left[campaign_id, "exit", one.exit] = one.number
    return left


def of(session: Session, blobs: Blobs, row: Campaign, now: datetime) -> dict[tuple[int, int], Exit]:
    """Everybody's exit by run and profile; for small campaigns and for tests of them."""
    found = session.execute(_EACH, _given(session, blobs, row, now) | {"most": MAX_COUNTED})
    return {(one.occurrence, one.profile_id): one.exit for one in found}


def gone(
    session: Session, blobs: Blobs, people: Sequence[tuple[int, int]], now: datetime
) -> dict[tuple[int, int], Exit]:
    """Who of these, by campaign and profile, gets no further mail of that campaign, and how they left it.

    A sender asks it of what it has claimed: nothing that was bought before is overlooked.
    """
    found: dict[tuple[int, int], Exit] = {}
    for number, profiles in _by_campaign(people).items():
        row = session.get_one(Campaign, number)
        if row.ends_on_purchase:
            given = _given(session, blobs, row, now) | {"people": profiles}
            found |= {(number, one.profile_id): one.exit for one in session.execute(_GONE, given)}
    return found


def end_new(session: Session, blobs: Blobs, now: datetime, after: int | None) -> int:
    """Skip what waits of campaigns that end with a purchase for who has bought since the signal `after` (None: nobody).

    Returns the signal to go on from: at most PIECE are looked through. Called again and again by the schedule loop, so
    that the ledger says it soon; what it passes by is found when it is claimed. A campaign that fails is paused. The
    caller commits.
    """
    newest = session.scalar(_NEWEST if after is None else _PIECE, {"after": after, "most": PIECE})
    if after is None or newest is None:
        return newest or after or 0
    buyers = session.execute(_BUYERS, {"after": after, "upto": newest, "test": TEST_BIT})
    for number, profiles in _by_campaign((row.campaign_id, row.profile_id) for row in buyers).items():
        with troubles.apart(session, number, now, "whoever bought cannot leave it"):
            given = _given(session, blobs, session.get_one(Campaign, number), now)
            session.execute(_END, given | {"people": profiles})
    return int(newest)


def _by_campaign(people: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for number, profile in sorted(people):
        found.setdefault(number, []).append(profile)
    return found


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
               coalesce(d.sent_at, began.event_time, d.created_at) AS since, began.figures -> 'properties' AS said,
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
            coalesce(o.figures -> 'properties' ->> 'cart_id' = t.cart, false)
            OR coalesce(o.category_ids && t.categories, false)
            OR EXISTS (
                SELECT 1 FROM json_array_elements(
                    CASE WHEN json_typeof(o.figures -> 'properties' -> 'products') = 'array'
                         THEN o.figures -> 'properties' -> 'products' ELSE '[]' END
                ) AS line WHERE line ->> 'product_id' = ANY(t.products)
            )
        ), false) AS is_thing
        FROM thing t
        LEFT JOIN LATERAL (
            SELECT e.id, coalesce(e.left_category_ids, e.category_ids) AS category_ids, e.figures
            FROM profile member JOIN event e ON e.profile_id = member.id
            WHERE member.root_id = t.root_id AND e.name = 'Order Completed' AND e.folds AND NOT e.void
              AND e.event_time > t.since AND e.event_time <= :now
              AND e.event_time <= t.since + make_interval(days => :days) AND NOT {emptied}
        ) o ON true
        GROUP BY t.id, t.occurrence, t.profile_id, t.sent_at, t.since
    ), left_by AS (
        SELECT b.id, b.occurrence, b.profile_id, CASE
            WHEN b.is_thing THEN 'converted' WHEN b.orders > 0 THEN 'converted_elsewhere'
            WHEN b.since + make_interval(days => :days) <= :now THEN 'nothing' ELSE 'open' END AS exit
        FROM bought b
    )
""".replace("{emptied}", emptied("e.order_id", "t.root_id"))
_MAILED: Final = _THINGS.format(
    wanted="""d.id IN (
        SELECT a.id FROM delivery a WHERE a.campaign_id = :campaign AND a.occurrence < :test AND a.state = 'accepted'
        ORDER BY a.id DESC LIMIT :most
    )"""
)
_COUNTED: Final = text(
    f"""{_MAILED}
    SELECT exit, p.erased_at IS NOT NULL AS is_erased, count(*) AS number
    FROM left_by JOIN profile p ON p.id = left_by.profile_id GROUP BY 1, 2
"""  # noqa: S608 - every part is written here
)
_LEFT_BY: Final = text(
    f"""{_THINGS.format(wanted="d.state = 'accepted' AND p.root_id = :root")}
    SELECT exit, count(*) AS number FROM left_by WHERE exit IN ('converted', 'converted_elsewhere') GROUP BY exit
"""  # noqa: S608 - every part is written here
)
_EACH: Final = text(_MAILED + " SELECT occurrence, profile_id, exit FROM left_by")  # noqa: S608
# A person's exit is that of the newest mail by which they left: of the one that waits, or of an earlier one.
_OPEN: Final = """d.profile_id = ANY(CAST(:people AS bigint[]))
    AND d.state IN ('queued', 'deferred', 'claimed', 'accepted')"""
_LEFT: Final = f"""{_THINGS.format(wanted=_OPEN)}, gone AS (
        SELECT DISTINCT ON (profile_id) profile_id, exit FROM left_by
        WHERE exit IN ('converted', 'converted_elsewhere') ORDER BY profile_id, exit, id DESC
    )"""  # noqa: S608 - every part is written here
_GONE: Final = text(_LEFT + " SELECT profile_id, exit FROM gone")  # noqa: S608 - every part is written here
# Rows that a sender is claiming are left to it: it asks the same.
_END: Final = text(f"""
    {_LEFT}, waiting AS MATERIALIZED (
        SELECT d.id, gone.exit FROM delivery d JOIN gone ON gone.profile_id = d.profile_id
        WHERE d.campaign_id = :campaign AND d.occurrence < :test AND d.state IN ('queued', 'deferred')
        ORDER BY d.id FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE delivery d SET state = 'skipped', reason = waiting.exit, settled_at = :now
    FROM waiting WHERE d.id = waiting.id
""")  # noqa: S608 - every part is written here
_NEWEST: Final = text("SELECT max(id) FROM event")
_PIECE: Final = text("""
    SELECT max(id) FROM (SELECT id FROM event WHERE id > :after ORDER BY id LIMIT :most) AS piece
""")
_BUYERS: Final = text("""
    SELECT DISTINCT w.campaign_id, w.profile_id FROM event e
    JOIN profile buyer ON buyer.id = e.profile_id
    JOIN profile member ON member.root_id = buyer.root_id
    JOIN delivery w ON w.profile_id = member.id
    JOIN campaign c ON c.id = w.campaign_id
    WHERE e.id > :after AND e.id <= :upto AND e.name = 'Order Completed' AND e.folds
      AND NOT e.void AND w.occurrence < :test AND w.state IN ('queued', 'deferred')
      AND c.ends_on_purchase AND c.state IN ('sending', 'paused')
""")
