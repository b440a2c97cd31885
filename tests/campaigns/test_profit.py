"""What a campaign earned after everything it cost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from signals import settled
from signals.joining import join
from tests.campaigns.mailing import COSTS, bought, held_out, mailed
from tests.campaigns.web import Web

DAY = timedelta(days=1)


def told(name: str, event: str, **properties: Any) -> dict[str, Any]:
    return {"type": "track", "userId": name, "event": event, "properties": properties}


def line(cost: float | None = None) -> dict[str, Any]:
    """A line of one thing for 100; what it cost the shop, where that is told."""
    own = {"product_id": "shoes-1", "category": "shoes", "price": 100, "quantity": 1}
    return own if cost is None else own | {"cost": cost}


@pytest.mark.feature("CM-68")
def test_it_calls_rising_revenue_with_falling_profit_a_loss(web: Web) -> None:
    """Offers sell three times as much, at a discount that eats the margin, and bring returns and complaints."""
    browser, program = web.browser("manager"), web.program("manager")
    campaign = mailed(web, 240, content_holdout=0.5)
    assert "What things cost was never named" in browser.get(f"/campaigns/{campaign}/results").text
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    groups = held_out(web, campaign)
    decided = [name for name, group in groups.items() if group == "none"]
    neutral = [name for name, group in groups.items() if group == "content"]
    buyers, others = decided[: len(decided) * 9 // 10], neutral[: len(neutral) * 3 // 10]
    returners, callers = buyers[:20], buyers[-10:]
    web.shop.clock.advance(2 * DAY)
    web.shop.send(
        *(bought(web, name, 60, discount=40, products=[line(cost=60)]) for name in buyers),
        *(bought(web, name, 100, products=[line()]) for name in others),
        *(told(name, "Order Refunded", order_id=f"of-{name}") for name in returners),
        *(told(name, "Complaint Opened", complaint_id=f"c-{name}") for name in callers),
    )
    found = program.told("GET", f"/campaigns/{campaign}/profit")
    ours, theirs = ({group["group"]: group for group in found["groups"]}[name] for name in (
        "decided content", "neutral content"
    ))  # fmt: skip
    count = len(buyers)
    assert (ours["revenue"], ours["margin"], ours["discount"]) == (6_000 * count, 4_000 * count, 4_000 * count)
    assert (ours["returns"], ours["service"]) == (20 * (6_000 - 6_000 + 400), 10 * 900)
    assert ours["profit"] == ours["margin"] - ours["discount"] - ours["returns"] - ours["service"]
    assert (theirs["margin"], theirs["profit"]) == (3_500 * len(others), 3_500 * len(others))
    assert (found["revenue_lift"]["verdict"], found["profit_lift"]["verdict"]) == ("gain", "loss")
    assert found["is_loss"]
    assert found["words"] == "A loss: revenue rose, and profit fell."
    assert "A loss: revenue rose, and profit fell." in browser.get(f"/campaigns/{campaign}/results").text


SHOES, SOCKS = line(cost=60), line(cost=80) | {"product_id": "socks-1"}
RETURNS: dict[str, tuple[dict[str, Any], list[dict[str, Any]], int, int]] = {
    "the whole order: the money goes, the goods come back, handling stays": (
        {"products": [SHOES]}, [{}], 4_000, 10_000 - 6_000 + 400,
    ),
    "some money, and the goods stay with the customer": ({"products": [SHOES]}, [{"total": 15}], 4_000, 1_500),
    "some money, told twice": (
        {"products": [SHOES]}, [{"refund_id": "r1", "total": 15}, {"refund_id": "r1", "total": 15}], 4_000, 1_500,
    ),
    "one of two lines, told without a price": (
        {"paid": 200, "products": [SHOES, SOCKS]}, [{"products": [{"product_id": "socks-1", "quantity": 1}]}],
        6_000, 10_000 - 7_000 + 400,
    ),
    "one of two lines, named by the call alone": (
        {"paid": 200, "products": [SHOES, SOCKS]}, [{"product_id": "socks-1"}], 6_000, 10_000 - 7_000 + 400,
    ),
    "two pieces of four, in two returns": (
        {"paid": 400, "products": [SHOES | {"quantity": 4}]}, [{"product_id": "shoes-1"}] * 2,
        16_000, 20_000 - 12_000 + 2 * 400,
    ),
    "two pieces of three, named by the call alone": (
        {"paid": 300, "products": [SHOES | {"quantity": 3}]}, [{"product_id": "shoes-1", "quantity": 2}],
        12_000, 20_000 - 12_000 + 400,
    ),
    "a product that the order has not": (
        {"products": [SHOES]}, [{"products": [{"product_id": "hat-1", "price": 30, "quantity": 1}]}], 4_000, 0,
    ),
    "money for a product that the order has not": (
        {"products": [SHOES]}, [{"total": 30, "products": [{"product_id": "hat-1", "quantity": 1}]}], 4_000, 3_000,
    ),
    "the whole order, for less than was paid": (
        {"products": [SHOES]}, [{"total": 80, "products": [SHOES]}], 4_000, 8_000 - 6_000 + 400,
    ),
    "all of the money and more, in two refunds": (
        {"products": [SHOES]}, [{"total": 70}, {"total": 90}], 4_000, 10_000 - 6_000 + 400,
    ),
    "what no total tells is what the lines cost": (
        {"paid": None, "products": [SHOES, SOCKS]}, [{"product_id": "socks-1"}], 6_000, 10_000 - 7_000 + 400,
    ),
    "a line at the price that was paid for it, as shops tell it": (
        {"paid": 50, "discount": 50, "products": [line() | {"price": 50}]}, [], 3_500, 0,
    ),
    "the same at its list price": ({"paid": 50, "discount": 50, "products": [line()]}, [], 3_500, 0),
    "one line of two that tells its cost": (
        {"paid": 100, "discount": 100, "products": [SHOES | {"price": 50}, line() | {"price": 50}]}, [],
        20_000 - 6_000 - 6_500, 0,
    ),
    "lines of which one tells neither price nor cost": (
        {"products": [SHOES, {"product_id": "gift-1", "quantity": 1}]}, [], 3_500, 0,
    ),
    "money, and a product of which no piece came": (
        {"products": [SHOES]}, [{"total": 10, "products": [{"product_id": "shoes-1", "quantity": 0}]}], 4_000, 1_000,
    ),
    "one of two lines of an order at half the price, the other of half a unit": (
        {"paid": 50, "discount": 50, "products": [line(cost=40) | {"quantity": .5}, SOCKS | {"price": 50, "cost": 20}]},
        [{"product_id": "socks-1"}], 6_000, 5_000 - 2_000 + 400,
    ),
    "one of two lines of an order that cost nothing": (
        {"paid": 0, "discount": 100, "products": [line(cost=20) | {"price": 50}, SOCKS | {"price": 50, "cost": 20}]},
        [{"product_id": "socks-1"}], 6_000, 0 - 2_000 + 400,
    ),
    "goods for no money, as in an exchange": (
        {"paid": 200, "products": [SHOES, SHOES | {"product_id": "shoes-2"}]},
        [{"total": 0, "products": [{"product_id": "shoes-2"}]}], 8_000, 0 - 6_000 + 400,
    ),
    "the rest in money, after one of two lines": (
        {"paid": 200, "products": [SHOES, SHOES | {"product_id": "shoes-2"}]},
        [{"total": 100, "products": [{"product_id": "shoes-2"}]}, {"total": 100}], 8_000, 20_000 - 12_000 + 400,
    ),
    "goods named by their category alone": (
        {"paid": 200, "products": [SHOES, SOCKS | {"category": "socks"}]}, [{"products": [{"category": "socks"}]}],
        6_000, 10_000 - 7_000 + 400,
    ),
    "numbers that nobody means": ({"discount": 10**20, "products": [line() | {"cost": 10**18}]}, [], 3_500, 0),
    "no number as cost and as discount": ({"products": [line() | {"cost": "?"}], "discount": "?"}, [], 3_500, 0),
    "an order without lines": ({"products": []}, [], 3_500, 0),
}  # fmt: skip
"""What the order says, what is refunded, and the margin and the returns in cents."""


def test_it_takes_off_what_comes_back(web: Web) -> None:
    for number, (what, (order, refunds, margin, returns)) in enumerate(RETURNS.items()):
        campaign = mailed(web, 1, content_holdout=0.0)
        web.program("manager").told("PUT", f"/campaigns/{campaign}/costs", COSTS)
        web.shop.clock.advance(2 * DAY)
        call = bought(web, "g0", **({"paid": 100} | order))
        call["properties"]["order_id"] = f"o-{number}"
        web.shop.send(call)
        web.shop.clock.advance(30 * DAY)
        web.shop.send(*(told("g0", "Order Refunded", order_id=f"o-{number}", **refund) for refund in refunds))
        found = web.program("manager").told("GET", f"/campaigns/{campaign}/profit")
        assert [(group["margin"], group["returns"]) for group in found["groups"]] == [(margin, returns)], what
        assert found["is_loss"] == (returns + found["groups"][0]["discount"] > margin)


def test_it_takes_nothing_off_for_an_order_that_was_cancelled_and_is_placed_after_all(web: Web) -> None:
    campaign = mailed(web, 1, content_holdout=0.0)
    program = web.program("manager")
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    web.shop.clock.advance(2 * DAY)
    call = bought(web, "g0", paid=100, products=[SHOES])
    call["properties"]["order_id"] = "o-1"
    web.shop.send(call)
    stands = {"order_status": "placed"}
    for event, later, status, returns in (
        ("Order Cancelled", DAY, {}, 4_400),
        ("Order Updated", 0 * DAY, stands, 4_400),
        ("Order Updated", DAY, stands, 0),
    ):
        web.shop.clock.advance(later)
        web.shop.send(told("g0", event, order_id="o-1", **status))
        (group,) = program.told("GET", f"/campaigns/{campaign}/profit")["groups"]
        assert (group["margin"], group["returns"]) == (4_000, returns), event


def test_it_counts_an_order_as_it_was_changed(web: Web) -> None:
    campaign = mailed(web, 1, content_holdout=0.0)
    program = web.program("manager")
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    web.shop.clock.advance(2 * DAY)
    call = bought(web, "g0", paid=200, products=[SHOES, SOCKS], discount=10)
    call["properties"]["order_id"] = "o-1"
    web.shop.send(call)
    for event, change, found in (
        ("Order Updated", {"total": 90, "products": [SHOES]}, (9_000, 4_000, 1_000, 0)),
        ("Order Updated", {"total": 80, "discount": 20, "products": [SHOES]}, (8_000, 4_000, 2_000, 0)),
        ("Order Refunded", {"products": [{"product_id": "shoes-1", "quantity": 1}]}, (8_000, 4_000, 2_000, 2_400)),
        # What an update tells of goods and not of money is worth what nobody knows, as in states; then of dollars.
        ("Order Updated", {"products": [{"product_id": "shoes-1", "quantity": 1}]}, (0, 0, 0, 0)),
        ("Order Updated", {"total": 80, "products": [SHOES], "currency": "USD"}, (0, 0, 0, 0)),
    ):
        web.shop.clock.advance(DAY)
        web.shop.send(told("g0", event, order_id="o-1", **change))
        (group,) = program.told("GET", f"/campaigns/{campaign}/profit")["groups"]
        assert tuple(group[name] for name in ("revenue", "margin", "discount", "returns")) == found, change


@pytest.mark.parametrize(
    ("change", "found"),
    [({"total": 60}, (6_000, 2_100)), ({"total": 100, "currency": "USD"}, (0, 0))],
    ids=["less", "dollars"],
)
def test_it_counts_what_an_update_tells_of_money_alone(
    web: Web, change: dict[str, Any], found: tuple[int, int]
) -> None:
    campaign = mailed(web, 1, content_holdout=0.0)
    program = web.program("manager")
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    web.shop.clock.advance(2 * DAY)
    web.shop.send(bought(web, "g0", paid=100))
    web.shop.clock.advance(DAY)
    web.shop.send(told("g0", "Order Updated", order_id="of-g0", **change))
    (group,) = program.told("GET", f"/campaigns/{campaign}/profit")["groups"]
    assert (group["revenue"], group["margin"]) == found


def test_it_keeps_the_discount_that_an_update_told_until_another_tells_one(web: Web) -> None:
    campaign = mailed(web, 1, content_holdout=0.0)
    program = web.program("manager")
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    web.shop.clock.advance(2 * DAY)
    web.shop.send(bought(web, "g0", paid=100))
    found = []
    for change in ({"total": 90, "discount": 10}, {"total": 85}, {"total": 80, "discount": 5}):
        web.shop.clock.advance(DAY)
        web.shop.send(told("g0", "Order Updated", order_id="of-g0", **change))
        (group,) = program.told("GET", f"/campaigns/{campaign}/profit")["groups"]
        found.append(tuple(group[name] for name in ("revenue", "discount", "margin")))
    assert found == [(9_000, 1_000, 3_500), (8_500, 1_000, 3_325), (8_000, 500, 2_975)]


@pytest.mark.parametrize(("order", "discount"), [({"discount": 5}, 500), ({}, 1_000)], ids=["told", "not told"])
def test_it_takes_an_orders_own_discount_over_that_of_an_update_dated_before_it(
    web: Web, order: dict[str, Any], discount: int
) -> None:
    campaign = mailed(web, 1, content_holdout=0.0)
    program = web.program("manager")
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    web.shop.clock.advance(2 * DAY)
    change = told("g0", "Order Updated", order_id="of-g0", total=90, discount=10)
    web.shop.send(bought(web, "g0", paid=100, **order), change | {"timestamp": (web.shop.now - DAY).isoformat()})
    (group,) = program.told("GET", f"/campaigns/{campaign}/profit")["groups"]
    assert (group["revenue"], group["discount"]) == (10_000, discount)


def test_it_counts_orders_and_refunds_of_whoever_is_one_by_now(web: Web) -> None:
    campaign = mailed(web, 2, content_holdout=0.0)
    program = web.program("manager")
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    web.shop.clock.advance(2 * DAY)
    call = bought(web, "g0", paid=100, products=[SHOES])
    call["properties"]["order_id"] = "o-1"
    web.shop.send(call, told("g1", "Order Refunded", order_id="o-1", total=30))
    (group,) = program.told("GET", f"/campaigns/{campaign}/profit")["groups"]
    assert (group["people"], group["revenue"], group["returns"]) == (2, 10_000, 0), "of another's order"
    assert join(web.shop.intake, web.shop.profile("g0"), web.shop.profile("g1"), web.shop.now, by="a person")
    (group,) = program.told("GET", f"/campaigns/{campaign}/profit")["groups"]
    assert (group["people"], group["revenue"], group["returns"]) == (1, 10_000, 3_000)


def test_it_counts_the_orders_of_two_people_that_have_one_id_once_each(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = mailed(web, 2, content_holdout=0.0)
    program = web.program("manager")
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    web.shop.clock.advance(2 * DAY)
    own = [("g0", "o-1"), ("g0", "o-2"), ("g0", "o-3"), ("g1", "o-2")]
    for name, number in own:
        call = bought(web, name, paid=100, products=[SHOES])
        call["properties"]["order_id"] = number
        web.shop.send(call, told(name, "Order Refunded", order_id=number, total=10))
    for batch in (500, 2):
        monkeypatch.setattr(settled, "BATCH", batch)
        (group,) = program.told("GET", f"/campaigns/{campaign}/profit")["groups"]
        found = tuple(group[name] for name in ("orders", "revenue", "margin", "returns"))
        assert found == (4, 40_000, 16_000, 4_000), batch


def test_it_names_costs_by_version_and_refuses_what_makes_no_sense(web: Web) -> None:
    browser, program = web.browser("manager"), web.program("manager")
    campaign = web.shop.campaign()
    at = f"/campaigns/{campaign}/schedule"
    browser.get(at)
    form = {"do": "costs", "margin_share": "35", "return_cost": "4.00", "service_cost": "9,00", "profit_days": "7"}
    assert browser.post(at, **form).status_code == 302
    assert 'name="margin_share" inputmode="decimal" value="35.0"' in browser.get(at).text
    assert program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)["version"] == 1, "the same again is no change"
    assert program.told("PUT", f"/campaigns/{campaign}/costs", COSTS | {"margin_share": 0.4})["version"] == 2
    refused = browser.post(at, **(form | {"return_cost": "-1"}))
    assert refused.status_code == 400
    assert "A return: must be an amount from 0 to" in refused.text
    assert browser.post(at, **(form | {"margin_share": "120"})).status_code == 400
