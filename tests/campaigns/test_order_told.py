"""What the timeline tells of an order's money and goods: what its own state goes by, as it stood at each moment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from campaigns import ordertold
from campaigns.timeline import timeline
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web

SHOES = {"product_id": "shoes-1", "category": "shoes", "price": 40, "quantity": 2}
SOCKS = {"product_id": "socks-1", "category": "socks", "price": 20, "quantity": 1}
HAT = {"product_id": "hat-1", "price": 30, "quantity": 1}
BACK = "Order Refunded"
Line = tuple[str, int | None, str | None]
Call = tuple[str, dict[str, Any]]
STORIES: dict[str, tuple[dict[str, Any], list[Call], list[Line]]] = {
    "a refund names goods by their category": (
        {"total": 100}, [(BACK, {"category": "socks"})], [("Goods returned", 2000, "EUR")],
    ),
    "an order is given back as it was changed": (
        {"total": 100}, [("Order Updated", {"total": 60, "products": [SHOES]}), (BACK, {})],
        [("Order changed", 6000, "EUR"), ("Order returned", 6000, "EUR")],
    ),
    "the whole order comes back after some of the money": (
        {"total": 100}, [(BACK, {"total": 30}), (BACK, {})],
        [("Money paid back", 3000, "EUR"), ("Order returned", 7000, "EUR")],
    ),
    "what was paid back whole was never dollars": (
        {"total": 100}, [(BACK, {"currency": "USD"})], [("Order returned", 10000, "EUR")],
    ),
    "an amount stays in the currency that it is told in": (
        {"total": 100}, [(BACK, {"currency": "USD", "total": 30})], [("Money paid back", 3000, "USD")],
    ),
    "an order is of no goods that it never held": (
        {"total": 100}, [(BACK, {"products": [HAT]}), (BACK, {"products": [HAT], "total": 30})],
        [("Nothing returned", None, None), ("Money paid back", 3000, "EUR")],
    ),
    "no piece of the goods came": (
        {"total": 100}, [(BACK, {"products": [SHOES | {"quantity": 0}]})], [("Nothing returned", None, None)],
    ),
    "goods come back for what they cost, and for no money": (
        {"total": 100}, [(BACK, {"product_id": "shoes-1"}), (BACK, {"product_id": "shoes-1", "total": 0})],
        [("Goods returned", 4000, "EUR"), ("Goods returned", 0, "EUR")],
    ),
    "the last goods bring the whole order back": (
        {"total": 90}, [(BACK, {"products": [SHOES]}), (BACK, {"products": [SOCKS]})],
        [("Goods returned", 8000, "EUR"), ("Order returned", 1000, "EUR")],
    ),
    "an order without a total is its lines": ({}, [(BACK, {})], [("Order returned", 10000, "EUR")]),
    "nobody told what an order came to": (
        {"products": [{"product_id": "shoes-1"}]}, [(BACK, {})], [("Order returned", None, "EUR")],
    ),
    "of what came back already a refund says what its call says": (
        {"total": 100}, [(BACK, {}), (BACK, {"total": 5}), (BACK, {"products": [SOCKS]}), (BACK, {})],
        [("Order returned", 10000, "EUR"), ("Money paid back", 500, "EUR"), ("Goods returned", None, "EUR"),
         ("Order returned", None, "EUR")],
    ),
    "one refund is told twice": (
        {"total": 100}, [(BACK, {"refund_id": "r1", "total": 15}), (BACK, {"refund_id": "r1", "total": 15})],
        [("Money paid back", 1500, "EUR"), ("Money paid back", 1500, "EUR")],
    ),
}  # fmt: skip
"""What the order says, what is told of it then, and the lines that tell of that."""


def told(shop: Shop, name: str, order_id: str, *calls: Call) -> list[Line]:
    """The lines of somebody's timeline after these calls about an order, the oldest first."""
    for event, properties in calls:
        shop.clock.advance(timedelta(minutes=1))
        said = {"order_id": order_id} | properties
        shop.send({"type": "track", "userId": name, "event": event, "properties": said})
    with shop.sessions.begin() as session:
        entries = timeline(session, [shop.profile(name)], kind="order").entries
    return [(entry.title, entry.cents, entry.currency) for entry in reversed(entries)]


