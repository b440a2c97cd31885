"""A stored state that is damaged counts as lost: it costs no page of others, and the next signal makes it again."""

from __future__ import annotations

import json

import pytest

from base import keys
from campaigns.campaigns import SlotChoice
from tests.campaigns.shop import Shop
from tests.campaigns.test_members import BONN, LISTED, made
from tests.campaigns.web import Web, told

HOME = {"street": "12 Main Street", "city": "Bonn"}


@pytest.fixture
def ann(shop: Shop) -> int:
    """One of two people who live together in Bonn, whose stored state is damaged."""
    ann, _ = shop.people("ann", "bob", city="Bonn", address=HOME)
    shop.spoil(ann)
    return ann


def test_who_is_in_a_segment_is_listed_row_by_row(shop: Shop, web: Web, ann: int) -> None:
    number, bob = made(shop, BONN), shop.profile("bob")
    listed = LISTED.findall(web.desk("support").get(f"/segments/{number}/members").text)
    assert listed == [(str(ann), f"Customer {ann}"), (str(bob), "Bob")]
    found = web.program("support").told("GET", f"/segments/{number}/members")["members"]
    assert [(one["profile"], one["name"]) for one in found] == [(ann, f"Customer {ann}"), (bob, "Bob")]


def test_pages_of_the_person_show_what_is_left(shop: Shop, web: Web, ann: int) -> None:
    support = web.desk("support")
    page = support.get(f"/customers/{ann}").text
    assert f'<h1 class="page-title wrap-any">Customer {ann}</h1>' in page
    assert "Nothing is known yet." in page
    assert "as of" not in page
    for at in ("household", "known", "permissions", "merges"):
        answer = support.get(f"/customers/{ann}/{at}")
        assert answer.status_code == 200, at
        assert f"Customer {ann}" in answer.text, at
    assert "Bob" in support.get(f"/customers/{ann}/household").text
    assert f"Customer {ann}" in support.get(f"/customers/{shop.profile('bob')}/household").text
    found = support.post("/customers/", q="ann@example.com")
    assert (found.status_code, found.location) == (302, f"/customers/{ann}?found=email")
    shop.store.set(keys.used(ann), b"\xc1none")
    exported = json.loads(web.desk("admin").get(f"/customers/{ann}/export").text)
    assert [(one["state"], one["damaged"]) for one in exported["state"]] == [(None, ["state"])]
    assert exported["hot_store"] == [{"key": keys.used(ann), "holds": None}]
    shop.store.delete(keys.used(ann))
    shop.store.rpush(keys.used(ann), "none")
    assert "hot_store" in json.loads(web.desk("admin").get(f"/customers/{ann}/export").text)

    shop.people("ann", city="Bonn")
    assert "As a customer" in support.get(f"/customers/{ann}").text


def test_programs_are_told_what_is_left(web: Web, ann: int) -> None:
    program = web.program("support")
    found = program.told("GET", f"/customers/{ann}")
    assert (found["name"], found["state"], found["categories"]) == (f"Customer {ann}", None, {})
    assert [one["masked"] for one in found["identifiers"]] == ["a•••@example.com", "a•••"]
    found = program.told("GET", f"/customers/{ann}/timeline")
    assert found["name"] == f"Customer {ann}"
    assert found["entries"]
    assert program.told("POST", "/customers/search", {"q": "ann"})["customers"][0]["name"] == f"Customer {ann}"
    assert program.told("GET", f"/customers/{ann}/household")["members"]


def test_who_would_get_an_offer_is_told_of_everybody(shop: Shop, web: Web, ann: int) -> None:
    slots = [SlotChoice(slot=0, default=shop.offer("neutral"), offers=[offer := shop.offer()])]
    slots += [SlotChoice(slot=1, default=slots[0].default)]
    number = shop.campaign(slots=slots)
    shop.store.rpush(keys.used(shop.profile("bob")), "of another kind")
    found = web.program("manager").told("GET", f"/offers/{offer}/takers?campaign={number}")
    assert (found["looked_at"], found["get_it"]["people"]) == (2, 1)
    assert [(loss["layer"], loss["lost"]["people"]) for loss in found["losses"]] == [("may be offered anything", 1)]


def test_a_preview_is_of_what_opens_go_by_and_says_so_where_nothing_is_known(shop: Shop, web: Web, ann: int) -> None:
    number, manager = shop.campaign(), web.program("manager")
    asked = {"profile": ann, "at": shop.now.isoformat()}
    assert manager.call("POST", f"/campaigns/{number}/preview", asked).status_code == 200
    shop.store.delete(keys.state(ann))
    assert told(manager.call("POST", f"/campaigns/{number}/preview", asked), 400)["field"] == "profile"
