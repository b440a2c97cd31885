"""Incentives for who needs one, on what is flagged for one."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from render.decide import decide
from render.decision import SlotDecision
from render.eligibility import admissible
from render.explanation import explain
from render.facts import Facts
from render.faults import validate
from render.incentive import Incentive
from render.plan import decode, encode
from render.replay import without_cause
from tests.render.needing import LIMIT, PRICE, UNAIDED, buyer, discounting, goods, model
from tests.render.shoe_shop import BOOTS, NOON, TIGHTS, facts, plan

BY_NEED = Incentive(limit=LIMIT)


def world(orders: int, **changes: Any) -> Facts:
    return facts(buyer(orders), **({"products": goods(), "model": model()} | changes))


def shown(incentive: Incentive | None, orders: int, **changes: Any) -> SlotDecision:
    return decide(discounting(incentive), world(orders, **changes), NOON, 1).slots[0]


def why(decision: SlotDecision) -> str | None:
    return next(one.rule for one in decision.candidates if one.offer == TIGHTS)


@pytest.mark.feature("CM-39")
@pytest.mark.parametrize("orders", range(len(UNAIDED)))
def test_it_shows_the_full_price_to_who_is_likely_to_buy_without_a_discount(orders: int) -> None:
    decision = shown(BY_NEED, orders)
    if UNAIDED[orders] < LIMIT:
        assert (decision.offer, decision.fields["offer.price_cents"]) == (TIGHTS, PRICE * 80 // 100)
    else:
        assert (decision.offer, why(decision)) == (BOOTS, "needs no incentive")
        assert decision.fields["product.price_cents"] == PRICE
        assert "offer.price_cents" not in decision.fields
    # Without the wish everybody is given it.
    assert shown(None, orders).offer == TIGHTS


@pytest.mark.feature("CM-39")
def test_it_lowers_the_price_of_flagged_products_only() -> None:
    plain = shown(Incentive(), 0, products=goods(promoted=False))
    assert (plain.offer, why(plain)) == (BOOTS, "not on promotion")
    assert shown(Incentive(), 0).offer == TIGHTS
    assert shown(Incentive(flagged=False), 0, products=goods(promoted=False)).offer == TIGHTS


def test_it_gives_nothing_by_a_need_that_no_model_tells() -> None:
    decision = shown(BY_NEED, 0, model=None)
    assert (decision.offer, why(decision)) == (BOOTS, "need unknown")


def test_it_takes_back_nothing_that_an_open_shows() -> None:
    made = discounting(BY_NEED)
    offer = made.offer_by_id[TIGHTS]
    assert admissible(made, offer, world(6), NOON) is not None
    assert admissible(made, offer, world(6), NOON, held=True) is None
    # But for a product that is flagged no more.
    unflagged = world(0, products=goods(promoted=False))
    assert admissible(made, offer, unflagged, NOON, held=True) is not None


@pytest.mark.feature("SU-04")
@pytest.mark.parametrize(
    ("code", "orders", "changes"),
    [
        ("needs no incentive", 6, {}),
        ("need unknown", 0, {"model": None}),
        ("not on promotion", 0, {"products": goods(promoted=False)}),
    ],
)
def test_it_explains_why_nothing_is_given(code: str, orders: int, changes: dict[str, Any]) -> None:
    made, known = discounting(BY_NEED), world(orders, **changes)
    decision = decide(made, known, NOON, 1)
    assert why(decision.slots[0]) == code
    told = next(one for one in explain(decision, made)[0].others if one.offer == TIGHTS)
    assert not told.sentence.endswith(f": {code}.")
    assert decide(*without_cause(made, known, 0, decision, TIGHTS), NOON, 1).slots[0].offer == TIGHTS


def test_it_keeps_an_incentive_from_being_published_that_makes_no_sense() -> None:
    made = discounting(BY_NEED)

    def faults(**changes: Any) -> str:
        offers = tuple(replace(one, **changes) if one.id == TIGHTS else one for one in made.offers)
        return " ".join(validate(replace(made, offers=offers)))

    assert "given to some only, yet there is none" in faults(fields={"headline": "20 % off"})
    assert "for flagged products only" in faults(product=None, needs_stock=False)
    rules = replace(made, slots=tuple(replace(slot, mode="rules") for slot in made.slots))
    assert "which only a model tells" in " ".join(validate(rules))
    assert decode(encode(made)) == made
    assert b"incentive" not in encode(plan())
