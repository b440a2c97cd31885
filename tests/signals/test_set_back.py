"""A rebuild beside a hot store that is ahead of the database, as after the restore of a backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs

from base import keys
from base.errors import Unavailable
from signals.erasure import erase
from signals.state import ProfileState, decode, encode, issued, tombstone
from tests.signals.sending import NOW, Desk, order
from tests.signals.test_rebuild import LATER


def gone_back(desk: Desk, user: str, *, erased: bool = False) -> int:
    """The hot store has a state of a person that the database has never written; the profile."""
    root = desk.root("user_id", user)
    later = tombstone(10**6) if erased else structs.replace(desk.state(root), orders=20)
    desk.store.set(keys.state(root), issued(10**6, encode(later)))
    return root


def shown(desk: Desk, profile: int) -> ProfileState:
    """What opens go by, whatever is stored."""
    data = desk.store.get(keys.state(profile))
    assert isinstance(data, bytes)
    return decode(data)


def test_it_writes_over_states_of_a_time_that_the_database_has_lost(desk: Desk) -> None:
    desk.send(*(order(user, f"o-{user}", ("p1", "Shoes", 80.0)) for user in ("u1", "u2", "u3")))
    ann, erased = gone_back(desk, "u1"), gone_back(desk, "u2", erased=True)
    desk.send(order("u1", "o2", ("p1", "Shoes", 80.0)))
    assert shown(desk, ann).orders == 20, "else this shows nothing"

    report = desk.rebuilt()
    assert (report.ahead, report.erased, report.different) == (1, [erased], 0)
    assert desk.state(ann).orders == 2
    assert shown(desk, erased).erased
    desk.send(order("u1", "o3", ("p1", "Shoes", 80.0)))
    assert desk.state(ann).orders == 3
    assert desk.rebuilt().ahead == 0


def test_who_is_erased_after_a_restore_is_so_at_the_next_open(desk: Desk) -> None:
    desk.send(*(order(user, f"o-{user}", ("p1", "Shoes", 80.0)) for user in ("u1", "u2")))
    ann, bob = gone_back(desk, "u1"), gone_back(desk, "u2")
    erase(desk.intake, ann, NOW)
    assert shown(desk, ann).erased
    assert shown(desk, bob).orders == 20
    before = desk.store.get(keys.state(ann))
    assert desk.intake.publisher.write_states([(ann, 1, encode(tombstone(1)))]) == 0
    assert desk.store.get(keys.state(ann)) == before, "of two tombstones the newer one stays"
    report = desk.rebuilt()
    assert (report.erased, report.ahead, shown(desk, ann).erased) == ([], 1, True)


def test_who_is_erased_in_the_hot_store_alone_stays_so_and_is_named_however_many_signals_come(desk: Desk) -> None:
    desk.send(order("u1", "o1", ("p1", "Shoes", 80.0)))
    ann = desk.root("user_id", "u1")
    desk.store.set(keys.state(ann), issued(desk.rows("SELECT max(id) FROM event")[0][0] + 1, encode(tombstone(9))))
    for number in range(3):
        desk.send(order("u1", f"more-{number}", ("p1", "Shoes", 80.0)))
        assert shown(desk, ann).erased
    for _ in range(2):
        assert desk.rebuilt().erased == [ann]
        assert shown(desk, ann).erased

    erase(desk.intake, ann, NOW)
    assert desk.rebuilt().erased == []
    assert shown(desk, ann) == tombstone(desk.rows("SELECT erased_version FROM profile WHERE id = :id", id=ann)[0][0])


def test_nobody_gets_the_number_of_somebody_whom_the_database_has_lost(desk: Desk) -> None:
    desk.send(order("u1", "o1", ("p1", "Shoes", 80.0)))
    ann = desk.root("user_id", "u1")
    lost = (ann + 1, ann + 7)
    for number in lost:
        desk.store.set(keys.state(number), issued(10**6, encode(structs.replace(desk.state(ann), orders=20))))
    desk.store.set("{somebody}:state", "what is none")

    assert desk.rebuilt().unknown == 2
    assert not any(desk.store.exists(keys.state(number)) for number in lost)
    desk.send(order("u2", "o2", ("p1", "Hats", 5.0)))
    ben = desk.root("user_id", "u2")
    assert ben > max(lost)
    assert desk.state(ben).orders == 1
    assert desk.rebuilt().unknown == 0


def test_states_of_people_whom_the_database_has_lost_go_wherever_its_sequence_stands(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.send(order("u1", "o1", ("p1", "Shoes", 80.0)))
    ann = desk.root("user_id", "u1")
    # The sequence of a backup may be ahead of its rows: of a dump by when it was read, of a log by what is taken ahead.
    desk.run(f"SELECT setval('profile_id_seq', {ann + 2})")
    lost = (ann + 1, ann + 7)
    for number in lost:
        desk.store.set(keys.state(number), issued(10**6, encode(desk.state(ann))))

    def ended(profiles: Sequence[int]) -> None:
        raise Unavailable("The hot store")

    with monkeypatch.context() as patched:
        patched.setattr(desk.intake.publisher, "drop_states", ended)
        with pytest.raises(Unavailable):
            desk.rebuilt()
    assert desk.rebuilt().unknown == 2
    assert not any(desk.store.exists(keys.state(number)) for number in lost)
    assert desk.state(ann).orders == 1


@pytest.mark.parametrize("spoilt", [None, LATER["number"]], ids=["later", "none"])
@pytest.mark.parametrize("meanwhile", ["held", "set_back"])
def test_it_loses_no_signal_that_comes_while_it_writes_over_later_states(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, meanwhile: str, spoilt: bytes | None
) -> None:
    desk.send(order("u1", "o1", ("p1", "Shoes", 80.0)))
    root, publisher = gone_back(desk, "u1"), desk.intake.publisher
    if spoilt is not None:
        desk.store.set(keys.state(root), spoilt)
    inner = getattr(publisher, meanwhile)

    def after_a_signal(*given: Any) -> Any:
        desk.send(order("u1", "o2", ("p1", "Shoes", 80.0)))
        return inner(*given)

    monkeypatch.setattr(publisher, meanwhile, after_a_signal)
    desk.rebuilt()
    assert desk.state(root).orders == 2
