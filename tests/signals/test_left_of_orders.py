"""What is left of an order is kept beside it, so that windows of rules and states mean the same orders."""

from __future__ import annotations

import random
from typing import Any

import pytest

from signals import contents
from signals.intake import take_apart
from signals.joining import join
from signals.rebuild import rebuild
from tests.signals.sending import NOW, Desk, call, order
from tests.signals.test_exchange import adding_up
from tests.signals.test_history import ALL, RETURNED, audience, said

NOW_THEN = "2024-06-20T00:00:00+00:00"
ORDERS = {"event": "Order Completed", "from": {"month_start": 12}, "to": {"month_start": 11}}
SHOES = {"product_id": "p1", "category": "shoes", "price": 80.0, "quantity": 1}
ATTIRE = {"product_id": "p2", "category": "attire", "price": 30.0, "quantity": 1}
HATS = {"product_id": "p3", "category": "hats", "price": 20.0, "quantity": 2}
LOWERED = ("Order Updated", {"total": 80, "products": [SHOES]})
RAISED = ("Order Updated", {"total": 200, "products": [SHOES | {"price": 170.0}, ATTIRE]})
BOTH = ("shoes", "attire")

Told = list[tuple[str, dict[str, Any]]]


def windows(desk: Desk, *categories: str) -> dict[str, set[str]]:
    """The buyers that windows of June find: of anything, and of each category."""
    found = {"": audience(desk, ORDERS, NOW_THEN)}
    return found | {name: audience(desk, ORDERS | {"category": name}, NOW_THEN) for name in categories}


def back(*lines: dict[str, Any], **told: Any) -> tuple[str, dict[str, Any]]:
    """A refund of these lines."""
    return "Order Refunded", ({"products": list(lines)} if lines else {}) | told


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize(
    ("calls", "cents", "left"),
    [
        ([back(total=0)], 11_000, BOTH),
        ([back({"product_id": "p1", "quantity": 0})], 11_000, BOTH),
        ([back({"product_id": "p1", "quantity": 0}, total=30)], 8_000, BOTH),
        ([back(product_id="p1", quantity=0)], 11_000, BOTH),
        ([back(**RETURNED), back(total=30)], 0, ()),
        ([back(product_id="p1")], 3_000, ("attire",)),
        ([back(product_id="p1"), back(product_id="p2")], 0, ()),
        ([LOWERED], 8_000, ("shoes",)),
        ([LOWERED, back(total=80)], 0, ()),
        ([LOWERED, back(**RETURNED)], 0, ()),
        ([RAISED, back(total=110)], 9_000, BOTH),
        ([RAISED, back(total=200)], 0, ()),
        ([("Order Updated", {"products": [ATTIRE, HATS]})], 7_000, ("attire", "hats")),
        ([back(**RETURNED), back(**RETURNED)], 3_000, ("attire",)),
        ([back({"product_id": "p1", "quantity": 2})], 3_000, ("attire",)),
        ([back({"product_id": "other", "quantity": 2})], 11_000, BOTH),
        ([back(**RETURNED, total=110)], 0, ()),
        ([back(**ALL)], 0, ()),
        ([("Order Cancelled", {})], 0, ()),
    ],
)
def test_windows_and_states_mean_the_same_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, calls: Told, cents: int, left: tuple[str, ...], turn: int
) -> None:
    # Some refunds of no money are stored from before intake refused them.
    monkeypatch.setattr(contents, "_check_refund", lambda properties: None)
    bought = order("ann", "ann-1", ("p1", "shoes", 80.0), ("p2", "attire", 30.0), time="2023-06-15T12:00:00Z")
    desk.send(order("bob", "bob-1", ("p3", "hats", 1.0), time="2024-06-01T12:00:00Z"))
    told = [bought, *(said(event, "ann", 1 + day, **what) for day, (event, what) in enumerate(calls))]
    for one in told[::turn]:
        desk.send(one)
    state = desk.state(desk.root("user_id", "ann"))
    assert (state.orders, state.order_cents) == (bool(left), cents)
    assert set(state.categories) == {desk.category(name) for name in left}
    found = windows(desk, "shoes", "attire", "hats")
    assert found == {name: {"ann"} if name in left or (left and not name) else set() for name in found}
    assert_as_after_a_rebuild(desk)


def assert_as_after_a_rebuild(desk: Desk) -> None:
    before = desk.everything()
    assert desk.rebuilt().different == 0
    assert desk.everything() == before


