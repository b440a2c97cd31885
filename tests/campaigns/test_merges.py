"""The page of a customer's merges: the evidence, undone and made by hand, and what merges nobody."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select, text

from base import keys
from campaigns import corrections, customers, merges
from campaigns.corrections import CorrectionIn
from campaigns.models import AccessEntry, AdminEntry
from signals import likely
from signals.events import Event
from signals.identity import MATCHES, TIES
from signals.joining import join_likely
from signals.likely import Offer
from signals.profiles import Profile
from signals.rebuild import rebuild
from signals.sources import INTERNAL, keyless_sender
from signals.state import decode
from signals.telling import tell
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web, told
from tests.signals.sending import call

PHONE = "+49 228 123456"


def contact(name: str) -> dict[str, object]:
    return call("identify", anonymousId=f"d-{name}", traits={"email": f"{name}@example.com", "phone": PHONE})


def marked(shop: Shop, profile: int) -> list[str]:
    """What an open reads of the corrections of somebody's record."""
    data = shop.store.get(keys.state(profile))
    assert isinstance(data, bytes)
    return [f"{mark.target} {mark.word}" for mark in decode(data).marks]


def bought(shop: Shop, profile: int) -> tuple[int, list[corrections.Line]]:
    """The order of a profile that has one, with its lines as they stand for who is the person now."""
    with shop.sessions.begin() as session:
        row = session.scalars(select(Event).where(Event.profile_id == profile, Event.order_id.is_not(None))).one()
        members = customers.members(session, customers.root_of(session, profile).id)
        return row.id, list(corrections.corrected(session, members, [row])[row.id])


def test_a_correction_goes_with_its_signal_when_a_merge_is_undone(shop: Shop, web: Web) -> None:
    shop.send(shop.order("ann", "gates", shop.now), shop.order("bob", "hats", shop.now))
    ann, bob = shop.profile("ann"), shop.profile("bob")
    shop.send({"type": "alias", "userId": "ann", "previousId": "bob"})
    root, child = shop.profile("ann"), {ann, bob}.difference([shop.profile("ann")]).pop()
    order, (line,) = bought(shop, child)
    corrections.correct(shop.intake, root, CorrectionIn(order, 0, "gift"), shop.now, MANAGER)
    corrections.correct(shop.intake, child, CorrectionIn(order, 0, "wrong_person"), shop.now, MANAGER)
    assert marked(shop, root) == marked(shop, child) == [f"product:{line.product} wrong_person"]

    program = web.program("admin")
    (merge,) = program.told("GET", f"/customers/{root}/merges")["merges"]
    told(program.call("DELETE", f"/customers/{root}/merges/{merge['id']}"), 200, 204)
    assert (marked(shop, root), marked(shop, child)) == ([], [f"product:{line.product} wrong_person"])
    corrections.take_back(shop.intake, child, order, 0, shop.now, MANAGER)
    assert marked(shop, child) == []
    assert rebuild(shop.intake, shop.now).different == 0


def test_a_line_is_corrected_anew_whose_correction_an_earlier_version_left_with_another(shop: Shop) -> None:
    shop.send(shop.order("ann", "gates", shop.now), shop.order("bob", "hats", shop.now))
    ann, bob = shop.profile("ann"), shop.profile("bob")
    order, (line,) = bought(shop, bob)
    sender = shop.intake.settle(lambda session: keyless_sender(session, INTERNAL, shop.now))
    said = {"feedback": "gift", "event": order, "line": 0, "product_id": line.product}
    name = f"feedback-{order}-0-0"
    assert tell(shop.intake, sender, ann, corrections.FEEDBACK, said, at=shop.now, now=shop.now, message_id=name)

    corrections.correct(shop.intake, bob, CorrectionIn(order, 0, "gift"), shop.now, MANAGER)
    assert bought(shop, bob)[1][0].corrected == "gift"
    assert marked(shop, bob) == [f"product:{line.product} gift"]
    with shop.sessions.begin() as session:
        assert session.query(AdminEntry).filter_by(action="correct record").count() == 1


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
    asked = admin.post(f"{path}/undo")
    assert (asked.status_code, "No signal joins them again: only a person does." in asked.text) == (200, True)
    assert f'action="{path}/undo"' in asked.text.partition('name="sure"')[0]
    assert "Undone" not in admin.get(f"/customers/{ann}/merges").text, "nothing is done before it was asked"
    assert admin.post(f"{path}/undo", sure="1").status_code == 302
    page = admin.get(f"/customers/{ann}/merges").text
    assert "Undone" in page
    assert admin.post(f"{path}/undo").status_code in (404, 409)
    assert "Only a person joins them again" in page
    assert told(program.call("DELETE", path), 409, 404)["status"] in (404, 409)
    with shop.sessions.begin() as session:
        (entry,) = session.query(AdminEntry).filter_by(action="undo merge").all()
        assert entry.user_id is not None

    bob = next(number for number in merge["profiles"] if number != ann)
    shop.send(contact("bob"))
    page = support.get(f"/customers/{bob}/merges").text
    assert "Somebody said that the people who share it are not one." in page
    assert admin.post(f"/customers/{bob}/merges", chosen=str(ann)).status_code == 302
    page = support.get(f"/customers/{ann}/merges").text
    assert "by hand, by A Person" in page
    assert "Only a person joins them again" not in page, "they are one again, and nobody says otherwise"
    for wrong, words in (
        ({"other": ""}, "type a customer number"), ({"other": str(bob)}, "is the same customer"),
        ({"other": "999"}, "names nobody we know"), ({"chosen": str(bob)}, "is the same customer"),
        ({"chosen": "999"}, "is no customer any more"),
    ):  # fmt: skip
        answer = admin.post(f"/customers/{ann}/merges", **wrong)
        assert (answer.status_code, words in answer.text) == (400, True), wrong


