"""A shop whose customers need a discount less, the more often they buy: the truth, a model of it, and an offer."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import cache

import lightgbm
import numpy as np
from msgspec.structs import replace

from render.faults import validate
from render.incentive import Incentive
from render.model import Model
from render.plan import Plan
from signals.candidates import MODEL_FEATURES, CandidateContext, candidate_matrix
from signals.productfacts import ProductFacts
from signals.state import ProfileState
from tests.render.shoe_shop import ATTIRE, BOOTS, NOON, TIGHTS, bought, plan, product, state

PRICE, COST, PERCENT = 10_000, 6_000, 20
UNAIDED = (0.03, 0.08, 0.15, 0.3, 0.45, 0.6, 0.7)
"""How likely who ordered attire so often in twelve weeks buys at the full price."""
LIMIT = 0.25


def aided(orders: int) -> float:
    """How likely they buy with the discount: it moves those who would hardly have bought."""
    chance = UNAIDED[orders]
    return chance + 0.25 * (1 - chance) ** 3


@cache
def buyer(orders: int) -> ProfileState:
    """Somebody who ordered attire so often of late."""
    return state(
        [bought(ATTIRE, NOON - timedelta(days=9 * number + 3), "shirt", str(number)) for number in range(orders)]
    )


@cache
def model() -> Model:
    """Learnt from 4,000 people who were shown the full price."""
    dice = random.Random(39)
    people = [dice.randrange(len(UNAIDED)) for _ in range(4_000)]
    rows = {orders: candidate_matrix(buyer(orders), [CandidateContext(ATTIRE)], NOON) for orders in set(people)}
    outcomes = np.array([dice.random() < UNAIDED[orders] for orders in people], dtype=np.float32)
    data = lightgbm.Dataset(np.concatenate([rows[orders] for orders in people]), outcomes)
    parameters = {"objective": "binary", "num_leaves": 8, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 100}
    booster = lightgbm.train(parameters, data, num_boost_round=60)
    return Model.load(Model.build(booster.model_to_string(), MODEL_FEATURES, [0.0, 1.0], [0.0, 1.0]))


def discounting(incentive: Incentive | None) -> Plan:
    """Tights at a discount, given as the incentive says, and the same tights at their full price."""
    made = plan("model", boots={"category": ATTIRE, "product": "tights-1", "needs_stock": True, "value_cents": 100})
    lower = {
        "fields": {"headline": "20 % off", "percent": PERCENT}, "value_cents": 100, "priority": 2,
        "incentive": incentive,
    }  # fmt: skip
    offers = tuple(replace(one, **lower) if one.id == TIGHTS else one for one in made.offers)
    slots = tuple(replace(slot, offers=(TIGHTS, BOOTS)) for slot in made.slots)
    made = replace(made, offers=offers, slots=slots)
    assert validate(made) == []
    return made


def goods(*, promoted: bool = True) -> dict[str, ProductFacts]:
    """The tights, flagged for a lower price or not."""
    return {"tights-1": replace(product(price=PRICE), promoted=promoted)}
