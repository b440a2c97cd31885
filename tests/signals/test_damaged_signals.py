"""A signal, or another sealed value of one person, that is damaged where it is stored: it keeps nobody waiting."""

from __future__ import annotations

import pytest

from base.settings import Settings
from signals import keymarks
from signals.erasure import erase
from signals.stated import stated
from tests.damage import CONTENT, damaged_signal, flip
from tests.loglines import log_lines
from tests.signals.sending import NOW, Desk, call, identified, order
from tests.signals.test_matching import ANN, BOB, PHONE, unnumbered

HOME = {"street": "12 Main Street", "postalCode": "53111", "city": "Bonn"}


@pytest.mark.parametrize("byte", [0, CONTENT], ids=["the number of its key", "what it says"])
def test_a_late_signal_is_taken_though_another_of_the_person_is_damaged(
    desk: Desk, settings: Settings, byte: int, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    keymarks.settle(desk.sessions, settings, NOW)
    no = {"purpose": "tracking", "granted": False, "wording": "never"}
    desk.send(
        identified("ann", first_name="Ann"),
        order("ann", "o1", ("p1", "Shoes", 80.0), time="2026-02-01T12:00:00Z"),
        call("track", event="Consent Changed", userId="ann", properties=no, timestamp="2026-02-02T12:00:00Z"),
        order("ann", "o2", ("p2", "Hats", 20.0), time="2026-02-03T12:00:00Z"),
    )
    ann, before = desk.root("user_id", "ann"), desk.state(desk.root("user_id", "ann"))
    damaged = f"profile_id = {ann} AND event_time BETWEEN '2026-02-01' AND '2026-02-03'"
    flip(desk.sessions, "event.body", damaged, byte)
    late = order("ann", "o3", ("p3", "Coats", 5.0), time="2026-01-01T12:00:00Z")
    assert desk.statuses(late, order("bob", "o4", ("p1", "Shoes", 80.0))) == ["accepted", "accepted"]
    state = desk.state(ann)
    assert (before.orders, state.orders) == (2, 2), "the damaged order is out, the late one in"
    assert (state.consent, state.traits) == ({"tracking": False}, before.traits)
    told = [line for line in log_lines("damaged", capsys, caplog) if "consent alone" in line]
    assert len(told) == 2
    assert all("ann" not in line for line in told)

    # Made again, it stays so, and so does the history of what she allows; put back, everything counts.
    said = desk.rows("SELECT purpose, granted, at, wording FROM consent")
    report = desk.rebuilt()
    assert (report.different, [*report.damaged], len(report.damaged[ann])) == (0, [ann], 2)
    assert desk.rows("SELECT purpose, granted, at, wording FROM consent") == said
    flip(desk.sessions, "event.body", damaged, byte)
    report = desk.rebuilt()
    assert (report.first, report.damaged, desk.state(ann).orders) == ([ann], {}, 3)
    assert desk.rows("SELECT purpose, granted, at, wording FROM consent") == said


def test_a_repeated_order_counts_in_the_place_of_no_damaged_one(desk: Desk) -> None:
    first, again = (order("ann", "o1", ("p1", "Shoes", 80.0), time=f"2026-02-0{day}T12:00:00Z") for day in (1, 2))
    desk.send(first, again)
    counting = desk.rows("SELECT id, folds, void FROM event ORDER BY id")
    flip(desk.sessions, "event.body", "event_time < '2026-02-02'")
    desk.rebuilt()
    assert desk.rows("SELECT id, folds, void FROM event ORDER BY id") == counting
    assert desk.state(desk.root("user_id", "ann")).orders == 0


@pytest.mark.parametrize("byte", [0, CONTENT], ids=["the number of its key", "what it says"])
def test_a_batch_is_taken_though_it_is_damaged_where_a_trait_comes_from(
    desk: Desk, settings: Settings, byte: int
) -> None:
    keymarks.settle(desk.sessions, settings, NOW)
    desk.send(identified("ann", city="Bonn", score=3))
    ann = desk.root("user_id", "ann")
    flip(desk.sessions, "trait_lineage.value", f"profile_id = {ann} AND name = 'city'", byte)
    assert desk.statuses(identified("ann", city="Oslo"), identified("bob", city="Rome")) == ["accepted", "accepted"]
    assert desk.state(ann).traits["city"] == "Oslo"
    # Found anew from all that was told, it is whole again.
    assert len(desk.rows("SELECT 1 FROM trait_lineage")) == 3
    before = desk.everything()
    assert desk.rebuilt().different == 0
    assert desk.everything() == before


def test_nobody_is_compared_by_what_a_damaged_call_put_right(desk: Desk) -> None:
    said = {"first_name": "Ann", "last_name": "Lee"}
    desk.send(identified("ann", birthday="1980-01-01", **said), identified("bob", birthday="1980-01-01", **said))
    desk.send(identified("ann", birthday="1991-05-05", **said))
    ann, bob = (desk.root("user_id", user) for user in ("ann", "bob"))
    with desk.sessions.begin() as session:
        assert {root: one["born"] for root, one in stated(session, [ann, bob]).items()} == {
            ann: "1991-05-05", bob: "1980-01-01",
        }  # fmt: skip
    with damaged_signal(desk.sessions, ann), desk.sessions.begin() as session:
        assert [*stated(session, [ann, bob])] == [bob]


def test_two_people_of_one_phone_are_merged_by_no_damaged_name(desk: Desk) -> None:
    desk.send(unnumbered("d-ann", **ANN, **PHONE, email="ann@example.com"))
    flip(desk.sessions, "identifier.value", "type = 'name'")
    desk.send(unnumbered("d-bob", **BOB, **PHONE, email="bob@example.com"))
    assert desk.root("email", "ann@example.com") != desk.root("email", "bob@example.com")
    assert desk.rows("SELECT type, reason FROM refused_tie") == [("phone", "names")]


def test_a_damaged_birthday_keeps_nobody_out_of_a_household(desk: Desk) -> None:
    desk.send(*(identified(name, birthday="1980-01-01", address=HOME) for name in ("ann", "bob")))
    ann = desk.root("user_id", "ann")
    flip(desk.sessions, "trait_lineage.value", f"profile_id = {ann} AND name = 'birthday'")
    desk.send(identified("cara", birthday="1990-01-01", address=HOME))
    assert desk.rows("SELECT 1 FROM household_due") == []
    household = desk.state(desk.root("user_id", "cara")).household
    assert household is not None
    assert household.adults == 3


def test_damage_keeps_nobody_from_being_erased(desk: Desk) -> None:
    bob, ann = ({"email": f"{name}@example.com"} for name in ("bob", "ann"))
    desk.send(identified("ann", **ann), call("identify", userId="bob", messageId="m1", traits=bob))
    told = call("identify", userId="ann", messageId="m1", traits=ann)
    assert desk.statuses(told, call("identify", userId="eve", traits={"email": "none"})) == ["conflict", "rejected"]
    people = [desk.root("user_id", user) for user in ("ann", "bob")]
    for column in ("event.body", "identifier.value"):
        flip(desk.sessions, column, f"profile_id = {people[0]}")
    for column in ("rejected_event.body", "event_conflict.body"):
        flip(desk.sessions, column)
    for person in people:
        assert erase(desk.intake, person, NOW)
        assert desk.rows(f"SELECT 1 FROM event WHERE profile_id = {person}") == []
        assert desk.rows(f"SELECT 1 FROM identifier WHERE profile_id = {person}") == []
