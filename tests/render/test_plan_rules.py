"""Rules of published plans that could not be kept now: of a release to come, or of one before."""

from __future__ import annotations

from render.decide import decide
from tests.render import shoe_shop as shop


def test_it_switches_an_offer_off_whose_rule_this_release_cannot_read() -> None:
    plan = shop.plan(discount={"rules": {"relevant": {"field": "moon.phase", "op": "=", "value": "full"}}})
    decision = decide(plan, shop.facts(shop.state()), shop.NOON, seed=1)
    assert decision.offers == (shop.TIGHTS,)
    assert decision.slots[0].candidates[0].rule == "rule 1"


def test_it_reads_a_rule_of_a_published_plan_that_could_not_be_kept_now_as_it_was() -> None:
    rule = {"field": "trait", "name": "phone", "op": "missing"}
    plan = shop.plan(discount={"rules": {"relevant": rule}})
    assert decide(plan, shop.facts(shop.state()), shop.NOON, seed=1).offers == (shop.DISCOUNT,)
