"""Models of a person's future: whether they leave, what they will spend, when they order next, what new they will try.

    signals -> lives (workers/lives) -> five LightGBM models -> measures on a later snapshot that none of them saw

Each is judged beside what one line of code says, on the same rows. docs/people.md has figures. The artefact is
MessagePack of `Artefact`; its name is the SHA-256 of its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np

from base.errors import UNREADABLE, InvalidInput
from signals.moments import unix_ms
from signals.personal import PERSONAL_FEATURES, Rows, columns
from workers import evaluation
from workers.boosters import lightgbm
from workers.lives import HORIZON, SOON, Calendar, Lives, Numbers

FORMAT: Final = 1
MAX_ARTEFACT_BYTES: Final = 64 * 1024 * 1024
TREES: Final = 80
CHURN_DAYS: Final = 60
BEST_SHARE: Final = 0.2
"""A best customer tries something new and is among this share of those who spend most."""
LEAST_ROWS: Final = 200
LEAST_TESTED: Final = 50
PARAMETERS: Final[Mapping[str, Any]] = {
    "num_leaves": 15,
    "learning_rate": 0.06,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.8,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """The models of one training: LightGBM's own texts by score, and what they were trained on.

    `features` are the columns in order; those of `categories` come last. Times are Unix milliseconds.
    """

    format: int = FORMAT
    boosters: dict[str, str]
    features: tuple[str, ...]
    categories: tuple[int, ...]
    as_of_ms: int
    measures: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Trained:
    """An artefact's bytes and hash, with what its row says."""

    artefact: bytes
    hash: str
    measures: dict[str, dict[str, float]]
    features: tuple[str, ...]
    people: int
    rows: int
    as_of: datetime


@dataclass(frozen=True)
class _Task:
    """One score: what is learnt, how, the one line of code it is held against, and how its values are kept."""

    objective: str
    target: Callable[[Lives, float], Numbers]
    rival: Callable[[Lives], Numbers]
    digits: int
    most: float

    @property
    def is_chance(self) -> bool:
        return self.objective == "binary"


def _column(lives: Lives, name: str) -> Numbers:
    found: Numbers = lives.features[:, PERSONAL_FEATURES.index(name)].astype(np.float64)
    return found


def _due(lives: Lives) -> Numbers:
    """Days until the usual interval is over; half the horizon where there is none."""
    between = _column(lives, "orders.interval_days")
    left = np.maximum(between - _column(lives, "orders.days_since"), 0)
    return np.where(np.isnan(between), HORIZON.days / 2, left)


TASKS: Final[Mapping[str, _Task]] = {
    "churn": _Task(
        "binary",
        lambda lives, _: (lives.next_days >= CHURN_DAYS).astype(np.float64),
        lambda lives: _column(lives, "orders.days_since"),
        4,
        1.0,
    ),
    "cross_buy": _Task(
        "binary",
        lambda lives, _: (lives.new_soon > 0).astype(np.float64),
        lambda lives: _column(lives, "orders.count_84"),
        4,
        1.0,
    ),
    "best": _Task(
        "binary",
        lambda lives, least: ((lives.new > 0) & (lives.spent >= least)).astype(np.float64),
        lambda lives: _column(lives, "orders.cents_84"),
        4,
        1.0,
    ),
    "ltv": _Task("tweedie", lambda lives, _: lives.spent, lambda lives: _column(lives, "orders.cents_84"), 0, 1e9),
    "interval": _Task("regression_l1", lambda lives, _: lives.next_days, _due, 2, float(HORIZON.days)),
}
"""Every score: chance of no order within 60 days; of something new within 30; of being a best customer within 90;
cents spent within 90; days until the next order, at most 90."""


class Futures:
    """Loaded models. What they say never changes after loading."""

    def __init__(self, artefact: Artefact, digest: str) -> None:
        self.categories = artefact.categories
        self.hash = digest
        self._boosters = {name: lightgbm.Booster(model_str=text) for name, text in artefact.boosters.items()}

    @classmethod
    def load(cls, data: bytes) -> Futures:
        """Load an artefact. Raises InvalidInput when it is none, or was trained with other features or scores."""
        if len(data) > MAX_ARTEFACT_BYTES:
            raise InvalidInput("model", f"is {len(data)} bytes; at most {MAX_ARTEFACT_BYTES} are loaded")
        try:
            artefact = msgspec.msgpack.decode(data, type=Artefact)
        except UNREADABLE as error:
            raise InvalidInput("model", f"is not an artefact of scores: {error}") from error
        if artefact.format != FORMAT or artefact.features != columns(artefact.categories):
            raise InvalidInput("model.features", "are not those that this release computes")
        if set(artefact.boosters) != set(TASKS):
            raise InvalidInput("model.boosters", f"must be {', '.join(TASKS)}")
        return cls(artefact, hashlib.sha256(data).hexdigest())

    def predict(self, rows: Rows) -> list[dict[str, float]]:
        """The scores of people, a row each, rounded as they are kept."""
        found = {name: _kept(name, self._boosters[name].predict(rows, num_threads=1)) for name in TASKS}
        return [{name: float(values[at]) for name, values in found.items()} for at in range(len(rows))]


