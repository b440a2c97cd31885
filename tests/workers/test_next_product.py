"""The person's next product, not any product: who has the card is offered the loan, whatever most people buy."""

from __future__ import annotations

import random
from datetime import timedelta

import numpy as np
import pytest
from msgspec.structs import replace

from render.decide import decide
from render.faults import validate
from render.model import Model
from render.plan import KINDS, Plan
from signals.candidates import MODEL_FEATURES, CandidateContext, candidate_matrix, transposed
from signals.fold import fold_all
from signals.state import ProfileState
from tests.render import shoe_shop as shop
from workers import calibration, evaluation
from workers.fitting import fitted, scores

ACCOUNT, CARD, LOAN, INSURANCE, PENSION = PRODUCTS = (11, 12, 13, 14, 15)
NEXT = {ACCOUNT: CARD, CARD: LOAN, LOAN: INSURANCE, INSURANCE: PENSION, PENSION: ACCOUNT}
FAITHFUL = 0.6
"""How often the next product is the one that follows in life; else any other, the account most."""
PEOPLE = 2_400
KIND = KINDS.index("cross-sell")


def drawn(dice: random.Random, last: int) -> int:
    if dice.random() < FAITHFUL:
        return NEXT[last]
    return dice.choice([ACCOUNT, ACCOUNT, ACCOUNT, *PRODUCTS])


@pytest.fixture(scope="module")
def lives() -> list[tuple[ProfileState, int]]:
    """People with what they bought so far, and what they bought next."""
    made = []
    for person in range(PEOPLE):
        dice = random.Random(person)
        bought = [dice.choice([ACCOUNT, ACCOUNT, *PRODUCTS])]
        for _ in range(dice.randint(0, 3)):
            bought.append(drawn(dice, bought[-1]))
        days = sorted((dice.uniform(1, 80) for _ in bought), reverse=True)
        orders = [
            shop.bought(product, shop.NOON - timedelta(days=day), product=f"p{product}", order=f"{person}-{number}")
            for number, (product, day) in enumerate(zip(bought, days, strict=True))
        ]
        made.append((fold_all(orders), drawn(dice, bought[-1])))
    return made


def popularity_of(lives: list[tuple[ProfileState, int]]) -> dict[int, float]:
    return {product: sum(after == product for _, after in lives) / len(lives) for product in PRODUCTS}


def model_of(lives: list[tuple[ProfileState, int]]) -> Model:
    """The product's own fitting and calibration on these people."""
    shares = popularity_of(lives)
    together: dict[int, dict[int, float]] = {product: dict.fromkeys(PRODUCTS, 0.0) for product in PRODUCTS}
    for state, after in lives:
        last = max(state.categories, key=lambda product: state.categories[product].last_s)
        together[last][after] += 1 / len(lives)
    contexts = [
        CandidateContext(product, KIND, None, shares[product], transposed(together)[product]) for product in PRODUCTS
    ]
    features = np.concatenate([candidate_matrix(state, contexts, shop.NOON) for state, _ in lives])
    outcomes = np.array([float(product == after) for _, after in lives for product in PRODUCTS])
    cut = len(lives) * 2 // 3 * len(PRODUCTS)
    booster = fitted(features[:cut], outcomes[:cut], parameters={"min_data_in_leaf": 40})
    table = calibration.fit(scores(booster, features[cut:]), outcomes[cut:])
    return Model.load(
        Model.build(booster.model_to_string(), MODEL_FEATURES, *table, popularity=shares, complements=together)
    )


def bank() -> Plan:
    """One place, an offer for each product, all worth the same."""
    base = shop.plan("model")
    offers = tuple(shop.offer(number, "cross-sell", name=f"product {number}", category=number, value_cents=100)
                   for number in PRODUCTS)  # fmt: skip
    slot = replace(base.slots[0], offers=PRODUCTS)
    plan = replace(base, slots=(slot,), offers=(*offers, shop.offer(shop.DEFAULT, "neutral")), sensitive=())
    assert validate(plan) == []
    return plan


@pytest.mark.feature("CM-48")
def test_it_chooses_the_next_product_better_than_popularity_and_chance(lives: list[tuple[ProfileState, int]]) -> None:
    known, later = lives[: PEOPLE * 2 // 3], lives[PEOPLE * 2 // 3 :]
    model, plan = model_of(known), bank()
    favourite = max(popularity_of(known).items(), key=lambda item: item[1])[0]
    chosen = [decide(plan, shop.facts(state, model=model), shop.NOON, seed=1).offers[0] for state, _ in later]
    after = np.array([product for _, product in later])
    ours = (np.array(chosen) == after).astype(np.float64)
    people = np.arange(len(later))
    for rival in (np.full(len(later), favourite), np.random.default_rng(3).choice(PRODUCTS, len(later))):
        difference = evaluation.paired_difference(ours, (rival == after).astype(np.float64), people)
        assert difference.low > 0.1, difference
    holders = [
        (state, offer)
        for (state, _), offer in zip(later, chosen, strict=True)
        if max(state.categories, key=lambda product: state.categories[product].last_s) == CARD
    ]
    offered = {product: sum(offer == product for _, offer in holders) / len(holders) for product in PRODUCTS}
    assert offered[LOAN] > 0.6, offered
    assert offered[PENSION] < 0.05, offered
