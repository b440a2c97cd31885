"""The page of a customer's merges: the evidence, undone and made by hand, and what merges nobody."""

from __future__ import annotations

import pytest

from campaigns.models import AccessEntry, AdminEntry
from signals import likely
from signals.identity import TIES
from signals.joining import join_likely
from signals.likely import Offer
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web, told
from tests.signals.sending import call

PHONE = "+49 228 123456"


def contact(name: str) -> dict[str, object]:
    return call("identify", anonymousId=f"d-{name}", traits={"email": f"{name}@example.com", "phone": PHONE})


@pytest.mark.feature("SU-14")
def test_it_shows_a_merge_with_its_evidence_and_undoes_it(shop: Shop, web: Web) -> None:
    shop.send(contact("ann"), contact("bob"))
    support, admin = web.desk("support"), web.desk("admin")
    ann = min(
        one["profile"] for one in web.program("support").told("POST", "/customers/search", {"q": PHONE})["customers"]
    )
    page = support.get(f"/customers/{ann}/merges").text
    assert "phone number" in page
    assert "+4•••56" in page
    assert "by the call identify of" in page
    assert "/undo" not in page
    program = web.program("admin")
    (merge,) = program.told("GET", f"/customers/{ann}/merges")["merges"]
    assert (merge["evidence"], merge["masked"], merge["undone_at"]) == ("phone number", "+4•••56", None)

    path = f"/customers/{ann}/merges/{merge['id']}"
    assert support.post(f"{path}/undo").status_code == 403
    admin.get(f"/customers/{ann}/merges")
    assert admin.post(f"{path}/undo").status_code == 302
    page = admin.get(f"/customers/{ann}/merges").text
    assert "Undone" in page
    assert "Only a person joins them again" in page
    assert told(program.call("DELETE", path), 409, 404)["status"] in (404, 409)
    with shop.sessions.begin() as session:
        (entry,) = session.query(AdminEntry).filter_by(action="undo merge").all()
        assert entry.user_id is not None

    bob = next(number for number in merge["profiles"] if number != ann)
    shop.send(contact("bob"))
    page = support.get(f"/customers/{bob}/merges").text
    assert "Somebody said that the people who share it are not one." in page
    assert admin.post(f"/customers/{bob}/merges", other=str(ann)).status_code == 302
    assert "by hand, by A Person" in support.get(f"/customers/{ann}/merges").text
    for wrong, words in (("", "type the number"), (str(bob), "is the same customer"), ("999", "of no customer")):
        answer = admin.post(f"/customers/{ann}/merges", other=wrong)
        assert (answer.status_code, words in answer.text) == (400, True), wrong


def test_it_suggests_two_customer_numbers_of_one_name_and_address_to_a_person(shop: Shop, web: Web) -> None:
    home = {"name": "Ann Lee", "address": {"street": "12 Main Street", "city": "Bonn"}}
    shop.send(*(call("identify", userId=name, traits=home) for name in ("ann", "lee", "eve")))
    ann, lee, eve = (shop.profile(name) for name in ("ann", "lee", "eve"))
    assert len({ann, lee, eve}) == 3
    program, admin = web.program("admin"), web.desk("admin")
    suggested = program.told("GET", f"/customers/{ann}/merges")["suggested"]
    assert suggested == [{"customer": one, "evidence": ["name and address"], "odds": None} for one in (lee, eve)]
    page = admin.get(f"/customers/{lee}/merges").text
    assert "The same name and address" in page
    assert f'aria-label="Merge with customer {ann}"' in page
    assert admin.post(f"/customers/{lee}/merges", other=str(ann)).status_code == 302
    (merge,) = program.told("GET", f"/customers/{ann}/merges")["merges"]
    assert program.call("DELETE", f"/customers/{ann}/merges/{merge['id']}").status_code == 200
    suggested = program.told("GET", f"/customers/{ann}/merges")["suggested"]
    assert [one["customer"] for one in suggested] == [eve], "a person said that the others are two"


@pytest.mark.feature("DE-10")
def test_it_shows_an_identifier_that_merges_nobody(shop: Shop, web: Web) -> None:
    shop.send(*(contact(f"p{n}") for n in range(TIES["phone"] + 3)))
    support = web.desk("support")
    assert "/customers/ties" not in support.get("/customers/").text
    assert 'href="/customers/ties"' in support.get("/customers/likely").text
    page = support.get("/customers/ties").text
    assert "+4•••56" in page
    assert "Too many people are known by it" in page
    (refused,) = web.program("support").told("GET", "/customers/ties")["refused"]
    assert (refused["reason"], refused["times"]) == ("hub", TIES["phone"] + 2)


def test_it_offers_likely_matches_to_a_person_and_keeps_to_the_answer(shop: Shop, web: Web) -> None:
    ann, bob, eve = shop.people("ann", "bob", "eve")
    support, admin, program = web.desk("support"), web.desk("admin"), web.program("admin")
    assert "Nobody has asked for it yet." in support.get("/customers/likely").text
    assert support.post("/customers/likely/run").status_code == 403
    admin.get("/customers/likely")
    assert admin.post("/customers/likely/run").status_code == 302
    assert program.told("GET", "/customers/likely")["pending"] is True
    with shop.sessions.begin() as session:
        found = [(ann, bob, 4.2, ("name", "birth date")), (bob, eve, 3.0, ("name", "street"))]
        likely.offer(session, [Offer(*one, shop.now) for one in found], 1)
    with shop.sessions.begin() as session:
        session.query(AccessEntry).delete()
    page = support.get("/customers/likely").text
    with shop.sessions.begin() as session:
        looks = [one.profile_id for one in session.query(AccessEntry).order_by(AccessEntry.id)]
    assert looks == [ann, bob, eve], "each whose name is shown was looked at"
    assert "20 to 1" in page
    assert "name · birth date" in page
    assert 'value="same"' not in page, "support may look"
    (first, _) = program.told("GET", "/customers/likely")["likely"]
    assert (first["customers"], first["odds"], first["facts"]) == ([ann, bob], 20, ["name", "birth date"])
    (suggested,) = program.told("GET", f"/customers/{ann}/merges")["suggested"]
    assert suggested == {"customer": bob, "evidence": ["name", "birth date"], "odds": 20}

    admin.get("/customers/likely")
    assert admin.post(f"/customers/likely/{ann}/{bob}", answer="perhaps").status_code == 400
    assert admin.post(f"/customers/likely/{ann}/{bob}", answer="two").status_code == 302
    assert [one["customers"] for one in program.told("GET", "/customers/likely")["likely"]] == [[bob, eve]]
    assert join_likely(shop.intake, ann, bob, shop.now, {"weight": 20.0, "facts": [], "model": "m"}) is None
    assert admin.post(f"/customers/likely/{bob}/{eve}", answer="same").status_code == 302
    assert program.told("GET", "/customers/likely")["likely"] == []
    (merge,) = program.told("GET", f"/customers/{bob}/merges")["merges"]
    assert merge["how"].startswith("by hand"), "the answer that two are two is no merge that was undone"
    assert program.call("POST", f"/customers/{bob}/apart", {"other": eve}).status_code == 400
