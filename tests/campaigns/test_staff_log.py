"""What staff do about a customer stands in the admin log from the same commit on, whatever fails after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from base.errors import InvalidInput, Unavailable
from campaigns import corrections, households, merges, permissions
from campaigns.corrections import AddedIn, CorrectionIn
from campaigns.models import AdminEntry
from signals.events import Event
from signals.publishing import HOT_STORE
from tests.campaigns.shop import MANAGER, Shop


def logged(shop: Shop) -> list[str]:
    """What the admin log says was done about customers, in order."""
    with shop.sessions() as session:
        query = select(AdminEntry.action).where(AdminEntry.object_type == "customer").order_by(AdminEntry.id)
        return list(session.scalars(query))


def test_what_staff_do_is_logged_with_it_though_the_hot_store_is_away(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, now, by = shop.intake, shop.now, MANAGER
    ann, bob, cat, dan, eve, fay = shop.people("ann", "bob", "cat", "dan", "eve", "fay")
    shop.send(shop.order("eve", "shoes", now))
    with shop.sessions() as session:
        order = session.scalars(select(Event.id).where(Event.order_id.is_not(None))).one()
    merged = merges.join(intake, cat, dan, now, by)
    households.join(intake, eve, fay, "", "they said so", now, by)
    case = corrections.add(intake, eve, AddedIn("complaint", "Too late."), now, by)
    before = logged(shop)
    assert before == ["merge", "join household", "add complaint"]

    deeds: list[tuple[str, Callable[[], Any]]] = [
        ("merge", lambda: merges.join(intake, ann, bob, now, by)),
        ("undo merge", lambda: merges.undo(intake, cat, merged, now, by)),
        ("state consent", lambda: permissions.state(intake, eve, "email", False, "by phone", now, by)),
        ("join household", lambda: households.join(intake, ann, cat, "", "they said so", now, by)),
        ("leave household", lambda: households.leave(intake, eve, "moved out", now, by)),
        ("correct record", lambda: corrections.correct(intake, eve, CorrectionIn(order, 0, "gift"), now, by)),
        # Another word takes the first back before it is said.
        (
            "take back correction",
            lambda: corrections.correct(intake, eve, CorrectionIn(order, 0, "wrong_person"), now, by),
        ),
        ("correct record", lambda: corrections.correct(intake, eve, CorrectionIn(order, 0, "wrong_person"), now, by)),
        ("take back correction", lambda: corrections.take_back(intake, eve, order, 0, now, by)),
        ("add note", lambda: corrections.add(intake, eve, AddedIn("note", "Called."), now, by)),
        ("settle complaint", lambda: corrections.settle(intake, eve, case, now, by)),
    ]

    def away(*_: object) -> None:
        raise Unavailable(HOT_STORE)

    with monkeypatch.context() as broken:
        broken.setattr(intake.publisher, "write_states", away)
        for action, deed in deeds:
            with pytest.raises(Unavailable):
                deed()
            assert logged(shop)[len(before) :][-1:] == [action]
    assert logged(shop) == [*before, *(action for action, _ in deeds)]

    with pytest.raises(InvalidInput):
        merges.join(intake, ann, bob, now, by)
    assert logged(shop).count("merge") == 2


def test_a_correction_that_is_refused_takes_none_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    (eve,) = shop.people("eve")
    shop.send(shop.order("eve", "shoes", shop.now))
    with shop.sessions() as session:
        order = session.scalars(select(Event.id).where(Event.order_id.is_not(None))).one()
    monkeypatch.setattr(corrections, "MAX_ROUNDS", 1)
    corrections.correct(shop.intake, eve, CorrectionIn(order, 0, "gift"), shop.now, MANAGER)
    with pytest.raises(InvalidInput, match="that is enough"):
        corrections.correct(shop.intake, eve, CorrectionIn(order, 0, "wrong_person"), shop.now, MANAGER)
    assert logged(shop) == ["correct record"]
