"""The last act: another week later the outcome of every open is known. Did the logged probabilities come true?

For each decision of the live lane and each offer it scored: the logged probability of a purchase in the offer's
category within seven days, and whether the household made one. These opens lie after everything the model was trained
and calibrated on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from base import db
from signals.importing import import_events
from signals.intake import Intake
from signals.sources import sender_by_name
from workers import evaluation
from workers.demo.claims import Claims
from workers.demo.loading import later_week
from workers.demo.proof import rows
from workers.demo.restock import Restock
from workers.demo.stage import Stage

LEAST_A_BIN: Final = 60
"""Opens a bar of an offer's curve stands for at least; fewer make a rate of luck."""
_SCORED: Final = """
    WITH scored AS (
        SELECT DISTINCT d.id, d.at, d.profile_id, (c.candidate ->> 0)::int AS offer, (c.candidate ->> 3)::float AS said
        FROM decision d
        CROSS JOIN LATERAL json_array_elements(convert_from(d.public, 'UTF8')::json -> 'slots') AS s (slot)
        CROSS JOIN LATERAL json_array_elements(s.slot -> 'candidates') AS c (candidate)
        WHERE d.campaign_id = :campaign AND d.lane = 'live' AND c.candidate ->> 3 IS NOT NULL
    )
    SELECT o.name, s.said, EXISTS (
        SELECT 1 FROM event e
        WHERE e.profile_id = s.profile_id AND e.name = 'Order Completed' AND e.folds AND e.category_ids @> ARRAY[k.id]
          AND e.event_time > s.at AND e.event_time <= s.at + interval '7 days'
    ) AS bought
    FROM scored s JOIN offer o ON o.id = s.offer JOIN category k ON k.slug = o.category
    WHERE o.kind <> 'thank-you'
"""

Array = evaluation.Array


@dataclass(frozen=True)
class Kept:
    """How an offer's logged probabilities held over the opens that scored it."""

    name: str
    opens: int
    brier: float
    ece: float
    curve: tuple[evaluation.Bin, ...]


def reckon(stage: Stage, restock: Restock, source: str, claims: Claims) -> None:
    """Let a week go by, take its purchases in, and hold promise against outcome, over all offers and for each."""
    stage.clock.set(stage.calendar.closed)
    intake = Intake(stage.sessions, stage.store, stage.settings.hash_key)
    with db.transaction(stage.sessions) as session:
        sender = sender_by_name(session, source)
    if sender is None:
        raise ValueError(f"there is no source {source!r}")
    report = import_events(intake, sender, later_week(stage), stage.now)
    stage.say(f"{report.accepted:,} purchases of the week after, imported in bulk")
    said, bought, names = _scored(stage, restock)
    whole = _kept("all offers", said, bought)
    stage.say(f"  probability logged at an open, and share that bought within 7 days ({whole.opens:,} scored offers):")
    for start in range(0, len(whole.curve), 8):
        bars = whole.curve[start : start + 8]
        stage.say("    " + "  ".join(f"{bar.predicted:.2f}→{bar.observed:.2f}" for bar in bars))
    offers = [_kept(name, said[names == name], bought[names == name]) for name in np.unique(names).tolist()]
    stage.say(f"  {'offer':<34}{'opens':>7}{'Brier':>8}{'ECE':>7}{'said':>7}{'bought':>8}")
    for one in sorted(offers, key=lambda one: -one.opens):
        mean_said, mean_bought = _means(one.curve)
        stage.say(
            f"  {one.name:<34}{one.opens:>7,}{one.brier:>8.3f}{one.ece:>7.3f}{mean_said:>7.3f}{mean_bought:>8.3f}"
        )
    promised, came = _means(whole.curve)
    claims.check(
        "what was said at opens came true as often as it was said",
        whole.opens > 0 and abs(promised - came) < 0.05 and whole.ece < 0.06,
        f"said {promised:.3f}, came true {came:.3f}; ECE {whole.ece:.3f}, Brier {whole.brier:.3f}",
    )


def _scored(stage: Stage, restock: Restock) -> tuple[Array, Array, np.ndarray[Any, Any]]:
    found = rows(stage, _SCORED, {"campaign": restock.campaign})
    said = np.array([row.said for row in found], dtype=np.float64)
    return said, np.array([row.bought for row in found], dtype=np.float64), np.array([row.name for row in found])


def _kept(name: str, said: Array, bought: Array) -> Kept:
    bins = max(1, min(evaluation.BINS, len(said) // LEAST_A_BIN))
    return Kept(
        name=name,
        opens=len(said),
        brier=evaluation.brier(bought, said),
        ece=evaluation.calibration_error(bought, said, bins),
        curve=evaluation.reliability(bought, said, bins),
    )


def _means(curve: tuple[evaluation.Bin, ...]) -> tuple[float, float]:
    count = sum(bar.count for bar in curve)
    said = sum(bar.predicted * bar.count for bar in curve)
    return said / count, sum(bar.observed * bar.count for bar in curve) / count
