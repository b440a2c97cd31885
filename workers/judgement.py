"""How good a model is on weeks that neither its trees nor its calibration saw, beside the rivals that count.

The rivals are popularity and one line of code: the household's own favourite of the last 84 days. Their scores are
calibrated as the model's are, so that their log-losses can be compared.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers import calibration, evaluation
from workers.evaluation import Array, Interval, Whole
from workers.examples import Examples
from workers.market import Market
from workers.timetable import Part


@dataclass(frozen=True)
class Rival:
    """One way of ranking and how well it did on the test weeks. `hit`: its first choice was bought within the week."""

    name: str
    auc: float
    log_loss: float
    hit: float
    minus: Interval | None = None
    """The model's hit rate minus this one's, by households; None for the model itself."""


@dataclass(frozen=True)
class Candidate:
    """How the probabilities of one candidate category held on the test weeks.

    `plain_brier` is the Brier score of always saying the category's own observed rate: who knows nothing of the person
    cannot do better. `number` is the category's, or the offer's where offers are judged.
    """

    number: int
    slug: str
    brier: float
    plain_brier: float
    ece: float
    reliability: tuple[evaluation.Bin, ...]
    has_own_table: bool = False


def judged(
    parts: Mapping[Part, Examples], market: Market, probabilities: Array, candidates_per_test: int
) -> tuple[tuple[Rival, ...], dict[str, float]]:
    """The model, then its rivals, on the test weeks; and the model's measures by name."""
    test = parts["test"]
    outcomes = test.outcomes.astype(np.float64)
    hits = evaluation.hits(probabilities, outcomes, test.sizes)
    rivals = [
        Rival(
            "model", evaluation.auc(outcomes, probabilities), evaluation.log_loss(outcomes, probabilities), _mean(hits)
        )
    ]
    for name, score in (("own favourite, 84 days", _favourite), ("popularity", _popularity)):
        theirs = {part: score(parts[part], market) for part in ("calibrate", "test")}
        # A rival's scores become probabilities the way the model's do: else its log-loss would say nothing.
        steps = calibration.fit(theirs["calibrate"], parts["calibrate"].outcomes.astype(np.float64))
        their_hits = evaluation.hits(theirs["test"], outcomes, test.sizes)
        rivals.append(
            Rival(
                name,
                evaluation.auc(outcomes, theirs["test"]),
                evaluation.log_loss(outcomes, calibration.apply(*steps, theirs["test"])),
                _mean(their_hits),
                evaluation.paired_difference(hits, their_hits, test.profiles),
            )
        )
    top = probabilities >= np.quantile(probabilities, 0.9)
    rate = float(parts["train"].outcomes.mean())
    measures = {
        "auc": rivals[0].auc,
        "log_loss": rivals[0].log_loss,
        "hit": rivals[0].hit,
        "brier": evaluation.brier(outcomes, probabilities),
        "ece": evaluation.calibration_error(outcomes, probabilities),
        "mean_predicted": _mean(probabilities),
        "mean_observed": _mean(outcomes),
        "top_predicted": _mean(probabilities[top]),
        "top_observed": _mean(outcomes[top]),
        "constant_log_loss": evaluation.log_loss(outcomes, np.full(len(outcomes), rate)),
        "favourite_hit": rivals[1].hit,
        "popularity_hit": rivals[2].hit,
        "test_snapshots": float(len(test.sizes)),
        "test_candidates": float(candidates_per_test),
    }
    return tuple(rivals), measures


def by_candidate(
    test: Examples, probabilities: Array, words: Mapping[int, str], own: Container[int] = ()
) -> tuple[Candidate, ...]:
    """Each candidate category for itself, the most miscalibrated first; `own` are those with a table of their own."""
    return by_group(test.categories, test.outcomes.astype(np.float64), probabilities, words, own)


def by_group(
    groups: Whole, outcomes: Array, probabilities: Array, words: Mapping[int, str], own: Container[int]
) -> tuple[Candidate, ...]:
    """How the probabilities of each group of rows held, the most miscalibrated first."""
    found = []
    for number in np.unique(groups).tolist():
        chosen = groups == number
        came, said = outcomes[chosen], probabilities[chosen]
        found.append(
            Candidate(
                number=number,
                slug=words.get(number, str(number)),
                brier=evaluation.brier(came, said),
                plain_brier=evaluation.brier(came, np.full(len(came), came.mean())),
                ece=evaluation.calibration_error(came, said),
                reliability=evaluation.reliability(came, said),
                has_own_table=number in own,
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.ece, one.slug)))


def curve(bins: tuple[evaluation.Bin, ...]) -> list[list[float]]:
    """A reliability curve as JSON: count, said, came true."""
    return [[row.count, row.predicted, row.observed] for row in bins]


def table(metrics: Mapping[str, Any]) -> list[str]:
    """What to print of a model's `document`: the model beside its rivals on the test weeks, then its calibration."""
    lines = [f"{'held-out weeks':<26}{'AUC':>8}{'log-loss':>10}{'hit@1':>8}   model minus this, hit@1 (95 %)"]
    for rival in metrics["rivals"]:
        minus = str(Interval(*rival["model_minus"])) if rival["model_minus"] else ""
        row = f"{rival['name']:<26}{rival['auc']:>8.4f}{rival['log_loss']:>10.4f}{rival['hit']:>8.4f}   {minus}"
        lines.append(row.rstrip())
    found = metrics["measures"]
    lines.append(
        f"calibration: ECE {found['ece']:.4f} (15 bins of equal mass), Brier {found['brier']:.4f}, "
        f"mean predicted {found['mean_predicted']:.4f} / observed {found['mean_observed']:.4f}"
    )
    lines.append(
        f"top tenth of rows: mean predicted {found['top_predicted']:.4f} / observed {found['top_observed']:.4f}; "
        f"log-loss of the constant rate {found['constant_log_loss']:.4f}"
    )
    # What a release before this one kept of a model knows one table only.
    common = found.get("common_ece_median", found["ece_median"])
    lines.append(
        f"by candidate category, {found.get('own_tables', 0):.0f} with tables of their own: ECE median "
        f"{found['ece_median']:.4f} (by the common table {common:.4f}), largest {found['ece_largest']:.4f}; "
        f"Brier better than its own rate in {found['brier_better']:.0f} of {len(metrics['candidates'])}"
    )
    return lines


def _favourite(examples: Examples, market: Market) -> Array:
    """Own purchases first, popularity between equals; below 1 as the calibration wants it."""
    own = examples.favourite.astype(np.float64)
    return np.asarray((own + _popularity(examples, market)) / (own.max(initial=0.0) + 2.0))


def _popularity(examples: Examples, market: Market) -> Array:
    shares = np.array([market.popularity.get(category, 0.0) for category in examples.categories.tolist()])
    return np.asarray(shares, dtype=np.float64)


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
