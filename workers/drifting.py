"""Drift of live models, measured daily from records of opens and their outcomes.

The people and offers that a model is asked about are not those it was trained on, so what it meets is compared with
what it met in its first week: the features of every candidate that was scored, computed again from the records, and
the scores as they were logged. Promises are held against outcomes over the last four weeks whose windows have closed,
and what was bought of each category in the last closed week against the four before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from base.errors import LatebindError
from base.logs import logger
from campaigns import drift, plans
from campaigns.drift import LEAST_ROWS, Drift, Spread, Told, Turn
from campaigns.models.campaign import Campaign
from campaigns.models.learning import ModelDrift, ModelMove, TrainedModel
from campaigns.opens import Decision
from campaigns.recorded import records
from render.eligibility import Situation
from render.model import Model
from render.plan import Plan
from render.record import DecisionRecord
from render.replay import facts_of, moment
from render.scoring import contexts
from signals.candidates import MODEL_FEATURES, candidate_matrix
from signals.catalog import slugs
from signals.profiles import Profile
from workers.exposures import bought, closed_before, exposures
from workers.fitting import UNTRAINED
from workers.showings import Archive

WEEK: Final = timedelta(days=7)
BACK: Final = timedelta(days=28)
WEEKS_BEFORE: Final = 4
EVERY: Final = timedelta(days=1)
MOST: Final = 1_000
"""Opens of a week that are looked at, drawn by their ids."""
USED_SHARE: Final = 0.01
"""Features that gained less of all splits than this are not watched: they move nothing."""
_ID_SPAN: Final = 1 << 32

Matrix = np.ndarray[Any, np.dtype[np.float32]]


def due(session: Session, now: datetime) -> list[str]:
    """The models that are live somewhere and were not measured for a day."""
    measured = select(ModelDrift.id).where(ModelDrift.model_hash == Campaign.model_hash, ModelDrift.at > now - EVERY)
    live = select(Campaign.model_hash).where(Campaign.model_hash.is_not(None), ~measured.exists()).distinct()
    return [digest for digest in session.scalars(live.order_by(Campaign.model_hash)) if digest is not None]


def measure(session: Session, archive: Archive, digest: str, now: datetime) -> Drift | None:
    """Measure a model and keep what was found; None, and nothing kept, while it has not decided for two weeks, or too
    little. Raises InvalidInput or NotFound where its artefact cannot be read."""
    row = session.get(TrainedModel, digest)
    since = session.scalar(
        select(func.min(ModelMove.at)).where(
            ModelMove.model_hash == digest, ModelMove.action.in_(("canary", "live", "rollback"))
        )
    )
    if row is None or since is None or since + 2 * WEEK > now:
        return None
    model = Model.load(archive.blobs.get(digest))
    if not row.reference:
        first = _met(session, archive, model, since, since + WEEK)
        if len(first[1]) < LEAST_ROWS:
            return None
        spreads = {name: drift.spread(first[0][:, place].tolist()) for place, name in enumerate(MODEL_FEATURES)}
        row.reference = {
            "score": msgspec.to_builtins(drift.spread(first[1])), "features": msgspec.to_builtins(spreads),
        }  # fmt: skip
    matrix, scores = _met(session, archive, model, now - WEEK, now)
    if len(scores) < LEAST_ROWS:
        return None
    before = msgspec.convert(row.reference["features"], dict[str, Spread])
    moved = [
        (name, drift.psi(before[name], matrix[:, MODEL_FEATURES.index(name)].tolist()))
        for name in watched(row.metrics.get("importance") or ())
        if name in before
    ]
    seen = exposures(session, archive, model, now, since=closed_before(now) - BACK, decided_by=digest)
    told = seen.part(~np.isnan(seen.said))
    kept = drift.promise(told.said.tolist(), told.outcomes.tolist())
    turned = _turned(session, archive, model, closed_before(now), now)
    finding = drift.found(
        drift.psi(msgspec.convert(row.reference["score"], Spread), scores), moved, kept, row.definitions, turned
    )
    session.add(ModelDrift(at=now, model_hash=digest, document=msgspec.to_builtins(finding)))
    session.flush()
    return finding


def _turned(session: Session, archive: Archive, model: Model, closed: datetime, now: datetime) -> tuple[Turn, ...]:
    """What was bought of each category that was scored in the last closed week, beside the four weeks before it.

    Of each week a person's first open counts, so that a purchase counts once.
    """
    words = {number: slug for slug, number in slugs(session).items()}
    weeks = [
        _told(session, archive, model, closed - number * WEEK, now, words) for number in range(1, WEEKS_BEFORE + 2)
    ]
    before: dict[str, Told] = {}
    for week in weeks[1:]:
        for name, told in week.items():
            known = before.get(name, Told())
            before[name] = Told(known.said + told.said, known.bought + told.bought)
    return drift.turns(before, weeks[0])


def _told(
    session: Session, archive: Archive, model: Model, begin: datetime, now: datetime, words: Mapping[int, str]
) -> dict[str, Told]:
    """Category -> what was said of it in a week, and how often it was bought within the window after."""
    first: dict[tuple[int, int], tuple[int, float]] = {}
    known: dict[str, Plan] = {}
    for row, record in _recorded(session, archive, model, begin, begin + WEEK):
        try:
            if record.plan not in known:
                known[record.plan] = plans.load(archive.blobs, record.plan)
        except LatebindError as error:
            logger(__name__).warning("a decision tells nothing of drift", decision=record.id, reason=str(error)[:200])
            continue
        for offer, said in _said(record, known[record.plan]).items():
            category = known[record.plan].offer_by_id[offer].category
            if category is None:
                continue
            key = row.root_id, category
            if key not in first or record.at_ms < first[key][0]:
                first[key] = record.at_ms, said
    roots = np.array([root for root, _ in first], dtype=np.int64)
    categories = [category for _, category in first]
    came = bought(session, roots, [at_ms for at_ms, _ in first.values()], categories, begin, now).tolist()
    found: dict[str, Told] = {}
    for category, (_, chance), outcome in zip(categories, first.values(), came, strict=True):
        name = words.get(category, str(category))
        told = found.get(name, Told())
        found[name] = Told(told.said + chance, told.bought + outcome)
    return found


def watched(importance: Iterable[Sequence[Any]]) -> list[str]:
    """The features that a model goes by, of pairs of a name and what its splits gained, a share of all; all where that
    was not kept. Those that move by themselves are left out."""
    gained = {name for name, share in importance if share >= USED_SHARE}
    return [name for name in MODEL_FEATURES if name not in UNTRAINED and (name in gained or not gained)]


def _met(
    session: Session, archive: Archive, model: Model, begin: datetime, end: datetime
) -> tuple[Matrix, list[float]]:
    """The features and the logged scores of the candidates that a model scored within a span, a row each."""
    known: dict[str, Plan] = {}
    parts: list[Matrix] = []
    scores: list[float] = []
    for _, record in _recorded(session, archive, model, begin, end):
        try:
            if record.plan not in known:
                known[record.plan] = plans.load(archive.blobs, record.plan)
            part, said = _scored(record, known[record.plan], model)
        except (LatebindError, ValueError) as error:
            logger(__name__).warning("a decision tells nothing of drift", decision=record.id, reason=str(error)[:200])
            continue
        if said:
            parts.append(part)
            scores += said
    width = len(MODEL_FEATURES)
    return (np.concatenate(parts) if parts else np.zeros((0, width), dtype=np.float32)), scores


def _recorded(
    session: Session, archive: Archive, model: Model, begin: datetime, end: datetime
) -> Iterator[tuple[Any, DecisionRecord]]:
    """The opens that a model decided within a span, at most MOST, each row with its `root_id`."""
    where: tuple[Any, ...] = (
        Decision.campaign_id.in_(select(ModelMove.campaign_id).where(ModelMove.model_hash == model.hash)),
        Decision.at >= begin,
        Decision.at < end,
        Decision.model_hash == model.hash,
        Decision.lane == "live",
        Decision.personal.is_not(None),
    )
    count = session.scalar(select(func.count()).select_from(Decision).where(*where)) or 0
    if count > MOST:
        where = (*where, Decision.id < f"{_ID_SPAN * MOST // count:08x}")
    rows = session.execute(
        select(Decision.id, Decision.profile_id, Profile.root_id, Decision.public, Decision.personal)
        .join(Profile, Profile.id == Decision.profile_id)
        .where(*where)
    ).all()
    return records(session, rows, archive.wrapping_key)


def _scored(record: DecisionRecord, plan: Plan, model: Model) -> tuple[Matrix, list[float]]:
    said = _said(record, plan)
    if not said:
        return np.zeros((0, len(MODEL_FEATURES)), dtype=np.float32), []
    at = Situation(plan, facts_of(record, model), moment(record.at_ms))
    matrix = candidate_matrix(at.plain, contexts(at, [plan.offer_by_id[offer] for offer in said]), at.now)
    return matrix, list(said.values())


def _said(record: DecisionRecord, plan: Plan) -> dict[int, float]:
    """Offer -> the probability that was logged."""
    return {
        one.offer: one.probability
        for slot in record.slots
        for one in slot.candidates
        if one.probability is not None and one.offer in plan.offer_by_id
    }
