"""The features logged with a decision are those that training computes from the stored signals, bit for bit."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.decide import decide
from render.eligibility import Situation
from render.model import Model
from render.plain import without
from render.scoring import contexts
from signals.candidates import MODEL_FEATURES, candidate_matrix
from signals.fold import advance, fold_all
from signals.foldevent import FoldEvent
from signals.moments import unix_ms
from signals.state import ProfileState, decode, encode
from tests.render import shoe_shop as shop
from tests.signals.stories import MORNING, histories


@pytest.fixture(scope="module")
def model() -> Model:
    """A small model over all features."""
    chance = np.random.default_rng(5)
    matrix = chance.random((600, len(MODEL_FEATURES)), dtype=np.float32)
    parameters = {"objective": "binary", "num_leaves": 8, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lightgbm.train(parameters, lightgbm.Dataset(matrix, matrix[:, 0] > 0.5), num_boost_round=3)
    text = booster.model_to_string()
    complements = {shop.SHOES: {shop.ATTIRE: 0.3}, shop.GIFTS: {shop.SHOES: 0.9}}
    popularity = {shop.SHOES: 0.9, shop.ATTIRE: 0.1}
    data = Model.build(text, MODEL_FEATURES, [0.0, 1.0], [0.0, 1.0], popularity=popularity, complements=complements)
    return Model.load(data)


def served(events: list[FoldEvent]) -> ProfileState:
    """The state an open reads after signals arrived one by one, through the bytes of the hot store."""
    state = ProfileState()
    for count, told in enumerate(events, 1):
        advanced = advance(state, [told])
        state = decode(encode(fold_all(events[:count]) if advanced is None else advanced))
    return state


@pytest.mark.feature("DE-17")
@settings(max_examples=80)
@given(histories(), st.integers(-4000, 100))
def test_it_logs_the_features_that_training_computes_from_the_stored_signals(
    model: Model, events: list[FoldEvent], hours: int
) -> None:
    opened = MORNING + timedelta(hours=hours)
    arrived = [told for told in events if told.time_ms <= unix_ms(opened)]
    products = {"tights-1": shop.product(fed=opened)}
    facts = shop.facts(served(arrived), model=model, products=products, sent_at_ms=unix_ms(opened) - 3_600_000)
    plan = shop.plan(mode="model")
    decision = decide(plan, facts, opened, seed=1)

    stood = without(fold_all(reversed(arrived)), frozenset(plan.sensitive))
    scored = [candidate.offer for candidate in decision.slots[0].candidates if candidate.probability is not None]
    offers = [plan.offer_by_id[offer] for offer in plan.slots[0].offers if offer in scored]
    if not offers:
        assert decision.features is None
        return
    matrix = candidate_matrix(stood, contexts(Situation(plan, facts, opened), offers), opened)
    assert decision.features == hashlib.sha256(matrix.tobytes()).hexdigest()


def test_it_logs_other_features_after_another_signal(model: Model) -> None:
    plan = shop.plan(mode="model")
    bought = [shop.bought(shop.ATTIRE, shop.NOON - timedelta(days=days), order=f"o{days}") for days in (40, 50)]
    logged = {decide(plan, shop.facts(served(life), model=model), shop.NOON, seed=1).features for life in ([], bought)}
    assert len(logged - {None}) == 2
