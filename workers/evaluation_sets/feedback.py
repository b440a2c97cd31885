"""A replay of Complete Journey with exact truth: learning from what was shown only, known a week later.

Opens fall on random days of each household; twenty offers stand for the categories whose coupons were used most; an
offer comes true if the household buys its category within a week. That is known of every offer, so the worth of a
policy is exact, but the policy is told of the offer it showed alone, a week later. Five offers begin on day 200. What
is bought does not answer to what is shown: this measures learning, not persuasion. The best is shown, and in a run of
its own what Thompson sampling over the model's bags draws.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from base.errors import InvalidInput
from render.arbitration import Policy
from render.choice import distribution
from signals.candidates import MODEL_FEATURES, SEASON_DAYS, candidate_matrix
from workers import evaluation, fitting
from workers.evaluation import Array, Whole
from workers.evaluation_sets.findings import Finding, least, most, reported
from workers.evaluation_sets.opens import rate
from workers.evaluation_sets.past import Past, Walk
from workers.evaluation_sets.retail import Retail, moment
from workers.exposures import LEAST_CHANCE
from workers.policyvalue import Log, ips

OFFERS, NEW_OFFERS, NEW_DAY = 20, 5, 200
FIRST, LAST = 60, 350
OPENS_EACH: Final = 9.0
DELAY_DAYS: Final = 7
LONG_DELAY_DAYS, LOST_SHARE = 21, 0.2
"""The harder case: told three weeks late, and of what came true a fifth never."""
WARM_DAY, LATE_DAY = 150, 278
LEAST_ROWS: Final = 200
SEEDS: Final = 100
PARAMETERS: Final = {**fitting.BOUND, "min_data_in_leaf": 50}
"""A week of opens holds some five hundred: leaves of the usual size would learn nothing for months."""

BAGS: Final = 10
THOMPSON: Final = Policy(kind="thompson")
"""As a plan has it if nothing else is said: of the best five."""

QUESTION: Final = "learning from its own feedback, a week late"
HARDER: Final = f"the same, {LONG_DELAY_DAYS} days late, {LOST_SHARE:.0%} of what came true never told"


DRAWN: Final = f"the same, drawn by Thompson sampling over {BAGS} bags"


@dataclass(frozen=True)
class World:
    """Opens in order of time, each with all offers: features, whether each comes true, whether it may be shown."""

    days: Whole
    persons: Whole
    features: np.ndarray[Any, np.dtype[np.float32]]
    outcomes: Array
    favourite: Array
    may: np.ndarray[Any, np.dtype[np.bool_]]


def judged(data: Path) -> list[Finding]:
    """The product's learning against the rule "own favourite", and the estimator against the truth."""
    world = _world(Past(Retail.read(data)))
    rows = np.arange(len(world.days))
    rule = np.where(world.may, world.favourite, -1.0).argmax(axis=1)
    shown = _shown(world)
    ours, theirs = world.outcomes[rows, shown], world.outcomes[rows, rule]
    warm, late, new = world.days >= WARM_DAY, world.days >= LATE_DAY, shown >= OFFERS - NEW_OFFERS
    minus = [evaluation.paired_difference(ours[part], theirs[part], world.persons[part]) for part in (warm, late)]
    harder = world.outcomes[rows, _shown(world, LONG_DELAY_DAYS, LOST_SHARE)]
    drawn = world.outcomes[rows, _shown(world, policy=THOMPSON)]
    found = float(world.days[new].min() - NEW_DAY) if new.any() else float(LAST)
    return [
        reported(QUESTION, "came true, over all", rate(ours, world.persons)),
        reported(QUESTION, "came true, own favourite", rate(theirs, world.persons)),
        least(QUESTION, f"minus own favourite, from day {WARM_DAY}", minus[0], -0.005),
        least(QUESTION, "minus own favourite, last quarter", minus[1], 0.0),
        most(QUESTION, "days until a new offer is shown", found, 14.0),
        reported(QUESTION, "share of new offers since then", float(new[world.days >= NEW_DAY].mean())),
        reported(QUESTION, "opens", float(len(rows))),
        *_beside(HARDER, world, harder, theirs),
        *_beside(DRAWN, world, drawn, theirs),
        reported(
            DRAWN,
            "minus the best, last quarter",
            evaluation.paired_difference(drawn[late], ours[late], world.persons[late]),
        ),
        _covered(world, rule),
    ]


def _beside(question: str, world: World, ours: Array, theirs: Array) -> list[Finding]:
    """What a policy came to, by itself and beside the rule."""
    findings = [reported(question, "came true, over all", rate(ours, world.persons))]
    for day, words in ((WARM_DAY, f"from day {WARM_DAY}"), (LATE_DAY, "last quarter")):
        part = world.days >= day
        minus = evaluation.paired_difference(ours[part], theirs[part], world.persons[part])
        findings.append(reported(question, f"minus own favourite, {words}", minus))
    return findings


