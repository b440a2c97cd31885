"""Households of who came by several profiles: what was said of each is one person's, in whatever order they merge."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from signals import cohabiting
from signals.intake import take_apart
from signals.joining import join
from tests.signals.living import grouped, home, lives, people
from tests.signals.sending import NOW, Desk, call, identified

EARLY, NOON, LATE = (f"2026-03-01T{hour:02}:00:00.000Z" for hour in (8, 9, 10))


def device(key: str, group: str, time: str, **traits: Any) -> dict[str, Any]:
    """A statement of who is known by a device alone."""
    return call("group", anonymousId=key, groupId=group, traits={"type": "household"} | traits, timestamp=time)


def tied(user: str, key: str) -> dict[str, Any]:
    """The call that makes the device this user's."""
    return call("identify", userId=user, anonymousId=key, traits={})


def test_it_takes_the_newest_word_of_all_profiles_of_a_person(desk: Desk) -> None:
    for number, sequence in enumerate(permutations(("in", "out", "tie"))):
        u, d, h = (f"{name}{number}" for name in "udh")
        calls = {
            "in": device(d, h, EARLY, people=[{"role": "child"}]),
            "out": grouped(u, h, LATE, member=False),
            "tie": tied(u, d),
        }
        desk.send(grouped(f"mate{number}", h), identified(u))
        for name in sequence:
            desk.send(calls[name])
        assert people(desk, u, f"mate{number}") == [0, 1], sequence
    assert desk.rebuilt().different == 0
    # Who joined, left and joined again has joined, and what the newest call does not say holds no longer.
    desk.send(device("d0", "h0", "2026-03-01T11:00:00.000Z"))
    assert people(desk, "u0", "mate0") == [2, 2]


def test_it_counts_orders_of_all_profiles_of_a_person_together(desk: Desk) -> None:
    def sent(number: str, day: int, city: str, **who: str) -> dict[str, Any]:
        told = {"order_id": number, "total": 20, "shipping_address": {"street": "9 Far Street", "city": city}}
        time = f"2026-02-0{day}T10:00:00Z"
        return call("track", event="Order Completed", timestamp=time, properties=told, **who)

    for number, sequence in enumerate(permutations(("first", "second", "tie"))):
        u, d, mate, city = f"u{number}", f"d{number}", f"mate{number}", f"Town{number}"
        calls = {
            "first": sent(f"o1-{number}", 1, city, anonymousId=d),
            "second": sent(f"o2-{number}", 2, city, userId=u),
            "tie": tied(u, d),
        }
        desk.send(lives(mate, {"street": "9 Far Street", "city": city}), identified(u))
        for name in sequence:
            desk.send(calls[name])
        assert people(desk, u, mate) == [2, 2], sequence
    assert desk.rebuilt().different == 0


def test_it_has_each_profile_its_own_word_again_when_a_merge_is_undone(desk: Desk) -> None:
    desk.send(grouped("mate", "h"), grouped("u", "h", LATE, member=False), device("d", "h", EARLY))
    assert people(desk, "u", "mate") == [0, 2]
    before = desk.rows("SELECT * FROM household_claim ORDER BY id")
    number = join(desk.intake, desk.root("user_id", "u"), desk.root("anonymous_id", "d"), NOW, by="x")
    assert people(desk, "u", "mate") == [0, 1]
    take_apart(desk.intake, number, NOW, apart=True, by="x")
    assert people(desk, "u", "mate") == [0, 2]
    assert desk.rows("SELECT * FROM household_claim ORDER BY id") == before
    assert desk.rebuilt().different == 0


def test_it_keeps_ended_for_a_person_what_another_profile_of_theirs_repeats(desk: Desk) -> None:
    desk.send(grouped("mate", "h"), grouped("u", "h"), call("alias", userId="u", previousId="old"), identified("old"))
    u, mate = desk.root("user_id", "u"), desk.root("user_id", "mate")
    assert u == desk.root("user_id", "old")
    assert people(desk, "u", "mate") == [2, 2]
    cohabiting.leave(desk.intake, u, "told us", NOW, by="x")
    for user in ("u", "old"):
        desk.send(grouped(user, "h", "2026-03-02T10:00:00.000Z"))
        assert people(desk, "u", "mate") == [0, 1], user
    desk.rebuilt()
    assert people(desk, "u", "mate") == [0, 1]
    cohabiting.join(desk.intake, u, mate, "", "back again", NOW, by="x")
    assert people(desk, "u", "mate") == [2, 2]
    cohabiting.leave(desk.intake, u, "gone again", NOW, by="x")
    cohabiting.join(desk.intake, u, mate, "grown_child", "only their child", NOW, by="x")
    found = home(desk, "mate")
    assert found is not None
    assert (found.adults, found.grown, home(desk, "u")) == (1, 1, None)


def test_it_keeps_ended_what_only_a_merge_brings_in_unless_a_person_joined_them_since(desk: Desk) -> None:
    desk.send(grouped("mate", "h"), grouped("u", "h"), grouped("old", "h"))
    u, mate, old = (desk.root("user_id", user) for user in ("u", "mate", "old"))
    cohabiting.join(desk.intake, old, mate, "", "told us", NOW, by="x")
    cohabiting.leave(desk.intake, u, "told us", NOW.replace(year=2027), by="x")
    assert people(desk, "u", "old", "mate") == [0, 2, 2]
    number = join(desk.intake, u, old, NOW, by="x")
    assert people(desk, "u", "mate") == [0, 1], "they left after they had joined"
    take_apart(desk.intake, number, NOW, apart=True, by="x")
    assert people(desk, "u", "old", "mate") == [0, 2, 2]
    cohabiting.join(desk.intake, old, mate, "", "told us anew", NOW.replace(year=2028), by="x")
    join(desk.intake, u, old, NOW, by="x")
    assert people(desk, "u", "mate") == [2, 2], "they joined after they had left"
