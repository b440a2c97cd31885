"""Ranking by what showing an offer changes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from base.errors import InvalidInput
from render.arbitration import Arbitration, Policy
from render.explanation import explain
from render.faults import validate
from render.model import Model
from tests.render.ranking import (
    chances_of,
    decided,
    effects_bytes,
    model_bytes,
    plan_of,
)


@pytest.fixture(scope="module")
def model() -> Model:
    """Three categories, the more popular the likelier."""
    return Model.load(model_bytes())


@pytest.mark.feature("DE-26")
@pytest.mark.parametrize("off", ["", "probability", "value", "context", "lever"])
def test_it_ranks_by_what_showing_changes_as_computed_by_hand(off: str) -> None:
    model = Model.load(model_bytes(uplift=effects_bytes()))
    content: dict[str, dict[str, Any]] = {
        "one": {"value_cents": 9000, "incentive_cents": 100},
        "two": {"value_cents": 300, "incentive_cents": 20, "aftercare_cents": 30, "cost_cents": 1, "lever": 3.0},
        "three": {"value_cents": 250},
    }
    factors = replace(Arbitration(effect=True), **({off: False} if off else {}))
    plan = plan_of(factors, None, 1, **content)
    decision = decided(plan, model)
    chance, effect = chances_of(plan, model), dict(decision.effects)
    assert effect[1] < 0 < effect[2] < effect[3]
    assert chance[1] > chance[2] > chance[3]
    value = {
        1: effect[1] * 9000 - chance[1] * 100,
        2: effect[2] * (300 - 30) - max(chance[2], effect[2]) * 20 - 1,
        3: effect[3] * 250,
    }
    rank = dict(value)
    if off == "probability":
        rank = {1: 9000 - 100, 2: 300 - 20 - 30 - 1, 3: 250}
    elif off == "value":
        rank = {number: 100 * one for number, one in effect.items()}
    if off != "lever":
        rank[2] *= 3.0
    by_hand = sorted(rank, key=lambda number: -rank[number])
    (slot,) = decision.slots
    assert slot.offer == by_hand[0]
    told = {one.offer: one.value for one in slot.candidates}
    assert told == {number: pytest.approx(one) for number, one in value.items()}
    rules = {one.offer: one.rule for one in slot.candidates}
    assert rules[1] == ("gains too little" if off != "probability" else None), "who buys it buys it anyway"
    assert decision.reason is None
    by_chance = decided(replace(plan, arbitration=replace(factors, effect=False)), model)
    assert (by_chance.effects, by_chance.offers == (1,)) == ((), off != "value")


@pytest.mark.feature("SU-03")
def test_it_says_what_showing_changes_and_where_that_is_not_known(model: Model) -> None:
    plan = plan_of(Arbitration(effect=True), one={"value_cents": 9000})
    knowing = Model.load(model_bytes(uplift=effects_bytes()))
    decision = decided(plan, knowing)
    effect, chance = dict(decision.effects), chances_of(plan, knowing)
    (told,) = explain(decision, plan)
    assert told.why[:2] == (
        "“three” was shown because showing it is expected to add the most here.",
        f"Its chance of success was put at {100 * chance[3]:.1f} %, of which showing it makes "
        f"+{100 * effect[3]:.1f} points: that adds ${effect[3]:.2f} a showing after its cost.",
    )
    lost = told.others[0].sentence
    assert lost.startswith("“one” was not shown: showing it was not expected to change enough to be worth it (chance ")
    assert f"of which showing it makes −{-100 * effect[1]:.1f} points" in lost
    # Without what it takes, chances decide as they would by themselves, and the decision says so.
    by_chance = decided(plan, model)
    assert (by_chance.rung, by_chance.reason, by_chance.effects) == ("model", "no effects", ())
    assert by_chance.slots == decided(replace(plan, arbitration=Arbitration()), model).slots
    (told,) = explain(by_chance, plan)
    assert told.why[-1] == "The model has not learnt what showing an offer changes, so chances of success decided."


def test_it_refuses_effects_that_are_none(model: Model) -> None:
    with pytest.raises(InvalidInput, match="is not an uplift artefact"):
        model_bytes(uplift=b"effects")
    policy = Policy("thompson", top=3)
    plan = plan_of(policy=policy)
    assert validate(replace(plan, arbitration=Arbitration(effect=True)))[0].startswith(
        "arbitration.effect: cannot be with a slot that draws by thompson"
    )
