"""What a campaign earned after everything it cost: margin − discounts − returns − service.

Counted of everybody who was mailed, in the group they were assigned to, opened or not. Orders are those placed within
so many days after the mail, as they were changed since; what came back of them is what states take off it
(signals/settled.py), and counts whenever it comes back. All amounts are cents of the campaign's currency, orders in
others are left out.

- *margin*: the goods at their list value (paid and discount together) less what they cost. A line of an order may tell
  the cost of one (`products[].cost`); for others their part of the list value × (1 − margin share) of the terms
  stands in.
- *discount*: what the order tells (`discount`).
- *returns*: money paid back, less the cost of goods that came back with it, plus what handling one return costs.
- *service*: complaints opened and calls noted within the same days, at what one of them costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from base.ids import TEST_BIT
from campaigns import admin_log, reckoning
from campaigns.admin_log import Actor
from campaigns.campaigns import campaign
from campaigns.expired import Counts, expired, figures
from campaigns.goals import DECIDED, MAX_DAYS, MOST, NEUTRAL
from campaigns.lift import Compared, Past, Sample, compare
from campaigns.models import ProfitTerms
from campaigns.past import MOST_DAYS, past_of
from signals import foldevent
from signals.orders import CORRECTING
from signals.settled import SETTLED, given_settled, newest_told, settled

MAX_CENTS: Final = 10_000_000


@dataclass(frozen=True)
class Earned:
    """What one group came to, in cents; `returned` and `contacts` are numbers of returns and of service contacts,
    `returns` is what the former cost.

    The squares, and all that begins with `past`, are sums over people: of pasts (`campaigns/past.py`), their
    squares, their products. `active` are those who ordered or called.
    """

    group: str
    people: int
    buyers: int
    active: int
    orders: int
    paid: int
    margin: int
    discount: int
    returned: int
    returns: int
    contacts: int
    service: int
    paid_squared: float
    profit_squared: float
    past: float = 0.0
    past_squared: float = 0.0
    past_paid: float = 0.0
    past_profit: float = 0.0

    @property
    def profit(self) -> int:
        """What is left. Below zero it is a loss."""
        return self.margin - self.discount - self.returns - self.service


OF_EVENTS: Final = tuple(field.name for field in fields(Earned) if field.name not in ("group", "people"))
"""The figures that are counted from stored signals. Those of erased people are kept as sums."""


@dataclass(frozen=True)
class Profit:
    """The groups by the terms, and what deciding at the open changed of revenue and of profit, a person."""

    terms: ProfitTerms
    groups: tuple[Earned, ...]
    revenue_lift: Compared | None
    profit_lift: Compared | None

    @property
    def is_loss(self) -> bool:
        """Whether the offers lose money: against neutral content where that can be told, else taken by themselves."""
        if self.profit_lift is not None:
            return self.profit_lift.lift is not None and self.profit_lift.lift.verdict == "loss"
        return any(group.profit < 0 for group in self.groups)

    @property
    def words(self) -> str:
        """What it comes to, in a sentence that claims no more than the intervals hold."""
        if self.profit_lift is None:
            return "A loss: it cost more than it brought." if self.is_loss else ""
        if self.profit_lift.lift is None:
            return f"Whether the offers earned anything cannot be told yet: {self.profit_lift.missing}."
        verdict = self.profit_lift.lift.verdict
        rose = self.revenue_lift is not None and self.revenue_lift.lift is not None
        rose = rose and self.revenue_lift.lift.verdict == "gain"  # type: ignore[union-attr]
        if verdict == "loss":
            return "A loss: revenue rose, and profit fell." if rose else "A loss: profit fell."
        if verdict == "gain":
            return "A gain: profit rose."
        return "Revenue rose; whether profit did is open." if rose else "Whether the offers earned anything is open."


def name_terms(
    session: Session,
    campaign_id: int,
    margin_share: float,
    window_days: int,
    return_cents: int,
    service_cents: int,
    now: datetime,
    by: Actor,
) -> ProfitTerms:
    """Say what things cost. A change makes a new version; naming the same again changes nothing.

    Raises InvalidInput naming the field.
    """
    if not 0 <= margin_share <= 1:
        raise InvalidInput("margin_share", "must be 0 to 1")
    if not 1 <= window_days <= MAX_DAYS:
        raise InvalidInput("window_days", f"must be 1 to {MAX_DAYS} days")
    for field, cents in (("return_cents", return_cents), ("service_cents", service_cents)):
        if not 0 <= cents <= MAX_CENTS:
            raise InvalidInput(field, f"must be 0 to {MAX_CENTS} cents")
    row = campaign(session, campaign_id)
    content = {
        "margin_share": margin_share, "window_days": window_days, "return_cents": return_cents,
        "service_cents": service_cents,
    }  # fmt: skip
    before = current(session, row.id)
    if before is not None and all(getattr(before, name) == value for name, value in content.items()):
        return before
    version = before.version + 1 if before is not None else 1
    terms = ProfitTerms(campaign_id=row.id, version=version, named_at=now, named_by=by.name, **content)
    session.add(terms)
    session.flush()
    admin_log.record(session, by, "name costs", "campaign", row.id, now, after=admin_log.snapshot(terms))
    return terms


def current(session: Session, campaign_id: int) -> ProfitTerms | None:
    """The terms that hold now; None when none were named."""
    newest = select(ProfitTerms).where(ProfitTerms.campaign_id == campaign_id).order_by(ProfitTerms.version.desc())
    return session.scalar(newest.limit(1))


def profit(session: Session, campaign_id: int, now: datetime, *, anew: bool = False) -> Profit | None:
    """What it came to by the present terms, or as it was counted last; None before they were named.

    `anew`: counted in any case, and kept. Raises NotCounted of a large campaign before its first count, Unavailable.
    """
    terms = current(session, campaign_id)
    if terms is None:
        return None
    groups = reckoning.reckoned(
        session, campaign_id, f"profit/{terms.version}", tuple[Earned, ...],
        lambda: _whole_groups(session, terms, now), now if anew else None,
    )  # fmt: skip
    by_name = {group.group: group for group in groups}
    if by_name.keys() != {DECIDED, NEUTRAL}:
        return Profit(terms, groups, None, None)
    ours, theirs = by_name[DECIDED], by_name[NEUTRAL]
    return Profit(
        terms,
        groups,
        compare((DECIDED, _revenue(ours)), (NEUTRAL, _revenue(theirs))),
        compare((DECIDED, _profit(ours)), (NEUTRAL, _profit(theirs)), active="people who ordered or called"),
    )


def left_by(session: Session, campaign_id: int, root: int, now: datetime) -> Counts:
    """What a person comes to up to now by the present terms: to be kept when their signals are erased."""
    terms = current(session, campaign_id)
    if terms is None:
        return Counts()
    return Counts(
        {
            (campaign_id, "profit", f"{terms.version}/{one.group}/{name}"): max(
                -MOST, min(round(getattr(one, name)), MOST)
            )
            for one in _earned(session, terms, now, root)
            for name in OF_EVENTS
        }
    )


def _earned(session: Session, terms: ProfitTerms, now: datetime, root: int | None = None) -> tuple[Earned, ...]:
    """By the rows that are there: of everybody, or of one person."""
    given: Mapping[str, Any] = {
        "campaign": terms.campaign_id, "test": TEST_BIT, "days": terms.window_days, "now": now, "root": root,
        "cost_share": 1 - terms.margin_share, "return_cents": terms.return_cents, "service_cents": terms.service_cents,
        "decided": DECIDED, "neutral": NEUTRAL,
    }  # fmt: skip
    corrected = session.execute(text(_CORRECTED), {**given, "names": list(CORRECTING)})
    orders = given_settled(settled(session, ((row.root_id, row.order_id) for row in corrected), now))
    return tuple(Earned(**row._mapping) for row in session.execute(text(EARNED), {**given, **orders}))


def _whole_groups(session: Session, terms: ProfitTerms, now: datetime) -> tuple[Earned, ...]:
    """The groups with what people came to who were erased since; as people they are still in the ledger."""
    kept = expired(session, terms.campaign_id)

    def whole(group: Earned) -> Earned:
        added = figures(kept, "profit", terms.version, group.group)
        return replace(group, **{name: getattr(group, name) + number for name, number in added.items()})

    return tuple(map(whole, _earned(session, terms, now)))


def _revenue(group: Earned) -> Sample:
    return Sample(group.people, group.paid, group.paid_squared, group.buyers, _past(group, group.past_paid))


def _profit(group: Earned) -> Sample:
    return Sample(group.people, group.profit, group.profit_squared, group.active, _past(group, group.past_profit))


def _past(group: Earned, product: float) -> Past:
    return Past(group.past, group.past_squared, product)


# A number in an event's figures may be text, or nonsense: what is none, or none below 10^10, counts as not told.
_NUMBER = r"CASE WHEN ({0}) ~ '^[0-9]{{1,10}}(\.[0-9]+)?$' THEN ({0})::numeric END"
_LINES = "json_array_elements(CASE WHEN json_typeof({0} #> '{{properties,products}}') = 'array'"
_LINES += " THEN {0} #> '{{properties,products}}' ELSE '[]' END)"


def _told(path: str) -> str:
    return _NUMBER.format(path)


_COUNTS: Final = """o.name = 'Order Completed' AND o.folds AND o.event_time <= :now
    AND o.event_time >= m.sent_at AND o.event_time < m.sent_at + make_interval(days => :days)"""

_MAILED: Final = """mailed AS (
        -- Merged people whose members are in both groups are in neither.
        SELECT d.holdout, p.root_id, min(d.sent_at) AS sent_at, count(*) OVER (PARTITION BY p.root_id) AS groups
        FROM delivery d JOIN profile p ON p.id = d.profile_id
        WHERE d.campaign_id = :campaign AND d.occurrence < :test AND d.state = 'accepted' AND d.sent_at IS NOT NULL
          AND (CAST(:root AS bigint) IS NULL OR p.root_id = :root)
        GROUP BY d.holdout, p.root_id
    )"""

_CORRECTED: Final = f"""
    WITH {_MAILED}
    SELECT DISTINCT m.root_id, o.order_id
    FROM mailed m
    JOIN profile member ON member.root_id = m.root_id
    JOIN event o ON o.profile_id = member.id AND {_COUNTS}
    JOIN event r ON r.order_id = o.order_id AND lower(r.name) = ANY(:names)
    WHERE m.groups = 1
