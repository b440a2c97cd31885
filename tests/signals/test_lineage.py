"""Which of several statements of a trait holds, in whatever order they come, and where each value comes from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from base.errors import InvalidInput
from signals import lineage, sources
from signals.intake import take_apart
from signals.known import known_fields
from signals.lineage import MAX_POLICIES
from signals.sources import Sender
from tests.signals.sending import NOW, Desk, call, identified

DAY = timedelta(days=1)
POLICY = {"city": "newest", "street_name": "longest", "tier": "trusted"}


def policies(desk: Desk) -> dict[str, Sender]:
    """The policies of three traits, and three sources: a CRM trusted more than the shop, and a till trusted less."""
    sent = {"crm": desk.source("crm", "server"), "shop": desk.server, "till": desk.source("till", "server")}
    with desk.sessions.begin() as session:
        for name, policy in POLICY.items():
            lineage.set_policy(session, name, policy, NOW)
        for name, trust in (("crm", 200), ("till", 50)):
            sources.set_trust(session, sent[name].id, trust)
    return sent


STATED: list[tuple[str, int, dict[str, Any]]] = [
    ("crm", 20, {"city": "Bonn", "tier": "gold", "street_name": "Main St"}),
    ("shop", 15, {"city": "Oslo", "tier": "silver", "street_name": "Main Street"}),
    ("till", 10, {"city": "Rome", "tier": "none", "street_name": "Main"}),
    ("till", 5, {"city": "Rome", "street_name": "Main Street"}),
]
"""Who said what, how many days ago."""

EXPECTED = {"city": ("Rome", "till", 10), "tier": ("gold", "crm", 20), "street_name": ("Main Street", "shop", 15)}
"""What holds then, told by whom, since how many days."""


@pytest.mark.feature("DE-09")
def test_it_settles_what_sources_differ_in_by_policy_and_says_from_where_since_when(desk: Desk) -> None:
    sent = policies(desk)
    for number, order in enumerate(itertools.islice(itertools.permutations(STATED), 0, None, 4)):
        user = f"u{number}"
        for source, days, traits in order:
            desk.send(identified(user, time=(NOW - days * DAY).isoformat(), **traits), via=sent[source])
        with desk.sessions.begin() as session:
            fields = known_fields(session, desk.root("user_id", user), NOW)
        found = {one.name: (one.value, one.source, one.age.days) for one in fields if one.group == "stated"}
        assert found == EXPECTED, [one[0] for one in order]
        assert desk.state(desk.root("user_id", user)).traits == {name: one[0] for name, one in EXPECTED.items()}

    before = desk.rows("SELECT profile_id, name, value, event_time, event_id FROM trait_lineage ORDER BY 1, 2")
    assert desk.rebuilt().different == 0
    assert desk.rows("SELECT profile_id, name, value, event_time, event_id FROM trait_lineage ORDER BY 1, 2") == before


@pytest.mark.feature("DE-09")
def test_it_means_the_same_in_one_batch_and_after_the_policy_ends(desk: Desk) -> None:
    sent = policies(desk)
    stated = [traits for _, _, traits in STATED]
    desk.send(
        *(
            identified("u", time=(NOW - days * DAY).isoformat(), street_name=traits["street_name"])
            for (_, days, _), traits in zip(STATED, stated, strict=True)
        )
    )
    user = desk.root("user_id", "u")
    assert desk.state(user).traits["street_name"] == "Main Street"
    assert desk.rebuilt().different == 0
    # Taken back by its person it is gone, and the next statement holds.
    desk.send(identified("u", time=(NOW - 2 * DAY).isoformat(), street_name=None), via=sent["shop"])
    assert "street_name" not in desk.state(user).traits
    desk.send(identified("u", time=(NOW - DAY).isoformat(), street_name="M"))
    assert desk.state(user).traits["street_name"] == "M"
    assert desk.rebuilt().different == 0
    with desk.sessions.begin() as session:
        for name in ("tier", "streetName", "city"):
            lineage.set_policy(session, name, "servers", NOW)
        assert [row.name for row in lineage.policies(session)] == []


def said(who: str, days: int, value: Any) -> dict[str, Any]:
    """A city that a device states, days ago: by what the shop's system or its site saw of it."""
    return call("identify", traits={"city": value}, timestamp=(NOW - days * DAY).isoformat(), who=who)