def placed(order: dict[str, Any]) -> Call:
    """The call that places an order."""
    return "Order Completed", {"currency": "EUR", "products": [SHOES, SOCKS]} | order


def test_it_tells_what_came_back_as_states_go_by(shop: Shop) -> None:
    names = [f"p{number}" for number in range(len(STORIES))]
    shop.people(*names)
    for name, (what, (order, calls, lines)) in zip(names, STORIES.items(), strict=True):
        found = told(shop, name, f"of-{name}", placed(order), *calls)
        assert found[1:] == lines, what
        assert found[0][0] == "Order placed"


def test_it_tells_an_order_without_a_total_by_its_lines(shop: Shop) -> None:
    shop.people("ann")
    calls = [placed({}), ("Order Updated", {"products": [SHOES]}), ("Order Updated", {"products": [{"sku": "hat"}]})]
    assert told(shop, "ann", "o-1", *calls) == [
        ("Order placed", 10000, "EUR"), ("Order changed", 8000, "EUR"), ("Order changed", None, "EUR"),
    ]  # fmt: skip


def test_it_tells_a_refund_of_no_known_order_by_its_own_call(shop: Shop) -> None:
    shop.people("ann")
    calls: list[Call] = [(BACK, {}), (BACK, {"total": 5}), (BACK, {"products": [HAT], "currency": "USD"})]
    assert told(shop, "ann", "o-1", *calls) == [
        ("Order returned", None, None), ("Money paid back", 500, None), ("Goods returned", None, "USD"),
    ]  # fmt: skip


def test_it_knows_an_order_that_another_clock_dates_after_its_refund(shop: Shop) -> None:
    shop.people("ann")
    told(shop, "ann", "o-1", (BACK, {}))
    shop.send(shop.order("ann", "shoes", shop.now + timedelta(seconds=30), "o-1"))
    assert told(shop, "ann", "o-1") == [("Order returned", 2000, None), ("Order placed", 2000, None)]


@pytest.mark.parametrize(("bound", "most"), [("MOST_TOLD", 3), ("MOST_CALLS", 2)])
def test_it_reckons_nothing_of_more_than_it_looks_at(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    shop.people("ann")
    calls: list[Call] = [placed({"total": 100}), (BACK, {"total": 30}), (BACK, {})]
    whole = told(shop, "ann", "o-1", *calls)
    monkeypatch.setattr(ordertold, bound, most)
    assert (whole[2], told(shop, "ann", "o-1")[2]) == (("Order returned", 7000, "EUR"), ("Order returned", None, None))


def test_it_tells_of_a_page_what_was_so_whatever_came_since(shop: Shop) -> None:
    shop.people("ann")
    calls: list[Call] = [placed({"total": 100}), (BACK, {}), ("Order Updated", {"total": 20, "products": [SOCKS]})]
    told(shop, "ann", "o-1", *calls)
    with shop.sessions.begin() as session:
        newest = timeline(session, [shop.profile("ann")], kind="order", limit=1)
        older = timeline(session, [shop.profile("ann")], kind="order", limit=1, before=newest.older)
    assert [(entry.title, entry.cents) for entry in (*newest.entries, *older.entries)] == [
        ("Order changed", 2000), ("Order returned", 10000),
    ]  # fmt: skip


def test_it_gives_no_amount_to_an_order_that_another_signal_told_of_before(shop: Shop, web: Web) -> None:
    shop.people("ann")
    calls = [placed({"total": 60}), placed({"total": 999})]
    assert told(shop, "ann", "o-1", *calls) == [("Order placed", 6000, "EUR"), ("Known order", None, "EUR")]
    page = web.desk("support").get(f"/customers/{shop.profile('ann')}").text
    assert "Known order" in page
    assert "told again, and it counts nowhere" in page
    assert "999" not in page.partition("Known order")[2].partition("</li>")[0]
