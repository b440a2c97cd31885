"""Who is who: identifiers that match exactly, merges as links, and people who share something but are two."""

from __future__ import annotations

import pytest

from base.errors import InvalidInput
from signals.identity import MEMBERS, address_hash, normalised
from tests.signals.sending import Desk, call, identified, order, viewed


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
