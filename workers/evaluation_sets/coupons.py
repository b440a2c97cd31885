"""Complete Journey's coupons: which category will this household redeem, and will it redeem anything at all?

An open is a campaign's first day for one of its households; the candidates are the categories of the campaign's
coupons. Learnt from campaigns that had closed before the split, judged on those that began after it. A campaign that
is still open when the data end counts for choices (a coupon redeemed is one) but not for probabilities.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from base.errors import InvalidInput
from signals.candidates import SEASON_DAYS, candidate_matrix
from workers import calibration, evaluation, fitting
from workers.evaluation import Array, Whole
from workers.evaluation_sets.findings import Finding, holds, least, reported, within
from workers.evaluation_sets.opens import Open, Opens, rate, ratio
from workers.evaluation_sets.past import Past, Walk
from workers.evaluation_sets.retail import Campaign, moment

SPLIT: Final = 290
"""The 18th of October: seven of the 27 campaigns begin then or later."""

WARM_DAYS: Final = 31
LAST_DAY: Final = 364
LEAST_DAYS: Final = 7
"""A campaign with fewer days of data tells nothing."""

BLOCKS: Final = 4
FADE_DAYS: Final = 60.0
"""The half-life with which the past counts less for calibration."""

RIVALS: Final = ("own favourite, 84 days", "customers also bought", "popularity, 28 days")
BAR: Final = 0.316
CHOICE, ANYTHING = "D2, which coupon category", "D1, whether anything is redeemed"


Flags = npt.NDArray[np.bool_]


def judged(past: Past) -> list[Finding]:
    """Both questions. Raises InvalidInput where the data hold no redeemed campaign on either side of the split."""
    ends = {campaign.number: campaign.ends for campaign in past.retail.campaigns}
    told = Opens.joined(opens(past))
    train, test = (told.chosen(side) for side in (told.days < SPLIT, told.days >= SPLIT))
    if not train.outcomes.any() or not test.outcomes.any():
        raise InvalidInput("data", "holds no redeemed coupon before the split, or none after it")
    booster = fitting.fitted(train.features, train.outcomes)
    stretches = fitting.stretches(train.per_row(train.days), train.outcomes, BLOCKS)
    unseen = fitting.crossed(train.features, train.outcomes, stretches)
    counting = np.exp2((train.days - SPLIT) / FADE_DAYS)
    table = calibration.fit(unseen, train.outcomes, train.per_row(counting))
    raw = fitting.scores(booster, test.features)
    closed = np.array([ends[number] <= LAST_DAY for number in test.subjects.tolist()])
    said = calibration.apply(*table, raw)
    # Chosen by the raw score: the table is read by straight lines and may tie what lies beyond its last knot.
    findings = _choices(test, raw)
    findings += _probabilities(CHOICE, said, test.outcomes, test.per_row(test.persons), test.per_row(closed))
    whether = calibration.fit(_any(train, calibration.apply(*table, unseen)), train.any(train.outcomes), counting)
    anything = calibration.apply(*whether, _any(test, said))
    findings.append(reported(ANYTHING, "AUC", evaluation.auc(test.any(test.outcomes), anything)))
    return findings + _probabilities(ANYTHING, anything, test.any(test.outcomes), test.persons, closed)


def opens(past: Past, last: int = LAST_DAY) -> Iterator[Open]:
    """The first day of each campaign for its households, by household, up to a `last` day; the candidates are what its
    coupons are for."""
    used = defaultdict(set)
    for redemption in past.retail.redemptions:
        used[redemption.household, redemption.campaign].add(redemption.category)
    told: dict[int, list[Campaign]] = defaultdict(list)
    for campaign in past.retail.campaigns:
        early, late = campaign.ends < SPLIT, SPLIT <= campaign.starts <= LAST_DAY - LEAST_DAYS
        if WARM_DAYS <= campaign.starts <= last and (early or late):
            for household in campaign.households:
                told[household].append(campaign)
    for household, campaigns in sorted(told.items()):
        walk = Walk(past.retail.orders.get(household, ()))
        for campaign in sorted(campaigns, key=lambda one: (one.starts, one.number)):
            categories = [category for category in sorted(campaign.coupons) if category in past.place]
            if len(categories) > 1:
                yield _open(past, walk, household, campaign, categories, used[household, campaign.number])


def _open(past: Past, walk: Walk, household: int, campaign: Campaign, categories: list[int], used: set[int]) -> Open:
    day = campaign.starts
    places = [past.place[category] for category in categories]
    seen = [past.context(day, category, campaign.coupons[category]) for category in categories]
    popular = past.popular(day)
    own = past.orders(household, day - SEASON_DAYS, day) + popular / (popular.max() + 1.0)
    return Open(
        person=household,
        day=day,
        subject=campaign.number,
        features=candidate_matrix(walk.at(day), seen, moment(day)),
        outcomes=np.array([category in used for category in categories], dtype=np.float64),
        rivals=np.column_stack([own, past.also_bought(household, day), popular])[places],
    )


def _choices(test: Opens, scores: Array) -> list[Finding]:
    redeemed = test.any(test.outcomes) > 0
    persons, hits = test.persons[redeemed], test.hits(scores)[redeemed]
    findings = [least(CHOICE, "hit@1 of opens that redeem", rate(hits, persons), BAR)]
    for column, name in enumerate(RIVALS):
        theirs = test.hits(test.rivals[:, column])[redeemed]
        findings.append(reported(CHOICE, f"hit@1 of {name}", rate(theirs, persons)))
        minus = evaluation.paired_difference(hits, theirs, persons)
        findings.append(least(CHOICE, f"hit@1 minus {name}", minus, 0.0, of_low=True))
    findings.append(reported(CHOICE, "AUC over rows", evaluation.auc(test.outcomes, scores)))
    return [*findings, reported(CHOICE, "opens that redeem", float(redeemed.sum()))]


def _probabilities(question: str, said: Array, true: Array, persons: Whole, closed: Flags) -> list[Finding]:
    """How probabilities held in campaigns that closed before the data end."""
    said, true, persons = said[closed], true[closed], persons[closed]
    top = said >= np.quantile(said, 0.9)
    return [
        within(question, "mean predicted ÷ observed, closed campaigns", ratio(said, true, persons), 0.9, 1.1),
        holds(question, "the same in the top decile", ratio(said[top], true[top], persons[top]), 1.0),
        reported(question, "calibration error, 15 bins", evaluation.calibration_error(true, said)),
    ]


def _any(opens: Opens, said: Array) -> Array:
    """The chance that some candidate of each open comes true, were they independent; calibrated by who uses it."""
    return np.asarray(-np.expm1(opens.sums(np.log1p(-np.minimum(said, 0.999)))))