WORDS: list[tuple[list[dict[str, Any]], Mapping[str, tuple[str, str, int] | None]]] = [
    (  # What a shop's system said stays, whatever visitors send before and after it.
        [said("site", 9, "Atlantis"), said("shop", 8, "Bonn"), said("site", 7, "Oz"), said("site", 1, None)],
        {
            "servers": ("Bonn", "shop", 8),
            "newest": None,
            "trusted": ("Bonn", "shop", 8),
            "longest": ("Bonn", "shop", 8),
        },
    ),
    (  # A longer word of a browser loses as well; until a server speaks a browser's holds.
        [said("site", 9, "Bonn"), said("site", 7, "Bonn am Rhein")],
        dict.fromkeys(("servers", "newest", "trusted", "longest"), ("Bonn am Rhein", "site", 7)),
    ),
    (  # What a server confirms is its word from then on; a browser's is nobody else's.
        [said("site", 9, "Bonn"), said("shop", 7, "Bonn"), said("site", 5, "Bonn"), said("shop", 3, "Bonn")],
        {"newest": ("Bonn", "site", 9)} | dict.fromkeys(("servers", "trusted", "longest"), ("Bonn", "shop", 7)),
    ),
    (  # What a server takes back anybody may state again, unless trust decides.
        [said("shop", 9, "Bonn"), said("site", 8, "Oz"), said("shop", 7, None), said("site", 5, "Köln")],
        {
            "servers": ("Köln", "site", 5),
            "newest": ("Köln", "site", 5),
            "trusted": None,
            "longest": ("Köln", "site", 5),
        },
    ),
    (  # A value that was another in between holds since it came back.
        [said("shop", 9, "Bonn"), said("shop", 7, "Oslo"), said("site", 6, "Oz"), said("shop", 5, "Bonn")],
        dict.fromkeys(("servers", "newest", "trusted", "longest"), ("Bonn", "shop", 5)),
    ),
]
"""What is said, and by each policy what holds then, told by whom, since how many days."""


@pytest.mark.feature("DE-09", "DE-35")
@pytest.mark.parametrize("policy", lineage.POLICIES)
def test_it_takes_no_browsers_word_over_a_servers_whichever_comes_first(desk: Desk, policy: str) -> None:
    with desk.sessions.begin() as session:
        lineage.set_policy(session, "city", policy, NOW)
    sent = {"shop": desk.server, "site": desk.browser}
    for story, (calls, expected) in enumerate(WORDS):
        for number, arrival in enumerate(itertools.islice(itertools.permutations(calls), 0, None, 3)):
            device = f"{story}-{number}"
            for one in arrival:
                told = {**one, "anonymousId": device, "messageId": f"{one['messageId']}-{device}"}
                desk.send(told, via=sent[told.pop("who")])
            with desk.sessions.begin() as session:
                fields = known_fields(session, desk.root("anonymous_id", device), NOW)
            found = [(one.value, one.source, one.age.days) for one in fields if one.name == "city"]
            assert found == [held for held in [expected[policy]] if held], (story, [one["who"] for one in arrival])
    assert_unchanged_by_a_rebuild(desk)


def test_it_knows_since_when_a_value_holds_that_was_another_within_a_batch(desk: Desk) -> None:
    cities = ("Bonn", "Oslo", "Bonn")
    days = [identified("u", time=(NOW - (9 - n) * DAY).isoformat(), city=city) for n, city in enumerate(cities)]
    desk.send(days[0])
    desk.send(*days[1:])

    ((since,),) = desk.rows("SELECT event_time FROM trait_lineage")
    assert since == NOW - 7 * DAY
    assert_unchanged_by_a_rebuild(desk)


@pytest.mark.feature("DE-09")
def test_it_tells_yes_from_the_number_one_and_a_number_from_nothing_but_another(desk: Desk) -> None:
    for days, value in ((9, 1), (8, 1.0), (7, True), (5, 1), (3, 1)):
        desk.send(identified("u", time=(NOW - days * DAY).isoformat(), score=value))
        ((since,),) = desk.rows("SELECT event_time FROM trait_lineage")
        assert (NOW - since).days == {8: 9, 3: 5}.get(days, days)
    assert_unchanged_by_a_rebuild(desk)


@pytest.mark.feature("DE-09")
def test_it_forgets_where_from_with_the_people_whose_it_was(desk: Desk) -> None:
    desk.send(identified("ann", city="Bonn"), call("identify", anonymousId="d", traits={"shoe_size": 42}))
    ann, device = desk.root("user_id", "ann"), desk.root("anonymous_id", "d")
    desk.send(call("identify", userId="ann", anonymousId="d"))
    held = "SELECT name FROM trait_lineage WHERE profile_id = {} ORDER BY 1"
    merged = desk.root("user_id", "ann")
    assert desk.rows(held.format(merged)) == [("city",), ("shoe_size",)]
    ((link,),) = desk.rows("SELECT id FROM profile_link")
    assert take_apart(desk.intake, link, NOW, apart=True, by="ann@example.com") is not None
    assert (desk.rows(held.format(ann)), desk.rows(held.format(device))) == ([("city",)], [("shoe_size",)])
    assert_unchanged_by_a_rebuild(desk)


def assert_unchanged_by_a_rebuild(desk: Desk) -> None:
    """A rebuild finds what is stored."""
    before = desk.everything()
    assert desk.rebuilt().different == 0
    assert desk.everything() == before


def test_it_refuses_a_policy_that_is_none(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        for field, name, policy in (
            ("name", " ", "longest"),
            ("policy", "city", "best"),
            ("name", "a\x00b", "longest"),
        ):
            with pytest.raises(InvalidInput) as error:
                lineage.set_policy(session, name, policy, NOW)
            assert error.value.field == field
        for number in range(MAX_POLICIES):
            lineage.set_policy(session, f"trait {number}", "longest", NOW)
        with pytest.raises(InvalidInput):
            lineage.set_policy(session, "one more", "longest", NOW)
        with pytest.raises(InvalidInput):
            sources.set_trust(session, desk.server.id, 1001)
