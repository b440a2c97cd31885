"""The page of the event stream: what came and what became of it, for whom it may be seen, and how it is mended."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import chain

import msgspec
import pytest
from sqlalchemy import select, text

from base.errors import InvalidInput
from campaigns.models import AccessEntry
from signals import stream
from signals.intake import take
from signals.products import take_products
from signals.shoporders import refuse
from signals.shops import create_shop, shop_by_hook, tally
from signals.sources import create_source, sender
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web, told

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


def test_it_takes_a_quarantined_signal_again_when_the_plan_is_mended(shop: Shop, web: Web) -> None:
    shop.people("ann")
    program, desk = web.program("admin"), web.desk("admin")
    program.told("PUT", "/tracking-plan", PLAN)
    number, other = booked(shop, "L"), booked(shop, "XL")
    page = desk.get(f"/stream/refused/{number}").text
    for words in ("Quarantined", "properties.size", "must be one of S, M", "Mend the plan", "ann@example.com"):
        assert words in page, words
    assert "Take it again" not in page, "it would be refused again"
    masked = web.desk("support").get(f"/stream/refused/{number}").text
    for words in ("ann@example.com", "1234567", "192.0.2.7", "Take it again"):
        assert words not in masked, words
    assert desk.post(f"/stream/refused/{number}/replay").status_code == 302
    assert "still refused" in desk.get(f"/stream/refused/{number}").text
    mended = {"name": "Fitting Booked", "definition": {"properties": {"size": {"type": "text"}}}}
    program.told("PUT", "/tracking-plan", mended)
    assert "Take it again" in desk.get(f"/stream/refused/{number}").text
    assert "an admin can take it again" in web.desk("support").get(f"/stream/refused/{number}").text
    assert "1</a>" not in desk.get("/system/tracking-plan/").text
    assert "2</a>" in desk.get("/system/tracking-plan/").text
    desk.post(f"/stream/refused/{number}/replay")
    page = desk.get(f"/stream/refused/{number}").text
    assert "1 taken now" in page
    assert "Take it again" not in page
    assert "and quarantined before. What was said of it then: “" in page
    assert "Refused at first" not in page
    (stored,) = (one for one in program.told("GET", "/signals?status=taken&name=Fitting Booked")["signals"])
    assert f'href="/stream/taken/{stored["number"]}"' in page
    assert f'href="/customers/{stored["profile"]}"' in page
    assert "Taken later</span> before: <code>" in desk.get("/stream/?status=replayed").text
    assert told(program.call("POST", f"/signals/refused/{number}/replay"))["outcomes"] == {"duplicate": 1}
    assert program.told("POST", "/signals/replay", {"name": "Fitting Booked"})["outcomes"] == {"accepted": 1}
    # A plan that is stricter later changes nothing of what was said before it was taken.
    strict = {"name": "Fitting Booked", "definition": {"properties": {"size": {"type": "number"}}}}
    program.told("PUT", "/tracking-plan", strict)
    assert told(program.call("POST", f"/signals/refused/{number}/replay"))["outcomes"] == {"duplicate": 1}
    assert "must be one of S, M" in desk.get(f"/stream/refused/{number}").text
    listed = program.told("GET", "/signals?name=Fitting Booked")["signals"]
    assert sorted(one["status"] for one in listed) == ["replayed", "replayed", "taken", "taken"]
    assert program.call("POST", "/signals/refused/99999/replay").status_code == 404
    assert other > number


def test_it_says_why_a_refused_signal_cannot_be_taken_again_and_what_to_do(shop: Shop, web: Web) -> None:
    with shop.sessions.begin() as session:
        site = sender(create_source(session, "site", "browser", shop.now)[0])
    told = {"type": "track", "anonymousId": "d1", "messageId": "m-1", "properties": {}}
    for body, source, words in (
        (told | {"event": "Order Completed", "properties": {"order_id": "7"}}, site, "Have the shop’s server send it"),
        (told | {"event": "Order Completed", "timestamp": "soon"}, shop.source, "Have the source mend it"),
        (
            told | {"event": "X", "properties": {"text": "x" * 9_000}, "timestamp": 7},
            shop.source,
            "Nothing of it is kept",
        ),
    ):
        (outcome,) = take(shop.intake, source, [msgspec.json.encode(body)], shop.now)
        assert outcome.status == "rejected"
        with shop.sessions.begin() as session:
            number = session.scalar(text("SELECT max(id) FROM rejected_event"))
        page = web.desk("admin").get(f"/stream/refused/{number}").text
        assert words in page
        assert "Take it again" not in page
        assert web.program("admin").told("GET", f"/signals/refused/{number}")["replayable"] is False
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE rejected_event SET reason = 'product'"))
    assert "no signal. Mend it in the feed" in web.desk("support").get(f"/stream/refused/{number}").text


def test_it_says_of_what_is_no_json_in_a_sentence_and_leads_there_from_the_system_page(shop: Shop, web: Web) -> None:
    take(shop.intake, shop.source, [b'{"type": 1}}', b"[]", b'{"type": "track", "event": "X"}'], shop.now)
    said = "The event is not valid JSON: trailing characters (byte 12)"
    desk = web.desk("admin")
    system = desk.get("/system/").text
    rows = dict(
        re.findall(r'<a href="(/stream/refused/\d+)">.*?data-label="Why" class="wrap-any"><div>(.*?)</div>', system)
    )
    by_field = ["<code>userId</code> or anonymousId must be given", said, "The event must be an object"]
    assert sorted(rows.values()) == sorted(by_field)
    broken = next(path for path, words in rows.items() if words == said)
    assert f"Refused. {said}." in " ".join(desk.get(broken).text.split())
    assert f"Refused</span> {said}</div>" in desk.get("/stream/").text


def test_it_leads_from_a_call_about_a_household_to_it(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    shop.send({"type": "group", "userId": "ann", "groupId": "h1", "traits": {"type": "household", "size": 3}})
    with shop.sessions.begin() as session:
        number = session.scalar(text("SELECT max(id) FROM event WHERE type = 'group'"))
    page = web.desk("support").get(f"/stream/taken/{number}").text
    assert "With whom they live is found from all such calls" in page
    assert f'href="/customers/{ann}/household"' in page


def test_the_links_to_what_was_refused_list_as_many_as_they_count(shop: Shop, web: Web) -> None:
    admin = web.program("admin")
    admin.told("PUT", "/tracking-plan", PLAN)
    quarantined = booked(shop, "XL")
    (outcome,) = take(shop.intake, shop.source, [b'{"type": "track"}'], shop.now)
    assert outcome.status == "rejected"

    def counted() -> tuple[int, str, int]:
        """By the page *System*, by *Sources*, and by the list that both lead to."""
        desk = web.desk("admin", "support")
        system, sources = desk.get("/system/").text, desk.get("/system/sources").text
        number = re.search(r"(\d+) refused or quarantined", system)
        (link,) = re.findall(r'href="([^"]+)">Refused signals<', system)
        share = re.search(r'href="([^"]+status=untaken)">([^<]+)<', sources.replace("&amp;", "&"))
        assert number is not None
        assert share is not None
        listed = desk.get(link).text.count('href="/stream/refused/')
        assert desk.get(share[1]).text.count('href="/stream/refused/') == listed
        return int(number[1]), share[2], listed

    assert counted() == (2, "100.0 %", 2)
    asked = {"untaken": 2, "refused": 1, "quarantined": 1, "replayed": 0}
    for status, number in asked.items():
        assert len(admin.told("GET", f"/signals?status={status}")["signals"]) == number, status
    admin.told("PUT", "/tracking-plan", PLAN | {"definition": {"properties": {}, "strict": False}})
    shop.intake.reader.plans.renew()
    admin.told("POST", f"/signals/refused/{quarantined}/replay")
    assert len(admin.told("GET", "/signals?status=replayed")["signals"]) == 1
    assert counted() == (1, "50.0 %", 1)


def test_what_was_refused_has_a_name_and_is_theirs_who_are_asked_for(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    assert take_products(shop.intake, shop.source, [{"id": "sku-9", "title": "No price"}], shop.now).refused == 1
    (outcome,) = take(shop.intake, shop.source, [b'{"type": "identify", "userId": "ann", "timestamp": 7}'], shop.now)
    assert outcome.status == "rejected"
    with shop.sessions.begin() as session:
        _, row, _ = create_shop(session, "Poles", "shopify", KEY, shop.now, secret="long-enough")
        connected = shop_by_hook(session, "shopify", row.hook, KEY, shop.settings.hash_key)
    assert connected is not None
    refuse(shop.intake, connected, "orders/create", "7", InvalidInput("created_at", "must be a moment"), shop.now)
    desk = web.desk("admin")
    page = desk.get("/stream/").text
    for name in (">product sku-9<", ">identify<", ">orders/create<"):
        assert name in page, name
    assert "No name" not in page
    theirs = desk.get(f"/stream/?status=refused&person={ann}").text
    assert (f">Customer {ann}<" in theirs, "nobody" in theirs, "orders/create" in theirs) == (True, False, False)
    with shop.sessions.begin() as session:
        tally(session, connected.sender.id, "orders/create", "unreadable", shop.now)
    assert f"/stream/?source={connected.sender.id}&amp;status=refused" in desk.get("/system/shops/").text


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