def _world(past: Past) -> World:
    used = Counter(one.category for one in past.retail.redemptions if one.category in past.place)
    offers = [category for category, _ in sorted(used.items(), key=lambda one: (-one[1], one[0]))[:OFFERS]]
    if len(offers) < OFFERS:
        raise InvalidInput("data", f"holds used coupons of {len(offers)} categories; {OFFERS} are wanted")
    random = np.random.default_rng(0)
    offers = [offers[place] for place in random.permutation(OFFERS).tolist()]
    places = [past.place[category] for category in offers]
    told = []
    for household, orders in past.retail.orders.items():
        walk = Walk(orders)
        for day in sorted(random.integers(FIRST, LAST + 1, random.poisson(OPENS_EACH)).tolist()):
            seen = [past.context(day, category) for category in offers]
            popular = past.popular(day)
            own = past.orders(household, day - SEASON_DAYS, day) + popular / (popular.max() + 1.0)
            bought = past.orders(household, day, day + DELAY_DAYS) > 0
            told.append(
                (day, household, candidate_matrix(walk.at(day), seen, moment(day)), bought[places], own[places])
            )
    told.sort(key=lambda one: one[0])
    days = np.array([one[0] for one in told])
    may = np.ones((len(told), OFFERS), dtype=bool)
    may[:, OFFERS - NEW_OFFERS :] = (days >= NEW_DAY)[:, None]
    return World(
        days=days,
        persons=np.array([one[1] for one in told]),
        features=np.stack([one[2] for one in told]),
        outcomes=np.stack([one[3] for one in told]).astype(np.float64),
        favourite=np.stack([one[4] for one in told]),
        may=may,
    )


def _shown(
    world: World, delay_days: int = DELAY_DAYS, lost: float = 0.0, policy: Policy | None = None, bags: int = BAGS
) -> Whole:
    """What is shown, week by week, by a booster fitted to what was shown before and is told by then.

    Until one can be fitted, rules decide: what the household bought most lately. A `lost` share of the opens whose
    offer came true looks for ever as if it had not. With a `policy` that draws, so many bags are fitted too, and
    what was drawn counts the inverse of its chance, as in training.
    """
    told = np.random.default_rng(1).random(len(world.days)) >= lost
    pace = MODEL_FEATURES.index("category.pace")
    shown = np.zeros(len(world.days), dtype=np.int64)
    chances = np.ones(len(world.days))
    for week in range(FIRST, LAST + 1, 7):
        now = np.flatnonzero((world.days >= week) & (world.days < week + 7))
        if not len(now):
            continue
        known = np.flatnonzero(world.days + delay_days <= week)
        scores = world.features[now, :, pace].astype(np.float64)
        outcomes = world.outcomes[known, shown[known]] * told[known]
        if len(known) >= LEAST_ROWS and 0 < outcomes.sum() < len(outcomes):
            seen = world.features[known, shown[known]]
            weights = None if policy is None else 1 / np.maximum(chances[known], LEAST_CHANCE)
            booster = fitting.fitted(seen, outcomes, weights=weights, parameters=PARAMETERS)
            flat = world.features[now].reshape(-1, len(MODEL_FEATURES))
            scores = fitting.scores(booster, flat).reshape(len(now), OFFERS)
            if policy is not None:
                owners = world.persons[known]
                views = [
                    fitting.scores(
                        fitting.bag(seen, outcomes, owners, number, weights=weights, parameters=PARAMETERS), flat
                    ).reshape(len(now), OFFERS)
                    for number in range(1, bags + 1)
                ]
                shown[now], chances[now] = _drawn(policy, world.may[now], scores, np.stack(views), seed=week)
                continue
        shown[now] = np.where(world.may[now], scores, -1.0).argmax(axis=1)
    return shown


def _drawn(
    policy: Policy, may: np.ndarray[Any, np.dtype[np.bool_]], scores: Array, views: Array, seed: int
) -> tuple[Whole, Array]:
    """What a policy draws at each open, and the chance it had. scores: (opens, offers); views: those of each bag."""
    random = np.random.default_rng(seed)
    ranked = np.where(may, scores, -1.0)
    drawn, chances = np.zeros(len(may), dtype=np.int64), np.ones(len(may))
    for place in range(len(may)):
        best = np.argsort(-ranked[place], kind="stable")[: min(policy.top, int(may[place].sum()))]
        shares = distribution(policy, ranked[place, best].tolist(), views[:, place, best].tolist())
        chosen = int(random.choice(len(best), p=shares))
        drawn[place], chances[place] = best[chosen], shares[chosen]
    return drawn, chances


def _covered(world: World, rule: Whole) -> Finding:
    """In how many logs of choosing by chance the interval holds the rule's true worth."""
    rows = np.arange(len(world.days))
    truth = float(world.outcomes[rows, rule].mean())
    chance = 1 / world.may.sum(axis=1)
    held = 0
    for seed in range(SEEDS):
        draws = np.random.default_rng(seed).random(world.may.shape)
        logged = np.where(world.may, draws, -1.0).argmax(axis=1)
        log = Log(
            persons=world.persons,
            rewards=world.outcomes[rows, logged],
            propensities=chance,
            target=(logged == rule).astype(np.float64),
            unsupported=np.zeros(len(rows)),
        )
        value = ips(log, seed).value
        held += value.low <= truth <= value.high
    question = "is the estimator right: own favourite, told from logs of choosing by chance"
    return least(question, f"intervals of {SEEDS} that hold the truth", float(held), 90.0)
