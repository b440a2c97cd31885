"""One retail year as three systems saw it, and how good their choices are by what households really did.

An arm sees the year through its profiles: each household's open is decided by the person whom its profile is part of.
D2 and D3 are asked with the same opens in every arm (`coupons`, `crosssell`), and judged by the household's true
orders: a cross-sell into what the household bought in the last twelve weeks, under whichever profile, is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from signals.candidates import SEASON_DAYS, candidate_matrix
from signals.foldevent import FoldEvent
from workers import evaluation, fitting
from workers.evaluation import Array, Whole
from workers.evaluation_sets import coupons, crosssell
from workers.evaluation_sets.opens import Opens
from workers.evaluation_sets.past import Past, Walk
from workers.evaluation_sets.planted import Orders
from workers.evaluation_sets.retail import Campaign, Retail, moment

D2: Final = "D2, which coupon category"
D3: Final = "D3, cross-sell into a category left alone for 84 days"
QUESTIONS: Final = (D2, D3)
HIT, RANK, LOSS = "hit@1", "mean reciprocal rank", "log-loss"
WRONG, HELD = "offers already bought", "categories held back that were not bought"
_LEAST: Final = 1e-12

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Figures = dict[str, Array]
"""For each measure a number an open; NaN where the measure says nothing of an open."""


@dataclass(frozen=True)
class Seen:
    """The year through an arm's profiles. `orders`: person -> orders, oldest first; `person`: household -> whose state
    its opens are decided by."""

    orders: dict[int, tuple[FoldEvent, ...]]
    person: dict[int, int]


def seen(orders: Orders, persons: Mapping[int, int], households: Iterable[int]) -> Seen:
    """Profiles with their orders, joined to persons (profile -> the first profile of its person)."""
    own: dict[int, list[tuple[FoldEvent, ...]]] = defaultdict(list)
    for profile, told in orders.items():
        own[persons[profile]].append(told)
    return Seen(
        {
            person: parts[0]
            if len(parts) == 1
            else tuple(sorted((order for part in parts for order in part), key=lambda order: order.key))
            for person, parts in own.items()
        },
        {household: persons[household] for household in households},
    )


@dataclass(frozen=True)
class Asked:
    """One open of a question: whose, when, and of which campaign's coupons (None: of a cross-sell)."""

    household: int
    day: int
    campaign: Campaign | None


@dataclass(frozen=True)
class _Choice:
    features: fitting.Matrix
    outcomes: Array
    offered: Flags
    right: Flags


class Judge:
    """Knows the truth, and what a system that sees it learns and chooses.

    Raises InvalidInput where the data hold no campaign or no outcome on either side of the split.
    """

    def __init__(self, past: Past) -> None:
        self._past = past
        self._retail = past.retail
        _, after = crosssell.days_of(past)
        late = sorted({(campaign.starts, campaign.number) for campaign in past.retail.campaigns})
        of = {campaign.number: campaign for campaign in past.retail.campaigns}
        told = past.retail.orders
        self.asked: dict[str, list[Asked]] = {
            D2: [
                Asked(household, day, of[number]) for day, number in late
                if coupons.SPLIT <= day <= coupons.LAST_DAY - coupons.LEAST_DAYS
                for household in of[number].households if household in told and len(self._categories(of[number])) > 1
            ],
            D3: [
                Asked(household, day, None) for day, households in sorted(after.items())
                for household in sorted(households & told.keys()) if told[household][0].time_ms < _began_ms(day)
            ],
        }  # fmt: skip
        self._used: dict[tuple[int, int], set[int]] = defaultdict(set)
        for redemption in past.retail.redemptions:
            self._used[redemption.household, redemption.campaign].add(redemption.category)
        self._boosters = learnt(past)
        clean = Seen(dict(told), {household: household for household in told})
        self.clean = {question: self._judged(past, clean, question, self._boosters) for question in QUESTIONS}

    def owners(self, question: str) -> Whole:
        """Whose each open of a question is."""
        return np.array([one.household for one in self.asked[question]])

    def anew(self, arm: Seen) -> dict[str, Figures]:
        """The figures of a system that learnt, counted and chose by what this arm sees."""
        past = Past(_retail(self._retail, arm))
        boosters = learnt(past)
        return {question: self._judged(past, arm, question, boosters) for question in QUESTIONS}

    def same(self, arm: Seen) -> dict[str, Figures]:
        """The figures of the system that learnt by the truth, where only the states of opens are this arm's."""
        moved = {household for household, person in arm.person.items()
                 if arm.orders[person] != self._retail.orders[household]}  # fmt: skip
        persons = {arm.person[household] for household in moved}
        past = self._past.of_others(replace(self._retail, orders={one: arm.orders[one] for one in sorted(persons)}))
        found = {}
        for question in QUESTIONS:
            figures = {measure: values.copy() for measure, values in self.clean[question].items()}
            places = [place for place, one in enumerate(self.asked[question]) if one.household in moved]
            if places:
                asked = [self.asked[question][place] for place in places]
                for measure, values in self._judged(past, arm, question, self._boosters, asked).items():
                    figures[measure][places] = values
            found[question] = figures
        return found

    def _judged(
        self, past: Past, arm: Seen, question: str, boosters: Mapping[str, Any], asked: Sequence[Asked] | None = None
    ) -> Figures:
        walks = {person: Walk(orders) for person, orders in arm.orders.items()}
        choices = []
        for one in self.asked[question] if asked is None else asked:
            person = arm.person[one.household]
            choices.append(
                self._crosssell(past, walks[person], person, one)
                if one.campaign is None
                else self._coupon(past, walks[person], one, one.campaign)
            )
        return figures(
            fitting.scores(boosters[question], np.concatenate([one.features for one in choices])),
            np.concatenate([one.outcomes for one in choices]),
            np.concatenate([one.offered for one in choices]),
            np.concatenate([one.right for one in choices]),
            np.array([len(one.outcomes) for one in choices]),
        )

    def _coupon(self, past: Past, walk: Walk, one: Asked, campaign: Campaign) -> _Choice:
        categories, used = self._categories(campaign), self._used[one.household, campaign.number]
        contexts = [past.context(one.day, category, campaign.coupons[category]) for category in categories]
        every = np.ones(len(categories), dtype=np.bool_)
        return _Choice(
            candidate_matrix(walk.at(one.day), contexts, moment(one.day)),
            np.array([category in used for category in categories], dtype=np.float64),
            every,
            every,
        )

    def _crosssell(self, past: Past, walk: Walk, person: int, one: Asked) -> _Choice:
        begin, end = one.day - SEASON_DAYS, one.day + crosssell.OUTCOME_DAYS
        offered = past.orders(person, begin, one.day) == 0
        right = self._past.orders(one.household, begin, one.day) == 0
        bought = self._past.orders(one.household, one.day, end) > 0
        places = np.flatnonzero(offered | right)
        contexts = [past.context(one.day, past.candidates[place]) for place in places.tolist()]
        return _Choice(
            candidate_matrix(walk.at(one.day), contexts, moment(one.day)),
            (bought & right)[places].astype(np.float64),
            offered[places],
            right[places],
        )

    def _categories(self, campaign: Campaign) -> list[int]:
        return [category for category in sorted(campaign.coupons) if category in self._past.place]