@pytest.mark.parametrize(
    ("lines", "total", "told", "left"),
    [
        ([{"product_id": "p1", "category": "shoes"}, {"product_id": "p2", "category": "attire"}], None,
         {"total": 5}, BOTH),
        ([SHOES, {"product_id": "p2", "category": "attire"}], None, {"total": 80}, BOTH),
        ([SHOES, {"product_id": "p2", "category": "attire"}], 110, {"total": 110}, ()),
        ([SHOES, ATTIRE], 0, RETURNED | {"total": 0}, ("attire",)),
        ([SHOES, ATTIRE], 0, ALL | {"total": 0}, ()),
        ([SHOES | {"quantity": 2}, ATTIRE], None, RETURNED, BOTH),
        ([SHOES, SHOES | {"product_id": "p9"}, ATTIRE], None, RETURNED, BOTH),
        ([SHOES | {"quantity": 2}, ATTIRE], None, {"products": [{"category": "shoes", "quantity": 2}]}, ("attire",)),
    ],
)  # fmt: skip
def test_they_do_so_whatever_is_told_of_prices_and_pieces(
    desk: Desk, lines: list[dict[str, Any]], total: float | None, told: dict[str, Any], left: tuple[str, ...]
) -> None:
    paid = {} if total is None else {"total": total}
    desk.send(said("Order Completed", "ann", 0, products=lines, **paid), said("Order Refunded", "ann", 1, **told))
    state = desk.state(desk.root("user_id", "ann"))
    assert state.orders == bool(left)
    assert set(state.categories) == {desk.category(name) for name in left}
    found = windows(desk, *BOTH)
    assert found == {name: {"ann"} if name in left or (left and not name) else set() for name in found}


@pytest.mark.feature("DE-09")
@pytest.mark.parametrize("name", ["Order Updated", "ORDER UPDATED"])
def test_an_order_that_only_updates_tell_of_is_one_in_windows_as_in_states(desk: Desk, name: str) -> None:
    desk.send(order("bob", "bob-1", ("p1", "attire", 80.0), time="2022-06-15T12:00:00Z"))

    def found(*categories: str) -> None:
        """Ann has one order, of these categories, in windows as in states."""
        state = desk.state(desk.root("user_id", "ann"))
        assert state.orders == bool(categories)
        assert set(state.categories) == {desk.category(one) for one in categories}
        seen = windows(desk, *BOTH)
        assert seen == {one: {"ann"} if one in categories or (categories and not one) else set() for one in seen}
        assert audience(desk, ORDERS | {"min_count": 2}, NOW_THEN) == set()
        assert_as_after_a_rebuild(desk)

    told = (said(name, "ann", 1, products=[SHOES]), said(name, "ann", 2, products=[SHOES, ATTIRE]))
    desk.send(told[1])
    found(*BOTH)
    desk.send(told[0])
    found(*BOTH)
    desk.send(said("Order Refunded", "ann", 3, **RETURNED))
    found("attire")
    desk.send(said("Order Completed", "ann", 0, products=[SHOES]))
    found("attire")
    desk.send(said("Order Cancelled", "ann", 4))
    found()


def test_a_gift_was_bought_in_windows_where_states_hold_what_was_for_oneself(desk: Desk) -> None:
    desk.send(
        order("ann", "ann-1", ("p1", "shoes", 80.0), time="2023-06-15T12:00:00Z"),
        said("Offer Feedback", "ann", 1, feedback="gift"),
    )
    assert desk.state(desk.root("user_id", "ann")).categories == {}
    assert windows(desk, "shoes") == {"": {"ann"}, "shoes": {"ann"}}


def test_what_is_left_follows_people_who_are_joined_and_taken_apart(desk: Desk) -> None:
    desk.send(
        order("ann", "ann-1", ("p1", "shoes", 80.0), ("p2", "attire", 30.0), time="2023-06-15T12:00:00Z"),
        call("identify", userId="bob", traits={}),
        said("Order Refunded", "bob", 1, **RETURNED) | {"properties": {"order_id": "ann-1"} | RETURNED},
    )
    alone = {"": {"ann"}, "shoes": {"ann"}, "attire": {"ann"}}
    assert windows(desk, *BOTH) == alone
    ann, bob = (desk.root("user_id", user) for user in ("ann", "bob"))
    merge = join(desk.intake, ann, bob, NOW, by="x")
    assert windows(desk, *BOTH) == {"": {"ann", "bob"}, "shoes": set(), "attire": {"ann", "bob"}}
    assert take_apart(desk.intake, merge, NOW, apart=True, by="x")
    assert windows(desk, *BOTH) == alone
    assert_as_after_a_rebuild(desk)


def test_what_is_left_follows_the_rates(desk: Desk) -> None:
    adding_up(desk, "USD,2023-06-01,0.5")
    desk.send(
        said("Order Completed", "ann", 0, products=[SHOES], total=80, currency="USD"),
        said("Order Refunded", "ann", 1, total=50, currency="EUR"),
    )
    assert (desk.state(desk.root("user_id", "ann")).orders, windows(desk)) == (0, {"": set()})
    rebuild(desk.intake, NOW, only=adding_up(desk, "USD,2023-06-01,0.9"))
    assert (desk.state(desk.root("user_id", "ann")).orders, windows(desk)) == (1, {"": {"ann"}})
    assert_as_after_a_rebuild(desk)