def test_it_shows_who_goes_by_what_was_typed_and_asks_before_a_merge(shop: Shop, web: Web) -> None:
    ann, bob = shop.people("ann", "bob")
    woody = {"firstName": "Woody", "lastName": "Three", "email": "woody@example.com", "phone": PHONE}
    shop.send(call("identify", userId=str(bob), traits=woody))
    woo = shop.profile(str(bob))
    assert len({ann, bob, woo}) == 3
    support, admin, program = web.desk("support"), web.desk("admin"), web.program("admin")
    path = f"/customers/{ann}/merges"
    assert admin.get(path).status_code == 200
    with shop.sessions.begin() as session:
        session.query(AccessEntry).delete()
    for typed in ("woody@example.com", " WOODY@example.com ", PHONE, "0228 123456", f"Customer {woo}"):
        answer = admin.post(path, other=typed)
        assert (answer.status_code, "Woody Three" in answer.text) == (200, True), typed
        assert re.findall(r'name="chosen" value="(\d+)"', answer.text) == [str(woo)], typed
        assert "Customer number</span> " + str(bob) in answer.text
    with shop.sessions.begin() as session:
        looks = [(one.action, one.profile_id) for one in session.query(AccessEntry).order_by(AccessEntry.id)]
    assert [action for action, _ in looks].count("search") == 5
    seen = [profile for action, profile in looks if action != "search"]
    assert seen == [ann, woo] * 5, "each whose name is shown was looked at"

    page = admin.post(path, other=str(bob)).text
    assert f"2 customers go by “{bob}”" in page, "one has it as a customer number, one as a page"
    assert sorted(re.findall(r'name="chosen" value="(\d+)"', page)) == sorted([str(bob), str(woo)])
    assert page.index("Found by customer number.") != page.index("Found by number of their page.")
    assert program.told("GET", path)["merges"] == [], "nothing is done yet"
    assert admin.post(path, other=str(bob), chosen=str(woo)).status_code == 302
    assert program.told("GET", f"/customers/{ann}")["members"] == sorted([ann, woo])

    household = f"/customers/{bob}/household"
    support.get(household)
    veiled = support.post(household, other=str(bob), role="child", why="Told <us>").text
    assert "w•••@example.com" in veiled
    assert "woody@example.com" not in veiled
    assert 'name="why" value="Told &lt;us&gt;"' in veiled
    assert 'name="role" value="child"' in veiled
    assert program.told("GET", household)["members"] == []


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
    assert f'name="chosen" value="{ann}"' in admin.post(f"/customers/{lee}/merges", other=f"customer {ann}").text
    assert f'name="other" value="customer {ann}"' in page
    assert admin.post(f"/customers/{lee}/merges", chosen=str(ann)).status_code == 302
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
    assert "Nobody has had customers compared yet." in support.get("/customers/likely").text
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
    assert "20 to one that they are one person" in page
    assert "Much the same: name · birth date." in page
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


