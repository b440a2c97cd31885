"""Success, named up front: what is counted, and for how long after each person's mail.

A definition has a version. Whoever changes it makes a new one; results are shown under every version by its own
definition, so that no old result is rewritten unseen. Counted are the orders of everybody who was mailed, opened or
not, within the window after their mail; held-out people stand beside the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final, Literal, get_args

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from base.ids import TEST_BIT
from campaigns import admin_log, arms, reckoning
from campaigns.admin_log import Actor
from campaigns.campaigns import campaign
from campaigns.expired import Counts, expired, figures
from campaigns.lift import MIN_PEOPLE, Compared, Past, Sample, compare
from campaigns.models import Delivery, Goal
from campaigns.past import past_of

Metric = Literal["orders", "revenue", "average_order", "repeat_customers"]
METRICS: Final[Mapping[Metric, str]] = {
    "orders": "orders",
    "revenue": "revenue",
    "average_order": "average order value",
    "repeat_customers": "repeat customers",
}
"""What may be counted, in words. A repeat customer orders within the window and had ordered before the mail."""
MAX_DAYS: Final = 365
DECIDED: Final = "decided content"
NEUTRAL: Final = "neutral content"
OF_EVENTS: Final = (
    "buyers", "repeat", "orders", "elsewhere", "cents", "orders_squared", "cents_squared", "past", "past_squared",
    "past_orders", "past_cents", "past_repeat",
)  # fmt: skip
"""The figures counted from stored signals. Those of erased people are kept as sums; the ledger has the rest."""
MOST: Final = 10**16
"""What one erased person adds to a figure at most: hundreds of them still add up within a bigint."""


@dataclass(frozen=True)
class Counted:
    """What one group did within the window: `repeat` are people who had ordered before as well.

    `closed` are the people whose window is over; the others may still order. `cents` are the campaign's currency;
    `elsewhere` are those of the orders that were paid in another, whose worth is not in it. The squares, and all that
    begins with `past`, are sums over people: of pasts (`campaigns/past.py`), their squares, their products.
    """

    group: str
    people: int
    closed: int
    buyers: int
    repeat: int
    orders: int
    elsewhere: int
    cents: int
    orders_squared: float = 0.0
    cents_squared: float = 0.0
    past: float = 0.0
    past_squared: float = 0.0
    past_orders: float = 0.0
    past_cents: float = 0.0
    past_repeat: float = 0.0

    def value(self, metric: str) -> float | None:
        """The group's figure: a count or an amount a person, or cents an order; None where there is too little."""
        if self.people < MIN_PEOPLE:
            return None
        if metric == "average_order":
            paid = self.orders - self.elsewhere
            return self.cents / paid if paid else None
        return {"orders": self.orders, "revenue": self.cents, "repeat_customers": self.repeat}[metric] / self.people

    def sample(self, metric: str) -> Sample:
        """What each person of the group comes to, by a metric that everybody has."""
        if metric == "orders":
            return Sample(self.people, self.orders, self.orders_squared, self.buyers, self._past(self.past_orders))
        if metric == "revenue":
            return Sample(self.people, self.cents, self.cents_squared, self.buyers, self._past(self.past_cents))
        return Sample(self.people, self.repeat, self.repeat, self.repeat, self._past(self.past_repeat))

    def _past(self, product: float) -> Past:
        return Past(self.past, self.past_squared, product)


@dataclass(frozen=True)
class Outcome:
    """One definition and what it comes to. `up_front`: it was named before the first mail left."""

    goal: Goal
    up_front: bool
    groups: tuple[Counted, ...]
    arms: tuple[Counted, ...] = ()

    @property
    def words(self) -> str:
        """The definition as a sentence says it."""
        days = "day" if self.goal.window_days == 1 else "days"
        return f"{metric_words(self.goal.metric)} within {self.goal.window_days} {days} after the mail"

    @property
    def lift(self) -> Compared | None:
        """What deciding at the open adds for a person, against neutral content; None where nothing can be compared.

        An average order is of those who order, and deciding may change who does: two groups of buyers are no
        experiment, so no lift is told of it.
        """
        groups = {group.group: group for group in self.groups}
        if self.goal.metric == "average_order" or groups.keys() != {DECIDED, NEUTRAL}:
            return None
        ours, theirs = ((name, groups[name].sample(self.goal.metric)) for name in (DECIDED, NEUTRAL))
        return compare(ours, theirs)

    @property
    def arm_lifts(self) -> tuple[Compared, ...]:
        """Each further arm against the first; together they are wrong no more often than one alone."""
        if self.goal.metric == "average_order":
            return ()
        first, *others = ((arm.group, arm.sample(self.goal.metric)) for arm in self.arms) if self.arms else (None,)
        return tuple(compare(other, first, of=len(others)) for other in others) if first is not None else ()


