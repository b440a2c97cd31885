"""What was refused: why, where it is listed, and how it is taken again once what was wrong is mended."""

from __future__ import annotations

import re

import msgspec
from sqlalchemy import text

from base.errors import InvalidInput
from signals.intake import take
from signals.products import take_products
from signals.shoporders import refuse
from signals.shops import create_shop, shop_by_hook, tally
from signals.sources import create_source, sender
from tests.campaigns.shop import Shop
from tests.campaigns.test_stream import PLAN, booked
from tests.campaigns.web import Web, told

KEY = b"k" * 32


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
