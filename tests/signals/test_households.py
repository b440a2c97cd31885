"""Households: who lives with whom by address, statement and hand, in everybody's state at once, and never a merge."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from base.errors import InvalidInput, NotFound
from signals import claiming, cohabiting
from signals.erasure import erase
from signals.features import value
from signals.grouping import HOME_MOST, HOUSEHOLD_MOST
from signals.homes import Said
from signals.household import Household
from signals.intake import regroup, take_apart
from signals.joining import join
from signals.known import known_fields
from signals.livesegments import LiveSegments, follow
from signals.readings_household import BANDS
from signals.state import ProfileState, encode
from tests.signals.living import HOME, LATER, NEW, SIDE, grouped, home, lives, people
from tests.signals.sending import NOW, Desk, call, identified, order, viewed


@pytest.mark.feature("DE-08")
def test_it_groups_who_states_one_home(desk: Desk) -> None:
    desk.send(lives("ann"), lives("bob", {"street": "Main St 12", "postal_code": "53111"}), lives("cy", SIDE))
    assert people(desk, "ann", "bob", "cy") == [2, 2, 0]
    assert desk.root("user_id", "ann") != desk.root("user_id", "bob"), "a household is no merge"


@pytest.mark.feature("DE-08")
def test_it_refuses_an_address_of_more_people_than_live_in_one_home(desk: Desk) -> None:
    users = [f"u{number}" for number in range(HOME_MOST + 1)]
    desk.send(*map(lives, users[:-1]))
    assert people(desk, *users[:-1]) == [HOME_MOST] * HOME_MOST
    desk.send(lives(users[-1]))
    assert people(desk, *users) == [0] * len(users), "an office, or a block of flats"
    desk.send(lives(users[0], SIDE, LATER))
    assert people(desk, *users) == [0, *[HOME_MOST] * HOME_MOST]
    desk.send(*(lives(f"x{number}") for number in range(60)))
    assert set(people(desk, *users)) == {0}
    assert desk.rebuilt().different == 0


@pytest.mark.feature("DE-08")
def test_it_tells_nothing_of_a_household_that_is_too_large(desk: Desk) -> None:
    users = [f"u{number}" for number in range(HOUSEHOLD_MOST + 1)]
    desk.send(*(grouped(user, "staff") for user in users[:-1]))
    assert people(desk, *users[:-1]) == [HOUSEHOLD_MOST] * HOUSEHOLD_MOST
    desk.send(grouped(users[-1], "staff"))
    assert people(desk, *users) == [0] * len(users)
    desk.send(grouped(users[3], "staff", LATER, member=False))
    assert people(desk, *users[:4]) == [HOUSEHOLD_MOST] * 3 + [0]


@pytest.mark.feature("DE-08")
def test_it_knows_roles_and_ages_and_has_rules_read_them(desk: Desk) -> None:
    desk.send(
        identified("ann", birth_year=1984),
        identified("bob", age="45-54"),
        identified("tim", birthday="2016-05-01"),
        grouped("ann", "h1", role="adult"),
        grouped("bob", "h1", role="partner"),
        grouped("tim", "h1", people=[{"role": "child", "birth_year": 2024}, {"role": "grown_child"}]),
        grouped("eve", "h1", role="grown_child"),
        grouped("eve", "h9", role="adult"),
    )
    state = desk.state(desk.root("user_id", "ann"))
    assert state.household == Household(2, (2016, 2024), grown=2, oldest=1977, whole=True, role="adult")
    found = home(desk, "bob"), home(desk, "tim"), home(desk, "eve")
    assert [one and (one.role, one.adults) for one in found] == [("partner", 2), ("child", 2), ("adult", 1)]

    def read(year: int) -> dict[str, Any]:
        at = datetime(year, 3, 1, tzinfo=UTC)
        bands = (f"children_{low}_{high}" for low, high in BANDS)
        names = ("people", "adults", "children", *bands, "has_children", "youngest", "oldest")
        return {name: value(state, f"household.{name}", at) for name in (*names, "grown_children", "confidence")}

    assert read(2026) == {
        "people": 4, "adults": 2, "children": 2, "children_0_2": 1, "children_3_5": 0, "children_6_12": 1,
        "children_13_17": 0, "has_children": True, "youngest": 2, "oldest": 49, "grown_children": 2, "confidence": 1.0,
    }  # fmt: skip
    assert (read(2033)["adults"], read(2033)["children"], read(2033)["children_13_17"]) == (2, 2, 1)
    assert (read(2034)["adults"], read(2034)["children"], read(2034)["children_0_2"]) == (3, 1, 0)
    assert (read(2042)["has_children"], read(2042)["youngest"], read(2042)["adults"]) == (False, None, 4)
    # Of whom no age is known none is said, so that nobody is taken for old.
    alone = desk.state(desk.root("user_id", "eve"))
    assert [value(alone, f"household.{name}", NOW) for name in ("oldest", "youngest")] == [None, None]


def test_it_says_no_children_only_where_somebody_stated_who_lives_there(desk: Desk) -> None:
    desk.send(
        lives("ann"), lives("bob"), grouped("cy", "h1"), grouped("dee", "h2", size=1), grouped("eve", "h3", people=[])
    )

    def children(user: str) -> Any:
        return value(desk.state(desk.root("user_id", user)), "household.has_children", NOW)

    assert [children(user) for user in ("ann", "cy", "dee", "eve")] == [None, None, False, False]


@pytest.mark.feature("DE-08")
def test_it_has_the_stated_win_over_the_inferred_and_a_person_over_both(desk: Desk) -> None:
    desk.send(lives("ann"), lives("bob"), lives("cy"), grouped("ann", "h1"), grouped("bob", "h1"))
    # What was stated of the others at the address holds for who said nothing.
    assert people(desk, "ann", "bob", "cy") == [3, 3, 3]
    found = home(desk, "cy")
    assert found is not None
    assert found.sure == 80, "as certain as the least certain of them"
    desk.send(lives("dee"), grouped("dee", "h2"))
    # Two households at one address: of who said nothing it is open of which they are.
    assert people(desk, "ann", "bob", "cy", "dee") == [2, 2, 0, 1]
    cy, dee = (desk.root("user_id", user) for user in ("cy", "dee"))
    cohabiting.join(desk.intake, cy, dee, "child", "told by phone", NOW, by="x")
    assert people(desk, "ann", "bob", "cy", "dee") == [2, 2, 2, 2]
    desk.send(grouped("cy", "h1", LATER))
    assert people(desk, "ann", "cy") == [2, 2], "a signal does not undo what a person did"


@pytest.mark.feature("DE-08")
def test_it_ends_by_hand_what_no_signal_revives_and_a_person_does(desk: Desk) -> None:
    desk.send(lives("ann"), lives("bob"), grouped("ann", "h1"), grouped("bob", "h1"))
    ann, bob = (desk.root("user_id", user) for user in ("ann", "bob"))
    cohabiting.leave(desk.intake, ann, "they  separated\n", NOW, by="user 1")
    assert people(desk, "ann", "bob") == [0, 1]
    assert desk.rows("SELECT DISTINCT ended_by, ended_why FROM household_claim WHERE ended_at IS NOT NULL") == [
        ("user 1", "they separated")
    ]
    desk.send(lives("ann", time=LATER), grouped("ann", "h1", LATER))
    assert people(desk, "ann", "bob") == [0, 1]
    desk.send(
        lives("ann", NEW, "2026-03-01T12:00:00.000Z"),
        lives("eve", NEW),
    )
    assert people(desk, "ann", "eve") == [2, 2], "a new home is another matter"
    cohabiting.join(desk.intake, ann, bob, "", "back together", NOW, by="user 1")
    assert people(desk, "ann", "bob", "eve") == [3, 3, 3], "who only states her new home is taken for one of them"


def test_it_begins_a_household_by_hand_and_keeps_a_grown_up_child_elsewhere(desk: Desk) -> None:
    desk.send(identified("ann"), lives("bob"), lives("eve"), lives("kid", {"street": "9 Far Lane", "city": "Ulm"}))
    ann, bob, kid = (desk.root("user_id", user) for user in ("ann", "bob", "kid"))
    cohabiting.join(desk.intake, ann, bob, "partner", "told us", NOW, by="x")
    assert people(desk, "ann", "bob", "eve") == [3, 3, 3], "with those at his address"
    cohabiting.join(desk.intake, kid, ann, "grown_child", "told us", NOW, by="x")
    found = home(desk, "eve")
    assert found is not None
    assert (found.grown, home(desk, "kid")) == (1, None)
    cohabiting.leave(desk.intake, kid, "a mistake", NOW, by="x", elsewhere=True)
    found = home(desk, "eve")
    assert found is not None
    assert found.grown == 0
    with pytest.raises(InvalidInput, match="of none"):
        cohabiting.leave(desk.intake, kid, "again", NOW, by="x")
    for wrong, field in ((("boss", "why"), "role"), (("", " "), "why"), (("", "x" * 501), "why")):
        with pytest.raises(InvalidInput) as refused:
            cohabiting.join(desk.intake, ann, kid, *wrong, NOW, by="x")
        assert refused.value.field == field
    with pytest.raises(InvalidInput, match="same customer"):
        cohabiting.join(desk.intake, ann, ann, "", "x", NOW, by="x")
    with pytest.raises(NotFound):
        cohabiting.join(desk.intake, ann, 999, "", "x", NOW, by="x")


@pytest.mark.feature("DE-08")
def test_it_has_who_moves_leave_the_one_home_and_join_the_other_at_once(desk: Desk) -> None:
    desk.send(lives("ann"), lives("bob"), lives("cy"), lives("dee", SIDE))
    before = desk.state(desk.root("user_id", "bob")).version
    desk.send(lives("ann", SIDE, LATER))
    assert people(desk, "ann", "bob", "cy", "dee") == [2, 2, 2, 2]
    assert desk.state(desk.root("user_id", "bob")).version > before, "an open that is held looks again"
    desk.send(lives("ann", HOME, "2026-02-01T10:00:00.000Z"))
    assert people(desk, "ann", "dee") == [2, 2], "an older word that comes late moves nobody back"
    desk.send(
        grouped("bob", "h1"),
        grouped("cy", "h1"),
        grouped("bob", "h2", LATER),
        grouped("bob", "h2", "2026-03-01T12:00:00.000Z", member=False),
    )
    assert people(desk, "bob", "cy") == [2, 2], "who left the household joined last is of none: his address tells"


def test_it_leaves_who_refuses_profiling_out_for_themselves_and_for_the_others(desk: Desk) -> None:
    def consent(granted: bool, time: str) -> Any:
        properties = {"purpose": "profiling", "granted": granted}
        return call("track", userId="ann", event="Consent Changed", properties=properties, timestamp=time)

    desk.send(lives("ann"), lives("bob"), lives("cy"))
    desk.send(consent(False, LATER))
    assert people(desk, "ann", "bob", "cy") == [0, 2, 2]
    desk.send(grouped("ann", "h1"), grouped("bob", "h1"))
    assert people(desk, "ann", "bob") == [0, 2]
    desk.send(consent(True, "2026-03-01T11:30:00.000Z"))
    assert people(desk, "ann", "bob", "cy") == [3, 3, 3]


@pytest.mark.feature("DE-03", "DE-08")
def test_it_finds_the_same_households_in_whatever_order_it_is_told(desk: Desk) -> None:
    times = [f"2026-03-01T{hour:02}:00:00.000Z" for hour in range(1, 12)]
    calls = [
        lives("ann", HOME, times[0]), lives("bob", HOME, times[1]), lives("ann", SIDE, times[2], age=70),
        grouped("bob", "h1", times[3], role="adult"), grouped("cy", "h1", times[4], role="child"),
        lives("dee", SIDE, times[5]), grouped("cy", "h1", times[6], member=False), lives("eve", HOME, times[7]),
        identified("bob", time=times[8], birth_year=1990), grouped("eve", "h2", times[9], size=4),
        lives("fay", HOME, times[10]),
    ]  # fmt: skip
    users = ("ann", "bob", "cy", "dee", "eve", "fay")
    chance, seen = random.Random(8), []
    for number in range(4):
        chance.shuffle(calls)
        # The same story in towns of their own.
        told = [
            {**one, "messageId": f"{one['messageId']}-{number}", "userId": f"{one['userId']}-{number}"}
            | ({"groupId": f"{one['groupId']}-{number}"} if "groupId" in one else {})
            for one in calls
        ]
        for one in told:
            if "address" in one.get("traits", {}):
                place = one["traits"]["address"]
                one["traits"] = one["traits"] | {"address": place | {"city": f"Town{number}", "postalCode": ""}}
        cut = chance.randrange(1, len(told))
        desk.send(*told[:cut])
        desk.send(*told[cut:])
        seen.append([home(desk, f"{user}-{number}") for user in users])
    assert all(one == seen[0] for one in seen)
    assert any(seen[0])
    report = desk.rebuilt()
    assert (report.different, report.absent) == (0, 0)


def test_it_keeps_a_reason_with_the_one_who_joins_alone(desk: Desk) -> None:
    desk.send(identified("ann"), identified("bob"))
    ann, bob = desk.root("user_id", "ann"), desk.root("user_id", "bob")
    cohabiting.join(desk.intake, bob, ann, "partner", "Bob called from the clinic", NOW, by="user 1")
    assert desk.rows("SELECT profile_id, why FROM household_claim ORDER BY 1") == [
        (ann, None), (bob, "Bob called from the clinic"),
    ]  # fmt: skip
    erase(desk.intake, bob, NOW)
    assert "clinic" not in str(desk.rows("SELECT * FROM household_claim"))


def test_it_goes_with_merges_and_their_undoing(desk: Desk) -> None:
    desk.send(lives("ann"), lives("bob"), identified("cy"))
    desk.send(call("identify", anonymousId="d1", traits={"address": HOME}))
    ann, cy = desk.root("user_id", "ann"), desk.root("user_id", "cy")
    device = desk.root("anonymous_id", "d1")
    assert people(desk, "bob") == [3]
    before = encode(desk.state(cy))
    number = join(desk.intake, ann, device, NOW, by="x")
    assert people(desk, "ann", "bob") == [2, 2]
    assert desk.state(device) == desk.state(ann), "an earlier mail finds it under the former number"
    other = join(desk.intake, cy, ann, NOW, by="x")
    assert people(desk, "cy", "bob") == [2, 2]
    take_apart(desk.intake, other, NOW, apart=True, by="x")
    assert people(desk, "ann", "bob", "cy") == [2, 2, 0]
    assert encode(desk.state(cy)) == before
    take_apart(desk.intake, number, NOW, apart=True, by="x")
    assert people(desk, "ann", "bob") == [3, 3]
    assert desk.rebuilt().different == 0


def test_it_tells_the_others_when_one_is_erased_and_keeps_nothing_of_them(desk: Desk) -> None:
    desk.send(
        lives("ann"), lives("bob"), lives("cy"), grouped("ann", "h1", people=[{"role": "child"}]), grouped("bob", "h1")
    )
    ann = desk.root("user_id", "ann")
    assert people(desk, "bob") == [4]
    erase(desk.intake, ann, NOW)
    assert people(desk, "bob", "cy") == [2, 2]
    for table in ("household_claim", "dwelling", "household_due"):
        assert desk.rows(f"SELECT count(*) FROM {table} WHERE profile_id = :p", p=ann) == [(0,)]
    assert desk.read(ann) == ProfileState(version=desk.read(ann).version, erased=True)


@pytest.mark.feature("DE-32")
def test_it_finds_households_again_when_what_was_derived_is_lost(desk: Desk) -> None:
    desk.send(lives("ann"), lives("bob"), grouped("bob", "h1", role="adult"), identified("ann", age=30))
    before = [home(desk, user) for user in ("ann", "bob")]
    desk.run("DELETE FROM dwelling")
    desk.run("DELETE FROM household_claim")
    desk.rebuilt()
    assert [home(desk, user) for user in ("ann", "bob")] == before
    assert desk.rebuilt().different == 0


@pytest.mark.parametrize("by", ["a recorder", "a repeated message"])
def test_it_finishes_what_was_interrupted_between_the_word_and_the_states(desk: Desk, by: str) -> None:
    message = lives("bob")
    desk.send(lives("ann"), message)
    bob = desk.root("user_id", "bob")
    with desk.sessions.begin() as session:
        there = claiming.Statement(bob, Said("home", "elsewhere"), NOW, "late", desk.server.id)
        claiming.keep(session, [there], desk.intake.hash_key)
        assert claiming.queue(session, [bob]) == [bob]
    assert people(desk, "ann", "bob") == [2, 2]
    if by == "a recorder":
        regroup(desk.intake, None, NOW)
    else:
        assert desk.statuses(message) == ["duplicate"]
    assert people(desk, "ann", "bob") == [0, 0]
    assert desk.rows("SELECT count(*) FROM household_due") == [(0,)]


def test_it_changes_nothing_of_a_member_by_what_another_does(desk: Desk) -> None:
    desk.send(lives("ann"), lives("bob"), grouped("ann", "h1"), grouped("bob", "h1"))
    ann = desk.root("user_id", "ann")
    before = encode(desk.state(ann))
    desk.send(
        order("bob", "o1", ("p1", "Diapers", 9.0), ("p2", "Gifts", 5.0), time=LATER),
        viewed("Wine", userId="bob", timestamp=LATER),
        call("track", userId="bob", event="Complaint Opened", properties={"complaint_id": "c"}, timestamp=LATER),
        call("track", userId="bob", event="Consent Changed", properties={"purpose": "email", "granted": True}),
        identified("bob", time=LATER, city="Bonn", vip=True, firstName="Bob"),
        lives("bob", time=LATER),
    )
    assert encode(desk.state(ann)) == before
    assert desk.state(desk.root("user_id", "bob")).orders == 1


def test_it_holds_numbers_and_a_word_of_ours_and_nothing_that_names_or_tells_of_anybody() -> None:
    kinds = {name: str(kind) for name, kind in Household.__annotations__.items()}
    assert {kind for name, kind in kinds.items() if name != "role"} <= {"int", "bool", "tuple[int, ...]"}
    assert set(kinds) == {"adults", "children", "grown", "oldest", "size", "whole", "role", "sure", "born"}


def test_it_finds_the_same_households_whatever_comes_at_once(desk: Desk) -> None:
    """Eight people who move between three homes and two households, told by four senders; one joins them by hand."""
    homes = (HOME, SIDE, NEW)
    chance = random.Random(3)

    def told(number: int) -> dict[str, Any]:
        user, time = f"u{number % 8}", f"2026-03-01T10:{number:02}:00.000Z"
        if number % 3:
            return lives(user, chance.choice(homes), time)
        return grouped(user, f"h{number % 2}", time, member=chance.random() < 0.7)

    calls = [told(number) for number in range(48)]
    desk.send(*(identified(f"u{number}") for number in range(8)))
    roots = [desk.root("user_id", f"u{number}") for number in range(8)]

    def send(start: int) -> None:
        for number in range(start, 48, 8):
            desk.send(*calls[number : number + 2])

    with ThreadPoolExecutor(5) as pool:
        senders = [pool.submit(send, start) for start in (0, 2, 4, 6)]
        pool.submit(cohabiting.join, desk.intake, roots[0], roots[5], "", "told us", NOW, by="x").result()
        for sender in senders:
            sender.result()

    assert desk.rows("SELECT count(*) FROM household_due") == [(0,)]
    found = [desk.state(root).household for root in roots]
    assert any(found)
    with desk.sessions.begin() as session:
        claiming.queue(session, roots)
    regroup(desk.intake, None, NOW)
    assert [desk.state(root).household for root in roots] == found, "looking again finds nothing else"
    assert desk.rebuilt().different == 0


@pytest.mark.feature("DE-05")
def test_it_says_of_a_household_from_where_and_since_when(desk: Desk) -> None:
    desk.send(lives("ann"), lives("bob"), grouped("bob", "h1", LATER, people=[{"role": "child"}]))
    desk.send(lives("ann", time="2026-03-01T12:00:00.000Z"))
    desk.send(identified("cy"))
    ann, bob, cy = (desk.root("user_id", user) for user in ("ann", "bob", "cy"))
    cohabiting.join(desk.intake, cy, bob, "", "told by phone", NOW + timedelta(hours=1), by="x")
    # On a device that turns out to be hers she stated it later, by the till.
    device = call("identify", anonymousId="d1", traits={"address": HOME}, timestamp="2026-03-01T13:00:00.000Z")
    desk.send(device, via=desk.source("till", "server"))
    join(desk.intake, desk.root("anonymous_id", "d1"), ann, NOW, by="x")
    with desk.sessions.begin() as session:
        known = [
            next(one for one in known_fields(session, root, NOW) if one.name == "household") for root in (ann, bob, cy)
        ]
    assert [(one.group, one.source, one.since.day, one.since.hour) for one in known] == [
        ("inferred", "till", 1, 13),
        ("stated", "shop", 1, 11),
        ("stated", "staff", 2, 13),
    ]
    assert known[0].value == {"adults": 3, "children": 1, "grown_children": 0}


def test_it_brings_a_member_into_segments_by_what_is_said_of_another(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        follow(session, {7: {"field": "household.adults", "op": ">=", "value": 2}})
    desk.intake.segments = LiveSegments()
    desk.send(lives("ann"))
    ann = desk.root("user_id", "ann")
    assert desk.state(ann).segments == ()
    desk.send(lives("bob"))
    assert desk.state(ann).segments == (7,)
    desk.send(lives("bob", SIDE, LATER))
    assert desk.state(ann).segments == ()
