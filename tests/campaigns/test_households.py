"""The page of a customer's household: who and why, joining and leaving by hand, export, and who may see it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from campaigns import dossier
from campaigns.models import AccessEntry, AdminEntry
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web, told
from tests.signals.sending import call

HOME = {"street": "12 Main Street", "city": "Bonn"}


def lives(name: str, **traits: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": name, "traits": {"address": HOME, "firstName": name.capitalize()} | traits}


@pytest.mark.feature("DE-08")
def test_it_shows_the_household_with_where_each_fact_comes_from(shop: Shop, web: Web) -> None:
    stated = {"type": "household", "role": "partner", "people": [{"role": "child", "age": 4}]}
    shop.send(lives("ann", birth_year=1984), lives("bob"), call("group", userId="bob", groupId="h1", traits=stated))
    ann, bob = shop.profile("ann"), shop.profile("bob")
    support = web.desk("support")
    page = support.get(f"/customers/{ann}/household").text
    assert "Bob" in page
    for words in ("stated by shop", "birth year, shop", "The same home address", "80 % certain", "without a profile"):
        assert words in page, words
    assert "Household of 3" in support.get(f"/customers/{bob}").text

    found = web.program("support").told("GET", f"/customers/{bob}/household")
    assert found["facts"]["people"] == 3
    assert found["facts"]["role"] == "partner"
    assert [(one["customer"], one["role"], one["evidence"]) for one in found["members"]] == [
        (ann, "adult", "the same home address"), (bob, "partner", "stated"),
    ]  # fmt: skip
    assert found["others"] == [{"role": "child", "born": shop.now.year - 4}]
    assert {one["kind"] for one in found["claims"]} == {"stated", "a home address"}
    with shop.sessions.begin() as session:
        looks = session.query(AccessEntry).filter_by(action="household").all()
        assert [one.profile_id for one in looks] == [ann, bob, bob, ann], "the other is looked at as well"
    assert web.browser("manager").get(f"/customers/{ann}/household").status_code == 403
    assert web.program("manager").call("GET", f"/customers/{ann}/household").status_code == 403


@pytest.mark.feature("DE-08")
def test_it_joins_and_leaves_by_hand_with_a_reason(shop: Shop, web: Web) -> None:
    shop.send(*(lives(name) for name in ("ann", "bob")), *({"type": "identify", "userId": "cy", "traits": {}},))
    ann, cy = shop.profile("ann"), shop.profile("cy")
    support, program = web.desk("support"), web.program("support")
    page = f"/customers/{cy}/household"
    support.get(page)
    for form, words in (
        ({"other": "", "why": "x"}, "type a customer number"), ({"other": "999", "why": "x"}, "names nobody we know"),
        ({"other": "ann", "why": " "}, "how you know"), ({"chosen": str(ann), "role": "boss", "why": "x"}, "one of"),
        ({"other": "cy", "why": "x"}, "same customer"), ({"chosen": str(cy), "why": "x"}, "same customer"),
        ({"chosen": "999", "why": "x"}, "is no customer any more"),
    ):  # fmt: skip
        answer = support.post(page, **form)
        assert (answer.status_code, words in answer.text) == (400, True), form
    asked = support.post(page, other="ann", role="child", why="Told by phone").text
    assert f'name="chosen" value="{ann}"' in asked
    assert program.told("GET", page)["claims"] == [], "nothing is kept yet"
    assert support.post(page, chosen=str(ann), role="child", why="Told by phone").status_code == 302
    shown = support.get(page).text
    assert "“Told by phone”" in shown
    others = support.get(f"/customers/{ann}/household").text
    assert "Joined by staff" in others
    assert "Told by phone" not in others
    assert "A Person" in shown
    assert program.told("GET", page)["facts"]["adults"] == 2
    told(program.call("POST", f"/customers/{ann}/household/leave", {"why": ""}), 400)
    assert program.told("POST", f"/customers/{ann}/household/leave", {"why": "Moved out"}) == {
        "done": True, "state": "left",
    }  # fmt: skip
    assert program.told("GET", f"/customers/{ann}/household")["facts"] == {}
    assert "Moved out" in support.get(f"/customers/{ann}/household").text
    assert support.post(f"{page}/leave", of="parents", why="x").status_code == 400
    assert support.post(f"{page}/leave", why="Gone too").status_code == 302
    with shop.sessions.begin() as session:
        rows = session.query(AdminEntry).filter(AdminEntry.action.like("%household")).order_by(AdminEntry.id).all()
        assert [(one.action, one.object_id) for one in rows] == [
            ("join household", str(cy)), ("leave household", str(ann)), ("leave household", str(cy)),
        ]  # fmt: skip
        assert "phone" not in str([one.after for one in rows]), "why is theirs, and is erased with them"


def test_it_tells_those_of_one_name_apart_and_says_in_words_what_rules_use_and_what_counts(
    shop: Shop, web: Web
) -> None:
    shop.send(
        lives("ann", firstName="Kim", email="ann@example.com"),
        lives("bob", firstName="Kim"),
        lives("cleo", birth_year=shop.now.year - 4),
    )
    ann, bob, cleo = (shop.profile(name) for name in ("ann", "bob", "cleo"))
    support = web.desk("support")
    page = support.get(f"/customers/{ann}/household").text
    assert f"a•••@example.com, page {ann}" in page
    assert f"b•••, page {bob}" in page
    assert f"page {cleo}" not in page, "nobody else is called so"
    assert "ann@example.com" not in page
    for words in (
        "Children of 3 to 5 in their household",
        "How sure their household is",
        "80 %",
        "Does it still count?",
    ):
        assert words in page, words
    assert "<code>household." not in page
    assert "Yes, unless something newer or surer was said." in page
    grown = call("group", userId="cleo", groupId="h1", traits={"type": "household", "role": "grown_child"})
    shop.send(*(call("group", userId=one, groupId="h1", traits={"type": "household"}) for one in ("ann", "bob")), grown)
    page = support.get(f"/customers/{cleo}/household").text
    assert page.count("a•••@example.com") == 1, "parents too"


def test_it_shows_what_several_profiles_said_as_one_word_that_a_person_ended(shop: Shop, web: Web) -> None:
    stated = {"type": "household"}
    shop.send(
        *(call("group", userId=one, groupId="h1", traits=stated) for one in ("ann", "bob")),
        call("alias", userId="ann", previousId="old"),
    )
    support, program = web.desk("support"), web.program("support")
    path = f"/customers/{shop.profile('ann')}/household"
    program.told("POST", f"{path}/leave", {"why": "Moved out"})
    shop.send(call("group", userId="old", groupId="h1", traits=stated | {"role": "adult"}))
    assert shop.profile("old") == shop.profile("ann")
    found = program.told("GET", path)
    assert (found["facts"], found["members"]) == ({}, [])
    assert [(one["kind"], one["role"], one["ended_why"]) for one in found["claims"]] == [
        ("stated", "adult", "Moved out"),
    ]  # fmt: skip
    page = support.get(path).text
    assert "“Moved out”. It counts again only if" in page
    assert "Yes, unless something newer" not in page


def test_it_says_that_an_address_of_many_groups_nobody(shop: Shop, web: Web) -> None:
    shop.send(*(lives(f"p{number}") for number in range(9)))
    page = web.desk("support").get(f"/customers/{shop.profile('p0')}/household").text
    assert "9 people state the same home address" in page
    assert "Nobody is known to live with this customer" in page


def test_it_hands_out_what_was_said_of_a_persons_household_and_nothing_of_the_others(shop: Shop) -> None:
    shop.send(
        lives("ann"),
        lives("bob", birth_year=1991),
        call("group", userId="ann", groupId="h1",
             traits={"type": "household", "people": [{"role": "child", "birth_year": 2021}]}),
        call("group", userId="bob", groupId="h1",
             traits={"type": "household", "people": [{"role": "child", "birth_year": 2019}]}),
    )  # fmt: skip
    with (
        shop.sessions.begin() as session,
        dossier.export(session, shop.store, shop.settings.subject_key, shop.profile("ann"), shop.now, MANAGER) as made,
    ):
        found = json.loads(made.read())
    assert [(one["kind"], one["source"], one["left"]) for one in found["households"]] == [
        ("group", "shop", False), ("home", "shop", False),
    ]  # fmt: skip
    assert [one["others"] for one in found["households"]] == [[{"role": "child", "born": 2021}], None]
    assert found["state"][0]["state"]["household"]["adults"] == 2
    assert "Bob" not in json.dumps(found)
