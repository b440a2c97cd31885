"""Complete Journey's cross-sell: which category that a household left alone for twelve weeks will it buy in two?

Opens are campaign starts for the campaign's households. Households that hardly buy are judged apart, on many more days:
a model has little to go by there and must at least not do worse than popularity.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from base.errors import InvalidInput
from signals.candidates import SEASON_DAYS, candidate_matrix
from workers import evaluation, fitting
from workers.evaluation_sets.coupons import SPLIT
from workers.evaluation_sets.findings import Finding, least, reported
from workers.evaluation_sets.opens import Open, Opens, rate
from workers.evaluation_sets.past import Past, Walk
from workers.evaluation_sets.retail import moment

OUTCOME_DAYS: Final = 14
FIRST, LAST = 90, 349
COLD_ORDERS: Final = 3
COLD_DAYS: Final = tuple(range(SPLIT, LAST + 1, 3))
"""Twenty days after the split."""

BAR: Final = 0.190
NOT_WORSE: Final = -0.02
QUESTION: Final = "D3, cross-sell into a category left alone for 84 days"
COLD: Final = f"D3, households with at most {COLD_ORDERS} orders in 84 days, {len(COLD_DAYS)} days"
RIVALS: Final = ("popularity, 28 days", "customers also bought")


def judged(past: Past) -> list[Finding]:
    """Both questions. Raises InvalidInput where no campaign begins on either side of the split."""
    before, after = days_of(past)
    train = Opens.joined(opens(past, before))
    booster = fitting.fitted(train.features, train.outcomes)
    del train
    findings = []
    for question, days in ((QUESTION, after), (COLD, {day: set(past.retail.orders) for day in COLD_DAYS})):
        test = Opens.joined(opens(past, days, most_orders=COLD_ORDERS if question == COLD else None))
        findings += _judged(question, test, fitting.scores(booster, test.features))
    return findings


def _judged(question: str, test: Opens, scores: evaluation.Array) -> list[Finding]:
    hits = test.hits(scores)
    ours = rate(hits, test.persons)
    findings = [least(question, "hit@1", ours, BAR) if question == QUESTION else reported(question, "hit@1", ours)]
    for column, name in enumerate(RIVALS):
        theirs = test.hits(test.rivals[:, column])
        minus = evaluation.paired_difference(hits, theirs, test.persons)
        findings.append(reported(question, f"hit@1 of {name}", rate(theirs, test.persons)))
        bar = 0.0 if question == QUESTION else NOT_WORSE
        findings.append(least(question, f"hit@1 minus {name}", minus, bar, of_low=True))
    findings.append(reported(question, "AUC over rows", evaluation.auc(test.outcomes, scores)))
    return [*findings, reported(question, "opens", float(len(test.sizes)))]


def days_of(past: Past) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """The days that are learnt from and those that are judged, each with its households.

    Raises InvalidInput where there are none of either.
    """
    before: dict[int, set[int]] = defaultdict(set)
    after: dict[int, set[int]] = defaultdict(set)
    for campaign in past.retail.campaigns:
        if FIRST <= campaign.starts <= SPLIT - OUTCOME_DAYS:
            before[campaign.starts].update(campaign.households)
        elif SPLIT <= campaign.starts <= LAST:
            after[campaign.starts].update(campaign.households)
    if not before or not after:
        raise InvalidInput("data", "holds no campaign that begins before the split, or none after it")
    return before, after


def opens(past: Past, days: Mapping[int, set[int]], most_orders: int | None = None) -> Iterator[Open]:
    """The opens of known households on these days, oldest first; `most_orders`: of those with no more in 84 days."""
    walks = {household: Walk(orders) for household, orders in past.retail.orders.items()}
    for day, households in sorted(days.items()):
        for household in sorted(households & walks.keys()):
            if most_orders is None or past.retail.orders_in(household, day - SEASON_DAYS, day) <= most_orders:
                state = walks[household].at(day)
                if state.orders or most_orders is None:
                    yield _open(past, walks[household], household, day)


def _open(past: Past, walk: Walk, household: int, day: int) -> Open:
    left_alone = np.flatnonzero(past.orders(household, day - SEASON_DAYS, day) == 0)
    seen = [past.context(day, past.candidates[place]) for place in left_alone.tolist()]
    bought = past.orders(household, day, day + OUTCOME_DAYS) > 0
    rivals = np.column_stack([past.popular(day), past.also_bought(household, day)])
    return Open(
        person=household,
        day=day,
        subject=0,
        features=candidate_matrix(walk.at(day), seen, moment(day)),
        outcomes=bought[left_alone].astype(np.float64),
        rivals=rivals[left_alone],
    )
