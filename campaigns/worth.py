"""What a person's orders of a year are worth, counted from stored events, and the four flags of the profit guard.

All four come from the research on customers who lose money with everything more they buy: they need much service, send
much back, buy at a discount only, or spend the same whatever they buy. Nothing after the moment asked for is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns import admin_log
from campaigns.admin_log import Actor
from campaigns.models.scores import GuardTerms
from signals.orders import CORRECTING
from signals.settled import SETTLED, given_settled, newest_told, settled

WINDOW: Final = timedelta(days=364)
"""Four quarters of thirteen weeks: a weekly rhythm falls alike into each."""
_QUARTER: Final = timedelta(days=91)
LEAST_ORDERS: Final = 4
LEAST_CONTACTS: Final = 3
RETURNED: Final = 0.4
DISCOUNTED: Final = 0.8
MORE_KINDS: Final = 1.5
SAME_SPEND: Final = 1.1
_TICK: Final = timedelta(milliseconds=1)
_ONLY: Final = 1


class WorthTerms(Struct, frozen=True, forbid_unknown_fields=True):
    """What the guard assumes: the share of the full price that is margin, and what a contact and a return cost (cents).

    What is shipped are rough judgements of ours; a shop puts in its own.
    """

    margin: Annotated[float, Meta(ge=0, le=1)] = 0.35
    contact_cents: Annotated[int, Meta(ge=0, le=1_000_000)] = 600
    return_cents: Annotated[int, Meta(ge=0, le=1_000_000)] = 500


@dataclass(frozen=True, slots=True)
class Worth:
    """A person's last 364 days, in cents. `sold` is what was paid, `back` what was paid back of it, `goods_back` is the
    full price of goods that came back, by `returned` returns of `orders_back` orders.

    `early` and `late` are the halves of the window: what was spent in them, and on how many categories. `quarters` with
    an order: of four.
    """

    root: int
    orders: int
    sold: int
    discounted: int
    discount: int
    orders_back: int
    returned: int
    back: int
    goods_back: int
    contacts: int
    quarters: int
    early: int
    late: int
    early_kinds: int
    late_kinds: int

    def profit(self, terms: WorthTerms) -> int:
        """Cents that the window earned: what stayed paid, less the cost of the goods that stayed sold (their full price
        without the margin), contacts and returns."""
        cost = (1 - terms.margin) * (self.sold + self.discount - self.goods_back)
        aftercare = self.contacts * terms.contact_cents + self.returned * terms.return_cents
        return round(self.sold - self.back - cost - aftercare)

    def flags(self, terms: WorthTerms) -> dict[str, float]:
        """The flags that hold, with what tripped each: contacts, a share of orders, or the spend of the later half over
        that of the earlier. The first three want a loss as well: who pays for what they cost is nobody's problem."""
        found: dict[str, float] = {}
        if self.profit(terms) <= 0:
            if self.contacts >= LEAST_CONTACTS:
                found["service"] = float(self.contacts)
            if self.orders >= LEAST_ORDERS and self.orders_back >= RETURNED * self.orders:
                found["returns"] = round(self.orders_back / self.orders, 4)
            if self.orders >= LEAST_ORDERS and self.discounted >= DISCOUNTED * self.orders:
                found["discount"] = round(self.discounted / self.orders, 4)
        if (
            self.quarters == 4
            and self.early > 0
            and self.late_kinds >= MORE_KINDS * self.early_kinds
            and self.late <= SAME_SPEND * self.early
        ):
            found["spending"] = round(self.late / self.early, 4)
        return found


def terms(session: Session) -> WorthTerms:
    """What the guard assumes now."""
    row = session.get(GuardTerms, _ONLY)
    return WorthTerms() if row is None else WorthTerms(row.margin, row.contact_cents, row.return_cents)


def set_terms(session: Session, given: WorthTerms, now: datetime, by: Actor) -> None:
    """Assume something else from the next run on."""
    row = session.get(GuardTerms, _ONLY, with_for_update=True)
    before = None if row is None else admin_log.snapshot(row)
    if row is None:
        row = GuardTerms(id=_ONLY)
        session.add(row)
    row.margin, row.contact_cents, row.return_cents = given.margin, given.contact_cents, given.return_cents
    row.changed_at = now
    session.flush()
    after = admin_log.snapshot(row)
    admin_log.record(session, by, "change", "profit guard", _ONLY, now, before=before, after=after)


def worths(session: Session, roots: Sequence[int], as_of: datetime) -> Iterator[Worth]:
    """The worth of each of these root profiles that did anything the guard looks at, as of a moment. Raises
    Unavailable."""
    given: dict[str, Any] = {
        "roots": list(roots),
        "as_of": as_of,
        "since": as_of - WINDOW,
        "half": as_of - 2 * _QUARTER,
    }
    corrected = session.execute(_NAMED, given | {"names": list(CORRECTING)})
    given |= given_settled(settled(session, ((row.root_id, row.order_id) for row in corrected), as_of - _TICK))
    for row in session.execute(_WORTH, given):
        yield Worth(**row._mapping)


