"""The registry of models as pages and the API tell it: what each is, where it runs, and what was found of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from campaigns import rollout
from campaigns.gate import Verdict
from campaigns.models.campaign import Campaign
from campaigns.models.catalogue import Offer
from campaigns.models.learning import ModelDrift, ModelMove, ModelShadow, TrainedModel, TrainingRun
from campaigns.opens import Decision

MOST_MODELS: Final = 100
MOST_CAMPAIGNS: Final = 200
MOST_RUNS: Final = 10


@dataclass(frozen=True)
class Place:
    """What decides the model slots of one campaign, and what is on trial there; None for the rules, or for nothing."""

    campaign: int
    name: str
    currency: str
    live: str | None
    canary: str | None
    share: float | None
    shadow: str | None
    can_go_back: bool
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    compared: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Model on trial -> opens that it decided once more, and those of them where it chose otherwise."""

    def stage(self, digest: str) -> str | None:
        """How far a model is here; None where it is nowhere."""
        known = (("live", self.live), ("canary", self.canary), ("shadow", self.shadow))
        return next((stage for stage, name in known if name == digest), None)


@dataclass(frozen=True)
class Entry:
    """A model in the list, and the campaigns it is in by stage."""

    row: TrainedModel
    places: Mapping[str, Sequence[Place]]


def models(session: Session) -> list[TrainedModel]:
    """The newest models first, at most MOST_MODELS."""
    query = select(TrainedModel).order_by(TrainedModel.created_at.desc(), TrainedModel.hash).limit(MOST_MODELS)
    return list(session.scalars(query))


def places(session: Session, now: datetime) -> list[Place]:
    """The campaigns that have a model slot or name a model, the newest first, at most MOST_CAMPAIGNS."""
    wants_model = Campaign.slots.contains([{"mode": "model"}])
    rows = session.scalars(
        select(Campaign)
        .where(wants_model | Campaign.model_hash.is_not(None), Campaign.plan_hash.is_not(None))
        .order_by(Campaign.id.desc())
        .limit(MOST_CAMPAIGNS)
    )
    return [place(session, row, now) for row in rows]


def place(session: Session, row: Campaign, now: datetime) -> Place:
    """One campaign."""
    on_trial = [digest for digest in (row.canary_hash, row.shadow_hash) if digest is not None]
    return Place(
        campaign=row.id,
        name=row.name,
        currency=row.currency,
        live=row.model_hash,
        canary=row.canary_hash,
        share=row.canary_share,
        shadow=row.shadow_hash,
        can_go_back=rollout.before_live(session, row) is not None,
        verdicts={digest: rollout.verdict(session, row, digest, now) for digest in on_trial},
        compared={digest: _compared(session, row.id, digest) for digest in on_trial},
    )


def listed(session: Session, now: datetime) -> list[Entry]:
    """Every model with the campaigns it is in."""
    known = places(session, now)
    return [
        Entry(row, {stage: [one for one in known if one.stage(row.hash) == stage] for stage in STAGES})
        for row in models(session)
    ]


STAGES: Final = ("live", "canary", "shadow")


def decided(session: Session, digest: str, since: datetime) -> int:
    """Opens that a model decided since a moment."""
    return session.scalar(
        select(func.count()).select_from(Decision).where(
            Decision.at >= since, Decision.model_hash == digest, Decision.lane == "live"
        )
    ) or 0  # fmt: skip


def drift(session: Session, digest: str, limit: int = 30) -> list[ModelDrift]:
    """What was found of a model's drift, the newest first."""
    query = select(ModelDrift).where(ModelDrift.model_hash == digest).order_by(ModelDrift.id.desc()).limit(limit)
    return list(session.scalars(query))


@dataclass(frozen=True)
class Held:
    """How the probabilities of an offer, or of a category, held on what the model had not seen.

    `plain_brier` is the Brier score of always saying its own observed rate; `said` and `came` are means, 0 to 1.
    """

    name: str
    rows: int
    said: float
    came: float
    ece: float
    brier: float
    plain_brier: float
    has_own_table: bool


def held(session: Session, row: TrainedModel) -> list[Held]:
    """By offer where a model has learnt from what people saw, by category otherwise; the worst held first."""
    response = row.metrics.get("response") or {}
    if response.get("used") and response.get("offers"):
        told = response["offers"]
        numbers = [one["offer"] for one in told]
        named = {one.id: one.name for one in session.execute(select(Offer.id, Offer.name).where(Offer.id.in_(numbers)))}
        return [_held(named.get(one["offer"], f"Offer {one['offer']}"), one) for one in told]
    return [_held(one["category"], one) for one in row.metrics.get("candidates") or () if "reliability" in one]


def _held(name: str, told: Mapping[str, Any]) -> Held:
    rows = sum(count for count, _, _ in told["reliability"])
    said, came = (sum(bar[0] * bar[place] for bar in told["reliability"]) / max(1, rows) for place in (1, 2))
    return Held(
        name, round(rows), said, came, told["ece"], told["brier"], told["plain_brier"], told.get("own_table", False)
    )


def knows_effects(session: Session, digest: str) -> bool:
    """Whether a model has learnt what showing an offer changes."""
    row = session.get(TrainedModel, digest)
    return row is not None and bool((row.metrics.get("effects") or {}).get("used"))


def runs(session: Session) -> list[TrainingRun]:
    """The latest trainings by schedule, the newest first."""
    return list(session.scalars(select(TrainingRun).order_by(TrainingRun.id.desc()).limit(MOST_RUNS)))


def step_words(step: ModelMove) -> str:
    """A step of a rollout as a page says it."""
    share = f" for {step.share:.0%} of the mails" if step.share is not None else ""
    words = {
        "shadow": "went into the shadow",
        "canary": f"went on trial{share}",
        "live": "went live",
        "rollback": "was gone back to" if step.model_hash else "were gone back to",
        "stop": "was taken off trial",
        "rules": "decide alone",
    }
    return words[step.action]


def _compared(session: Session, campaign_id: int, digest: str) -> tuple[int, int]:
    row: Any = session.execute(
        select(func.count().label("n"), func.count().filter(ModelShadow.differs).label("differing")).where(
            ModelShadow.campaign_id == campaign_id, ModelShadow.model_hash == digest
        )
    ).one()
    return row.n, row.differing


def campaign_names(session: Session) -> dict[int, str]:
    """The names of campaigns that ever took a step, by number."""
    stepped = select(ModelMove.campaign_id).distinct().limit(MOST_CAMPAIGNS)
    return {
        row.id: row.name for row in session.execute(select(Campaign.id, Campaign.name).where(Campaign.id.in_(stepped)))
    }
