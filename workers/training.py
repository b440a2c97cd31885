"""Training the next-best-offer model: what will this person buy within a week, of the categories an offer may be about?

    events -> snapshots (workers/examples) -> LightGBM -> calibration on later weeks -> measures on the last weeks

The model is judged beside three rivals on weeks that neither trees nor calibration saw: popularity, the rule "the
household's own favourite of the last 84 days", and (for log-loss) the constant rate. docs/model.md has the figures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from typing import Any, Final

import numpy as np
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base import db
from base.blobs import FolderBlobs
from base.clock import monotonic
from base.db import Sessions
from base.errors import InvalidInput
from campaigns.models.campaign import TrainedModel
from render.booster import lightgbm
from render.model import Model
from signals.candidates import MODEL_FEATURES
from signals.catalog import slugs
from signals.moments import unix_ms
from workers import calibration, evaluation
from workers.evaluation import Array, Interval
from workers.examples import TRAIN_CANDIDATES, Examples, Lesson, collect, contexts, people
from workers.market import Market, survey
from workers.timetable import OUTCOME, PARTS, Part, Timetable

TREES: Final = 100
MOST_PROCESSES: Final = 4
THREADED_ROWS: Final = 2_000_000
"""Below this one thread: LightGBM's threads wait for each other in a loop, and on busy cores that costs far more
than the second core gives (19 s against 150 s, measured with 400,000 rows beside other work)."""

PARAMETERS: Final[Mapping[str, Any]] = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.08,
    "min_data_in_leaf": 500,
    "feature_fraction": 0.8,
    "lambda_l2": 5.0,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
# With less than some years of data these only tell the snapshots' weeks apart: a tree that splits on them would learn
# the calendar of its training weeks and meet values at the open that it never saw.
UNTRAINED: Final = ("now.day_of_year", "person.known_days")

Say = Callable[[str], None]


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
    cannot do better.
    """

    slug: str
    brier: float
    plain_brier: float
    ece: float
    reliability: tuple[evaluation.Bin, ...]


@dataclass(frozen=True)
class Trained:
    """A trained model: the artefact's bytes and hash, the measures, and how it came about."""

    artefact: bytes
    hash: str
    rows: int
    rivals: tuple[Rival, ...]
    measures: dict[str, float]
    reliability: tuple[evaluation.Bin, ...]
    candidates: tuple[Candidate, ...]
    timetable: Timetable
    profiles: int
    seconds: float


def train(sessions: Sessions, database_url: str, now: datetime, say: Say, processes: int = 0) -> Trained:
    """Train on everything known before `now`. `processes` 0: one a core, at most MOST_PROCESSES.

    Nothing is stored: `register` does that. Raises InvalidInput when the history is too short or too thin.
    """
    began = monotonic()
    with db.transaction(sessions) as session:
        timetable = Timetable.before(now, _first_order(session))
        market = survey(session, timetable.base_end)
        profiles = people(session)
        words = {number: slug for slug, number in slugs(session).items()}
    candidates = contexts(market)
    say(
        f"{len(profiles)} profiles, {len(candidates)} candidate categories, weekly snapshots from "
        f"{timetable.base_end:%Y-%m-%d} to {timetable.end:%Y-%m-%d}, outcome {OUTCOME.days} days"
    )
    say(f"training and calibration draw {TRAIN_CANDIDATES} candidates a snapshot, the test takes all {len(candidates)}")
    lesson = Lesson(database_url, profiles, timetable, candidates)
    parts = _collected(lesson, processes or min(os.cpu_count() or 1, MOST_PROCESSES))
    for part in PARTS:
        rows, rate = len(parts[part].outcomes), float(parts[part].outcomes.mean()) if len(parts[part].outcomes) else 0.0
        say(f"{part}: {len(parts[part].sizes):,} snapshots, {rows:,} rows, {rate:.1%} bought")
    say(f"replayed in {monotonic() - began:.1f} s")
    booster = _fitted(parts["train"])
    raw = {part: _scores(booster, parts[part]) for part in ("calibrate", "test")}
    thresholds, values = calibration.fit(raw["calibrate"], parts["calibrate"].outcomes.astype(np.float64))
    probabilities = calibration.apply(thresholds, values, raw["test"])
    rivals, measures = _judged(parts, market, probabilities, candidates_per_test=len(candidates))
    by_candidate = _by_candidate(parts["test"], probabilities, words)
    measures |= {
        "ece_median": float(np.median([one.ece for one in by_candidate])),
        "ece_largest": max(one.ece for one in by_candidate),
        "brier_better": float(sum(one.brier < one.plain_brier for one in by_candidate)),
    }
    artefact = Model.build(
        booster.model_to_string(),
        MODEL_FEATURES,
        thresholds,
        values,
        popularity=market.popularity,
        complements=market.complements,
        window_ms=(unix_ms(timetable.base_end), unix_ms(timetable.end)),
        metrics=measures,
    )
    return Trained(
        artefact=artefact,
        hash=Model.load(artefact).hash,
        rows=sum(len(parts[part].outcomes) for part in PARTS),
        rivals=rivals,
        measures=measures,
        reliability=evaluation.reliability(parts["test"].outcomes.astype(np.float64), probabilities),
        candidates=by_candidate,
        timetable=timetable,
        profiles=len(profiles),
        seconds=monotonic() - began,
    )


