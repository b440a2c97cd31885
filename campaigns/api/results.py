"""What came of a campaign: the report, and success by every definition that was named."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from campaigns import arms, campaigns, disagreement, goals, profit
from campaigns.access import allow
from campaigns.api.desk import api, served
from campaigns.goals import Metric
from campaigns.lift import Compared
from campaigns.models import Goal, ProfitTerms
from campaigns.parts import parts
from campaigns.reports import report
from campaigns.views.acting import actor


class GoalIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What counts as success, and within how many days after each person's mail."""

    metric: Metric
    window_days: Annotated[int, msgspec.Meta(ge=1, le=goals.MAX_DAYS)]


class GoalOut(msgspec.Struct, frozen=True):
    """A definition of success."""

    version: int
    metric: str
    window_days: int
    named_at: str


class CountedOut(msgspec.Struct, frozen=True):
    """One group within the window; `value` is the metric (null where there are too few people).

    Money is cents of the campaign's currency; `elsewhere` are the orders in others, whose worth is not in it.
    """

    group: str
    people: int
    window_over: int
    buyers: int
    repeat_customers: int
    orders: int
    elsewhere: int
    cents: int
    value: float | None


class PlainOut(msgspec.Struct, frozen=True):
    """The lift as the groups' means tell it, of the same unit and confidence."""

    difference: float
    low: float
    high: float
    verdict: str


class LiftOut(msgspec.Struct, frozen=True):
    """How much more a person of the first group comes to than one of the other, in the metric's unit.

    It is adjusted by what people ordered before the mail, where that is known; `plain` is the same without it, and
    `narrowed` the share of the interval's width that adjusting takes off. low and high hold the truth at every look
    together with chance `confidence`. verdict: gain, loss, or open where the interval holds zero. All of them are null,
    and `missing` says why, while there is not enough data.
    """

    first: str
    against: str
    missing: str | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    relative: float | None = None
    verdict: str | None = None
    confidence: float | None = None
    narrowed: float | None = None
    plain: PlainOut | None = None


class SuccessOut(msgspec.Struct, frozen=True):
    """One definition and what it comes to; `up_front` says that it was named before the first mail left.

    `lift` is null where nobody was kept on neutral content, and for an average order.
    """

    goal: GoalOut
    up_front: bool
    groups: list[CountedOut]
    lift: LiftOut | None


class Successes(msgspec.Struct, frozen=True):
    """Every definition that was ever named, the newest first, each by its own rule."""

    definitions: list[SuccessOut]


class CheckOut(msgspec.Struct, frozen=True):
    """Whether groups have the sizes that chance gives them. stage: mailed, opened, or holdout (opened in either).

    is_broken is the alarm, good at every look; p_value is Pearson's, for one look at the end.
    """

    stage: str
    counts: dict[str, int]
    expected: dict[str, float]
    is_broken: bool
    p_value: float


class ArmsOut(msgspec.Struct, frozen=True):
    """The arms by the present definition of success, the first being what the others are held against."""

    arms: list[CountedOut]
    lifts: list[LiftOut]
    checks: list[CheckOut]


class TermsIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What things cost. `margin_share` of the list value stays where an order's lines tell no `cost`; money is cents.

    Counted are orders and service contacts within `window_days` after each person's mail.
    """

    margin_share: Annotated[float, msgspec.Meta(ge=0, le=1)]
    window_days: Annotated[int, msgspec.Meta(ge=1, le=goals.MAX_DAYS)]
    return_cents: Annotated[int, msgspec.Meta(ge=0, le=profit.MAX_CENTS)] = 0
    service_cents: Annotated[int, msgspec.Meta(ge=0, le=profit.MAX_CENTS)] = 0


class TermsOut(msgspec.Struct, frozen=True):
    """The terms that hold, and since when."""

    version: int
    margin_share: float
    window_days: int
    return_cents: int
    service_cents: int
    named_at: str


class EarnedOut(msgspec.Struct, frozen=True):
    """One group: profit = margin - discount - returns - service, all in cents; `revenue` is what was paid."""

    group: str
    people: int
    orders: int
    revenue: int
    margin: int
    discount: int
    returns: int
    service: int
    profit: int


class ProfitOut(msgspec.Struct, frozen=True):
    """What it earned after all it cost. terms is null before costs were named; nothing is told then.

    The lifts are of a person in cents, null where nobody was kept on neutral content.
    """

    terms: TermsOut | None
    groups: list[EarnedOut]
    revenue_lift: LiftOut | None
    profit_lift: LiftOut | None
    is_loss: bool
    words: str


class AnonymousOut(msgspec.Struct, frozen=True):
    """Fetches and clicks that name nobody, by class and by offer: numbers of fetches, never of people."""

    fetches: dict[str, int]
    clicks: dict[str, int]
    offers: list[dict[str, Any]]


class ReportOut(msgspec.Struct, frozen=True):
    """The results, each a count of raw rows; shares are 0 to 1, money is cents of the campaign's currency.

    `elsewhere` are the orders in other currencies, whose worth is not in it. `anonymous` is what a campaign of that
    tracking level counts; the numbers before it are 0 there. `disagreeing` is null until a large campaign was counted.
    """

    mailed: int
    opened_surely: int
    opened_possibly: int
    fetched_by_machines: int
    compared_with_send_time: int
    differing_from_send_time: int
    clicks: int
    machine_clicks: int
    orders: int
    cents: int
    elsewhere: int
    offers: list[dict[str, Any]]
    anonymous: AnonymousOut
    disagreeing: int | None


@api.get("/campaigns/<int:campaign_id>/report")
@allow("manager")
@served(200, ReportOut, "campaigns", 404)
def get_report(campaign_id: int) -> ReportOut:
    """What came of it."""
    with parts().transaction() as session:
        campaigns.campaign(session, campaign_id)
        found = report(session, campaign_id)
        disagreeing = disagreement.counted(session, campaign_id)
    return ReportOut(
        mailed=found.mailed,
        opened_surely=found.opens.surely,
        opened_possibly=found.opens.possibly,
        fetched_by_machines=found.opens.machine,
        compared_with_send_time=found.swap.compared,
        differing_from_send_time=found.swap.differing,
        clicks=found.clicks,
        machine_clicks=found.machine_clicks,
        orders=found.orders,
        cents=found.cents,
        elsewhere=found.elsewhere,
        offers=[msgspec.to_builtins(line) for line in found.offers],
        anonymous=msgspec.convert(msgspec.to_builtins(found.anonymous), AnonymousOut),
        disagreeing=disagreeing,
    )


@api.put("/campaigns/<int:campaign_id>/goal")
@allow("manager")
@served(200, GoalOut, "campaigns", 404)
def name_goal(campaign_id: int, json: GoalIn) -> GoalOut:
    """Say what counts as success. An earlier definition stays, with its results."""
    with parts().transaction() as session:
        return _goal_out(goals.name_goal(session, campaign_id, json.metric, json.window_days, parts().now(), actor()))


@api.get("/campaigns/<int:campaign_id>/success")
@allow("manager")
@served(200, Successes, "campaigns", 404)
def get_success(campaign_id: int) -> Successes:
    """What came of it by every definition of success."""
    with parts().transaction() as session:
        campaigns.campaign(session, campaign_id)
        found = goals.outcomes(session, campaign_id, parts().now())
        return Successes([_success_out(one) for one in found])


@api.get("/campaigns/<int:campaign_id>/arms")
@allow("manager")
@served(200, ArmsOut, "campaigns", 404)
def get_arms(campaign_id: int) -> ArmsOut:
    """What came of each arm, and whether the groups are whole."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        outcome = next(iter(goals.outcomes(session, campaign_id, parts().now())), None)
        checks = [
            CheckOut(
                one.stage, dict(one.ratio.counts), one.ratio.expected, one.ratio.is_broken, one.ratio.p_value
            )
            for one in arms.checks(session, row)
        ]  # fmt: skip
    if outcome is None:
        return ArmsOut([], [], checks)
    counted = [_counted_out(arm, outcome.goal.metric) for arm in outcome.arms]
    return ArmsOut(counted, [lift_out(one) for one in outcome.arm_lifts], checks)


@api.put("/campaigns/<int:campaign_id>/costs")
@allow("manager")
@served(200, TermsOut, "campaigns", 404)
def name_costs(campaign_id: int, json: TermsIn) -> TermsOut:
    """Say what things cost; the profit is told by it from now on."""
    with parts().transaction() as session:
        return _terms_out(
            profit.name_terms(
                session, campaign_id, json.margin_share, json.window_days, json.return_cents, json.service_cents,
                parts().now(), actor(),
            )
        )  # fmt: skip


@api.get("/campaigns/<int:campaign_id>/profit")
@allow("manager")
@served(200, ProfitOut, "campaigns", 404)
def get_profit(campaign_id: int) -> ProfitOut:
    """What it earned: margin less discounts, returns and service."""
    with parts().transaction() as session:
        campaigns.campaign(session, campaign_id)
        found = profit.profit(session, campaign_id, parts().now())
        if found is None:
            return ProfitOut(None, [], None, None, False, "What things cost was never named.")
        groups = [
            EarnedOut(
                one.group, one.people, one.orders, one.paid, one.margin, one.discount, one.returns, one.service,
                one.profit,
            )
            for one in found.groups
        ]  # fmt: skip
        lifts = [lift_out(one) if one else None for one in (found.revenue_lift, found.profit_lift)]
        return ProfitOut(_terms_out(found.terms), groups, lifts[0], lifts[1], found.is_loss, found.words)


def _terms_out(terms: ProfitTerms) -> TermsOut:
    return TermsOut(
        terms.version, terms.margin_share, terms.window_days, terms.return_cents, terms.service_cents,
        terms.named_at.isoformat(),
    )  # fmt: skip


def _goal_out(goal: Goal) -> GoalOut:
    return GoalOut(goal.version, goal.metric, goal.window_days, goal.named_at.isoformat())


def _counted_out(one: goals.Counted, metric: str) -> CountedOut:
    return CountedOut(
        one.group, one.people, one.closed, one.buyers, one.repeat, one.orders, one.elsewhere, one.cents,
        one.value(metric),
    )  # fmt: skip


def _success_out(found: goals.Outcome) -> SuccessOut:
    groups = [_counted_out(one, found.goal.metric) for one in found.groups]
    compared = found.lift
    return SuccessOut(_goal_out(found.goal), found.up_front, groups, lift_out(compared) if compared else None)


def lift_out(compared: Compared) -> LiftOut:
    """A comparison of two groups as the API tells it."""
    one = compared.lift
    if one is None:
        return LiftOut(compared.first, compared.against, compared.missing)
    plain = compared.plain
    return LiftOut(
        compared.first, compared.against, None, one.difference, one.low, one.high, one.relative, one.verdict, one.share,
        None if plain is None else compared.narrowed,
        None if plain is None else PlainOut(plain.difference, plain.low, plain.high, plain.verdict),
    )  # fmt: skip
