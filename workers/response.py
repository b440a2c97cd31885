"""What people take of what they are shown, learnt from exposures on top of what they buy anyway.

The base is the model of purchases. Exposures add trees to it that say where people take less or more of what they are
shown; with too few exposures the base stays as it is. Three things would mislead those trees:

- **Selection**: what is shown was chosen, so some offers are hardly ever seen by some people. Each exposure weighs the
  inverse of the chance that its choice was logged with, at most 1 / LEAST_CHANCE.
- **Price**: a dearer offer is never held for likelier to be taken, all else equal. The trees are bound to that, so that
  few exposures at odd prices cannot say otherwise; how steeply it falls they learn.
- **Position**: the first place of a mail is looked at more than the last. Each place has a level of its own, estimated
  together with the trees by turns (levels given trees, trees given levels). The model keeps the level of the first
  place only, so an offer is judged as if it were shown there.

Parts in time, from the past to now: trees (60 % of the exposures), calibration (20 %), test (20 %); what was seen
within an outcome window before the next part is left out. The new trees are kept only if they predict the test part
better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from base.errors import InvalidInput
from signals.candidates import MODEL_FEATURES
from workers import calibration, cluster, evaluation
from workers.boosters import lightgbm
from workers.exposures import Exposures
from workers.judgement import Candidate, by_group
from workers.showings import POSITIONS, Doubles, Floats, Whole
from workers.timetable import OUTCOME

LEAST_EXPOSURES: Final = 2_000
LEAST_TAKEN: Final = 100
"""With fewer exposures, or fewer that were taken, the base says more than they do."""
ROUNDS: Final = 3
TREES: Final = 100
NEWTON_STEPS: Final = 30
WIDEST: Final = 8.0
"""The largest level of a position, in log odds."""
SHARES: Final = (0.6, 0.8)
FALLING: Final = ("offer.price_cents", "offer.price_ratio")
"""Features in which the chance of being taken may only fall."""
SEEDS: Final = (1,)
PARAMETERS: Final[Mapping[str, Any]] = {
    "objective": "binary",
    "num_leaves": 7,
    "learning_rate": 0.08,
    "min_data_in_leaf": 100,
    "min_sum_hessian_in_leaf": 5.0,
    "feature_fraction": 0.8,
    "lambda_l2": 5.0,
    "seed": SEEDS[0],
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
    "num_threads": 1,
}


@dataclass(frozen=True)
class Response:
    """What exposures taught: the whole `booster`, and the `trees` that it has more than the base.

    Both are None, and the calibration tables are empty, where the base stays; `why` says why. `offers` are how the
    probabilities of each offer held on exposures that nothing was learnt from.
    """

    why: str
    measures: dict[str, float]
    booster: Any = None
    trees: Any = None
    thresholds: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    reliability: tuple[evaluation.Bin, ...] = ()
    by_offer: dict[int, tuple[float, ...]] = field(default_factory=dict)
    offers: tuple[Candidate, ...] = ()


def learnt(base: Any, found: Exposures, untrained: tuple[str, ...] = (), scheduler: str = "") -> Response:
    """What exposures add to a base booster; `untrained` features are left out of the new trees.

    With a `scheduler` the trees are fitted on its Dask cluster.
    """
    explored = float(np.mean(found.chances < 1.0)) if len(found) else 0.0
    measures = {"exposures": float(len(found)), "exposures_taken": float(found.outcomes.sum()), "explored": explored}
    if len(found) < LEAST_EXPOSURES or found.outcomes.sum() < LEAST_TAKEN:
        why = (
            f"{len(found):,} exposures of which {found.outcomes.sum():,.0f} were taken are too few to learn from: "
            f"{LEAST_EXPOSURES:,} and {LEAST_TAKEN} are wanted"
        )
        return Response(why, measures)
    train, calibrate, test = parts(found)
    trees, levels = fitted(
        base, train.features, train.outcomes, train.weights, train.positions, untrained=untrained, scheduler=scheduler
    )
    booster = joined(base, trees)
    learning = calibrate.part(calibrate.positions == 0)
    came, said = learning.outcomes.astype(np.float64), _chance(booster, learning.features)
    try:
        table = calibration.fit(said, came, learning.weights)
        plain = calibration.fit(_chance(base, learning.features), came, learning.weights)
    except InvalidInput as error:
        return Response(f"the exposures of the calibration weeks do not do: {error}", measures)
    is_late = learning.seen_ms >= np.median(learning.seen_ms)
    by_offer = calibration.own(said, came, learning.offers, is_late, table, learning.weights)
    seen = test.part(test.positions == 0)
    outcomes = seen.outcomes.astype(np.float64)
    ours = calibration.apply_own(table, by_offer, _chance(booster, seen.features), seen.offers)
    theirs = calibration.apply(*plain, _chance(base, seen.features))
    measures |= {f"level_{place}": float(level) for place, level in enumerate(levels)}
    if not 0 < outcomes.sum() < len(outcomes):
        return Response("the exposures of the test weeks hold one outcome only", measures)
    measures |= {
        "response_log_loss": evaluation.log_loss(outcomes, ours),
        "base_log_loss": evaluation.log_loss(outcomes, theirs),
        "response_ece": evaluation.calibration_error(outcomes, ours),
        "response_brier": evaluation.brier(outcomes, ours),
        "response_predicted": float(ours.mean()),
        "response_observed": float(outcomes.mean()),
        "response_rows": float(len(outcomes)),
    }
    if measures["response_log_loss"] >= measures["base_log_loss"]:
        return Response("trees of exposures predict later ones no better than the base does, which stays", measures)
    why = f"{len(train):,} exposures taught {trees.num_trees()} trees more"
    return Response(
        why,
        measures,
        booster,
        trees,
        *table,
        reliability=evaluation.reliability(outcomes, ours),
        by_offer=by_offer,
        offers=by_group(seen.offers, outcomes, ours, {}, by_offer.keys()),
    )


def parts(found: Exposures) -> tuple[Exposures, Exposures, Exposures]:
    """Exposures for trees, calibration and test, a window apart from each other."""
    window_ms = OUTCOME.total_seconds() * 1000
    cuts = [int(found.seen_ms[int(share * len(found))]) for share in SHARES]
    closes = found.seen_ms + window_ms
    return (
        found.part(closes <= cuts[0]),
        found.part((found.seen_ms >= cuts[0]) & (closes <= cuts[1])),
        found.part(found.seen_ms >= cuts[1]),
    )


def fitted(
    base: Any,
    features: Floats,
    outcomes: Floats,
    weights: Doubles,
    positions: Whole,
    *,
    untrained: tuple[str, ...] = (),
    scheduler: str = "",
) -> tuple[Any, Doubles]:
    """Trees to be added to the base, and the level of each position in log odds.

    `positions` 0 to POSITIONS - 1; a position that was never seen has the level of the first.
    """
    margin = np.asarray(base.predict(features, raw_score=True, num_threads=1), dtype=np.float64)
    score, level = margin, np.zeros(POSITIONS)
    trees: Any = None
    parameters = dict(PARAMETERS) | {
        "feature_contri": [0.0 if name in untrained else 1.0 for name in MODEL_FEATURES],
        "monotone_constraints": [-1 if name in FALLING else 0 for name in MODEL_FEATURES],
    }
    names = [name.replace(".", "_") for name in MODEL_FEATURES]
    scaled = weights * (len(weights) / weights.sum())
    for _ in range(ROUNDS):
        level = levels(score, outcomes, scaled, positions)
        margins = margin + level[positions]
        if scheduler:
            [trees] = cluster.fitted(
                scheduler, features, outcomes, names=names, trees=TREES, seeds=SEEDS, parameters=parameters,
                weights=scaled, margins=margins,
            )  # fmt: skip
        else:
            data = lightgbm.Dataset(features, outcomes, weight=scaled, init_score=margins, feature_name=names)
            trees = lightgbm.train(parameters, data, num_boost_round=TREES)
        score = margin + trees.predict(features, raw_score=True, num_threads=1)
    return trees, levels(score, outcomes, scaled, positions)


def joined(base: Any, trees: Any) -> Any:
    """One booster whose raw score is that of the base plus that of the trees."""
    whole = lightgbm.Booster(model_str=trees.model_to_string())
    copy = lightgbm.Booster(model_str=base.model_to_string())
    lightgbm.basic._safe_call(lightgbm.basic._LIB.LGBM_BoosterMerge(whole._handle, copy._handle))
    return lightgbm.Booster(model_str=whole.model_to_string())


def levels(score: Doubles, outcomes: Floats, weights: Doubles, positions: Whole) -> Doubles:
    """Each position's level given the scores: the one at which as much is expected as was taken (Newton's method)."""
    levels = np.full(POSITIONS, np.nan)
    for place in range(POSITIONS):
        chosen = positions == place
        taken = float((weights[chosen] * outcomes[chosen]).sum())
        total = float(weights[chosen].sum())
        if not 0.0 < taken < total:
            continue
        level = 0.0
        for _ in range(NEWTON_STEPS):
            chance = _sigmoid(score[chosen] + level)
            slope = float((weights[chosen] * chance * (1 - chance)).sum())
            step = (taken - float((weights[chosen] * chance).sum())) / max(slope, 1e-9)
            level = float(np.clip(level + np.clip(step, -1.0, 1.0), -WIDEST, WIDEST))
            if abs(step) < 1e-9:
                break
        levels[place] = level
    first = levels[0] if not np.isnan(levels[0]) else 0.0
    return np.where(np.isnan(levels), first, levels)


def _chance(booster: Any, features: Floats) -> Doubles:
    chance: Doubles = booster.predict(features, num_threads=1)
    return chance


def _sigmoid(score: Doubles) -> Doubles:
    return 1.0 / (1.0 + np.exp(-score))
