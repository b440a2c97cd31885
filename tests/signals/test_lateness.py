"""What a browser tells late: at its own place while that is cheap, else as of its arrival."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from signals import folding, lateness, lineage
from tests.signals.sending import NOW, Desk, call, identified, order, viewed

HOUR = timedelta(hours=1)


def at(hours: float) -> str:
    """So many hours ago."""
    return (NOW - hours * HOUR).isoformat()


def added(hours: float) -> dict[str, Any]:
    """Shoes put into the cart of the visitor, so many hours ago."""
    lines = {"product_id": "p1", "category": "Shoes", "price": 60}
    return call("track", event="Product Added", anonymousId="a1", properties=lines, timestamp=at(hours))


@pytest.fixture
def histories(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The roots whose histories are folded again, as it happens; bounded at five signals for a browser."""
    again: list[int] = []
    fold_each_again = folding.fold_each_again

    def noted(session: Any, roots: Any, categories: Any) -> Any:
        again.extend(root.id for root in roots)
        return fold_each_again(session, roots, categories)

    monkeypatch.setattr(folding, "fold_each_again", noted)
    monkeypatch.setattr(lateness, "MOST_AGAIN", 5)
    return again


def known(desk: Desk, signals: int) -> int:
    """A customer of so many signals, who came to be known on a device and ordered last."""
    looks = [viewed("Hats", userId="u1", timestamp=at(50 + n)) for n in range(signals - 2)]
    desk.send(identified("u1", anonymous="a1", time=at(100), city="Bonn"), *looks)
    desk.send(order("u1", "o1", ("p2", "Hats", 20.0), time=at(5)))
    return desk.root("user_id", "u1")


def test_it_puts_a_late_cart_before_the_order_that_emptied_it_where_few_signals_are_stored(
    desk: Desk, histories: list[int]
) -> None:
    person = known(desk, 5)
    desk.send(added(9), via=desk.browser)
    assert (desk.state(person).cart, histories) == ((), [person])


@pytest.mark.feature("DE-03", "DE-35")
def test_it_counts_a_late_cart_at_its_arrival_where_many_are(desk: Desk, histories: list[int]) -> None:
    person = known(desk, 6)
    for hours in (9, 8, 7):
        desk.send(added(hours), via=desk.browser)

    state = desk.state(person)
    assert [(line.product, line.quantity) for line in state.cart] == [("p1", 3)]
    assert histories == []
    times = desk.rows("SELECT event_time FROM event WHERE name = 'Product Added' ORDER BY id")
    assert [row.event_time - NOW for row in times] == [timedelta(milliseconds=n) for n in range(3)]
    assert desk.rebuilt().different == 0
    assert desk.state(person) == state


def test_it_always_puts_a_servers_late_word_at_its_time(desk: Desk, histories: list[int]) -> None:
    person = known(desk, 6)
    desk.send(added(9))
    assert (desk.state(person).cart, histories) == ((), [person])


@pytest.mark.parametrize("signals", [4, 40])
def test_it_folds_no_history_again_for_late_looks_and_pages(desk: Desk, histories: list[int], signals: int) -> None:
    person = known(desk, signals)
    desk.send(
        viewed("Hats", anonymousId="a1", timestamp=at(30)),
        call("page", anonymousId="a1", name="Home", timestamp=at(20)),
        call("identify", anonymousId="a1", traits={"city": "Atlantis"}, timestamp=at(10)),
        via=desk.browser,
    )

    state = desk.state(person)
    assert (state.views[desk.category("hats")].n, state.traits["city"]) == (signals - 1, "Bonn")
    assert histories == []
    assert desk.rebuilt().different == 0
    assert desk.state(person) == state


@pytest.mark.parametrize("policy", ["trusted", "longest"])
def test_it_folds_no_history_again_for_a_browsers_word_on_a_trait_with_a_policy(
    desk: Desk, histories: list[int], policy: str
) -> None:
    with desk.sessions.begin() as session:
        lineage.set_policy(session, "city", policy, NOW)
    person = known(desk, 40)
    for city in ("Atlantis", "Oz"):
        desk.send(call("identify", anonymousId="a1", traits={"city": city}, timestamp=at(1)), via=desk.browser)
    assert (desk.state(person).traits["city"], histories) == ("Bonn", [])
    assert desk.rebuilt().different == 0


def test_it_believes_no_browsers_clock_that_is_ahead(desk: Desk, histories: list[int]) -> None:
    person = known(desk, 40)
    desk.send(viewed("Shoes", anonymousId="a1", timestamp=at(-0.9)), via=desk.browser)
    desk.send(order("u1", "o2", ("p3", "Socks", 5.0), time=at(-0.1)))
    assert (desk.state(person).orders, histories) == (2, [])
    assert desk.rows("SELECT max(event_time) = :at FROM event WHERE name = 'Product Viewed'", at=NOW) == [(True,)]


def test_it_lets_no_browser_take_a_mark_back(desk: Desk) -> None:
    known(desk, 4)
    back = call("track", event="Offer Feedback Withdrawn", anonymousId="a1", properties={"message_id": "m1"})
    assert [one.untrusted for one in desk.send(back, via=desk.browser)] == [True]