# The orders that corrections of the window name, whenever they were placed.
_NAMED: Final = text("""
    SELECT DISTINCT p.root_id, e.order_id FROM profile p JOIN event e ON e.profile_id = p.id
    WHERE p.root_id = ANY(:roots) AND e.type = 'track' AND lower(e.name) = ANY(:names)
      AND e.order_id IS NOT NULL AND e.event_time >= :since AND e.event_time < :as_of
""")

# Texts of shops are not trusted to be numbers: what is none counts as not told.
_WORTH: Final = text(rf"""
    WITH {SETTLED}, told AS MATERIALIZED (
        SELECT p.root_id AS root, lower(e.name) AS name, e.id, e.event_time AS at, e.category_ids,
               e.order_total_cents AS total, e.figures
        FROM profile p JOIN event e ON e.profile_id = p.id
        WHERE p.root_id = ANY(:roots) AND e.folds AND e.type = 'track'
          AND e.event_time >= :since AND e.event_time < :as_of
          AND lower(e.name) IN ('order completed', 'complaint opened', 'call note added')
    ), placed AS (
        SELECT o.root, o.at, coalesce(changed.category_ids, o.category_ids) AS category_ids,
               coalesce(CASE WHEN s.event IS NULL THEN o.total ELSE s.paid END, 0) AS paid, coalesce(s.back, 0) AS back,
               coalesce(s.share, 0) AS share, coalesce(s.returns, 0) AS returned,
               coalesce(greatest(CASE WHEN said.discount ~ '^-?[0-9]{{1,12}}(\.[0-9]+)?$'
                                      THEN round(said.discount::numeric * 100) END, 0), 0) AS discount,
               coalesce(said.coupon, '') <> '' AS has_coupon,
               CASE WHEN coalesce(said.paid_in = own.currency, true) THEN 1
                    ELSE exchange_rate_at(said.paid_in, o.at) END AS rate,
               floor(extract(epoch FROM CAST(:as_of AS timestamptz) - o.at) / (91 * 86400)) AS quarter
        FROM told o
        LEFT JOIN settled s ON s.event = o.id
        LEFT JOIN event changed ON changed.id = s.told_by AND s.told_by <> o.id
        CROSS JOIN LATERAL (
            SELECT coalesce(s.currency, upper(o.figures #>> '{{properties,currency}}')) AS paid_in,
                   coalesce({newest_told("said.figures #>> '{properties,discount}'")},
                            o.figures #>> '{{properties,discount}}') AS discount,
                   coalesce({newest_told("said.figures #>> '{properties,coupon}'")},
                            o.figures #>> '{{properties,coupon}}') AS coupon
        ) said
        CROSS JOIN (SELECT max(currency) AS currency FROM own_currency) own
        WHERE o.name = 'order completed'
    ), kinds AS (
        SELECT root, count(DISTINCT category) FILTER (WHERE at < :half) AS early,
               count(DISTINCT category) FILTER (WHERE at >= :half) AS late
        FROM placed CROSS JOIN unnest(category_ids) AS category GROUP BY root
    ), bought AS (
        SELECT root, count(*) AS orders, sum(round(rate * paid)) AS sold, sum(round(rate * discount)) AS discount,
               count(*) FILTER (WHERE discount > 0 OR has_coupon) AS discounted, count(DISTINCT quarter) AS quarters,
               count(*) FILTER (WHERE returned > 0) AS orders_back, sum(returned) AS returned,
               sum(round(rate * back)) AS back,
               sum(round(rate * (paid + discount) * share::numeric)) AS goods_back,
               coalesce(sum(round(rate * paid)) FILTER (WHERE at < :half), 0) AS early,
               coalesce(sum(round(rate * paid)) FILTER (WHERE at >= :half), 0) AS late
        FROM placed GROUP BY root
    ), asked AS (
        SELECT root, count(*) AS contacts FROM told WHERE name IN ('complaint opened', 'call note added') GROUP BY root
    )
    SELECT root, coalesce(b.orders, 0) AS orders, coalesce(b.sold, 0)::bigint AS sold,
           coalesce(b.discounted, 0) AS discounted, coalesce(b.discount, 0)::bigint AS discount,
           coalesce(b.orders_back, 0) AS orders_back, coalesce(b.returned, 0) AS returned,
           coalesce(b.back, 0)::bigint AS back, coalesce(b.goods_back, 0)::bigint AS goods_back,
           coalesce(a.contacts, 0) AS contacts, coalesce(b.quarters, 0) AS quarters,
           coalesce(b.early, 0)::bigint AS early, coalesce(b.late, 0)::bigint AS late,
           coalesce(k.early, 0) AS early_kinds, coalesce(k.late, 0) AS late_kinds
    FROM bought b FULL JOIN asked a USING (root) LEFT JOIN kinds k USING (root)
    ORDER BY root
""")  # noqa: S608  the pieces are constants