def cells(page: str, one: int, other: int) -> dict[str, tuple[str, str, str]]:
    """The lines of two customers side by side: by fact what is stated of each, and whether that agrees."""
    part = page.partition(f'aria-label="What is stated of {one} and {other}"')[2].partition("</tbody>")[0]
    told = (re.findall(r"<(?:span|td) [^>]*>([^<]*)", row) for row in part.split("<tr>")[2:])
    return {fact: (one, other, agreement) for fact, agreement, one, other in told}


def test_it_shows_two_who_may_be_one_side_by_side(shop: Shop, web: Web) -> None:
    home = {"street": "12 Main Street", "postalCode": "53111", "city": "Bonn"}
    shop.send(
        call("identify", userId="ann", traits={
            "name": "Ann Müller", "birthday": "1980-02-01", "email": "ann@example.com", "phone": "+49 228 1234567",
            "address": home,
        }),
        call("identify", anonymousId="d1", traits={
            "firstName": "Ann", "lastName": "Mueller", "birthday": "1980-01-02", "email": "annie@example.org",
            "address": home | {"street": "Main St. 12", "postalCode": "53112", "city": "BONN"},
        }),
    )  # fmt: skip
    ann = shop.profile("ann")
    with shop.sessions.begin() as session:
        other = next(one for one in session.scalars(select(Profile.id)) if one != ann)
        likely.offer(session, [Offer(ann, other, 4.2, ("name", "birth date"), shop.now)], 1)
    expected = {
        "Name": ("Ann Müller", "Ann Mueller", "the same but for spelling"),
        "Birth date": ("1980-02-01", "1980-01-02", "much the same"),
        "Street": ("12 Main Street", "Main St. 12", "the same but for spelling"),
        "Postal code": ("53111", "53112", "different"),
        "City": ("Bonn", "BONN", "the same"),
        "E-mail address": ("ann@example.com", "annie@example.org", "different"),
        "Phone number": ("+49 228 1234567", "–", "only one states it"),
        "Customer number": ("ann", "–", "only one states it"),
    }
    page = web.desk("admin").get("/customers/likely").text
    assert cells(page, ann, other) == expected
    for label in (f"Ann Müller {ann}", f"Ann Mueller {other}"):
        assert page.count(f'<td data-label="{label}"') == 8, "a phone says whose"
    assert "One person: merge" in page
    assert "nothing merges them but a person" not in page
    veiled = web.desk("support").get("/customers/likely").text
    assert "An admin says which of them are one." in veiled
    for secret in ("Main Street", "ann@example.com", "annie@", "1234567"):
        assert secret not in veiled, secret
    assert cells(veiled, ann, other)["E-mail address"] == ("a•••@example.com", "a•••@example.org", "different")
    assert cells(veiled, ann, other)["Street"] == ("•••", "•••", "the same but for spelling")


def test_it_calls_a_customer_without_a_name_by_their_number_once(shop: Shop, web: Web) -> None:
    shop.send(*(call("identify", anonymousId=f"d{n}", traits={"birthday": "1980-02-01"}) for n in (1, 2)))
    with shop.sessions.begin() as session:
        one, other = sorted(session.scalars(select(Profile.id)))
        likely.offer(session, [Offer(one, other, 4.2, ("birth date",), shop.now)], 1)
    page = web.desk("support").get("/customers/likely").text
    heading = page.partition(f'id="pair-{one}-{other}">')[2].partition("</h3>")[0]
    assert re.sub(r"<[^>]*>", "", heading) == f"Customer {one} and Customer {other}"
    assert f'<td data-label="Customer {one}"' in page


