"""Arrival numbers: who follows them passes none that is still to be committed, and stays behind none that never is."""

from __future__ import annotations

from contextlib import ExitStack

from signals import journal
from tests.signals.sending import Desk, order


def newest(desk: Desk) -> int:
    """The number up to which everything that will ever be there is."""
    with desk.sessions.begin() as session:
        return journal.newest(session)


def test_the_newest_number_is_below_those_that_are_still_to_be_committed(desk: Desk) -> None:
    with ExitStack() as opened:
        first, second, third = (opened.enter_context(desk.sessions()) for _ in range(3))
        assert newest(desk) == 0
        assert journal.numbers(first, 5)[0] == 1
        journal.numbers(second, 3)
        desk.send(order("u1", "o1", ("p", "Shoes", 1.0)))
        ((top,),) = desk.rows("SELECT max(id) FROM event")
        assert newest(desk) == 0
        first.rollback()
        assert newest(desk) == 5, "nothing comes of what was taken back"
        second.commit()
        assert newest(desk) == top

        journal.numbers(third, 1)
        desk.send(order("u2", "o2", ("p", "Shoes", 1.0)))
        assert newest(desk) == top
    assert newest(desk) > top
