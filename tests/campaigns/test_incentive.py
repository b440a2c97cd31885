"""What it earns to give a discount to those alone who need it, by the margin report, in a shop with a planted truth."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from render.decide import decide
from render.incentive import Incentive
from tests.campaigns.mailing import mailed
from tests.campaigns.web import Web
from tests.render.needing import COST, LIMIT, PERCENT, PRICE, UNAIDED, aided, buyer, discounting, goods, model
from tests.render.shoe_shop import NOON, TIGHTS, facts

PEOPLE = 150


def orders_of(web: Web, incentive: Incentive | None) -> list[dict[str, Any]]:
    """What the people buy who are shown what an open decides; the same luck whatever that is."""
    dice, made, bought = random.Random(3), discounting(incentive), []
    for number in range(PEOPLE):
        orders, luck = dice.randrange(len(UNAIDED)), dice.random()
        known = facts(buyer(orders), products=goods(), model=model())
        is_lower = decide(made, known, NOON, number).slots[0].offer == TIGHTS
        if luck < (aided(orders) if is_lower else UNAIDED[orders]):
            off = PRICE * PERCENT // 100 if is_lower else 0
            call = web.shop.order(f"g{number}", "attire", web.shop.now)
            line = {"product_id": "tights-1", "price": PRICE / 100, "quantity": 1, "cost": COST / 100}
            call["properties"] |= {
                "total": (PRICE - off) / 100, "discount": off / 100, "currency": "EUR", "products": [line],
            }  # fmt: skip
            bought.append(call)
    return bought


@pytest.mark.feature("CM-39")
def test_it_earns_more_when_a_discount_is_given_by_need(web: Web) -> None:
    program = web.program("manager")
    earned = []
    for incentive in (None, Incentive(limit=LIMIT)):
        campaign = mailed(web, PEOPLE, content_holdout=0.0)
        program.told(
            "PUT", f"/campaigns/{campaign}/costs",
            {"margin_share": 0.4, "window_days": 7, "return_cents": 0, "service_cents": 0},
        )  # fmt: skip
        web.shop.clock.advance(timedelta(days=1))
        web.shop.send(*orders_of(web, incentive))
        (group,) = program.told("GET", f"/campaigns/{campaign}/profit")["groups"]
        earned.append(group)
        web.shop.clock.advance(timedelta(days=30))
    everybody, by_need = earned
    assert by_need["discount"] < everybody["discount"] / 2
    assert by_need["profit"] > 1.2 * everybody["profit"]
    # It is no saving at the cost of sales: next to all are kept.
    assert by_need["orders"] > 0.9 * everybody["orders"]
