"""A plan with three offers to rank, and a model that says what chances they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np
from msgspec.structs import replace

from render.arbitration import Arbitration, Policy
from render.decide import decide
from render.decision import Decision
from render.faults import validate
from render.model import Model
from render.plan import Offer, Plan
from render.uplift import Artefact, Term, Uplift
from signals.candidates import MODEL_FEATURES
from tests.render import shoe_shop as shop

SEEDS = range(4_000)
SHARES = {1: 0.9, 2: 0.5, 3: 0.1}


def model_bytes(bags: int = 0, evidence: Mapping[int, int] | None = None, uplift: bytes = b"") -> bytes:
    matrix = np.full((600, len(MODEL_FEATURES)), np.nan, dtype=np.float32)
    popularity = np.linspace(0, 1, 600, dtype=np.float32)
    matrix[:, MODEL_FEATURES.index("offer.popularity")] = popularity
    parameters = {"objective": "binary", "num_leaves": 8, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}

    def booster(seed: int) -> str:
        chances = np.random.default_rng(seed)
        taken = chances.random(600) < (0.3 + 0.2 * popularity if seed else popularity)
        return str(lightgbm.train(parameters, lightgbm.Dataset(matrix, taken), num_boost_round=8).model_to_string())

    return Model.build(
        booster(0), MODEL_FEATURES, [0.0, 1.0], [0.0, 1.0], popularity=SHARES, evidence=evidence,
        bags=[booster(seed) for seed in range(1, bags + 1)], uplift=uplift,
    )  # fmt: skip


def effects_bytes() -> bytes:
    """The less popular, the more showing it changes: what everybody buys is bought anyway."""
    matrix = np.full((600, len(MODEL_FEATURES)), np.nan, dtype=np.float32)
    popularity = np.linspace(0, 1, 600, dtype=np.float32)
    matrix[:, MODEL_FEATURES.index("offer.popularity")] = popularity
    parameters = {"objective": "regression", "num_leaves": 8, "verbosity": -1, "num_threads": 1, "learning_rate": 0.5}
    booster = lightgbm.train(parameters, lightgbm.Dataset(matrix, 0.2 - 0.25 * popularity), num_boost_round=20)
    term = Term(booster=booster.model_to_string(), factor=1.0)
    return Uplift.build(Artefact(learner="t", features=MODEL_FEATURES, terms=(term,)))


def offers(**changes: dict[str, Any]) -> tuple[Offer, ...]:
    base: dict[str, dict[str, Any]] = {
        "one": {"category": 1, "value_cents": 100},
        "two": {"category": 2, "value_cents": 100},
        "three": {"category": 3, "value_cents": 100},
    }
    for name, change in changes.items():
        base[name] = base.get(name, {}) | change
    return tuple(
        shop.offer(number, str(content.pop("kind", "cross-sell")), name=name, **content)
        for number, (name, content) in enumerate(base.items(), start=1)
    )


def plan_of(
    arbitration: Arbitration | None = None, policy: Policy | None = None, slots: int = 1, **changes: dict[str, Any]
) -> Plan:
    held, base = offers(**changes), shop.plan("model")
    first = base.slots[0]
    places = tuple(
        replace(
            first, index=index, name=f"slot {index}", offers=tuple(one.id for one in held), default=shop.DEFAULT,
            **({"policy": policy} if policy is not None else {}),
        )
        for index in range(slots)
    )  # fmt: skip
    made = replace(base, slots=places, offers=(*held, shop.offer(shop.DEFAULT, "neutral")))
    if arbitration is not None:
        made = replace(made, arbitration=arbitration)
    assert validate(made) == []
    return made


def decided(plan: Plan, model: Model, seed: int = 1, **facts: Any) -> Decision:
    known = facts.pop("state", shop.state())
    return decide(plan, shop.facts(known, model=model, **facts), shop.NOON, seed)


def ranking(plan: Plan, model: Model, **facts: Any) -> list[int]:
    """The offers in the order in which they would win: each in turn, the winners before it left out."""
    order: list[int] = []
    while len(order) < 3:
        slots = tuple(
            replace(slot, offers=tuple(one for one in slot.offers if one not in order)) for slot in plan.slots
        )
        order.append(decided(replace(plan, slots=slots), model, **facts).offers[0])
    return order


def chances_of(plan: Plan, model: Model) -> dict[int, float]:
    candidates = decided(plan, model).slots[0].candidates
    return {one.offer: one.probability for one in candidates if one.probability is not None}
