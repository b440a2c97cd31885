"""One product as people see it: what shops told, what opens read, and what depends on it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from base import keys
from campaigns import relations
from campaigns.campaigns import SlotChoice
from campaigns.models import Campaign, User
from campaigns.pools import PickIn
from campaigns.relations import ByHandIn
from render.relations import Learnt, Together
from signals import productevents, productpictures
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.products import Product, take_products
from signals.sources import create_source, sender
from tests.campaigns.catalogue import ITEMS, advance
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web
from tests.misbehaving import photo


def test_it_shows_prices_in_the_units_of_their_currency_and_whose_word_it_was(stocked: Shop, web: Web) -> None:
    page = web.browser("manager").get("/products/").text
    for price in ("€79.50", "¥1,280<", "KWD 4.250", "€9.00"):
        assert price in page, price
    with stocked.sessions.begin() as session:
        other = sender(create_source(session, "tills", "server", stocked.now)[0])
    later = stocked.now + timedelta(minutes=5)
    assert take_products(stocked.intake, other, [ITEMS[0] | {"price": "70 EUR"}], later).stored == 1
    assert take_products(stocked.intake, stocked.source, [ITEMS[0]], stocked.now).stored == 1, "an older word"
    answer = web.program("manager").told("GET", "/products/shoe")["product"]
    assert (answer["price"], answer["source"], answer["told_at"]) == (7000, "tills", later.isoformat())
    assert "by tills" in web.browser("manager").get("/products/shoe").text


def test_it_survives_long_titles_and_markup_in_them(shop: Shop, web: Web) -> None:
    title = "<script>alert(1)</script>" + "Überlang" * 58
    take_products(shop.intake, shop.source, [{"id": 'a"b', "title": title, "price": "1 EUR"}], shop.now)
    for path in ("/products/", "/products/a%22b"):
        page = web.browser("manager").get(path).text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page, path
        assert "<script>alert" not in page, path


def test_it_serves_the_kept_picture_and_says_why_there_is_none(stocked: Shop, web: Web) -> None:
    browser = web.browser("support")
    assert "No feed links to a picture of it." in browser.get("/products/shoe").text
    assert browser.get("/product-pictures/shoe").status_code == 404
    linked = [ITEMS[0] | {"image_link": "https://img.example.com/1.jpg"}]
    take_products(stocked.intake, stocked.source, linked, stocked.now)
    assert "waits to be fetched" in browser.get("/products/shoe").text
    with stocked.sessions.begin() as session:
        productpictures.fail(session, "shoe", "https://img.example.com/1.jpg", "is larger than 10 MB", stocked.now)
    assert "is larger than 10 MB" in browser.get("/products/shoe").text
    digest = stocked.blobs.put(photo())
    with stocked.sessions.begin() as session:
        productpictures.upload(session, "shoe", digest, stocked.now)
    address = f"/product-pictures/shoe?v={digest[:12]}"
    assert address in browser.get("/products/").text
    answer = browser.get(address)
    assert (answer.data, answer.mimetype) == (stocked.blobs.get(digest), "image/jpeg")
    assert "max-age" in answer.headers["Cache-Control"]
    assert browser.get("/product-pictures/shoe?v=0").headers["Cache-Control"] == "no-store"


def test_it_tells_what_opens_read_beside_what_is_stored_and_where_they_differ(stocked: Shop, web: Web) -> None:
    browser, program = web.browser("manager"), web.program("manager")
    assert "Both say the same" in browser.get("/products/shoe").text
    assert program.told("GET", "/products/shoe")["differs"] == []
    hot = ProductFacts("shoe", 6900, "EUR", 3, unix_ms(stocked.now), "Trail shoe 50% light", 1, "")
    stocked.store.set(keys.product("shoe"), msgspec.msgpack.encode(hot))
    page, answer = browser.get("/products/shoe").text, program.told("GET", "/products/shoe")
    assert "They differ: price, stock" in page
    assert "€69.00" in page
    assert "€79.50" in page
    assert (answer["differs"][:2], answer["hot"]["price"], answer["hot"]["stock"]) == (
        ["price_cents", "stock"],
        6900,
        3,
    )
    stocked.store.delete(keys.product("shoe"))
    assert "opens count it as lost" in browser.get("/products/shoe").text
    assert program.told("GET", "/products/shoe")["hot"] is None
    stocked.store.set(keys.product("shoe"), b"\xc1")
    assert "The hot store does not answer" in browser.get("/products/shoe").text
    assert program.call("GET", "/products/shoe").status_code == 503


def test_it_tells_what_a_product_costs_now_and_until_when(stocked: Shop, web: Web) -> None:
    times = [stocked.now + timedelta(hours=hours) for hours in (1, 3)]
    sale = {"sale_price": "60 EUR", "sale_price_effective_date": "/".join(at.isoformat() for at in times)}
    take_products(stocked.intake, stocked.source, [ITEMS[0] | sale], stocked.now)
    told = []
    for hours in (0, 2, 2):
        advance(stocked, timedelta(hours=hours))
        answer = web.program("manager").told("GET", "/products/shoe")
        told.append((answer["product"]["price"], answer["hot"]["price"], answer["differs"]))
        assert (answer["product"]["regular_price"], answer["product"]["sale_price"]) == (7950, 6000)
        assert answer["product"]["sale_until"] == times[1].isoformat()
        page, listed = (web.browser("manager").get(f"/products/{address}").text for address in ("shoe", "?q=shoe"))
        assert "€60.00 instead of €79.50" in page
        assert ("over</span>" in page, "<s>€79.50</s>" in listed) == (len(told) == 3, len(told) == 2)
    assert told == [(7950, 7950, []), (6000, 6000, []), (7950, 7950, [])]


def test_it_lists_the_offers_and_segments_that_use_a_product_or_its_category(stocked: Shop, web: Web) -> None:
    named: dict[str, dict[str, Any]] = {
        "shows it": {"product": "shoe"},
        "shows it beside others": {"product": "sock_1", "fields": {"products": "belt, shoe"}},
        "may pick it": {"pick": PickIn(how="popular", products=["shoe"])},
        "may pick it, with its category": {"pick": PickIn(how="popular", categories=["running-shoes"])},
        "is about its category": {"category": "running-shoes"},
        "asks for its category": {"relevant": {"field": "purchases.count", "category": "running-shoes", "op": ">=",
                                               "value": 1}},
    }  # fmt: skip
    made = {how: stocked.offer("cross-sell", **content) for how, content in named.items()}
    stocked.offer("cross-sell", product="belt", category="belts")
    rule = {"any": [{"not": {"field": "purchases.count", "category": "running-shoes", "op": ">=", "value": 1}}]}
    segment = web.program("manager").told("POST", "/segments", {"name": "Barefoot", "rule": rule})["id"]
    answer = web.program("manager").told("GET", "/products/shoe")["uses"]
    assert {(one["kind"], one["id"], one["how"]) for one in answer} == {
        *(("offer", number, how) for how, number in made.items()), ("segment", segment, "asks for Running Shoes"),
    }  # fmt: skip
    page = web.browser("manager").get("/products/shoe").text
    for address in (*(f'href="/offers/{number}"' for number in made.values()), f'href="/segments/{segment}"'):
        assert address in page
    assert "No offer and no segment names it" in web.browser("manager").get("/products/pills/a").text


def test_it_warns_of_what_the_next_open_leaves_out_because_of_it(stocked: Shop, web: Web) -> None:
    offer = stocked.offer("cross-sell", product="belt", needs_stock=True)
    stocked.offer("cross-sell", product="belt", fields={"headline": "without price or stock"})
    choice = SlotChoice(slot=0, default=stocked.offer("neutral"), offers=[offer])
    campaign = stocked.campaign(
        name="Spring", slots=[choice, SlotChoice(slot=1, default=choice.default)], feed_stale_s=3600
    )
    program = web.program("manager")

    def refused() -> list[tuple[int, str, list[str]]]:
        return [
            (one["offer"], one["why"], one["campaigns"]) for one in program.told("GET", "/products/belt")["refused"]
        ]

    assert refused() == [(offer, "it is out of stock", [])]
    assert "The next open leaves out because of it" in web.browser("manager").get("/products/belt").text
    take_products(stocked.intake, stocked.source, [ITEMS[2] | {"availability": "in_stock"}], stocked.now)
    assert refused() == []
    advance(stocked, timedelta(hours=2))
    with stocked.sessions.begin() as session:
        session.get_one(Campaign, campaign).state = "sending"
    assert refused() == [(offer, "price and stock were told too long ago", ["Spring"])]
    for role in ("manager", "support"):
        page = web.browser(role).get("/product-feeds").text
        assert "fresh: here for 1 hour" in page
        assert (f"/campaigns/{campaign}/offers" in page, "Spring" in page) == (role == "manager", True)
    page = web.browser("support").get("/products/belt").text
    assert "Too old for Spring" in page
    assert "/product-feeds" not in page
    stocked.store.delete(keys.product("belt"))
    assert refused() == [(offer, "nothing is known of the product in the hot store", [])]


def test_it_tells_what_goes_with_it_with_support_and_lift_and_what_people_set(stocked: Shop, web: Web) -> None:
    with stocked.sessions.begin() as session:
        shoes, socks, belts = (session.get_one(Product, name).category_id or 0 for name in ("shoe", "sock_1", "belt"))
        learnt = Learnt(
            orders=900, until_ms=unix_ms(stocked.now), counted_from_ms=unix_ms(stocked.now - timedelta(days=28)),
            complements={shoes: (Together(socks, 123, 4.25), Together(belts, 45, 1.5))}, buyers={"shoe": 210},
            together={"shoe": {"sock_1": 77}},
        )  # fmt: skip
        relations.keep(session, stocked.blobs, learnt, stocked.now)
    answer = web.program("manager").told("GET", "/products/shoe")
    assert [(one["category"], one["orders"], one["lift"], one["how"]) for one in answer["complements"]] == [
        ("socks", 123, 4.25, "learnt"), ("belts", 45, 1.5, "learnt"),
    ]  # fmt: skip
    assert (answer["together"], answer["buyers"]) == ([{"product": "sock_1", "people": 77}], 210)
    with stocked.sessions.begin() as session:
        for content in (
            ByHandIn(kind="pair", category="running-shoes", other="belts"),
            ByHandIn(kind="parted", category="running-shoes", other="socks"),
        ):
            relations.set_by_hand(session, stocked.blobs, content, stocked.now, MANAGER)
    answer = web.program("manager").told("GET", "/products/shoe")["complements"]
    assert [(one["category"], one["orders"], one["how"]) for one in answer] == [("belts", 45, "by hand")]
    page = web.browser("manager").get("/products/shoe").text
    assert "set by hand" in page
    assert "Set apart by hand: Socks" in page
    assert "77 bought both" in page
    assert "210 bought it" in page


def test_it_counts_who_bought_and_who_looked_each_once_within_bounds(
    stocked: Shop, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked.people("ann", "bob", "cleo")

    def event(name: str, what: str, **properties: Any) -> dict[str, Any]:
        return {"type": "track", "userId": name, "event": what, "properties": properties}

    lines = [{"product_id": "shoe", "price": 79.5}, {"sku": "belt"}]
    stocked.send(
        event("ann", "Order Completed", order_id="1", products=lines),
        event("ann", "Order Completed", order_id="2", products=lines),
        event("bob", "Order Completed", order_id="3", products=[{"product_id": "shoe-2", "name": "shoe"}]),
        event("bob", "Product Viewed", product_id="shoe"), event("cleo", "product viewed", productId="shoe"),
        event("cleo", "Product Added", product_id="shoe"), event("cleo", "Product Viewed", product_id="pills/a"),
    )  # fmt: skip
    program = web.program("manager")
    for product, people in (("shoe", (1, 2)), ("belt", (1, 0)), ("pills/a", (0, 1)), ("sock_1", (0, 0))):
        answer = program.told("GET", f"/products/{product}")["interest"]
        assert (answer["bought"], answer["looked"]) == people, product
    page = web.browser("support").get("/product-interest/shoe").text
    assert "1 bought it and 2 looked at it in all that is stored" in page
    monkeypatch.setattr(productevents, "LOOKED_THROUGH", 3)
    answer = program.told("GET", "/products/shoe")["interest"]
    assert (answer["bought"], answer["looked"], answer["signals"]) == (0, 1, 3)
    assert "among the newest 3 signals" in web.browser("support").get("/product-interest/shoe").text


def test_it_knows_no_product_that_is_not_there(stocked: Shop, web: Web) -> None:
    assert web.browser("manager").get("/products/none").status_code == 404
    assert web.program("manager").call("GET", "/products/none").status_code == 404
    assert web.program("approver").call("GET", "/products/shoe").status_code == 403


def test_it_shows_a_sale_that_never_ends_to_whoever_lives_east_of_greenwich(stocked: Shop, web: Web) -> None:
    span = f"{stocked.now.isoformat()}/9999-12-31T23:59:59Z"
    sale = {"sale_price": "60 EUR", "sale_price_effective_date": span}
    take_products(stocked.intake, stocked.source, [ITEMS[0] | sale], stocked.now)
    browser = web.browser("manager")
    with stocked.sessions.begin() as session:
        session.execute(update(User).values(timezone="Europe/Vienna"))
    assert "31 Dec 9999" in browser.get("/products/shoe").text
