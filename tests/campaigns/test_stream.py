"""The page of the event stream: what came and what became of it, for whom it may be seen, and how it is mended."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import chain

import msgspec
import pytest
from sqlalchemy import select, text

from campaigns.models import AccessEntry
from signals import stream
from signals.intake import take
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web

KEY = b"k" * 32
PLAN = {
    "name": "Fitting Booked",
    "definition": {"properties": {"size": {"type": "text", "values": ["S", "M"], "required": True}}, "strict": False},
}


def booked(shop: Shop, size: str) -> int:
    """A signal that breaks the plan; its number among the refused."""
    shop.intake.reader.plans.renew()
    body = {
        "type": "track", "userId": "ann", "event": "Fitting Booked", "messageId": f"fit-{size}",
        "properties": {"size": size, "note": "write to ann@example.com or +43 660 1234567"},
        "context": {"ip": "192.0.2.7", "traits": {"email": "ann@example.com"}},
    }  # fmt: skip
    (outcome,) = take(shop.intake, shop.source, [msgspec.json.encode(body)], shop.now)
    assert outcome.status == "rejected"
    with shop.sessions.begin() as session:
        return int(session.scalar(text("SELECT max(id) FROM rejected_event")))


def looks(web: Web) -> list[tuple[str, int | None]]:
    with web.shop.sessions.begin() as session:
        return [
            (row.action, row.profile_id)
            for row in session.scalars(select(AccessEntry).order_by(AccessEntry.id))
            if row.action == "event stream"
        ]


def test_it_shows_what_came_and_polls_without_loading_the_page_again(shop: Shop, web: Web) -> None:
    support = web.desk("support")
    assert "Nothing came yet" in support.get("/stream/").text
    (ann,) = shop.people("ann")
    shop.send(shop.order("ann", "Shoes", shop.now))
    page = support.get("/stream/").text
    for words in ("Order Completed", "identify", f"Customer {ann}", "Taken"):
        assert words in page, words
    assert "ann@" not in page
    (again,) = re.findall(r'hx-get="([^"]+)"', page)
    newest = again.replace("&amp;", "&")
    assert support.get(newest).status_code == 204, "nothing new"
    shop.send({"type": "track", "userId": "ann", "event": "Lift Pressed"})
    answer = support.get(newest)
    assert answer.status_code == 200
    assert "Lift Pressed" in answer.text
    assert "<html" not in answer.text
    assert web.desk("manager").get("/stream/").status_code == 403


def test_it_pages_backwards_through_all_that_was_quarantined_and_through_all_kinds(shop: Shop, web: Web) -> None:
    support, admin, program = web.desk("support"), web.desk("admin"), web.program("support")
    web.program("admin").told("PUT", "/tracking-plan", PLAN)
    shop.people("ann")
    shop.send(shop.order("ann", "Shoes", shop.now, order_id="o1"))
    numbers = [booked(shop, f"X{count}") for count in range(53)]
    shop.clock.advance(timedelta(minutes=1))
    shop.send(shop.order("ann", "Shoes", shop.now, order_id="o2"))

    def shown(page: str) -> list[int]:
        return [int(number) for number in re.findall(r'href="/stream/refused/(\d+)"', page)]

    def links(page: str) -> dict[str, str]:
        found = re.findall(r'href="([^"]+)">(Older|Newest)</a>', page)
        return {words: path.replace("&amp;", "&") for path, words in found}

    first = support.get("/stream/?status=quarantined").text
    assert list(links(first)) == ["Older"]
    second = support.get(links(first)["Older"]).text
    assert shown(first) + shown(second) == numbers[::-1]
    assert links(second) == {"Newest": "/stream/?status=quarantined"}
    assert ("hx-get" in first, "hx-get" in second) == (True, False), "an older part is not replaced by the newest"
    assert shown(admin.get("/stream/?status=quarantined&before=1.2").text) == numbers[:2:-1], "no place: the newest"

    whole = program.told("GET", "/signals?limit=500")
    assert whole["older"] is None
    told, before = [], ""
    while True:
        part = program.told("GET", f"/signals?limit=7{before}")
        told += part["signals"]
        shop.send({"type": "track", "userId": "ann", "event": "Lift Pressed"})
        if part["older"] is None:
            break
        assert len(part["signals"]) == 7
        before = f"&before={part['older']}"
    assert told == whole["signals"], "each once, whatever comes meanwhile"
    assert {one["status"] for one in told} == {"taken", "quarantined"}
    assert program.call("GET", "/signals?before=x").status_code == 400
    assert program.call("GET", "/signals?limit=501").status_code == 400


@pytest.mark.feature("DE-02")
def test_no_source_and_no_name_mean_all_to_programs_whether_they_list_or_take_again(shop: Shop, web: Web) -> None:
    admin = web.program("admin")
    shop.people("ann")
    admin.told("PUT", "/tracking-plan", PLAN)
    number = booked(shop, "XXL")
    listed = admin.told("GET", "/signals?source=0&profile=0&name=&status=quarantined")["signals"]
    assert [line["number"] for line in listed] == [number]
    for asked in ({"source": 0, "name": ""}, {"source": 0}, {"name": ""}, {"source": None, "name": None}, {}):
        assert admin.told("POST", "/signals/replay", asked) == {"outcomes": {"rejected": 1}}, asked
    assert admin.told("POST", "/signals/replay", {"source": shop.source.id + 1}) == {"outcomes": {}}


def test_it_flags_a_signal_whose_id_was_taken_by_another_and_leads_to_the_one_that_counts(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    first = shop.order("ann", "Shoes", shop.now) | {"messageId": "one"}
    bodies = [msgspec.json.encode(one) for one in (first, first, first | {"properties": {"order_id": "o9"}})]
    outcomes = take(shop.intake, shop.source, bodies, shop.now)
    assert [outcome.status for outcome in outcomes] == ["accepted", "duplicate", "conflict"]
    support = web.desk("support")
    page = support.get("/stream/?name=Order+Completed").text
    (other,) = re.findall(r'href="(/stream/contradicting/[0-9]+)"', page)
    (counts,) = re.findall(r'href="(/stream/taken/[0-9]+)"', page)
    assert "Contradicting" in page
    told = support.get(other).text
    assert "Its message id was taken by a signal with other content; it changed nothing." in told
    assert ("o9" in told, f'href="{counts}"' in told) == (True, True)
    assert "counts for" not in told
    assert f'It counts for <a href="/customers/{ann}">' in support.get(counts).text


def test_it_finds_a_customers_signals_with_no_address_in_a_url(shop: Shop, web: Web) -> None:
    ann, _ = shop.people("ann", "bob")
    support = web.desk("support")
    support.get("/stream/")
    found = support.post("/stream/", person="ann@example.com", name="identify")
    assert found.location == f"/stream/?name=identify&person={ann}"
    page = support.get(found.location).text
    assert page.count("Customer ") == page.count(f"Customer {ann}") > 0
    # Somebody else may have that number at a shop.
    shop.send({"type": "identify", "userId": str(ann), "traits": {"city": "Ulm"}})
    assert f'name="person" value="Customer {ann}"' in page
    again = support.post("/stream/", person=f"Customer {ann}", name="identify", status="taken")
    assert again.location == f"/stream/?name=identify&status=taken&person={ann}"
    assert looks(web)[-1] == ("event stream", ann)
    known = len(looks(web))
    support.get(found.location)
    assert len(looks(web)) == known, "whoever keeps watching leaves a line a minute"
    unknown = support.post("/stream/", person="nobody@example.com", name="identify", status="taken")
    assert (unknown.status_code, "Customer: nobody is known by this" in unknown.text) == (400, True)
    for kept in ('value="nobody@example.com"', 'value="identify"', '<option value="taken" selected>'):
        assert kept in unknown.text
    assert 'id="stream"' not in unknown.text, "what everybody sent is no answer"
    listed = web.program("support").told("GET", f"/signals?profile={ann}&name=identify")["signals"]
    assert [(one["name"], one["profile"], one["status"]) for one in listed] == [("identify", ann, "taken")]
    assert web.program("support").call("GET", "/signals?profile=99999").status_code == 404


def test_it_shows_support_a_signal_with_names_and_addresses_masked(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann", city="Bonn", firstName="Annabel", name="Annabel Lee", birth_date="1984-02-01")
    program, admin = web.program("support"), web.program("admin")
    (number,) = (one["number"] for one in admin.told("GET", "/signals?name=identify")["signals"])
    whole, seen = (one.told("GET", f"/signals/taken/{number}") for one in (admin, program))
    assert whole["body"]["traits"]["email"] == "ann@example.com"
    assert (seen["body"]["traits"]["email"], seen["body"]["userId"]) == ("a•••@example.com", "a•••")
    changes = {one["path"]: (one["before"], one["after"]) for one in seen["changes"]}
    assert changes["traits.city"] == (None, "Bonn")
    page = web.desk("support").get(f"/stream/taken/{number}").text
    assert "City" in page
    assert "As it was understood" not in page
    for words in ("ann@example.com", "Annabel", "Lee", "1984"):
        assert words not in page, words
    assert "Annabel Lee" in web.desk("admin").get(f"/stream/taken/{number}").text
    assert (changes["traits.name"], changes["traits.birth_date"]) == ((None, "•••"), (None, "•••"))
    assert "ann@example.com" in web.desk("admin").get(f"/stream/taken/{number}").text
    assert looks(web)[-1] == ("event stream", ann)
    for path in ("/stream/taken/999999", "/stream/refused/9", "/stream/contradicting/9", "/stream/other/1"):
        assert web.desk("admin").get(path).status_code == 404, path
    assert admin.call("GET", "/signals/other/1").status_code == 404


def test_it_shows_support_no_name_in_a_change_or_a_heading(shop: Shop, web: Web) -> None:
    shop.people("ann")
    named = {"name": {"first": "Annabel", "last": "Lee"}, "address": {"city": "Bonn"}}
    shop.send({"type": "identify", "userId": "ann", "timestamp": shop.now.isoformat(), "traits": named})
    event = "ann@example.com wrote"
    shop.send({"type": "track", "userId": "ann", "timestamp": shop.now.isoformat(), "event": event})
    program, desk, admin = web.program("support"), web.desk("support"), web.desk("admin")
    told = web.program("admin").told("GET", "/signals")["signals"]
    written, identify = (next(one["number"] for one in told if one["name"] == name) for name in (event, "identify"))
    changes = {one["path"]: one["after"] for one in program.told("GET", f"/signals/taken/{identify}")["changes"]}
    assert changes == {"traits.name.first": "•••", "traits.name.last": "•••", "traits.address.city": "Bonn"}
    page = desk.get(f"/stream/taken/{identify}").text
    assert [words for words in ("Annabel", "Lee") if words in page] == []
    assert "a•••@example.com wrote" in desk.get(f"/stream/taken/{written}").text
    assert event not in desk.get(f"/stream/taken/{written}").text
    assert program.told("GET", f"/signals/taken/{written}")["signal"]["name"] == "a•••@example.com wrote"
    assert event in admin.get(f"/stream/taken/{written}").text


def test_it_leads_from_a_call_about_a_household_to_it(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    shop.send({"type": "group", "userId": "ann", "groupId": "h1", "traits": {"type": "household", "size": 3}})
    with shop.sessions.begin() as session:
        number = session.scalar(text("SELECT max(id) FROM event WHERE type = 'group'"))
    page = web.desk("support").get(f"/stream/taken/{number}").text
    assert "With whom they live is found from all such calls" in page
    assert f'href="/customers/{ann}/household"' in page


@pytest.mark.parametrize("limit", [2, 5, 50])
def test_it_ends_where_nothing_older_is_left_however_rare_what_is_asked_for(
    shop: Shop, web: Web, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(stream, "REACH", 10)
    monkeypatch.setattr(stream, "PASSED", 12)
    monkeypatch.setattr(stream, "NAMING_REACH", 3)
    web.program("admin").told("PUT", "/tracking-plan", PLAN)
    shop.people("ann")
    booked(shop, "XL")
    names = ["Rare"] * 3 + ["Often"] * 25 + ["Rare"] * 2
    for name in names:
        shop.clock.advance(timedelta(minutes=1))
        shop.send({"type": "track", "userId": "ann", "event": name})
    for _ in range(4):
        take(shop.intake, shop.source, [b'{"type": "track"}'], shop.now)
    program = web.program("support")

    def all_of(asked: str) -> list[list[str]]:
        parts: list[list[str]] = []
        before: str | None = ""
        while before is not None:
            told = program.told("GET", f"/signals?limit={limit}&{asked}" + (f"&before={before}" if before else ""))
            parts.append([one["name"] for one in told["signals"]])
            before = told["older"]
        return parts

    rare = all_of("name=Rare")
    assert [*chain(*rare)] == ["Rare"] * 5
    assert [] in rare, "a part in which nothing fits is not the end"
    assert [*chain(*all_of("status=taken"))] == [*reversed(names), "Consent Changed", "identify"], "each once"
    assert [*chain(*all_of("name=Never"))] == []
    ann = shop.profile("ann")
    assert [*chain(*all_of(f"profile={ann}&status=quarantined"))] == ["Fitting Booked"]

    support = web.desk("support")
    page, empty = support.get("/stream/?name=Rare").text, ""
    while older := re.search(r'href="([^"]+)">Older</a>', page):
        page = support.get(older[1].replace("&amp;", "&")).text
        empty = page if "Nothing fits so far" in page else empty
    assert "looks through the next ones" in empty
    assert "as they were sent, capitals too" in empty, "a name that was typed otherwise finds nothing in older ones"
    assert "Nothing fits so far" not in page