def metric_words(metric: str) -> str:
    """What a metric is called on pages."""
    return next(words for name, words in METRICS.items() if name == metric)


def name_goal(session: Session, campaign_id: int, metric: str, window_days: int, now: datetime, by: Actor) -> Goal:
    """Say what counts as success. Naming the same again changes nothing. Raises InvalidInput naming the field."""
    if metric not in get_args(Metric):
        raise InvalidInput("metric", f"must be one of {', '.join(METRICS)}")
    if not 1 <= window_days <= MAX_DAYS:
        raise InvalidInput("window_days", f"must be 1 to {MAX_DAYS} days")
    row = campaign(session, campaign_id)
    before = current(session, row.id)
    if before is not None and (before.metric, before.window_days) == (metric, window_days):
        return before
    version = before.version + 1 if before is not None else 1
    goal = Goal(
        campaign_id=row.id, version=version, metric=metric, window_days=window_days, named_at=now, named_by=by.name
    )
    session.add(goal)
    session.flush()
    admin_log.record(session, by, "name success", "campaign", row.id, now, after=admin_log.snapshot(goal))
    return goal


def current(session: Session, campaign_id: int) -> Goal | None:
    """The definition that holds now; None when none was named."""
    newest = select(Goal).where(Goal.campaign_id == campaign_id).order_by(Goal.version.desc()).limit(1)
    return session.scalar(newest)


def outcomes(session: Session, campaign_id: int, now: datetime, *, anew: bool = False) -> list[Outcome]:
    """Every definition, the newest first, each with what it comes to up to now, or as it was counted last.

    `anew`: counted in any case, and kept. Raises NotCounted of a large campaign before its first count.
    """
    keeping = now if anew else None
    first = reckoning.reckoned(
        session, campaign_id, "first", datetime | None, lambda: _first(session, campaign_id), keeping
    )
    found = session.scalars(select(Goal).where(Goal.campaign_id == campaign_id).order_by(Goal.version.desc()))
    split = arms.published(session, campaign(session, campaign_id))
    names = [arm.name for arm in split.arms] if split is not None else []
    kept = expired(session, campaign_id)
    return [
        Outcome(
            goal,
            first is None or goal.named_at <= first,
            reckoning.reckoned(
                session, campaign_id, f"goal/{goal.version}", tuple[Counted, ...],
                partial(_whole_groups, session, COUNTED, goal, now, kept, "goal"), keeping,
            ),
            _by_arm(session, goal, now, names, kept, keeping),
        )
        for goal in found
    ]  # fmt: skip


def _first(session: Session, campaign_id: int) -> datetime | None:
    """When the first mail left."""
    return session.scalar(
        select(func.min(Delivery.sent_at)).where(Delivery.campaign_id == campaign_id, Delivery.occurrence < TEST_BIT)
    )


def left_by(session: Session, campaign_id: int, root: int, now: datetime) -> Counts:
    """What a person adds to the results up to now, by every definition: to be kept when their signals are erased."""
    left = Counts()
    for goal in session.scalars(select(Goal).where(Goal.campaign_id == campaign_id)):
        for what, query in (("goal", COUNTED), ("goal_arm", COUNTED_BY_ARM)):
            for one in _counted(session, query, goal, now, root):
                for figure in OF_EVENTS:
                    left[campaign_id, what, f"{goal.version}/{one.group}/{figure}"] = min(
                        round(getattr(one, figure)), MOST
                    )
    return left


def _by_arm(
    session: Session,
    goal: Goal,
    now: datetime,
    names: list[str],
    kept: Mapping[tuple[str, str], int],
    keeping: datetime | None,
) -> tuple[Counted, ...]:
    if not names:
        return ()
    found = reckoning.reckoned(
        session, goal.campaign_id, f"goal_arm/{goal.version}", tuple[Counted, ...],
        partial(_whole_groups, session, COUNTED_BY_ARM, goal, now, kept, "goal_arm"), keeping,
    )  # fmt: skip
    counted = {group.group: group for group in found}
    nobody = Counted("", 0, 0, 0, 0, 0, 0, 0)
    return tuple(replace(counted.get(str(number), nobody), group=name) for number, name in enumerate(names))


