"""Taking signals in: once, whole, in any order, and answered only when an open can see them."""

from __future__ import annotations

from tests.signals.sending import Desk, order


def test_it_folds_an_order_and_publishes_the_state(desk: Desk) -> None:
    assert [outcome.status for outcome in desk.send(order("u1", "o1", ("p1", "Shoes", 80.0)))] == ["accepted"]

    state = desk.state(desk.root("user_id", "u1"))
    shoes = desk.category("shoes")
    assert (state.orders, state.order_cents, state.categories[shoes].n) == (1, 8000, 1)
    assert state.version == desk.rows("SELECT max(id) FROM event")[0][0]


def test_it_counts_a_repeated_message_once_and_repairs_a_lost_state(desk: Desk) -> None:
    event = order("u1", "o1", ("p1", "Shoes", 80.0))
    desk.send(event)
    profile = desk.root("user_id", "u1")
    before = desk.state(profile)
    desk.store.flushdb()

    assert [outcome.status for outcome in desk.send(event, event)] == ["duplicate", "duplicate"]
    assert desk.state(profile) == before
    assert desk.rows("SELECT count(*) FROM event")[0][0] == 1
