"""Training the next-best-offer model: what will this person buy within a week, of the categories an offer may be about?

    events -> snapshots (workers/examples) -> LightGBM -> calibration on later weeks -> measures on the last weeks
    decisions and outcomes -> exposures (workers/exposures) -> more trees (workers/response), where there are enough
    content holdouts -> what showing changes (workers/withheld, workers/persuasion), where there are enough

The model is judged beside three rivals on weeks that neither trees nor calibration saw: popularity, the rule "the
household's own favourite of the last 84 days", and (for log-loss) the constant rate. docs/model.md has the figures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
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
from base.vault import vault_of
from campaigns.models.learning import TrainedModel
from render.model import Model
from signals.candidates import DEFINITIONS, MODEL_FEATURES
from signals.catalog import slugs
from signals.moments import today_of, unix_ms
from workers import calibration, evaluation
from workers.examples import TRAIN_CANDIDATES, Examples, Lesson, collect, contexts, people
from workers.exposures import MOST, Readers, exposures
from workers.fitting import UNTRAINED, Array, bag, crossed, fitted, importance, scores, stretches
from workers.judgement import Candidate, Rival, by_candidate, curve, judged
from workers.market import survey, trade
from workers.persuasion import Persuasion
from workers.persuasion import learnt as persuasion_of
from workers.response import Response, joined, learnt
from workers.showings import Archive
from workers.timetable import OUTCOME, PARTS, WEEK, Part, Timetable
from workers.withheld import withheld

MOST_PROCESSES: Final = 4
LEAST_CALIBRATING: Final = 500
"""With fewer purchases in the calibration weeks a table of theirs is mostly chance (each of 15 bins would rest on some
thirty, so on a rate known to a fifth). Then those weeks are learnt from too, and calibration goes by crossing."""
STRETCHES: Final = 4
HELD_OUT: Final = "weeks after those of the trees"
CROSSED: Final = "stretches of time, each scored by trees of the other stretches"

Say = Callable[[str], None]


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
    importance: tuple[tuple[str, float], ...] = ()
    gains: tuple[tuple[float, float, float], ...] = ()
    calibration: tuple[tuple[float, float], ...] = ()
    response: Response | None = None
    is_crossed: bool = False
    persuasion: Persuasion | None = None


def train(
    sessions: Sessions,
    database_url: str,
    now: datetime,
    say: Say,
    processes: int = 0,
    archive: Archive | None = None,
    bags: int = 0,
    decisions: int = MOST,
    scheduler: str = "",
) -> Trained:
    """Train on everything known before `now`. `processes` 0: one a core, at most MOST_PROCESSES.

    With an `archive` of records what people saw and took is learnt from too, of at most so many `decisions`. `bags`:
    boosters more, each fitted to another draw of the people, for slots that explore by Thompson sampling. With a
    `scheduler` trees are fitted on its Dask cluster. Nothing is stored: `register` does that.
    Raises InvalidInput when the history is too short or too thin.
    """
    began = monotonic()
    with db.transaction(sessions) as session:
        timetable = Timetable.before(now, _first_order(session))
        market = survey(session, timetable.base_end)
        told = trade(session, market, timetable.end)
        profiles = people(session)
        words = {number: slug for slug, number in slugs(session).items()}
        pii_keys = vault_of(session).keys
    standings = [told.at(today_of(week)) for _, week in timetable.weeks()]
    leanings = told.leanings(today_of(timetable.base_end))
    seen = tuple(contexts(market, standing, leanings) for standing in standings)
    candidates = seen[0]
    say(
        f"{len(profiles)} profiles, {len(candidates)} candidate categories, weekly snapshots from "
        f"{timetable.base_end:%Y-%m-%d} to {timetable.end:%Y-%m-%d}, outcome {OUTCOME.days} days"
    )
    say(f"training and calibration draw {TRAIN_CANDIDATES} candidates a snapshot, the test takes all {len(candidates)}")
    lesson = Lesson(database_url, pii_keys, profiles, timetable, seen)
    processes = processes or min(os.cpu_count() or 1, MOST_PROCESSES)
    parts = _collected(lesson, processes)
    for part in PARTS:
        rows, rate = len(parts[part].outcomes), float(parts[part].outcomes.mean()) if len(parts[part].outcomes) else 0.0
        say(f"{part}: {len(parts[part].sizes):,} snapshots, {rows:,} rows, {rate:.1%} bought")
    say(f"replayed in {monotonic() - began:.1f} s")
    is_crossed = parts["calibrate"].outcomes.sum() < LEAST_CALIBRATING
    if is_crossed:
        both = Examples.joined([parts["train"], parts["calibrate"]])
        parts = parts | {"train": both, "calibrate": both}
    booster = fitted(parts["train"].features, parts["train"].outcomes, scheduler=scheduler)
    raw = _crossed(both, scheduler) if is_crossed else scores(booster, parts["calibrate"].features)
    thresholds, values = calibration.fit(raw, parts["calibrate"].outcomes.astype(np.float64))
    by_category = _own(parts["calibrate"], raw, (thresholds, values))
    say(f"calibrated on {CROSSED if is_crossed else HELD_OUT}")
    tested = scores(booster, parts["test"].features)
    probabilities = calibration.apply_own((thresholds, values), by_category, tested, parts["test"].categories)
    rivals, measures = judged(parts, market, probabilities, candidates_per_test=len(candidates))
    candidates_held = by_candidate(parts["test"], probabilities, words, by_category.keys())
    common = calibration.apply(thresholds, values, tested)
    measures |= {
        "own_tables": float(len(by_category)),
        "common_log_loss": evaluation.log_loss(parts["test"].outcomes.astype(np.float64), common),
        "common_ece_median": float(np.median([one.ece for one in by_candidate(parts["test"], common, words)])),
        "ece_median": float(np.median([one.ece for one in candidates_held])),
        "ece_largest": max(one.ece for one in candidates_held),
        "brier_better": float(sum(one.brier < one.plain_brier for one in candidates_held)),
    }
    say(f"fitted and judged by {monotonic() - began:.1f} s")
    now_standing = told.at(today_of(timetable.end))
    build = partial(
        Model.build,
        features=MODEL_FEATURES,
        popularity=now_standing.popularity,
        complements=market.complements,
        trend=now_standing.trend,
        starts=now_standing.starts,
        leanings=leanings,
        window_ms=(unix_ms(timetable.base_end), unix_ms(timetable.end)),
    )
    response, persuasion, evidence, by_offer = None, None, {}, {}
    if archive is not None:
        model = Model.load(build(booster.model_to_string(), thresholds=thresholds, values=values))
        with db.transaction(sessions) as session:
            readers = Readers(database_url, processes)
            exposed = exposures(session, archive, model, now, most=decisions, readers=readers)
        say(f"{len(exposed):,} exposures read by {monotonic() - began:.1f} s")
        response, evidence = learnt(booster, exposed, UNTRAINED, scheduler), exposed.evidence
        say(f"exposures: {response.why}")
        measures |= response.measures
        if response.booster is not None:
            booster, thresholds, values = response.booster, response.thresholds, response.values
            # What an offer's category was worth to the trees of purchases says nothing of the scores of these.
            by_category, by_offer = {}, response.by_offer
        with db.transaction(sessions) as session:
            persuasion = persuasion_of(withheld(session, archive, model, now))
        say(f"effects of showing: {persuasion.why}")
    learning = parts["train"]
    owners = np.repeat(learning.profiles, learning.sizes)
    drawn = [
        bag(learning.features, learning.outcomes, owners, number, scheduler=scheduler) for number in range(1, bags + 1)
    ]
    if response is not None and response.trees is not None:
        drawn = [joined(one, response.trees) for one in drawn]
    artefact = build(
        booster.model_to_string(),
        thresholds=thresholds,
        values=values,
        metrics=measures,
        evidence=evidence,
        bags=[one.model_to_string() for one in drawn],
        uplift=b"" if persuasion is None else persuasion.artefact,
        by_category=by_category,
        by_offer=by_offer,
    )
    return Trained(
        artefact=artefact,
        hash=Model.load(artefact).hash,
        rows=sum(len(parts[part].outcomes) for part in PARTS),
        rivals=rivals,
        measures=measures,
        reliability=evaluation.reliability(parts["test"].outcomes.astype(np.float64), probabilities),
        candidates=candidates_held,
        timetable=timetable,
        profiles=len(profiles),
        seconds=monotonic() - began,
        importance=importance(booster),
        gains=evaluation.gains(parts["test"].outcomes.astype(np.float64), probabilities),
        calibration=tuple(zip(thresholds, values, strict=True)),
        response=response,
        is_crossed=is_crossed,
        persuasion=persuasion,
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
            definitions=dict(DEFINITIONS),
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
        "reliability": curve(trained.reliability),
        "candidates": [
            {
                "category": one.slug,
                "ece": one.ece,
                "brier": one.brier,
                "plain_brier": one.plain_brier,
                "own_table": one.has_own_table,
                "reliability": curve(one.reliability),
            }
            for one in trained.candidates
        ],
        "importance": [list(one) for one in trained.importance],
        "gains": [list(one) for one in trained.gains],
        "calibrated_on": CROSSED if trained.is_crossed else HELD_OUT,
        "calibration": [list(one) for one in trained.calibration],
        "response": None if trained.response is None else _response(trained.response),
        "effects": None if trained.persuasion is None else _persuasion(trained.persuasion),
        "train_weeks": trained.timetable.train_weeks,
        "from": trained.timetable.base_end.isoformat(),
        "to": trained.timetable.end.isoformat(),
        "profiles": trained.profiles,
        "seconds": round(trained.seconds, 1),
    }


def _response(found: Response) -> dict[str, Any]:
    return {
        "used": found.booster is not None,
        "why": found.why,
        "reliability": curve(found.reliability),
        "offers": [
            {
                "offer": one.number,
                "rows": sum(row.count for row in one.reliability),
                "ece": one.ece,
                "brier": one.brier,
                "plain_brier": one.plain_brier,
                "own_table": one.has_own_table,
                "reliability": curve(one.reliability),
            }
            for one in found.offers
        ],
    }


def _persuasion(found: Persuasion) -> dict[str, Any]:
    return {
        "used": found.is_used,
        "why": found.why,
        "people_shown": found.people[0],
        "people_withheld": found.people[1],
        "learner": found.learner,
        "qini": None if found.qini is None else list(_ends(found.qini)),
        "parts": [[part.rows, part.said, *_ends(part.measured)] for part in found.parts],
    }


def _ends(found: evaluation.Interval | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if found is None else (found.value, found.low, found.high)


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
        replace(lesson, profiles=lesson.profiles[start : start + share])
        for start in range(0, len(lesson.profiles), share)
    ]
    if processes == 1 or len(lessons) <= 1:
        found: Sequence[dict[Part, Examples]] = [collect(one) for one in lessons]
    else:
        # Spawned, not forked: the parent may hold threads and connections.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(collect, lessons))
    return {part: Examples.joined([one[part] for one in found]) for part in PARTS}


def _own(
    examples: Examples, raw: Array, table: tuple[tuple[float, ...], tuple[float, ...]]
) -> dict[int, tuple[float, ...]]:
    """The tables that categories have of their own; the halves of the time hold as many snapshots."""
    is_late = np.repeat(examples.at_ms >= np.median(examples.at_ms), examples.sizes)
    return calibration.own(raw, examples.outcomes.astype(np.float64), examples.categories, is_late, table)


def _crossed(examples: Examples, scheduler: str) -> Array:
    """Each row's raw probability, from trees that did not see its stretch of time; a person's week stays together."""
    weeks = np.repeat(examples.at_ms // (WEEK // timedelta(milliseconds=1)), examples.sizes)
    blocks = stretches(weeks, examples.outcomes, STRETCHES)
    return crossed(examples.features, examples.outcomes, blocks, scheduler=scheduler)
