"""Households as years pass: who came as a child is grown up by and by, though nobody says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from signals.features import value
from signals.known import known_fields
from tests.signals.living import SIDE, grouped, lives
from tests.signals.sending import NOW, Desk, identified


@pytest.mark.feature("DE-08")
def test_it_has_children_grow_up_without_a_signal(desk: Desk) -> None:
    then, time = datetime(2025, 12, 20, tzinfo=UTC), "2025-12-19T10:00:00.000Z"
    desk.send(lives("mum", time=time), lives("kid", time=time, birth_year=2008), now=then)
    desk.send(lives("tim", SIDE, time), grouped("tim", "h1", time, role="child"), now=then)
    desk.send(identified("tim", time=time, birth_year=2008), now=then)

    def read(at: datetime) -> list[list[Any]]:
        states = [desk.state(desk.root("user_id", user)) for user in ("mum", "kid", "tim")]
        return [
            [value(state, f"household.{name}", at) for name in ("role", "oldest", "adults", "children")]
            for state in states
        ]

    assert read(then) == [["adult", None, 1, 1], ["child", None, 1, 1], ["child", None, 0, 1]]
    grown_up = [["adult", 18, 2, 0], ["adult", 18, 2, 0], ["adult", 18, 1, 0]]
    assert read(NOW) == grown_up
    with desk.sessions.begin() as session:
        known = known_fields(session, desk.root("user_id", "kid"), NOW)
    assert [one.value["adults"] for one in known if one.name == "household"] == [2]
    # Finding the households again finds the same.
    desk.rebuilt()
    assert read(NOW) == grown_up
    assert desk.rebuilt().different == 0