def _whole_groups(
    session: Session, query: str, goal: Goal, now: datetime, kept: Mapping[tuple[str, str], int], what: str
) -> tuple[Counted, ...]:
    """The groups with what people added who were erased since; as people they are still in the ledger."""

    def whole(one: Counted) -> Counted:
        added = figures(kept, what, goal.version, one.group)
        return replace(
            one, **{name: value + added.get(name, 0) for name, value in asdict(one).items() if name in added}
        )

    return tuple(map(whole, _counted(session, query, goal, now)))


def _counted(session: Session, query: str, goal: Goal, now: datetime, root: int | None = None) -> tuple[Counted, ...]:
    """By the rows that are there: of everybody, or of one person."""
    given = {"campaign": goal.campaign_id, "test": TEST_BIT, "days": goal.window_days, "now": now, "root": root}
    return tuple(Counted(**row._mapping) for row in session.execute(text(query), given))


_COUNTED: Final = """
    WITH assigned AS (
        SELECT {group} AS "group", d.profile_id, d.sent_at FROM delivery d
        WHERE d.campaign_id = :campaign AND d.occurrence < :test AND d.state = 'accepted' AND d.sent_at IS NOT NULL
          AND {group} IS NOT NULL
    ), mailed AS (
        -- Merged people whose members are in several groups are in none.
        SELECT a."group", p.root_id, min(a.sent_at) AS sent_at, count(*) OVER (PARTITION BY p.root_id) AS groups
        FROM assigned a JOIN profile p ON p.id = a.profile_id
        WHERE CAST(:root AS bigint) IS NULL OR p.root_id = :root
        GROUP BY a."group", p.root_id
    ), spent AS (
        SELECT m."group", m.root_id, m.sent_at,
               count(e.id) FILTER (WHERE e.event_time >= m.sent_at) AS orders,
               count(e.id) FILTER (WHERE e.event_time < m.sent_at) AS before,
               count(e.id) FILTER (WHERE e.event_time >= m.sent_at AND upper(e.currency) <> c.currency) AS elsewhere,
               coalesce(sum(e.order_total_cents) FILTER (
                   WHERE e.event_time >= m.sent_at AND coalesce(upper(e.currency), c.currency) = c.currency
               ), 0) AS cents,
               {past} AS past
        FROM mailed m
        JOIN campaign c ON c.id = :campaign
        LEFT JOIN profile member ON member.root_id = m.root_id
        LEFT JOIN LATERAL (
            SELECT o.id, o.event_time, o.order_total_cents, o.figures #>> '{properties,currency}' AS currency
            FROM event o
            WHERE o.profile_id = member.id AND o.name = 'Order Completed' AND o.folds
              AND o.event_time < m.sent_at + make_interval(days => :days) AND o.event_time <= :now
        ) e ON true
        WHERE m.groups = 1
        GROUP BY m."group", m.root_id, m.sent_at
    )
    SELECT "group", count(*) AS people,
           count(*) FILTER (WHERE sent_at + make_interval(days => :days) <= :now) AS closed,
           count(*) FILTER (WHERE orders > 0) AS buyers,
           count(*) FILTER (WHERE orders > 0 AND before > 0) AS repeat,
           coalesce(sum(orders), 0)::bigint AS orders,
           coalesce(sum(elsewhere), 0)::bigint AS elsewhere,
           coalesce(sum(cents), 0)::bigint AS cents,
           coalesce(sum(orders * orders), 0)::float8 AS orders_squared,
           coalesce(sum(cents::float8 * cents::float8), 0) AS cents_squared,
           coalesce(sum(past), 0) AS past, coalesce(sum(past ^ 2), 0) AS past_squared,
           coalesce(sum(past * orders), 0) AS past_orders, coalesce(sum(past * cents::float8), 0) AS past_cents,
           coalesce(sum(past) FILTER (WHERE orders > 0 AND before > 0), 0) AS past_repeat
    FROM spent GROUP BY "group" ORDER BY "group"
""".replace("{past}", past_of("m.sent_at", "e.event_time"))
COUNTED: Final = _COUNTED.replace(
    "{group}", f"CASE d.holdout WHEN 'content' THEN '{NEUTRAL}' WHEN 'none' THEN '{DECIDED}' END"
)
COUNTED_BY_ARM: Final = _COUNTED.replace("{group}", "d.arm::text")