def train(lives: Lives, test: Lives, dates: Calendar, categories: tuple[int, ...], people: int) -> Trained:
    """Learn every score and measure it on the later snapshot. Raises InvalidInput when there is too little to learn."""
    if len(lives) < LEAST_ROWS or len(test) < LEAST_TESTED:
        few = f"{LEAST_ROWS} futures to learn from, or {LEAST_TESTED} people's to test on"
        raise InvalidInput("events", f"show fewer than {few}")
    # What is much is fixed before the test, by those whom the models learn from.
    least = max(1.0, float(np.quantile(lives.spent, 1 - BEST_SHARE)))
    boosters: dict[str, str] = {}
    measures: dict[str, dict[str, float]] = {}
    for name, task in TASKS.items():
        target, outcome = task.target(lives, least), task.target(test, least)
        if target.min() == target.max():
            raise InvalidInput("events", f"show the same future of everybody, so {name} cannot be learnt")
        booster = _fitted(task.objective, lives.features, target, columns(categories))
        boosters[name] = booster.model_to_string()
        measures[name] = _measured(task, _kept(name, booster.predict(test.features, num_threads=1)), outcome, test)
    artefact = Artefact(
        boosters=boosters,
        features=columns(categories),
        categories=categories,
        as_of_ms=unix_ms(dates.as_of),
        measures=measures,
    )
    data = msgspec.msgpack.encode(artefact)
    return Trained(
        artefact=data,
        hash=hashlib.sha256(data).hexdigest(),
        measures=measures,
        features=artefact.features,
        people=people,
        rows=len(lives) + len(test),
        as_of=dates.as_of,
    )


def table(measures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The measures as lines of text, a score each."""
    lines = [f"{'score':10} {'measure':12} {'model':>8} {'one line':>9} {'said':>9} {'came true':>9}"]
    for name, found in measures.items():
        what, key = ("auc", "auc") if "auc" in found else ("mean error", "error")
        ours, theirs = found.get(key, np.nan), found.get(f"rival_{key}", np.nan)
        lines.append(f"{name:10} {what:12} {ours:8.3f} {theirs:9.3f} {found['said']:9.3f} {found['true']:9.3f}")
    return lines


def _fitted(objective: str, features: Rows, target: Numbers, names: Sequence[str]) -> Any:
    data = lightgbm.Dataset(features, target, feature_name=[name.replace(".", "_") for name in names])
    return lightgbm.train(dict(PARAMETERS) | {"objective": objective}, data, num_boost_round=TREES)


def _kept(name: str, values: Numbers) -> Numbers:
    task = TASKS[name]
    return np.asarray(np.round(np.clip(values, 0.0, task.most), task.digits), dtype=np.float64)


def _measured(task: _Task, said: Numbers, outcome: Numbers, test: Lives) -> dict[str, float]:
    """How good a score was: ranking and calibration of a chance, the mean error of an amount, beside its rival."""
    rival = task.rival(test)
    # Who learns the median is held against the median.
    middle = np.median if task.objective == "regression_l1" else np.mean
    found = {"rows": float(len(test)), "said": float(middle(said)), "true": float(middle(outcome))}
    if task.is_chance:
        if 0 < outcome.sum() < len(outcome):
            found |= {"auc": evaluation.auc(outcome, said), "rival_auc": evaluation.auc(outcome, np.nan_to_num(rival))}
            found |= {"ece": evaluation.calibration_error(outcome, said), "brier": evaluation.brier(outcome, said)}
            found["plain_brier"] = float(outcome.mean() * (1 - outcome.mean()))
        return found
    error, theirs = np.abs(said - outcome), np.abs(np.nan_to_num(rival) - outcome)
    return found | {"error": float(error.mean()), "rival_error": float(theirs.mean())}


__all__ = ["HORIZON", "SOON", "TASKS", "Futures", "Trained", "table", "train"]
