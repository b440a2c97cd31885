"""Refunds of parts of an order: the same in whatever sequence they come, and none for no money."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.fold import canonical, fold_all
from signals.orders import resolve
from signals.state import encode
from tests.signals.stories import CATEGORIES, MORNING, event, item, order

SHOES = CATEGORIES["shoes"]
HOUR = timedelta(hours=1)
SHOPPED = (item("shoes", "p1", price=30, quantity=2), item("shoes", "p2", price=26.66), item("socks", "p3", price=40))
_backs = st.fixed_dictionaries(
    {},
    optional={
        "total": st.sampled_from([0, 5, 26.66, 40, 60]),
        "products": st.lists(
            st.sampled_from(
                [
                    item("shoes", "p1"),
                    item("shoes", "p1", quantity=2),
                    item("shoes", "p2"),
                    item("shoes", "p2", quantity=0.35),
                    item("socks", "p3"),
                ]
            ),
            min_size=1,
            max_size=2,
        ),
    },
).filter(bool)


@pytest.mark.parametrize("turn", [1, -1])
def test_an_order_of_which_all_came_back_in_parts_is_none_whichever_part_was_first(turn: int) -> None:
    bought = order("o1", item("shoes", price=30, quantity=2), item("socks", price=40))
    goods: dict[str, Any] = {"products": [item("shoes", quantity=2)]}
    for parts, orders, cents in (
        ([goods, {"total": 40}], 0, 0),
        ([goods | {"total": 60}, {"total": 40}], 0, 0),
        ([goods, {"total": 39.99}], 1, 1),
        ([goods, {"products": [item("socks")]}], 0, 0),
        ([goods, {"total": 15}, {"total": 15}], 1, 1000),
    ):
        told = [
            event("Order Refunded", {"order_id": "o1"} | part, at=MORNING + number * HOUR, id=f"r{number}")
            for number, part in enumerate(parts[::turn], 1)
        ]
        state = fold_all([bought, *told])
        assert (state.orders, state.order_cents) == (orders, cents), parts
        assert SHOES not in state.categories
        assert (CATEGORIES["socks"] in state.categories) == bool(orders)


def test_parts_of_a_unit_are_worth_their_part_of_its_price_and_come_back_so() -> None:
    """At 9.99 a kilogram: 1.5 of them are 14.985, rounded once."""
    bought = order("o1", item("shoes", "cheese", price=9.99, quantity=1.5), item("socks", "rope", quantity=0.25))
    state = fold_all([bought])
    assert (state.orders, state.order_cents, state.categories[SHOES].cents) == (1, 1_499 + 250, 1_499)
    assert [(line.product, line.quantity) for line in state.recent] == [("cheese", 2), ("rope", 1)]
    parts = [
        event(
            "Order Refunded", {"order_id": "o1", "products": [item("shoes", "cheese", quantity=part)]},
            at=MORNING + hours * HOUR, id=f"r{hours}",
        )
        for hours, part in enumerate((0.3, 0.5, 0.7), 1)
    ]  # fmt: skip
    for back, cents, pieces in ((parts[:1], 1_199, 2), (parts[:2], 699, 1), (parts[1:], 300, 1)):
        state = fold_all([bought, *back])
        assert (state.order_cents, state.categories[SHOES].cents) == (cents + 250, cents)
        assert state.recent[0].quantity == pieces
        assert encode(state) == encode(fold_all([bought, *back[::-1]]))
    state = fold_all([bought, *parts])
    assert (state.orders, state.order_cents, SHOES in state.categories) == (1, 250, False)
    assert resolve([bought, parts[1]]).placements[0].share == pytest.approx(500 / 1_749, abs=0.001)


@settings(max_examples=150)
@given(st.lists(_backs, min_size=2, max_size=5), st.sampled_from([None, 100, 126.66, 131]), st.data())
def test_it_comes_to_the_same_in_whatever_sequence_parts_of_an_order_come_back(
    backs: list[dict[str, Any]], total: float | None, data: st.DataObject
) -> None:
    paid = {} if total is None else {"total": total}
    bought = event("Order Completed", {"order_id": "o1", "products": list(SHOPPED)} | paid, id="o")
    ways = [
        [
            bought,
            *(
                event("Order Refunded", {"order_id": "o1"} | back, at=MORNING + number * HOUR, id=f"r{number}")
                for number, back in enumerate(way, 1)
            ),
        ]
        for way in (backs, data.draw(st.permutations(backs)))
    ]
    states = [fold_all(way) for way in ways]
    assert encode(states[0]) == encode(states[1])
    assert states[0].orders or not (states[0].order_cents or states[0].categories)
    orders = [resolve(way).placements[0] for way in ways]
    assert orders[0].back == orders[1].back
    assert orders[0].share == pytest.approx(orders[1].share)
    for found in orders:
        assert found.paid is not None
        assert 0 <= found.back <= found.paid
        assert found.void or found.amount == found.paid - found.back == states[0].order_cents
        assert 0 <= found.share <= 1
        assert (found.share == 1) == found.void
        assert bool(found.returns) == bool(found.share)


WHOLE: tuple[str, dict[str, Any]] = ("Order Refunded", {})
CANCELLED: tuple[str, dict[str, Any]] = ("Order Cancelled", {})
PIECE = ("Order Refunded", {"products": [item("shoes", "p1")]})
REST = ("Order Refunded", {"products": list(SHOPPED)})
MONEY = ("Order Refunded", {"total": 100})


@pytest.mark.parametrize(
    ("calls", "returns"),
    [
        ([PIECE, WHOLE], 2),
        ([PIECE, CANCELLED], 2),
        ([WHOLE, PIECE], 1),
        ([CANCELLED, PIECE], 1),
        ([PIECE, PIECE, CANCELLED, WHOLE], 3),
        ([PIECE, REST], 2),
        ([REST, PIECE], 1),
        ([PIECE, MONEY], 1),
        ([MONEY, PIECE], 1),
        ([MONEY], 1),
    ],
)
def test_a_return_is_what_brings_goods_back_while_some_are_left_whatever_arrives_first(
    calls: list[tuple[str, dict[str, Any]]], returns: int
) -> None:
    bought = event("Order Completed", {"order_id": "o1", "products": list(SHOPPED), "total": 100}, id="o")
    told = [
        event(name, {"order_id": "o1"} | properties, at=MORNING + number * HOUR, id=f"r{number}")
        for number, (name, properties) in enumerate(calls, 1)
    ]
    for arrived in ([bought, *told], [*reversed(told), bought]):
        order = resolve(canonical(arrived)).placements[0]
        assert (order.returns, order.back, order.share, order.void) == (returns, 10_000, 1, True)


@pytest.mark.parametrize(
    ("name", "told", "back"),
    [
        ("Order Cancelled", {}, 1000),
        ("Order Refunded", {}, 1000),
        ("Order Refunded", {"products": [item("shoes")]}, 0),
        ("Order Refunded", {"products": [item("shoes")], "total": 4}, 400),
        ("Order Refunded", {"products": [item("shoes")], "total": 10}, 1000),
    ],
)
def test_no_goods_come_back_of_an_order_that_an_update_emptied(name: str, told: dict[str, Any], back: int) -> None:
    emptied: dict[str, Any] = {"order_id": "o1", "products": [], "total": 10}
    calls = [
        order("o1", item("shoes", price=10)),
        event("Order Updated", emptied, at=MORNING + HOUR, id="u"),
        event(name, {"order_id": "o1"} | told, at=MORNING + 2 * HOUR, id="c"),
    ]
    placement = resolve(canonical(calls)).placements[0]
    assert (placement.back, placement.returns) == (back, 0)
    again = event("Order Updated", {"order_id": "o1", "products": [item("shoes")]}, at=MORNING + 1.5 * HOUR, id="v")
    assert resolve(canonical([*calls, again])).placements[0].returns == 1


def test_a_refund_of_no_money_takes_nothing_back_but_the_products_it_names() -> None:
    for bought, cents in ((order("o1", item("shoes"), item("socks")), 2000), (order("o1", item("shoes", price=0)), 0)):
        nothing = event("Order Refunded", {"order_id": "o1", "total": 0}, id="r")
        state = fold_all([bought, nothing])
        assert (state.orders, state.order_cents, SHOES in state.categories) == (1, cents, True)
        goods = event("Order Refunded", {"order_id": "o1", "total": "0.00", "products": [item("shoes")]}, id="r")
        assert SHOES not in fold_all([bought, goods]).categories
    some = event("Order Refunded", {"order_id": "o1", "total": 1}, id="r")
    assert fold_all([order("o1", item("shoes", price=0)), some]).orders == 0