def register(session: Session, blobs: FolderBlobs, trained: Trained, now: datetime) -> str:
    """Keep the artefact and list the model as trained; a second time changes nothing. Returns its hash."""
    blobs.put(trained.artefact)
    session.execute(
        insert(TrainedModel)
        .values(
            hash=trained.hash,
            created_at=now,
            state="trained",
            metrics=document(trained),
            features=list(MODEL_FEATURES),
            rows=trained.rows,
            size=len(trained.artefact),
        )
        .on_conflict_do_nothing()
    )
    return trained.hash


def document(trained: Trained) -> dict[str, Any]:
    """The measures as JSON, for the model's row and its page."""
    return {
        "measures": trained.measures,
        "rivals": [
            {
                "name": rival.name,
                "auc": rival.auc,
                "log_loss": rival.log_loss,
                "hit": rival.hit,
                "model_minus": [rival.minus.value, rival.minus.low, rival.minus.high] if rival.minus else None,
            }
            for rival in trained.rivals
        ],
        "reliability": _curve(trained.reliability),
        "candidates": [
            {
                "category": one.slug,
                "ece": one.ece,
                "brier": one.brier,
                "plain_brier": one.plain_brier,
                "reliability": _curve(one.reliability),
            }
            for one in trained.candidates
        ],
        "train_weeks": trained.timetable.train_weeks,
        "from": trained.timetable.base_end.isoformat(),
        "to": trained.timetable.end.isoformat(),
        "profiles": trained.profiles,
        "seconds": round(trained.seconds, 1),
    }


def _curve(bins: tuple[evaluation.Bin, ...]) -> list[list[float]]:
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
    lines.append(
        f"by candidate category: ECE median {found['ece_median']:.4f}, largest {found['ece_largest']:.4f}; "
        f"Brier better than its own rate in {found['brier_better']:.0f} of {len(metrics['candidates'])}"
    )
    return lines


def _first_order(session: Session) -> datetime:
    first = session.scalar(text("SELECT min(event_time) FROM event WHERE order_id IS NOT NULL"))
    if first is None:
        raise InvalidInput("events", "hold no order yet; import the history first")
    moment: datetime = first
    return moment


def _collected(lesson: Lesson, processes: int) -> dict[Part, Examples]:
    """The examples of all people, replayed in several processes; the same rows in the same order however many."""
    share = -(-len(lesson.profiles) // max(1, processes * 4)) or 1
    lessons = [
        Lesson(lesson.database_url, lesson.profiles[start : start + share], lesson.timetable, lesson.contexts)
        for start in range(0, len(lesson.profiles), share)
    ]
    if processes == 1 or len(lessons) <= 1:
        found: Sequence[dict[Part, Examples]] = [collect(one) for one in lessons]
    else:
        # Spawned, not forked: the parent may hold threads and connections.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(collect, lessons))
    return {part: Examples.joined([one[part] for one in found]) for part in PARTS}


def _fitted(examples: Examples) -> Any:
    if not 0 < examples.outcomes.sum() < len(examples.outcomes):
        raise InvalidInput("events", "show no week in which some candidate was bought and another was not")
    parameters = dict(PARAMETERS) | {
        "num_threads": 1 if len(examples.outcomes) < THREADED_ROWS else min(os.cpu_count() or 1, MOST_PROCESSES),
        "feature_contri": [0.0 if name in UNTRAINED else 1.0 for name in MODEL_FEATURES],
    }
    data = lightgbm.Dataset(
        examples.features, examples.outcomes, feature_name=[name.replace(".", "_") for name in MODEL_FEATURES]
    )
    return lightgbm.train(parameters, data, num_boost_round=TREES)


def _scores(booster: Any, examples: Examples) -> Array:
    scores: Array = booster.predict(examples.features, num_threads=1)
    return scores


def _judged(
    parts: Mapping[Part, Examples], market: Market, probabilities: Array, candidates_per_test: int
) -> tuple[tuple[Rival, ...], dict[str, float]]:
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


def _by_candidate(test: Examples, probabilities: Array, words: Mapping[int, str]) -> tuple[Candidate, ...]:
    """Each candidate category for itself, the most miscalibrated first."""
    found = []
    for number in np.unique(test.categories).tolist():
        chosen = test.categories == number
        outcomes, said = test.outcomes[chosen].astype(np.float64), probabilities[chosen]
        found.append(
            Candidate(
                slug=words.get(number, str(number)),
                brier=evaluation.brier(outcomes, said),
                plain_brier=evaluation.brier(outcomes, np.full(len(outcomes), outcomes.mean())),
                ece=evaluation.calibration_error(outcomes, said),
                reliability=evaluation.reliability(outcomes, said),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.ece, one.slug)))


def _favourite(examples: Examples, market: Market) -> Array:
    """Own purchases first, popularity between equals; below 1 as the calibration wants it."""
    own = examples.favourite.astype(np.float64)
    return np.asarray((own + _popularity(examples, market)) / (own.max(initial=0.0) + 2.0))


def _popularity(examples: Examples, market: Market) -> Array:
    shares = np.array([market.popularity.get(category, 0.0) for category in examples.categories.tolist()])
    return np.asarray(shares, dtype=np.float64)


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
