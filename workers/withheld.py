"""What deciding at the open was withheld from: people kept on neutral content by lot, beside those who were not.

A row is an offer that a person's open showed, or, in the content holdout, that it would have shown: `decide` is asked
once more on the facts of the open, the same way in both groups, so that they differ by the lot alone. Its outcome is
whether the person bought of the offer's category within the window after. Only the first open of the first mail since
the lot was drawn counts: nothing that was shown has changed the person before.

A person is in the group of one holdout at a time. Who was kept on neutral content by another holdout too is left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.errors import LatebindError
from base.ids import TEST_BIT, Delivery
from base.logs import logger
from campaigns import plans
from campaigns.models.learning import ModelMove
from campaigns.recorded import records
from render.decide import decide
from render.eligibility import Situation
from render.facts import Facts
from render.model import Model
from render.plan import Canary, Live, Plan
from render.record import DecisionRecord
from render.relations import Relations
from render.replay import facts_of, moment
from render.scoring import contexts
from render.trial import models_of
from signals.candidates import MODEL_FEATURES, candidate_matrix
from workers.exposures import REACH, bought, closed_before
from workers.showings import CHUNK, Archive, Doubles, Flags, Floats, Whole

MOST: Final = 20_000
"""Opens of either group that are looked at; of more an even part, drawn by their ids, which are hashes."""
KEPT: Final = 8


@dataclass(frozen=True)
class Withheld:
    """Rows in no order. `shown`: whether the person was in the group that is decided for. `chances`: how likely the lot
    put them into the group they are in, 0 to 1. `outcomes`: 0 or 1."""

    features: Floats
    shown: Flags
    outcomes: Doubles
    chances: Doubles
    roots: Whole

    def __len__(self) -> int:
        return len(self.roots)

    def people(self, shown: bool) -> int:
        """How many people of a group are in the rows."""
        return len(np.unique(self.roots[self.shown == shown]))


_OPENED = text("""
    SELECT d.id, d.profile_id, d.public, d.personal, one.root_id, one.held, one.share
    FROM (
        SELECT first.*, row_number() OVER (PARTITION BY first.held ORDER BY first.id) AS place
        FROM (
            SELECT DISTINCT ON (a.campaign_id, p.root_id) d.id, d.at, p.root_id, a.held, a.share
            FROM holdout_assignment a
            JOIN profile p ON p.id = a.profile_id
            JOIN decision d ON d.profile_id = a.profile_id AND (a.campaign_id = 0 OR d.campaign_id = a.campaign_id)
            WHERE a.kind = 'content' AND a.left_at IS NULL AND a.share > 0 AND a.share < 1
              AND d.at >= :begin AND d.at < :end AND d.at >= a.assigned_at
              AND d.lane = 'live' AND d.open_number = 1 AND d.occurrence < :test AND NOT d.lost
              AND d.personal IS NOT NULL
              AND NOT EXISTS (
                SELECT FROM holdout_assignment o
                WHERE o.kind = 'content' AND o.profile_id = a.profile_id AND o.held
                  AND o.campaign_id <> a.campaign_id AND o.campaign_id IN (0, d.campaign_id)
              )
              AND EXISTS (
                SELECT FROM "fetch" f
                WHERE f.decision_id = d.id AND f.decision_at = d.at AND f.lane = 'live' AND f.slot < 255
                  AND f.fetch_class IN ('person', 'proxy')
              )
            ORDER BY a.campaign_id, p.root_id, d.at, d.id
        ) first
    ) one
    JOIN decision d ON d.id = one.id AND d.at = one.at
    WHERE one.place <= :most