"""  # noqa: S608

# Each part is materialized: without statistics of a campaign just mailed it is otherwise worked out once a person.
EARNED: Final = f"""
    WITH {SETTLED}, {_MAILED}, ordered AS (
        SELECT m.root_id, paid.cents AS paid, coalesce(told.discount, 0) AS discount,
               coalesce(s.back, 0) AS back, coalesce(s.share, 0)::numeric AS share, coalesce(s.returns, 0) AS returns,
               -- Of lines that tell no cost, by their part of the order: their prices are with discounts or without.
               CASE WHEN lines.untold = 0 THEN lines.cost
                    ELSE coalesce(lines.cost, 0) * (lines.untold IS NOT NULL)::int + :cost_share
                         * (paid.cents + coalesce(told.discount, 0)) * coalesce(lines.untold, 1) END AS cost
        FROM mailed m
        JOIN campaign c ON c.id = :campaign
        JOIN profile member ON member.root_id = m.root_id
        JOIN event o ON o.profile_id = member.id AND {_COUNTS}
        LEFT JOIN settled s ON s.event = o.id
        LEFT JOIN event changed ON changed.id = s.told_by AND s.told_by <> o.id
        CROSS JOIN LATERAL (SELECT CASE WHEN s.event IS NULL THEN o.order_total_cents ELSE s.paid END AS cents) paid
        CROSS JOIN LATERAL (
            SELECT round(100 * coalesce({newest_told(_told("said.figures #>> '{properties,discount}'"))},
                                        {_told("o.figures #>> '{properties,discount}'")})) AS discount
        ) told
        CROSS JOIN LATERAL (
            SELECT round(sum(least(100 * each.cost * each.quantity, {foldevent.MAX_CENTS}))
                         FILTER (WHERE each.cost IS NOT NULL)) AS cost,
                   CASE WHEN bool_and(each.cost IS NOT NULL) THEN 0
                        WHEN bool_and(each.price IS NOT NULL)
                        THEN coalesce(sum(each.price * each.quantity) FILTER (WHERE each.cost IS NULL)
                             / nullif(sum(each.price * each.quantity), 0), 1) END AS untold
            FROM (
                SELECT coalesce({_told("line ->> 'quantity'")}, 1) AS quantity,
                       {_told("line ->> 'cost'")} AS cost, {_told("line ->> 'price'")} AS price
                FROM {_LINES.format("coalesce(changed.figures, o.figures)")} AS line
            ) each
        ) lines
        WHERE m.groups = 1 AND paid.cents IS NOT NULL
          AND coalesce(s.currency, upper(o.figures #>> '{{properties,currency}}'), c.currency) = c.currency
    ), called AS MATERIALIZED (
        SELECT m.root_id, count(*) AS contacts
        FROM mailed m
        JOIN profile member ON member.root_id = m.root_id
        JOIN event s ON s.profile_id = member.id AND lower(s.name) IN ('complaint opened', 'call note added')
          AND s.event_time >= m.sent_at AND s.event_time < m.sent_at + make_interval(days => :days)
          AND s.event_time <= :now
        GROUP BY m.root_id
    ), bought AS MATERIALIZED (
        SELECT root_id, count(*) AS orders, sum(paid) AS paid, sum(discount) AS discount,
               sum(paid + discount - cost) AS margin, sum(returns) AS returned,
               sum(back - cost * share + returns * :return_cents) AS returns
        FROM ordered GROUP BY root_id
    ), used AS MATERIALIZED (
        SELECT m.root_id, {past_of("m.sent_at", "o.event_time")} AS past
        FROM mailed m
        JOIN profile member ON member.root_id = m.root_id
        JOIN event o ON o.profile_id = member.id AND o.name = 'Order Completed' AND o.folds
          AND o.event_time < m.sent_at AND o.event_time >= m.sent_at - interval '{MOST_DAYS} days'
        GROUP BY m.root_id
    ), each AS (
        SELECT m.holdout, coalesce(b.orders, 0) AS orders, round(coalesce(b.paid, 0)) AS paid,
               round(coalesce(b.margin, 0)) AS margin, round(coalesce(b.discount, 0)) AS discount,
               coalesce(b.returned, 0) AS returned, round(coalesce(b.returns, 0)) AS returns,
               coalesce(s.contacts, 0) AS contacts, coalesce(s.contacts, 0) * :service_cents AS service,
               coalesce(u.past, 0) AS past
        FROM mailed m
        LEFT JOIN bought b ON b.root_id = m.root_id LEFT JOIN called s ON s.root_id = m.root_id
        LEFT JOIN used u ON u.root_id = m.root_id
        WHERE m.groups = 1
    )
    SELECT CASE holdout WHEN 'content' THEN :neutral ELSE :decided END AS "group", count(*) AS people,
           count(*) FILTER (WHERE orders > 0) AS buyers,
           count(*) FILTER (WHERE orders > 0 OR contacts > 0) AS active,
           sum(orders)::bigint AS orders, sum(paid)::bigint AS paid, sum(margin)::bigint AS margin,
           sum(discount)::bigint AS discount, sum(returned)::bigint AS returned, sum(returns)::bigint AS returns,
           sum(contacts)::bigint AS contacts, sum(service)::bigint AS service,
           sum(paid::float8 ^ 2) AS paid_squared,
           sum((margin - discount - returns - service)::float8 ^ 2) AS profit_squared,
           sum(past) AS past, sum(past ^ 2) AS past_squared, sum(past * paid::float8) AS past_paid,
           sum(past * (margin - discount - returns - service)::float8) AS past_profit
    FROM each GROUP BY holdout ORDER BY holdout DESC
"""  # noqa: S608  the pieces are the constants above
