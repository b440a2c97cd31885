"""Arrival numbers: who follows them passes none that is still to be committed, and stays behind none that never is."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from sqlalchemy import text

from base import db
from base.errors import Busy, Refused, Unavailable
from signals import journal
from tests.databases import VAULT
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


@pytest.mark.parametrize(("lock_ms", "statement_ms", "told"), [(200, 30_000, Busy), (10_000, 200, Refused)])
def test_events_are_written_or_refused_as_any_statement_is(
    desk: Desk, database_url: str, monkeypatch: pytest.MonkeyPatch, lock_ms: int, statement_ms: int,
    told: type[Unavailable],
) -> None:  # fmt: skip
    desk.send(order("u1", "o1", ("p", "Shoes", 1.0)))
    monkeypatch.setattr(db, "LOCK_MS", lock_ms)
    engine = db.connect(database_url, statement_ms=statement_ms, vault=VAULT)
    desk.intake.sessions = db.sessions(engine)
    again = order("u2", "o2", ("p", "Shoes", 1.0)) | {"messageId": "dup-1"}
    with desk.sessions() as other:
        other.execute(text("UPDATE event SET message_id = 'dup-1'"))
        with pytest.raises(Unavailable) as refused:
            desk.send(again)
        assert type(refused.value) is told
    desk.intake.sessions = desk.sessions
    assert [one.status for one in desk.send(again)] == ["accepted"]
    engine.dispose()