def test_a_rebuild_makes_it_exact(desk: Desk) -> None:
    desk.send(
        order("ann", "ann-1", ("p1", "shoes", 80.0), ("p2", "attire", 30.0), time="2023-06-15T12:00:00Z"),
        order("bob", "bob-1", ("p1", "shoes", 80.0), time="2023-06-15T12:00:00Z"),
        said("Order Refunded", "ann", 1, **RETURNED),
    )
    exact, before = windows(desk, *BOTH), desk.everything()
    desk.run("UPDATE event SET void = NOT void, left_category_ids = '{}' WHERE name = 'Order Completed'")
    assert windows(desk, *BOTH) == {"": set(), "shoes": set(), "attire": set()}
    desk.rebuilt()
    assert windows(desk, *BOTH) == exact == {"": {"ann", "bob"}, "shoes": {"bob"}, "attire": {"ann"}}
    assert desk.everything() == before


def story(chance: random.Random, user: str) -> list[dict[str, Any]]:
    """Orders, and all that may be said of them: told twice or by updates alone, edited, given back, and all that."""
    calls = [call("identify", userId=user, traits={})]
    for number in range(chance.randint(1, 3)):
        told: dict[str, Any] = {"order_id": f"{user}-{number}"}

        def lines() -> list[dict[str, Any]]:
            chosen = chance.sample([SHOES, ATTIRE, HATS], chance.randint(1, 3))
            return [
                {name: value for name, value in line.items() if name != "price" or chance.random() < 0.9}
                | chance.choice([{}, {}, {"quantity": 0}, {"quantity": 2}])
                for line in chosen
            ]

        def money() -> dict[str, Any]:
            paid = {"total": chance.choice([0, 5, 30, 40, 80, 110, 150])}
            return paid | chance.choice([{}, {}, {"currency": "USD"}, {"currency": "EUR"}, {"currency": "CHF"}])

        def goods() -> dict[str, Any]:
            named = {"product_id": chance.choice(["p1", "p2", "p3", "other"])}
            amount: dict[str, Any] = chance.choice([{}, {}, {"quantity": 0}, {"quantity": 2}])
            if chance.random() < 0.2:
                named = {"category": chance.choice(["shoes", "attire", "hats"])}
            return chance.choice([named | amount, {"products": [named | amount]}, {"products": []}])

        for _ in range(chance.choice([0, 1, 1, 2])):
            paid = chance.choice([{}, money()])
            calls.append(said("Order Completed", user, chance.randint(0, 1), products=lines(), **told, **paid))
        for _ in range(chance.randint(0, 4)):
            day, what = chance.randint(0, 5), chance.random()
            if what < 0.15:
                calls.append(said(chance.choice(["Order Cancelled", "Order Canceled"]), user, day, **told))
            elif what < 0.4:
                content = chance.choice([{}, {"products": lines()}, {"products": lines()} | money()])
                stands = chance.choice([{}, {"order_status": "placed"}])
                calls.append(said("Order Updated", user, day, **told, **content, **stands))
            else:
                named: dict[str, Any] = chance.choice([{}, {}, {"refund_id": "r1"}])
                refund = chance.choice([money(), goods(), goods() | money(), {}])
                calls.append(said("Order Refunded", user, day, **told, **named, **refund))
    chance.shuffle(calls)
    return calls


@pytest.mark.feature("CM-02")
@pytest.mark.parametrize("seed", range(4))
def test_windows_and_states_count_the_same_orders_whatever_is_told_of_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(contents, "_check_refund", lambda properties: None)
    chance = random.Random(seed)
    adding_up(desk, "USD,2023-06-01,0.9")
    every = {"order_id": "x-1", "products": [SHOES, ATTIRE, HATS]}  # So that all categories are known.
    desk.send(call("track", event="Order Completed", userId="x", properties=every))
    people = {f"u{number}": story(chance, f"u{number}") for number in range(40)}
    for place in range(max(map(len, people.values()))):
        outcomes = desk.send(*(calls[place] for calls in people.values() if place < len(calls)))
        assert {one.status for one in outcomes} == {"accepted"}
    states = {user: desk.state(desk.root("user_id", user)) for user in people}
    for name in ("", "shoes", "attire", "hats"):
        category = desk.category(name) if name else 0
        counts = {
            user: (state.categories[category].n if category in state.categories else 0) if name else state.orders
            for user, state in states.items()
        }
        asked = ORDERS | ({"category": name} if name else {})
        for times in range(4):
            found = audience(desk, asked | {"min_count": times, "max_count": times}, NOW_THEN)
            assert found - {"x"} == {user for user, count in counts.items() if count == times}, (name, times)
        assert 4 < sum(map(bool, counts.values())) < 40
    assert_as_after_a_rebuild(desk)