""")


def withheld(session: Session, archive: Archive, model: Model, now: datetime, most: int = MOST) -> Withheld:
    """What was shown and withheld in the last half year, of windows that have closed; the same rows every time.

    `model` names what everybody shares, popularity and complements; its trees are not asked.
    """
    begin = now - REACH
    given = {"begin": begin, "end": closed_before(now), "test": TEST_BIT, "most": most}
    found = session.execute(_OPENED, given, execution_options={"stream_results": True, "max_row_buffer": CHUNK})
    reader = _Reader(session, archive, model)
    rows: list[tuple[float, ...]] = []
    features: list[Floats] = []
    for part in found.partitions(CHUNK):
        for row, record in records(session, part, archive.wrapping_key):
            if record.neutral != row.held:
                continue
            chance = row.share if row.held else 1 - row.share
            for category, matrix in reader.shown(record):
                rows.append((not row.held, chance, row.root_id, record.at_ms, category))
                features.append(matrix)
    columns: Sequence[Sequence[float]] = list(zip(*rows, strict=True)) or [()] * 5
    shown, chances, roots, at_ms, categories = columns
    people = np.array(roots, dtype=np.int64)
    return Withheld(
        features=np.array(features, dtype=np.float32).reshape(len(features), len(MODEL_FEATURES)),
        shown=np.array(shown, dtype=np.bool_),
        outcomes=bought(session, people, at_ms, categories, begin, now),
        chances=np.array(chances, dtype=np.float64),
        roots=people,
    )


class _Reader:
    """Decides recorded opens once more, as if nobody were held out; keeps the plans and models it met."""

    def __init__(self, session: Session, archive: Archive, model: Model) -> None:
        self._session, self._archive, self._model = session, archive, model
        self._plans: dict[str, Plan] = {}
        self._models: dict[str, Model] = {}
        self._relations: dict[str, Relations] = {}
        self._reigns: dict[int, tuple[list[datetime], list[Live]]] = {}

    def shown(self, record: DecisionRecord) -> Iterator[tuple[int, Floats]]:
        """The categories that the open shows, or would, each with its features; nothing where that cannot be told."""
        try:
            plan = self._plan(record).shown_to(record.profile)
            decision = decide(plan, self._facts(record), moment(record.at_ms), record.seed)
            offers = [plan.offer_by_id[offer] for offer in decision.offers if offer not in plan.default_ids]
            seen = replace(record, model=self._model.hash, relations=None, neutral=False)
            at = Situation(plan, facts_of(seen, self._model), moment(record.at_ms))
        except (LatebindError, ValueError, KeyError) as error:
            logger(__name__).warning("a decision teaches nothing", decision=record.id, reason=str(error)[:200])
            return
        told = [one for one in contexts(at, offers) if one.category and one.category not in plan.sensitive]
        if told:
            for candidate, row in zip(told, candidate_matrix(at.plain, told, at.now), strict=True):
                yield candidate.category, row

    def _facts(self, record: DecisionRecord) -> Facts:
        """As the open had them, but for the holdout and what chance had used up by then."""
        wanted = models_of(self._live(record), Delivery(record.profile, record.campaign, record.occurrence))
        model = next((found for digest in wanted if (found := self._loaded(digest)) is not None), None)
        relations = None if record.relations is None else self._known(record.relations)
        plain = replace(record, model=None if model is None else model.hash, neutral=False, refused=())
        return facts_of(plain, model, relations)

    def _live(self, record: DecisionRecord) -> Live:
        """What decided a campaign when the open was: the record of a neutral open names no model."""
        if record.campaign not in self._reigns:
            self._reigns[record.campaign] = _reigns(self._session, record.campaign)
        since, lives = self._reigns[record.campaign]
        return lives[bisect_right(since, moment(record.at_ms))]

    def _plan(self, record: DecisionRecord) -> Plan:
        if record.plan not in self._plans:
            _bounded(self._plans)[record.plan] = plans.load(self._archive.blobs, record.plan)
        return self._plans[record.plan]

    def _loaded(self, digest: str) -> Model | None:
        if digest not in self._models:
            try:
                _bounded(self._models)[digest] = Model.load(self._archive.blobs.get(digest))
            except LatebindError:
                # An open that could not load it was left to the next.
                return None
        return self._models[digest]

    def _known(self, digest: str) -> Relations:
        if digest not in self._relations:
            _bounded(self._relations)[digest] = Relations.load(self._archive.blobs.get(digest))
        return self._relations[digest]


def _bounded(kept: dict[str, Any]) -> dict[str, Any]:
    if len(kept) >= KEPT:
        kept.clear()
    return kept


def _reigns(session: Session, campaign: int) -> tuple[list[datetime], list[Live]]:
    """When what decides a campaign changed, and what did before the first change and after each."""
    since: list[datetime] = []
    lives = [Live()]
    for step in session.scalars(select(ModelMove).where(ModelMove.campaign_id == campaign).order_by(ModelMove.id)):
        before = lives[-1]
        if step.action in ("rollback", "rules"):
            after = Live(model=step.model_hash)
        elif step.action == "live":
            ends = before.canary is not None and before.canary.model == step.model_hash
            after = replace(before, model=step.model_hash, **({"canary": None} if ends else {}))
        elif step.action == "canary" and step.model_hash is not None:
            after = replace(before, canary=Canary(step.model_hash, step.share or 0.0))
        elif step.action == "stop" and before.canary is not None and before.canary.model == step.model_hash:
            after = replace(before, canary=None)
        else:
            continue
        since.append(step.at)
        lives.append(after)
    return since, lives