def learnt(past: Past) -> dict[str, Any]:
    """A booster for each question, from what a system saw before the split. Raises InvalidInput without outcomes."""
    told = Opens.joined(coupons.opens(past, last=coupons.SPLIT - 1))
    boosters = {D2: fitting.fitted(told.features, told.outcomes)}
    before, _ = crosssell.days_of(past)
    told = Opens.joined(crosssell.opens(past, before))
    return boosters | {D3: fitting.fitted(told.features, told.outcomes)}


def figures(scores: Array, outcomes: Array, offered: Flags, right: Flags, sizes: Whole) -> Figures:
    """Judge a ranking of each open's candidates, all in consecutive rows.

    `offered` are those that the arm may show, `right` those that are no mistake; an outcome is 1 only where it is
    right. Log-loss counts what is right, the ranking what is offered; the reciprocal rank is NaN where nothing came
    true.
    """
    starts = np.r_[0, np.cumsum(sizes)[:-1]]

    def per_open(values: Array) -> Array:
        return np.asarray(np.add.reduceat(values, starts), dtype=np.float64)

    shown = np.where(offered, scores, -np.inf)
    is_shown = np.maximum.reduceat(shown, starts) > -np.inf
    best = np.maximum.reduceat(np.where(outcomes > 0, shown, -np.inf), starts)
    rank = 1.0 + per_open((shown > np.repeat(best, sizes)).astype(np.float64))
    any_true = per_open(outcomes) > 0
    p = np.clip(scores, _LEAST, 1 - _LEAST)
    surprise = -np.where(outcomes > 0, np.log(p), np.log1p(-p)) * right
    return {
        HIT: evaluation.hits(shown, outcomes, sizes) * is_shown,
        RANK: np.where(any_true, np.where(best > -np.inf, 1.0 / rank, 0.0), np.nan),
        LOSS: per_open(surprise) / np.maximum(per_open(right.astype(np.float64)), 1.0),
        WRONG: evaluation.hits(shown, (~right).astype(np.float64), sizes) * is_shown,
        HELD: per_open((right & ~offered).astype(np.float64)),
    }


def _retail(retail: Retail, arm: Seen) -> Retail:
    """The year as the arm's system has it: campaigns and redemptions are those of persons."""
    person = arm.person
    return replace(
        retail,
        orders=arm.orders,
        campaigns=tuple(
            replace(one, households=tuple(sorted({person.get(household, household) for household in one.households})))
            for one in retail.campaigns
        ),
        redemptions=tuple(
            replace(one, household=person.get(one.household, one.household)) for one in retail.redemptions
        ),
    )


def _began_ms(day: int) -> int:
    return int(moment(day).timestamp() * 1000)
