"""What staff do about a customer stands in the admin log from the same commit on, whatever fails after it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from base.errors import InvalidInput, Unavailable
from campaigns import admin_log, corrections, customers, households, merges, permissions, stream
from campaigns.corrections import AddedIn, CorrectionIn
from campaigns.models import AdminEntry
from signals import telling, trackingplan
from signals.events import Event, RejectedEvent
from signals.foldevent import Word
from signals.publishing import HOT_STORE
from signals.trackingplan import Definition, Property
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.test_stream import booked


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
        # Another word takes the first back as it is said.
        (
            "take back correction, correct record",
            lambda: corrections.correct(intake, eve, CorrectionIn(order, 0, "wrong_person"), now, by),
        ),
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
            assert ", ".join(logged(shop)).endswith(action)
    assert ", ".join(logged(shop)) == ", ".join([*before, *(action for action, _ in deeds)])

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


@pytest.mark.parametrize("stands", [False, True])
def test_of_two_words_for_a_line_at_once_the_later_one_stands(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, *, stands: bool
) -> None:
    (eve,) = shop.people("eve")
    shop.send(shop.order("eve", "shoes", shop.now))
    with shop.sessions() as session:
        order = session.scalars(select(Event.id).where(Event.order_id.is_not(None))).one()
    if stands:
        corrections.correct(shop.intake, eve, CorrectionIn(order, 0, "wrong_person"), shop.now, MANAGER)
    read, barrier, met = telling.read, threading.Barrier(2), set[int]()

    def together(*given: Any) -> Any:
        if threading.get_ident() not in met:  # Both have read what the line was corrected to.
            met.add(threading.get_ident())
            barrier.wait(20)
        return read(*given)

    def correct(word: Word) -> None:
        corrections.correct(shop.intake, eve, CorrectionIn(order, 0, word), shop.now, MANAGER)

    monkeypatch.setattr(telling, "read", together)
    words: list[Word] = ["gift", "already_own"]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(correct, words))

    with shop.sessions() as session:
        rows = session.scalars(select(Event).where(Event.name == corrections.FEEDBACK).order_by(Event.id)).all()
        said = [row.body["properties"]["feedback"] for row in rows]
        event = session.get_one(Event, order)
        (line,) = corrections.corrected(session, [eve], [event])[order]
        known = customers.document(session, eve) or {}
    assert sorted(said[-2:]) == sorted(words), "both are kept"
    assert line.corrected == said[-1], "the later one stands"
    assert [mark["word"] for mark in known["marks"]] == [said[-1]]
    again = ["take back correction", "correct record"]
    assert logged(shop) == ["correct record", *again, *(again if stands else [])], "each has its lines"


def test_a_word_takes_the_place_of_another_in_one_transaction(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    (eve,) = shop.people("eve")
    shop.send(shop.order("eve", "shoes", shop.now))
    with shop.sessions() as session:
        order = session.scalars(select(Event.id).where(Event.order_id.is_not(None))).one()
    corrections.correct(shop.intake, eve, CorrectionIn(order, 0, "gift"), shop.now, MANAGER)
    record = admin_log.record

    def killed(session: Any, by: Any, action: str, *given: Any, **told: Any) -> None:
        if action == "correct record":
            raise OSError("killed")
        record(session, by, action, *given, **told)

    with monkeypatch.context() as away:
        away.setattr(admin_log, "record", killed)
        with pytest.raises(OSError, match="killed"):
            corrections.correct(shop.intake, eve, CorrectionIn(order, 0, "already_own"), shop.now, MANAGER)
    with shop.sessions() as session:
        (line,) = corrections.corrected(session, [eve], [session.get_one(Event, order)])[order]
    assert (line.corrected, logged(shop)) == ("gift", ["correct record"]), "the first one stands as long as it does"


SIZES = Property("text", required=True, values=["S", "M"])


def plan(shop: Shop, size: Property) -> None:
    """Say what a fitting's size may be."""
    with shop.sessions.begin() as session:
        trackingplan.plan_event(session, "Fitting Booked", Definition({"size": size}), shop.now)
    shop.intake.reader.plans.renew()


def replays(shop: Shop) -> list[tuple[str, dict[str, Any]]]:
    """What the admin log says of signals that were taken again."""
    with shop.sessions() as session:
        query = select(AdminEntry).where(AdminEntry.action == "replay").order_by(AdminEntry.id)
        return [(row.object_id, row.after or {}) for row in session.scalars(query)]


def taken(shop: Shop) -> set[int]:
    """The refused signals that are said to be taken."""
    with shop.sessions() as session:
        return set(session.scalars(select(RejectedEvent.id).where(RejectedEvent.replayed_at.is_not(None))))


def test_a_signal_is_taken_again_and_logged_in_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.people("ann")
    plan(shop, SIZES)
    first, second, third, fourth = (booked(shop, size) for size in ("L", "XL", "XXL", "XXS"))
    assert stream.replay(shop.intake, fourth, shop.now, MANAGER) == "rejected"
    assert replays(shop) == [(str(fourth), {"outcome": "rejected"})]
    plan(shop, Property("text", values=["L", "XL", "XXL"]))

    def broken(*_: object, **__: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as killed:
        killed.setattr(admin_log, "record", broken)
        with pytest.raises(OSError, match="killed"):
            stream.replay(shop.intake, first, shop.now, MANAGER)
        with pytest.raises(OSError, match="killed"):
            stream.replay_all(shop.intake, None, None, shop.now, MANAGER)
    assert (taken(shop), len(replays(shop))) == (set(), 1), "neither is taken, nor said to be"
    assert stream.replay(shop.intake, first, shop.now, MANAGER) == "duplicate"
    assert (taken(shop), replays(shop)[1:]) == ({first}, [(str(first), {"outcome": "duplicate"})])

    def away(*_: object) -> None:
        raise Unavailable(HOT_STORE)

    with monkeypatch.context() as without:
        without.setattr(shop.intake.publisher, "write_states", away)
        with pytest.raises(Unavailable):
            stream.replay(shop.intake, second, shop.now, MANAGER)
    assert (taken(shop), replays(shop)[2:]) == ({first, second}, [(str(second), {"outcome": "accepted"})])

    counts = stream.replay_all(shop.intake, None, "Fitting Booked", shop.now, MANAGER)
    assert counts == {"accepted": 1, "rejected": 1}
    assert taken(shop) == {first, second, third}
    assert replays(shop)[3:] == [
        ("all", {"source": None, "event": "Fitting Booked", "signals": 2}),
        (str(third), {"outcome": "accepted"}),
    ]


def test_whoever_takes_many_again_is_named_for_those_that_were_taken_by_then(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.people("ann")
    plan(shop, SIZES)
    numbers = [booked(shop, size) for size in ("L", "XL")]
    plan(shop, Property("text"))
    record = admin_log.record
    said: list[Any] = []

    def killed(*given: Any, **told: Any) -> None:
        said.append(given)
        if len(said) > 2:
            raise OSError("killed")
        record(*given, **told)

    monkeypatch.setattr(admin_log, "record", killed)
    with pytest.raises(OSError, match="killed"):
        stream.replay_all(shop.intake, None, None, shop.now, MANAGER)
    assert taken(shop) == {numbers[0]}
    assert [number for number, _ in replays(shop)] == ["all", str(numbers[0])]