def test_it_asks_about_one_name_under_two_customer_numbers(shop: Shop, web: Web) -> None:
    home = {"name": "Ann Lee", "address": {"street": "12 Main Street", "city": "Bonn"}}
    shop.send(*(call("identify", userId=name, traits=home) for name in ("ann", "lee", "eve")))
    shop.send(call("identify", userId="bob", traits=home | {"name": "Bob Lee"}))
    ann, lee, eve = (shop.profile(name) for name in ("ann", "lee", "eve"))
    admin, program = web.desk("admin"), web.program("admin")
    page = admin.get("/customers/likely").text
    assert "One name, two customer numbers" in page
    assert cells(page, ann, lee)["Customer number"] == ("ann", "lee", "each their own")
    assert cells(page, ann, eve)["Name"] == ("Ann Lee", "Ann Lee", "the same")
    found = program.told("GET", "/customers/likely")
    assert found["likely"] == []
    assert {tuple(one["customers"]) for one in found["numbered"]} == {(ann, lee), (ann, eve)}
    assert {(one["facts"][0], one["odds"]) for one in found["numbered"]} == {("name and address", None)}

    with shop.sessions.begin() as session:
        likely.offer(session, [Offer(ann, lee, 4.2, ("name",), shop.now)], 1)
    page = admin.get("/customers/likely").text
    assert page.count(f'aria-label="What is stated of {ann} and {lee}"') == 1, "asked once"
    assert "both have a customer number, so that nothing merges them but a person" in page
    assert admin.post(f"/customers/likely/{ann}/{lee}", answer="two").status_code == 302
    assert admin.post(f"/customers/likely/{ann}/{eve}", answer="same").status_code == 302
    assert "the same name and address" in admin.get(f"/customers/{ann}/merges").text
    assert program.told("GET", f"/customers/{ann}/merges")["merges"][0]["alike"] == ["name and address"]
    assert [one["customers"] for one in program.told("GET", "/customers/likely")["numbered"]] == []
    assert "Not merged" in admin.get(f"/customers/{ann}/merges").text, "a third shares it"
    assert admin.post(f"/customers/{ann}/merges", chosen=str(lee)).status_code == 302
    assert "Not merged" not in admin.get(f"/customers/{ann}/merges").text, "all who share it are one"


def test_it_asks_of_nobody_whom_a_person_told_apart_whichever_was_the_child(shop: Shop) -> None:
    pairs = [shop.people(f"{name}-1", f"{name}-2") for name in ("ann", "bob", "carl")]
    stated = text("""
        INSERT INTO identifier (type, value, value_hash, profile_id, owns, source_id, trust, first_seen, last_seen)
        SELECT 'name_address', '', sha256(CAST(:one AS text)::bytea), profile, profile = :one, 1, 100, now(), now()
        FROM unnest(ARRAY[CAST(:one AS bigint), :other]) AS profile
    """)
    tie = text("""
        INSERT INTO refused_tie (type, value_hash, reason, times, first_at, last_at, source_id)
        VALUES ('name_address', sha256(CAST(:one AS text)::bytea), 'shared', 1, now(), now(), 1)
    """)
    parted = text("""
        INSERT INTO profile_link (child_id, parent_id, child_end, parent_end, reason, at, apart)
        VALUES (:one, :other, :one, :other, 'person', now(), true)
    """)
    with shop.sessions.begin() as session:
        for one, other in pairs:
            session.execute(stated, {"one": one, "other": other})
            session.execute(tie, {"one": one})
        assert {(found.one, found.other) for found in merges.numbered(session)} == {tuple(pair) for pair in pairs}
        session.execute(parted, {"one": pairs[0][0], "other": pairs[0][1]})
        session.execute(parted, {"one": pairs[1][1], "other": pairs[1][0]})
        assert [(found.one, found.other) for found in merges.numbered(session)] == [tuple(pairs[2])]

        # Those who are told apart are looked up by both numbers, not gone through for each pair.
        session.execute(text("SET LOCAL enable_nestloop = off"))
        plan = session.scalars(text(f"EXPLAIN {merges._NUMBERED.text}"), {"kinds": sorted(MATCHES), "most": 100})
        assert not any("Nested Loop Anti Join" in line for line in plan)


@pytest.mark.feature("DE-03")
def test_it_tells_of_a_number_that_an_alias_named_before_anybody_came_under_it(shop: Shop, web: Web) -> None:
    shop.people("ann")
    shop.send(call("alias", userId="ann", previousId="before-1"))
    ann, program = shop.profile("ann"), web.program("admin")

    def names() -> list[tuple[str, str]]:
        told = program.told("GET", f"/customers/{ann}")["identifiers"]
        return sorted((one["type"], one["masked"]) for one in told)

    def found() -> list[str]:
        (one,) = program.told("POST", "/customers/search", {"q": "before-1"})["customers"]
        assert one["profile"] == ann
        return sorted(one["matched"].split(", "))

    assert ("anonymous_id", "be•••-1") in names()
    assert ("user_id", "be•••-1") not in names()
    assert found() == ["device"]
    assert program.told("GET", f"/customers/{ann}/merges")["merges"] == []

    shop.send(call("track", userId="before-1", event="Product Viewed", properties={"product_id": "p"}))
    assert ("user_id", "be•••-1") in names()
    assert found() == ["customer number", "device"]
    (merge,) = program.told("GET", f"/customers/{ann}/merges")["merges"]
    assert (merge["evidence"], merge["masked"]) == ("customer number", "be•••-1")
    assert "by an alias that came first" in web.desk("support").get(f"/customers/{ann}/merges").text
