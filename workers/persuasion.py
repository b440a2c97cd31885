"""Whom an offer moves: effects learnt from what was withheld by lot, and whether they may rank offers.

Each learner is fitted thrice, to the rows of two thirds of the people, and judged on the others. The one with the best
Qini is kept if that is above nothing beyond doubt: a ranking that is not shown to find whom offers move would only add
noise to the one by chance, which then stays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from base.errors import InvalidInput
from render.uplift import LEARNERS, Learner, Uplift
from signals.candidates import MODEL_FEATURES
from workers import uplift
from workers.evaluation import Array, Interval
from workers.withheld import Withheld

LEAST_PEOPLE: Final = 1_000
"""People in the smaller group: with fewer, a difference of ten points in a hundred hides in its own noise once they are
parted into those whom an offer moves and those whom it does not."""
LEAST_TAKEN: Final = 50
"""Who bought, in either group."""
FOLDS: Final = 3
DRAWS: Final = 400
ALPHA: Final = 0.05
_Z_95: Final = 1.959964


@dataclass(frozen=True)
class Part:
    """A third of the rows in order of their effect: how many, what was said on average, and what was measured:
    None where one group has no row."""

    rows: int
    said: float
    measured: Interval | None


@dataclass(frozen=True)
class Persuasion:
    """What was learnt of effects: the artefact's bytes, empty where chances stay, and `why` either is so.

    `qini` and `parts` are of people whom the judged boosters had not seen.
    """

    why: str
    people: tuple[int, int]
    artefact: bytes = b""
    learner: Learner | None = None
    qini: Interval | None = None
    parts: tuple[Part, ...] = ()

    @property
    def is_used(self) -> bool:
        """Whether offers may be ranked by it."""
        return bool(self.artefact)


def learnt(found: Withheld) -> Persuasion:
    """Learn effects, or say what is missing."""
    people = (found.people(True), found.people(False))
    missing = _missing(found, people)
    if missing:
        return Persuasion(f"not enough data: {missing}", people)
    weights = 1.0 / found.chances
    folds = _folds(found)
    judged = {}
    for learner in LEARNERS:
        effects = np.empty(len(found))
        for fold in range(FOLDS):
            try:
                data = _fitted(learner, found, folds != fold)
            except InvalidInput as error:
                return Persuasion(f"not enough data: {error}", people)
            chosen = folds == fold
            effects[chosen] = Uplift.load(data).predict(np.ascontiguousarray(found.features[chosen]))
        # The best of three is looked at, so each is held to a third of the doubt.
        alpha = ALPHA / len(LEARNERS)
        area = uplift.qini_interval(effects, found.shown, found.outcomes, weights, found.roots, alpha, DRAWS)
        judged[learner] = (area, effects)
    learner = max(judged, key=lambda one: judged[one][0].value)
    area, effects = judged[learner]
    parts = _parts(effects, found, weights)
    if area.low <= 0:
        why = (
            f"not enough data: among {people[0]:,} people who were shown offers and {people[1]:,} on neutral content "
            "it cannot be told whom offers move"
        )
        return Persuasion(why, people, learner=learner, qini=area, parts=parts)
    artefact = _fitted(learner, found, np.ones(len(found), dtype=np.bool_))
    why = (
        f"learnt from {people[0]:,} people who were shown offers and {people[1]:,} on neutral content "
        f"({learner.upper()}-learner)"
    )
    return Persuasion(why, people, artefact, learner, area, parts)


def _missing(found: Withheld, people: tuple[int, int]) -> str:
    smaller = min(people)
    if not max(people):
        return "no campaign keeps people on neutral content whose opens could be compared"
    if smaller < LEAST_PEOPLE:
        return (
            f"{people[0]:,} people who were shown offers and {people[1]:,} on neutral content opened a mail; "
            f"{LEAST_PEOPLE:,} of either are wanted"
        )
    taken = int(min(found.outcomes[found.shown].sum(), found.outcomes[~found.shown].sum()))
    if taken < LEAST_TAKEN:
        return f"{taken} purchases in one of the groups; {LEAST_TAKEN} are wanted"
    return ""


def _fitted(learner: Learner, found: Withheld, rows: uplift.Flags) -> bytes:
    return uplift.learn(
        learner, found.features[rows], found.shown[rows], found.outcomes[rows], MODEL_FEATURES,
        weights=1.0 / found.chances[rows],
    )  # fmt: skip


def _folds(found: Withheld) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Which fold each row is in; a person's rows stay together, wherever they stand."""
    names, owners = np.unique(found.roots, return_inverse=True)
    fold = [hashlib.sha256(f"fold\0{root}".encode()).digest()[0] % FOLDS for root in names.tolist()]
    return np.array(fold, dtype=np.int64)[owners]


def _parts(effects: Array, found: Withheld, weights: Array) -> tuple[Part, ...]:
    """The rows in three parts, those with the largest effects first, and what each part's groups differed by."""
    order = np.argsort(-effects, kind="stable")
    return tuple(
        Part(len(rows), float(effects[rows].mean()), _difference(found, weights, rows))
        for rows in np.array_split(order, 3)
    )


def _difference(found: Withheld, weights: Array, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Interval | None:
    """How much more of the shown than of the others bought, with a normal interval; None where one group has no row."""
    means, variance = [], 0.0
    for shown in (True, False):
        group = rows[found.shown[rows] == shown]
        if not len(group):
            return None
        share = weights[group] / weights[group].sum()
        mean = float(share @ found.outcomes[group])
        variance += float(((share * (found.outcomes[group] - mean)) ** 2).sum())
        means.append(mean)
    width = _Z_95 * variance**0.5
    return Interval(means[0] - means[1], means[0] - means[1] - width, means[0] - means[1] + width)
