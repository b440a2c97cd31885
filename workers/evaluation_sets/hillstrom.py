"""Hillstrom's e-mail challenge (2008): does a personal choice do no harm, and is an effect found where there is one?

64,000 customers got a men's e-mail, a women's e-mail or none, at random. A customer is folded from one order, as long
ago as their last purchase and for as much as they spent in the year, in the departments they bought from; the three
arms are offers. Every row is judged by a model and a restraint that did not see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from base.errors import InvalidInput
from render.plan import KINDS
from signals.candidates import MODEL_FEATURES, CandidateContext, candidate_matrix
from signals.fold import fold_all
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from workers import fitting
from workers.evaluation import Interval
from workers.evaluation_sets import tables
from workers.evaluation_sets.findings import Finding, least, reported
from workers.policyvalue import Log, difference
from workers.restraint import restraint

ARMS: Final = ("No E-Mail", "Mens E-Mail", "Womens E-Mail")
SENT: Final = datetime(2008, 3, 20, tzinfo=UTC)
MENS, WOMENS = 1, 2
"""Categories of the two departments, and the numbers of their arms."""

_COLUMNS: Final = ("recency", "history", "mens", "womens", "segment", "visit", "spend")
_MONTH: Final = timedelta(days=30)

FOLDS: Final = 5
INNER_FOLDS: Final = 3
PLANTED: Final = 0.03
VISIT_BAR, SPEND_BAR = -0.004, -0.10

Array = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Customers:
    """Who was in the test: a feature row for each of the three arms, the arm they got, and what they did."""

    features: np.ndarray[Any, np.dtype[np.float32]]
    arms: Whole
    visits: Array
    spent: Array
    womens_only: np.ndarray[Any, np.dtype[np.bool_]]


def read(data: Path) -> Customers:
    """The customers of the file, in its order."""
    table = tables.read(tables.found(data, "hillstrom", "hillstrom_train"), _COLUMNS)
    columns = {name: table[name].to_pylist() for name in _COLUMNS}
    unknown = sorted(set(columns["segment"]) - set(ARMS))
    if unknown:
        raise InvalidInput("data.segment", f"names arms that the test had not: {', '.join(map(str, unknown))}")
    orders = zip(*(columns[name] for name in ("recency", "history", "mens", "womens")), strict=True)
    mens, womens = (np.array(columns[name]) for name in ("mens", "womens"))
    return Customers(
        features=np.stack([candidate_matrix(fold_all([_order(*row)]), _OFFERS, SENT) for row in orders]),
        arms=np.array([ARMS.index(name) for name in columns["segment"]]),
        visits=np.array(columns["visit"], dtype=np.float64),
        spent=np.array(columns["spend"], dtype=np.float64),
        womens_only=(womens > 0) & (mens == 0),
    )


def judged(data: Path) -> list[Finding]:
    """Both rewards, then visits with an effect planted in one segment."""
    customers = read(data)
    bought = (customers.spent > 0).astype(np.float64)
    findings = _cross_fitted("visits", customers, customers.visits, customers.visits, VISIT_BAR)
    findings += _cross_fitted("dollars spent", customers, bought, customers.spent, SPEND_BAR)
    return findings + _planted(customers)


def _planted(customers: Customers) -> list[Finding]:
    """Visits made up so that the women's e-mail is better by PLANTED for those who bought women's things only."""
    chosen, visits = customers.womens_only, customers.visits.copy()
    rates = [visits[chosen & (customers.arms == arm)].mean() for arm in (MENS, WOMENS)]
    missing = np.flatnonzero(chosen & (customers.arms == WOMENS) & (visits == 0))
    lack = (rates[0] + PLANTED - rates[1]) / max(1 - rates[1], 1e-9)
    visits[missing[np.random.default_rng(0).random(len(missing)) < lack]] = 1.0
    choices = _choices(customers, visits, visits, seed=0)
    gain = _gain(customers, visits, choices)
    question = f"an effect of +{PLANTED:g} visits planted among buyers of women's things only"
    return [
        least(question, "gain over the best arm", gain, 0.0, of_low=True),
        reported(question, "largest gain there is", float(chosen.mean()) * PLANTED),
        reported(question, "share of them who get it", float((choices[chosen] == WOMENS).mean())),
    ]


def _cross_fitted(name: str, customers: Customers, outcomes: Array, rewards: Array, bar: float) -> list[Finding]:
    question = f"do no harm: {name}, cross-fitted"
    choices = _choices(customers, outcomes, rewards, seed=0)
    gain = _gain(customers, rewards, choices)
    best = _best(customers, rewards)
    # A win is claimed only where the interval lies above nothing, and then it must be one.
    claimed = f"claims a win: {'yes' if gain.low > 0 else 'no'}"
    return [
        reported(question, f"best arm for all: {ARMS[best]}", float(rewards[customers.arms == best].mean())),
        least(question, f"minus the best arm ({claimed})", gain, bar),
        reported(question, "share who get another arm", float((choices != best).mean())),
    ]


def _choices(customers: Customers, outcomes: Array, rewards: Array, seed: int) -> Whole:
    """The arm of each customer, by a model and a restraint that did not see the customer."""
    random = np.random.default_rng(seed)
    fold = random.permutation(len(rewards)) % FOLDS
    chosen = np.zeros(len(rewards), dtype=np.int64)
    for number in range(FOLDS):
        seen, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        inner = random.permutation(len(seen)) % INNER_FOLDS
        unseen = np.zeros((len(seen), len(ARMS)))
        for part in range(INNER_FOLDS):
            unseen[inner == part] = _promised(customers, outcomes, rewards, seen[inner != part], seen[inner == part])
        held_back = restraint(unseen, customers.arms[seen], rewards[seen], np.full(len(seen), 1 / len(ARMS)))
        chosen[held] = held_back.choose(_promised(customers, outcomes, rewards, seen, held))
    return chosen


def _promised(customers: Customers, outcomes: Array, rewards: Array, seen: Whole, held: Whole) -> Array:
    """What a model of `seen` promises of each arm in the rows `held`: the chance of an outcome x its mean reward."""
    arms, worth = customers.arms[seen], float(rewards[seen][outcomes[seen] > 0].mean())
    rates = np.array([outcomes[seen][arms == arm].mean() for arm in range(len(ARMS))])
    # How often an offer was taken by everybody is a feature of it, and tells the arms apart.
    features = customers.features.copy()
    features[:, :, MODEL_FEATURES.index("offer.taken")] = rates
    booster = fitting.fitted(features[seen, arms], outcomes[seen], seeds=fitting.SEEDS[:1])
    return worth * np.column_stack([fitting.scores(booster, features[held, arm]) for arm in range(len(ARMS))])


def _best(customers: Customers, rewards: Array) -> int:
    return int(np.argmax([rewards[customers.arms == arm].mean() for arm in range(len(ARMS))]))


def _gain(customers: Customers, rewards: Array, choices: Whole) -> Interval:
    """What the choices earn a head above the best arm for all, from the arms that chance gave."""
    rows = np.arange(len(rewards))
    ours, theirs = (
        Log(persons=rows, rewards=rewards, propensities=np.full(len(rows), 1 / len(ARMS)), target=target)
        for target in (
            (choices == customers.arms).astype(np.float64),
            (customers.arms == _best(customers, rewards)).astype(np.float64),
        )
    )
    return difference(ours, theirs, "ips")


def _order(recency: int, history: float, mens: int, womens: int) -> FoldEvent:
    """The last purchase, as far as the file tells it: when, for how much in all, in which departments."""
    bought = [category for category, flag in ((MENS, mens), (WOMENS, womens)) if flag]
    cents = round(history * 100)
    return FoldEvent(
        time_ms=unix_ms(SENT - recency * _MONTH),
        message_id="last",
        kind="order",
        lines=tuple(Line("", category, 1, cents // len(bought)) for category in bought),
        total_cents=cents,
    )


_OFFERS: Final = (
    CandidateContext(0, KINDS.index("neutral")),
    CandidateContext(MENS, KINDS.index("cross-sell")),
    CandidateContext(WOMENS, KINDS.index("cross-sell")),
)
