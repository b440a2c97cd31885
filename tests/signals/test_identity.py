"""Who is who: identifiers that match exactly, merges as links, and people who share something but are two."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from base.errors import InvalidInput
from signals.erasure import erase
from signals.identity import AHEAD, MEMBERS, VALUES, address_hash, normalised
from signals.intake import take_apart
from tests.signals.sending import NOW, Desk, call, identified, order, viewed


def test_it_joins_what_an_anonymous_visitor_did_to_the_person_they_turn_out_to_be(desk: Desk) -> None:
    desk.send(viewed("Shoes", anonymousId="a1"))
    desk.send(order("u1", "o1", ("p", "Hats", 10.0)))
    anonymous, known = desk.root("anonymous_id", "a1"), desk.root("user_id", "u1")
    assert anonymous != known

    desk.send(identified("u1", anonymous="a1"))

    assert desk.root("anonymous_id", "a1") == desk.root("user_id", "u1") == known
    state = desk.state(known)
    assert (state.orders, state.views[desk.category("shoes")].n) == (1, 1)
    assert desk.state(anonymous) == state
    assert desk.rows("SELECT child_id, parent_id, reason, undone_at FROM profile_link") == [
        (anonymous, known, "identify", None)
    ]


def test_it_writes_later_states_under_every_id_of_a_merged_person(desk: Desk) -> None:
    desk.send(viewed("Shoes", anonymousId="a1"), viewed("Shoes", anonymousId="a2"), identified("u1"))
    first, second = desk.root("anonymous_id", "a1"), desk.root("anonymous_id", "a2")
    desk.send(call("alias", userId="u1", previousId="a1"), call("alias", userId="u1", previousId="a2"))
    desk.send(order("u1", "o1", ("p", "Shoes", 10.0), time="2026-03-01T11:00:00Z"))

    assert desk.state(first) == desk.state(second) == desk.state(desk.root("user_id", "u1"))
    assert desk.state(first).orders == 1


def test_it_means_the_same_in_one_batch_as_one_by_one(desk: Desk) -> None:
    events = [
        viewed("Shoes", anonymousId="a1"),
        identified("u1", anonymous="a1", email="ann@example.com"),
        viewed("Hats", anonymousId="a1"),
        identified("u2", email="ann@example.com"),
        call("identify", traits={"email": "ANN@example.com "}, anonymousId="a3"),
        call("alias", userId="u3", previousId="a9"),
        order("u3", "o1", ("p", "Shoes", 1.0)),
    ]
    desk.send(*events)
    for number, event in enumerate(events):
        single = {**event, "messageId": f"single-{number}"}
        for field in ("userId", "anonymousId", "previousId"):
            if field in single:
                single[field] = f"single-{single[field]}"
        if "email" in single.get("traits", {}):
            single["traits"] = {"email": "single.ann@example.com"}
        desk.send(single)

    def shape(prefix: str, address: str) -> list[bool]:
        kinds = {"u1": "user_id", "a1": "anonymous_id", "u2": "user_id", "a3": "anonymous_id", "u3": "user_id"}
        roots = [desk.root(kind, prefix + value) for value, kind in kinds.items()]
        roots += [desk.root("anonymous_id", f"{prefix}a9"), desk.root("email", address)]
        return [one == other for one in roots for other in roots]

    assert shape("", "ann@example.com") == shape("single-", "single.ann@example.com")
    assert desk.rebuilt().different == 0


def test_it_keeps_two_people_apart_who_share_an_address_and_notes_it_for_both(desk: Desk) -> None:
    desk.send(identified("ann", email="family@example.com"))
    desk.send(identified("bob", email="Family@Example.com"))
    desk.send(identified("bob", email="family@example.com", time="2026-03-01T11:00:00Z"))

    ann, bob = desk.root("user_id", "ann"), desk.root("user_id", "bob")
    assert ann != bob
    assert desk.root("email", "family@example.com") == ann
    assert sorted(desk.rows("SELECT profile_id, owns FROM identifier WHERE type = 'email'")) == sorted(
        [(ann, True), (bob, False)]
    )


def test_it_keeps_two_people_apart_who_use_one_device(desk: Desk) -> None:
    desk.send(identified("ann", anonymous="tablet"))
    desk.send(order("bob", "o1", ("p", "Shoes", 1.0)) | {"anonymousId": "tablet"})

    assert desk.root("anonymous_id", "tablet") == desk.root("user_id", "ann") != desk.root("user_id", "bob")
    assert desk.state(desk.root("user_id", "bob")).orders == 1


def test_it_merges_two_user_ids_only_when_told_to(desk: Desk) -> None:
    desk.send(order("old", "o1", ("p", "Shoes", 1.0)), order("new", "o2", ("p", "Shoes", 1.0)))
    desk.send(call("alias", userId="new", previousId="old"))

    assert desk.root("user_id", "old") == desk.root("user_id", "new")
    assert desk.state(desk.root("user_id", "new")).orders == 2


@pytest.mark.feature("DE-03")
def test_it_merges_who_comes_up_only_after_the_alias_as_who_was_there_before(desk: Desk) -> None:
    for name, arrival in (("early", (0, 1)), ("late", (1, 0))):
        told = (
            call("alias", userId=name, previousId=f"{name}-old"),
            order(f"{name}-old", f"o-{name}", ("p", "Shoes", 1.0)),
        )
        desk.send(*(told[n] for n in arrival))  # In one batch as one by one.
        name = f"{name}-2"
        told = (
            call("alias", userId=name, previousId=f"{name}-old"),
            order(f"{name}-old", f"o-{name}", ("p", "Shoes", 1.0)),
        )
        for n in arrival:
            desk.send(told[n])
    for name in ("early", "late", "early-2", "late-2"):
        assert desk.root("user_id", name) == desk.root("user_id", f"{name}-old"), name
        assert desk.state(desk.root("user_id", name)).orders == 1, name
    assert desk.rows("SELECT count(*) FROM identifier WHERE presumed") == [(0,)]

    # What is said of either goes by its own profile, so the merge can be undone whichever came first.
    early = desk.root("user_id", "early")
    (merge,) = desk.rows(
        "SELECT l.id, l.reason FROM profile_link l JOIN profile p ON p.id = l.child_end WHERE p.root_id = :root",
        root=early,
    )
    assert merge.reason == AHEAD
    assert take_apart(desk.intake, merge.id, NOW, apart=True, by="x")
    desk.send(call("alias", userId="early", previousId="early-old"), order("early", "o-new", ("p", "Hats", 2.0)))
    new, old = (desk.state(desk.root("user_id", one)) for one in ("early", "early-old"))
    assert (new.order_cents, old.order_cents) == (200, 100)
    assert desk.rebuilt().different == 0


@pytest.mark.feature("DE-03")
def test_it_takes_an_id_that_an_alias_names_ahead_for_either_kind(desk: Desk) -> None:
    desk.send(order("somebody", "o", ("p", "Shoes", 1.0)))  # A browser adds no category.
    desk.send(call("alias", userId="ann", previousId="x1"))
    desk.send(viewed("Shoes", anonymousId="x1"), via=desk.browser)
    desk.send(call("alias", userId="bob", previousId="ann"), call("alias", userId="x2", previousId="x1"))
    desk.send(order("x2", "o2", ("p", "Hats", 2.0)))
    desk.send(order("x1", "o1", ("p", "Shoes", 1.0)) | {"anonymousId": "x1"})

    one = desk.root("user_id", "ann")
    assert {desk.root("user_id", name) for name in ("ann", "bob", "x1", "x2")} == {one}
    assert desk.root("anonymous_id", "x1") == one
    state = desk.state(one)
    assert (state.orders, sum(seen.n for seen in state.views.values())) == (2, 1)
    assert desk.rows("SELECT count(*) FROM refused_tie") == [(0,)]
    assert desk.rebuilt().different == 0


@pytest.mark.feature("DE-03")
def test_it_comes_to_one_person_in_any_order_of_aliases_and_of_who_they_name(desk: Desk) -> None:
    chance = random.Random(14)
    ids = ("a", "b", "c", "d")
    for run in range(20):
        aliases = [("a", "b"), ("b", "c"), ("d", "b")]
        told = [call("alias", userId=f"{run}-{user}", previousId=f"{run}-{before}") for user, before in aliases]
        told += [order(f"{run}-{one}", f"o-{run}-{one}", ("p", "Shoes", 1.0)) for one in ids]
        told.append(viewed("Shoes", anonymousId=f"{run}-c"))
        chance.shuffle(told)
        while told:
            desk.send(*(told.pop() for _ in range(min(len(told), chance.randint(1, 3)))))
        (one,) = {desk.root("user_id", f"{run}-{name}") for name in ids}
        assert desk.state(one).orders == len(ids), run
    assert desk.rows("SELECT count(*) FROM refused_tie") == [(0,)]
    assert desk.rebuilt().different == 0


def test_it_counts_no_device_of_an_alias_among_a_persons_numbers(desk: Desk) -> None:
    most = VALUES["user_id"]
    desk.send(*(call("alias", userId="ann", previousId=f"device-{n}") for n in range(most + 2)))
    desk.send(*(order(f"old-{n}", f"o{n}", ("p", "Shoes", 1.0)) for n in range(most)))
    desk.send(*(call("alias", userId="ann", previousId=f"old-{n}") for n in range(most)))

    roots = [desk.root("user_id", f"old-{n}") for n in range(most)]
    assert roots[:-1] == [desk.root("user_id", "ann")] * (most - 1)
    assert roots[-1] != roots[0]
    assert desk.rows("SELECT type, reason, times FROM refused_tie") == [("user_id", "values", 1)]
    # Who comes up last would be one too many, in this order as in the other.
    desk.send(order("device-0", "o-device", ("p", "Shoes", 1.0)))
    assert desk.root("user_id", "device-0") not in roots
    assert desk.rows("SELECT sum(times) FROM refused_tie WHERE reason = 'values'") == [(2,)]


def test_it_ties_no_device_that_takes_the_number_of_a_known_customer(desk: Desk) -> None:
    desk.send(order("26", "o1", ("p", "Shoes", 1.0)), call("alias", userId="27", previousId="26"))
    desk.send(viewed("Hats", anonymousId="26"), via=desk.browser)

    assert desk.root("user_id", "26") == desk.root("user_id", "27") != desk.root("anonymous_id", "26")


@pytest.mark.feature("DE-03")
def test_it_makes_one_person_of_who_comes_up_while_the_alias_is_taken(desk: Desk) -> None:
    names = [f"u{n}" for n in range(20)]
    aliases = [call("alias", userId=name, previousId=f"{name}-old") for name in names]
    orders = [order(f"{name}-old", f"o-{name}", ("p", "Shoes", 1.0)) for name in names]
    more = [order(f"{name}-old", f"o2-{name}", ("p", "Shoes", 1.0)) for name in reversed(names)]

    def send(calls: list[dict[str, Any]]) -> None:
        for one in calls:
            desk.send(one)

    with ThreadPoolExecutor(3) as pool:
        for sender in [pool.submit(send, calls) for calls in (aliases, orders, more)]:
            sender.result()

    for name in names:
        assert desk.root("user_id", name) == desk.root("user_id", f"{name}-old")
        assert desk.state(desk.root("user_id", name)).orders == 2
    assert desk.rows("SELECT count(*) FROM identifier WHERE presumed") == [(0,)]
    assert desk.rebuilt().different == 0


def test_it_keeps_nothing_of_who_an_alias_named_ahead_when_the_person_is_erased(desk: Desk) -> None:
    desk.send(call("alias", userId="ann", previousId="x1"))
    erase(desk.intake, desk.root("user_id", "ann"), NOW)
    assert desk.rows("SELECT count(*) FROM identifier") == [(0,)]
    desk.send(order("x1", "o1", ("p", "Shoes", 1.0)))
    assert desk.state(desk.root("user_id", "x1")).orders == 1


def test_it_counts_an_order_once_that_both_merged_profiles_have(desk: Desk) -> None:
    desk.send(order("old", "o1", ("p", "Shoes", 1.0)), order("new", "o1", ("p", "Shoes", 1.0)))
    desk.send(call("alias", userId="new", previousId="old"))

    assert desk.state(desk.root("user_id", "new")).orders == 1
    assert desk.rows("SELECT count(*) FROM event WHERE name = 'Order Completed' AND folds") == [(1,)]


@pytest.mark.feature("DE-10")
def test_it_refuses_a_tie_that_would_join_very_many_profiles(desk: Desk) -> None:
    ties = [call("alias", userId="hub", previousId=f"a{n}") for n in range(MEMBERS + 5)]
    desk.send(*(viewed("Shoes", anonymousId=f"a{n}") for n in range(MEMBERS + 5)))
    desk.send(*ties)

    hub = desk.root("user_id", "hub")
    assert desk.rows("SELECT count(*) FROM profile WHERE root_id = :hub", hub=hub) == [(MEMBERS,)]


def test_it_remembers_which_address_was_stated_last(desk: Desk) -> None:
    desk.send(identified("u1", email="old@example.com", time="2026-02-01T00:00:00Z"))
    desk.send(identified("u1", email="new@example.com", time="2026-02-02T00:00:00Z"))
    desk.send(identified("u1", email="old@example.com", time="2026-02-03T00:00:00Z"))

    rows = desk.rows("SELECT value, last_seen::date::text FROM identifier WHERE type = 'email' ORDER BY last_seen DESC")
    assert rows == [("old@example.com", "2026-02-03"), ("new@example.com", "2026-02-02")]


def test_it_remembers_when_an_address_was_first_and_last_stated_in_whatever_order_that_comes(desk: Desk) -> None:
    days = [f"2026-02-0{n}" for n in range(1, 5)]
    stated = [identified("u1", email="ann@example.com", time=f"{day}T00:00:00Z") for day in days]
    desk.send(stated[1])
    desk.send(stated[3], stated[2])
    desk.send(stated[0])

    sql = "SELECT first_seen::date::text, last_seen::date::text FROM identifier WHERE type = 'email'"
    assert desk.rows(sql) == [(days[0], days[3])]


def test_it_keeps_addresses_out_of_states(desk: Desk) -> None:
    desk.send(identified("u1", email="ann@example.com", phone="+49 228 123456", first_name="Ann"))

    assert desk.state(desk.root("user_id", "u1")).traits == {"first_name": "Ann"}
    assert desk.root("phone", "+49228123456") == desk.root("user_id", "u1")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("email", "  Ann.Other@Example.COM ", "ann.other@example.com"),
        ("email", "ann+tag@example.com", "ann+tag@example.com"),
        ("phone", "0049 (228) 12-34.56", "+49228123456"),
        ("user_id", " u1 ", "u1"),
    ],
)
def test_it_spells_an_identifier_in_one_way(kind: str, value: str, expected: str) -> None:
    assert normalised(kind, value) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    ["", "ann", "ann@", "@example.com", "ann@localhost", "a b@example.com", "a@b@example.com", "a" * 250 + "@x.de"],
)
def test_it_refuses_what_is_no_address(value: str) -> None:
    with pytest.raises(InvalidInput):
        normalised("email", value, "traits.email")


def test_it_refuses_an_identify_whose_address_is_none(desk: Desk) -> None:
    outcome = desk.send(identified("u1", email="nobody"))[0]

    assert (outcome.status, outcome.field) == ("rejected", "traits.email")
    assert desk.rows("SELECT count(*) FROM profile") == [(0,)]


def test_it_hashes_an_address_with_the_key_of_this_installation() -> None:
    assert address_hash(b"1" * 32, "Ann@example.com") == address_hash(b"1" * 32, "ann@example.com")
    assert address_hash(b"1" * 32, "ann@example.com") != address_hash(b"2" * 32, "ann@example.com")
