"""Merges that can be undone to the byte, values that are many people's, and both while signals come in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from base.errors import InvalidInput, NotFound
from signals import belonging, scores
from signals.erasure import erase
from signals.identity import TIES, VALUES, value_hash
from signals.intake import take_apart
from signals.joining import join
from signals.likely import part
from signals.livesegments import LiveSegments, follow
from signals.membership import assign
from tests.signals.living import SIDE, home, lives, people
from tests.signals.sending import NOW, Desk, call, identified, order, viewed

LATER = "2026-03-01T11:00:00Z"
SCORES = "SELECT profile_id, name, value, as_of, run_id FROM profile_score ORDER BY 1, 2"
HOMES = "SELECT profile_id, address, evidence FROM dwelling ORDER BY 1"


def contact(**traits: Any) -> dict[str, Any]:
    """An identify of a person without a customer number."""
    return call("identify", traits=traits, anonymousId=f"visit-{traits['email']}")


def undo(desk: Desk) -> None:
    """Undo the newest merge, as a person does."""
    (newest,) = desk.rows("SELECT id FROM profile_link WHERE undone_at IS NULL ORDER BY id DESC LIMIT 1")
    assert take_apart(desk.intake, newest.id, NOW, apart=True, by="ann@example.com") is not None


@pytest.fixture
def two(desk: Desk) -> tuple[int, int]:
    """Two customers with all that a state can hold: orders, one of them told of by both, traits, consent, segments,
    scores."""
    desk.send(
        order("ann", "o1", ("p1", "Shoes", 60.0)),
        order("bob", "o2", ("p2", "Baby gates", 20.0)),
        order("bob", "o1", ("p1", "Shoes", 60.0), time=LATER),
        identified("ann", email="ann@example.com", city="Bonn", time="2026-03-01T08:00:00Z"),
        identified("bob", email="bob@example.com", city="Oslo", size=44, time="2026-03-01T09:00:00Z"),
        call("track", userId="bob", event="Consent Changed", properties={"purpose": "email", "granted": True}),
        viewed("Hats", userId="bob"),
    )
    ann, bob = desk.root("user_id", "ann"), desk.root("user_id", "bob")
    assign(desk.intake, 3, [ann], NOW)
    assign(desk.intake, 4, [bob], NOW)
    scores.assign(desk.intake, {ann: {"churn": 0.1}, bob: {"churn": 1 / 3, "ltv": 12.5}}, NOW, 1, NOW)
    return ann, bob


@pytest.mark.feature("SU-14", "DE-10")
def test_it_undoes_a_merge_to_the_byte(desk: Desk, two: tuple[int, int]) -> None:
    ann, bob = two
    assert desk.state(bob).intents
    for segment, churn in ((4, 1 / 3), (5, 0.8)):  # Each time as they were then.
        assign(desk.intake, segment, [bob], NOW)
        scores.assign(desk.intake, {bob: {"churn": churn}}, NOW, 2, NOW)
        before, scored = desk.everything(), desk.rows(SCORES)
        join(desk.intake, bob, ann, NOW, by="ann@example.com")
        merged = desk.state(ann)
        assert (merged.orders, desk.root("user_id", "bob")) == (2, ann)
        assert desk.read(bob) == merged

        undo(desk)

        assert desk.everything() == before
        assert desk.rows(SCORES) == scored
    assert desk.rebuilt().different == 0


@pytest.mark.feature("SU-14")
def test_it_has_whoever_spoke_for_a_side_speak_for_it_again(desk: Desk) -> None:
    desk.send(viewed("Hats", anonymousId="phone"), order("ann", "o1", ("p1", "Shoes", 60.0)))
    device, ann = desk.root("anonymous_id", "phone"), desk.root("user_id", "ann")
    desk.send(order("bob", "o2", ("p2", "Hats", 20.0)), identified("bob", anonymous="phone", city="Oslo", time=LATER))
    bob = desk.root("user_id", "bob")
    assert desk.root("anonymous_id", "phone") == bob > device
    before = desk.everything()
    join(desk.intake, bob, ann, NOW, by="x")
    assert desk.root("anonymous_id", "phone") == ann

    undo(desk)

    assert desk.everything() == before
    assert desk.rebuilt().different == 0


@pytest.mark.feature("SU-14", "DE-10")
def test_it_finds_each_of_two_at_home_again(desk: Desk) -> None:
    desk.send(lives("ann"), lives("cy"), lives("bob", SIDE, LATER), lives("dan", SIDE))
    ann, bob = desk.root("user_id", "ann"), desk.root("user_id", "bob")
    users = ("ann", "cy", "bob", "dan")
    before, dwellings = [home(desk, user) for user in users], desk.rows(HOMES)
    assert people(desk, *users) == [2, 2, 2, 2]
    join(desk.intake, bob, ann, NOW, by="x")
    assert people(desk, *users) == [2, 0, 2, 2]

    undo(desk)

    assert [home(desk, user) for user in users] == before
    assert desk.rows(HOMES) == dwellings
    assert desk.rebuilt().different == 0


@pytest.mark.feature("SU-14")
def test_it_brings_people_into_segments_and_out_of_them_by_merging_and_taking_apart(
    desk: Desk, two: tuple[int, int]
) -> None:
    ann, bob = two
    with desk.sessions.begin() as session:
        follow(
            session,
            {
                4: {"field": "orders.count", "op": ">=", "value": 2},
                7: {"field": "trait", "name": "city", "op": "=", "value": "Bonn"},
            },
        )
    desk.intake.segments = LiveSegments()
    assign(desk.intake, 7, [ann, bob], NOW)
    join(desk.intake, bob, ann, NOW, by="ann@example.com")
    assert desk.state(ann).segments == (3, 4)
    undo(desk)
    assert (desk.state(ann).segments, desk.state(bob).segments) == ((3, 7), (4,))


@pytest.mark.feature("SU-14")
def test_it_lets_what_came_meanwhile_go_to_whom_its_identifiers_name(desk: Desk, two: tuple[int, int]) -> None:
    ann, bob = two
    join(desk.intake, ann, bob, NOW, by="ann@example.com")
    desk.send(
        order("bob", "o3", ("p3", "Gloves", 5.0), time=LATER),
        identified("bob", anonymous="bobs-phone", time=LATER, loyaltyId="L7"),
        viewed("Scarves", anonymousId="bobs-phone", timestamp=LATER),
        order("ann", "o4", ("p4", "Coats", 90.0), time=LATER),
    )
    assert desk.state(ann).orders == 4

    undo(desk)

    assert desk.root("loyalty_id", "L7") == desk.root("anonymous_id", "bobs-phone") == bob
    mine, theirs = desk.state(ann), desk.state(bob)
    assert (mine.orders, theirs.orders) == (2, 3)
    assert desk.category("scarves") in theirs.views
    assert desk.category("scarves") not in mine.views
    assert (mine.traits["city"], theirs.traits["city"]) == ("Bonn", "Oslo")
    assert desk.rebuilt().different == 0


def noted(desk: Desk, profile: int) -> set[tuple[str, str, bool]]:
    """What a profile is known by, and whether it is its own."""
    sql = "SELECT type, value, owns FROM identifier WHERE profile_id = :id AND value <> '' AND type <> 'anonymous_id'"
    return {tuple(row) for row in desk.rows(sql, id=profile)}


@pytest.mark.feature("SU-14", "DE-10")
def test_it_leaves_each_what_they_stated_themselves_while_they_were_one(desk: Desk) -> None:
    desk.send(identified("ann", email="ann@example.com", phone="+49 228 123456"))
    desk.send(identified("bob", name="Bob Stone"))
    ann, bob = desk.root("user_id", "ann"), desk.root("user_id", "bob")
    join(desk.intake, ann, bob, NOW, by="x")
    for _ in range(2):
        desk.send(
            identified("bob", name="Ann Stone", email="ann@example.com", phone="+49 228 123456", time=LATER),
            identified("ann", name="Ann Stone", email="ann@example.com", time="2026-03-01T09:30:00Z"),
        )
    undo(desk)

    shared = {("email", "ann@example.com"), ("phone", "+49228123456")}
    theirs, hers = noted(desk, bob), noted(desk, ann)
    assert {one for one in theirs if one[0] in ("email", "phone")} == {(*one, False) for one in shared}
    assert {one for one in hers if one[0] in ("email", "phone")} == {(*one, True) for one in shared}
    assert [len({one for one in both if one[0] == "name"}) for both in (hers, theirs)] == [1, 2]
    last = "SELECT profile_id, last_seen FROM identifier WHERE type = 'email' ORDER BY last_seen"
    times = [(row.profile_id, row.last_seen.isoformat()[11:16]) for row in desk.rows(last)]
    assert times == [(ann, "10:00"), (bob, "11:00")]


@pytest.mark.feature("DE-10")
def test_it_counts_no_tie_of_a_value_that_a_person_took_back(desk: Desk) -> None:
    desk.send(contact(email="own@example.com", phone="+49 228 123456"))
    for n in range(TIES["phone"] + 2):
        desk.send(contact(email=f"p{n}@example.com", phone="+49 228 123456"))
        assert desk.root("email", f"p{n}@example.com") == desk.root("phone", "+49228123456"), n
        undo(desk)

    assert desk.rows("SELECT ties FROM identifier WHERE type = 'phone' AND owns") == [(0,)]
    assert desk.rows("SELECT count(*) FROM refused_tie") == [(0,)]


@pytest.mark.feature("DE-10")
def test_it_joins_each_of_two_who_are_kept_apart_with_their_own_in_one_batch(desk: Desk) -> None:
    desk.send(*(contact(email=f"{name}@example.com") for name in ("ann", "bob")))
    desk.send(*(viewed("Shoes", anonymousId=f"{name}-phone") for name in ("ann", "bob")))
    ann, bob = desk.root("email", "ann@example.com"), desk.root("email", "bob@example.com")
    with desk.sessions.begin() as session:
        part(session, ann, bob, NOW, by="x")
    desk.send(
        *(
            call("identify", traits={"email": f"{name}@example.com"}, anonymousId=f"{name}-phone")
            for name in ("ann", "bob")
        )
    )
    assert (desk.root("anonymous_id", "ann-phone"), desk.root("anonymous_id", "bob-phone")) == (ann, bob)


@pytest.mark.feature("DE-10")
def test_it_joins_nobody_of_whom_a_person_says_meanwhile_that_they_are_two(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.send(contact(email="ann@example.com"), contact(email="bob@example.com", phone="+49 228 123456"))
    ann, bob = desk.root("email", "ann@example.com"), desk.root("email", "bob@example.com")
    write, words = belonging.write, [bob]

    def first_a_person_speaks(*given: Any) -> None:
        while words:
            with desk.sessions.begin() as session:
                part(session, ann, words.pop(), NOW, by="x")
        write(*given)

    monkeypatch.setattr(belonging, "write", first_a_person_speaks)
    desk.send(contact(email="ann@example.com", phone="+49 228 123456"))

    assert (desk.root("email", "ann@example.com"), desk.root("phone", "+49228123456")) == (ann, bob)
    assert desk.rows("SELECT type, reason, times FROM refused_tie") == [("phone", "apart", 1)]
    assert noted(desk, ann) >= {("phone", "+49228123456", False)}


@pytest.mark.feature("DE-10")
def test_it_undoes_a_merge_in_the_middle_of_others(desk: Desk) -> None:
    desk.send(*(viewed("Shoes", anonymousId=f"a{n}") for n in range(5)))
    desk.send(order("u", "o1", ("p", "Hats", 1.0)))
    people = [desk.root("anonymous_id", f"a{n}") for n in range(5)]
    user = desk.root("user_id", "u")
    join(desk.intake, people[1], people[0], NOW, by="x")
    join(desk.intake, people[3], people[2], NOW, by="x")
    middle = join(desk.intake, people[3], people[1], NOW, by="x")
    join(desk.intake, people[4], people[3], NOW, by="x")
    join(desk.intake, people[0], user, NOW, by="x")
    assert {desk.root("anonymous_id", f"a{n}") for n in range(5)} == {user}

    take_apart(desk.intake, middle, NOW, apart=True, by="x")

    # Who was tied to either end goes with it, also by what was merged later.
    assert [desk.root("anonymous_id", f"a{n}") for n in range(5)] == [user, user, people[2], people[2], people[2]]
    assert [desk.state(one).views[desk.category("shoes")].n for one in (user, people[2])] == [2, 3]
    assert desk.rebuilt().different == 0


@pytest.mark.feature("SU-14", "DE-10")
def test_it_lets_the_side_go_that_the_root_is_not_of_however_long_its_chain(desk: Desk) -> None:
    desk.send(*(viewed("Shoes", anonymousId=f"a{n}") for n in range(4)))
    desk.send(order("u", "o1", ("p", "Hats", 1.0)))
    first, second, third, other = (desk.root("anonymous_id", f"a{n}") for n in range(4))
    user = desk.root("user_id", "u")
    join(desk.intake, second, first, NOW, by="x")
    join(desk.intake, third, second, NOW, by="x")
    before = desk.state(first)
    link = join(desk.intake, other, first, NOW, by="x")
    join(desk.intake, other, user, NOW, by="x")
    assert desk.root("anonymous_id", "a2") == user

    take_apart(desk.intake, link, NOW, apart=True, by="x")

    assert [desk.root("anonymous_id", f"a{n}") for n in range(4)] == [first, first, first, user]
    assert (desk.root("user_id", "u"), desk.state(first)) == (user, before)
    assert desk.state(user).views[desk.category("shoes")].n == 1
    assert desk.rebuilt().different == 0


@pytest.mark.feature("SU-14", "DE-10")
def test_it_keeps_two_apart_whom_a_person_took_apart_until_a_person_joins_them(desk: Desk) -> None:
    tie = contact(email="ann@example.com", phone="+49 228 123456")
    desk.send(contact(email="bob@example.com", phone="+49 228 123456"))
    desk.send(tie)
    assert desk.root("email", "ann@example.com") == desk.root("email", "bob@example.com")
    undo(desk)
    ann, bob = desk.root("email", "ann@example.com"), desk.root("email", "bob@example.com")
    assert ann != bob
    owned = [("phone", "+49228123456", owns) in noted(desk, one) for one in (bob, ann) for owns in (True, False)]
    assert owned == [True, False, False, True], "each stated it"

    desk.send(tie | {"messageId": "again"})
    assert desk.root("email", "ann@example.com") == ann
    assert desk.rows("SELECT type, reason, times FROM refused_tie") == [("phone", "apart", 1)]

    join(desk.intake, ann, bob, NOW, by="x")
    assert desk.root("email", "ann@example.com") == desk.root("email", "bob@example.com")
    with pytest.raises(InvalidInput, match="same customer"):
        join(desk.intake, ann, bob, NOW, by="x")
    with pytest.raises(NotFound):
        join(desk.intake, ann, 999, NOW, by="x")


@pytest.mark.feature("DE-10")
def test_it_gives_the_same_people_whatever_comes_at_once(desk: Desk) -> None:
    """Ten people tied by five hubs and by their own customer numbers, from four senders, while merges are undone."""
    calls = [
        call("identify", userId=f"u{n % 10}", anonymousId=f"d{n % 30}", traits={"phone": f"+4922800{n % 5}"})
        if n % 3
        else contact(email=f"u{n % 10}@example.com", phone=f"+4922800{n % 5}")
        for n in range(160)
    ]

    def send(start: int) -> None:
        for n in range(start, 160, 20):
            desk.send(*calls[n : n + 5])

    def separate(_: int) -> None:
        for row in desk.rows("SELECT id FROM profile_link WHERE undone_at IS NULL ORDER BY id LIMIT 3"):
            take_apart(desk.intake, row.id, NOW, apart=True, by="x")

    with ThreadPoolExecutor(5) as pool:
        senders = [pool.submit(send, start) for start in (0, 5, 10, 15)]
        for _ in range(3):
            pool.submit(separate, 0).result()
        for sender in senders:
            sender.result()

    assert desk.rows("SELECT count(*) FROM event") == [(160,)]
    assert desk.rows("SELECT max(ties) <= 10 FROM identifier WHERE type <> 'phone'") == [(True,)]
    assert desk.rows("SELECT max(ties) <= :most FROM identifier WHERE type = 'phone'", most=TIES["phone"]) == [(True,)]
    stray = "SELECT count(*) FROM profile p JOIN profile r ON r.id = p.root_id WHERE r.root_id <> r.id"
    assert desk.rows(stray) == [(0,)]
    tied = (
        "SELECT count(*) FROM profile_link l JOIN profile c ON c.id = l.child_end JOIN profile p ON p.id = l.parent_end"
    )
    assert desk.rows(f"{tied} WHERE l.undone_at IS NULL AND c.root_id <> p.root_id") == [(0,)]
    report = desk.rebuilt()
    assert (report.different, report.absent) == (0, 0)


def test_it_hands_a_shared_address_on_when_its_owner_is_erased(desk: Desk) -> None:
    desk.send(identified("ann", email="family@example.com"), identified("bob", email="family@example.com"))
    erase(desk.intake, desk.root("user_id", "ann"), NOW)
    assert desk.root("email", "family@example.com") == desk.root("user_id", "bob")
    assert desk.rows("SELECT profile_id FROM profile_state") == [(desk.root("user_id", "bob"),)]
    assert desk.statuses(identified("bob", email="family@example.com", time=LATER)) == ["accepted"]
    assert desk.rows("SELECT count(*) FROM refused_tie") == [(0,)]


def test_it_keeps_no_hash_of_what_an_erased_person_stated_beyond_a_bound(desk: Desk) -> None:
    names: dict[str, Any] = {"firstName": "Ann", "lastName": "Berg"}
    desk.send(*(identified("ann", email=f"e{n}@example.com", **names) for n in range(VALUES["email"] + 3)))
    desk.send(*(identified("ann", loyaltyId=f"card{n}") for n in range(VALUES["loyalty_id"] + 1)))
    over = f"e{VALUES['email']}@example.com"
    desk.send(*(identified("bob", email=f"b{n}@example.com") for n in range(VALUES["email"] + 1)))
    desk.send(identified("cid", email=over))
    kept = desk.rows("SELECT type, reason, times FROM refused_tie")
    assert {("email", "values", 1), ("loyalty_id", "values", 1)} <= set(map(tuple, kept))

    erase(desk.intake, desk.root("user_id", "ann"), NOW)
    bobs, theirs = f"b{VALUES['email']}@example.com", {row.value_hash for row in desk.rows("SELECT * FROM refused_tie")}
    hashes = {value_hash(desk.intake.hash_key, "email", address) for address in (over, bobs)}
    assert theirs == hashes, "what somebody else stated, or has by now, is theirs"
    erase(desk.intake, desk.root("user_id", "bob"), NOW)
    erase(desk.intake, desk.root("user_id", "cid"), NOW)
    assert desk.rows("SELECT count(*) FROM refused_tie") == [(0,)]


def test_it_merges_on_the_word_of_a_look_that_is_not_kept(desk: Desk) -> None:
    refusal = {"purpose": "tracking", "granted": False}
    desk.send(
        viewed("Shoes", anonymousId="a1"), call("track", userId="u1", event="Consent Changed", properties=refusal)
    )
    known = desk.root("user_id", "u1")

    assert desk.statuses(call("page", userId="u1", anonymousId="a1", name="Home")) == ["withheld"]

    assert desk.root("anonymous_id", "a1") == known
    assert desk.state(known).views[desk.category("shoes")].n == 1
    report = desk.rebuilt()
    assert (report.different, report.absent) == (0, 0)
