"""The catalogue as people see it: found, narrowed, paged; how its feeds do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from campaigns.campaigns import SlotChoice
from campaigns.models import Campaign, Occurrence
from signals import productpictures
from signals.fullfeeds import take_full
from signals.products import Product, take_products
from signals.sources import create_source, disable_source, sender
from tests.campaigns.catalogue import ITEMS, advance
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web, told
from tests.misbehaving import photo


def found(web: Web, address: str = "", role: str = "manager") -> list[str]:
    """The ids on a page of the list, in its order."""
    page = web.browser(role).get(f"/products/{address}").text
    return [part.split("</code>", 1)[0] for part in page.split('<div class="text-secondary small"><code>')[1:]]


def test_it_teaches_how_a_catalogue_is_loaded_where_there_is_none(web: Web) -> None:
    page = web.browser("manager").get("/products/").text
    assert "No products yet" in page
    assert "latebind import products feed.tsv" in page
    assert "/v1/products" in page
    assert "No feed has come yet" in web.browser("support").get("/product-feeds").text


def test_it_is_for_managers_and_support_and_marks_its_place_in_the_menu(stocked: Shop, web: Web) -> None:
    for role, status in (("manager", 200), ("support", 200), ("admin", 200), ("approver", 403)):
        browser = web.browser(role)
        for path in ("/products/", "/products/shoe", "/product-feeds"):
            assert browser.get(path).status_code == status, (role, path)
    page = web.browser("manager").get("/products/shoe").text
    assert '<a class="nav-link active" href="/products/" aria-current="page">Products</a>' in page
    assert "/offers/" not in web.browser("support").get("/products/shoe").text


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("shoe", ["shoe"]), ("SWIFT", ["shoe"]), ("trail light", ["shoe"]), ("trail belt", []), ("50%", ["shoe"]),
        ("0%l", []), ("running", ["shoe"]), ("sock_1", ["sock_1"]), ("k_1", ["sock_1"]), ("e_t", []),
        ("s/a", ["pills/a"]), ("medicine", ["pills/a"]), ("über", ["pills/a"]), ("nothing", []),
    ],
)  # fmt: skip
def test_it_finds_products_by_every_word_in_id_title_brand_line_or_category(
    stocked: Shop, web: Web, words: str, ids: list[str]
) -> None:
    assert found(web, f"?q={quote(words)}") == ids
    listed = web.program("manager").told("GET", f"/products?q={quote(words)}")
    assert [one["id"] for one in listed["products"]] == ids


def test_it_narrows_by_category_stock_age_picture_and_sensitivity(stocked: Shop, web: Web) -> None:
    digest = stocked.blobs.put(photo())
    with stocked.sessions.begin() as session:
        productpictures.upload(session, "shoe", digest, stocked.now)
        session.get_one(Product, "belt").feed_at = stocked.now - timedelta(hours=30)
    program = web.program("support")
    for page, api, ids in (
        ("category=socks", "category=socks", ["sock_1"]), ("sold_out=1", "stock=none", ["belt"]),
        ("older=24", "older_hours=24", ["belt"]), ("older=48", "older_hours=48", []),
        ("no_picture=1", "picture=none", ["belt", "pills/a", "sock_1"]), ("sensitive=1", "sensitive=true", ["pills/a"]),
        ("no_picture=1&q=s&category=medicine", "picture=none&q=s&category=medicine", ["pills/a"]),
    ):  # fmt: skip
        assert sorted(found(web, f"?{page}")) == ids, page
        assert sorted(one["id"] for one in program.told("GET", f"/products?{api}")["products"]) == ids, api


def test_it_says_what_is_wrong_with_a_question_and_keeps_what_was_typed(stocked: Shop, web: Web) -> None:
    browser = web.browser("manager")
    for question, words in (
        ("?q=" + "x" * 201, "Search: must have at most 200 characters"),
        ("?q=" + "+".join("abcdefghi"), "Search: must have at most 8 words"), ("?older=soon", "Told: must be a whole"),
        ("?older=0", "Told: must be a number of hours"), ("?q=a%00b", "cannot be kept"),
    ):  # fmt: skip
        answer = browser.get(f"/products/{question}")
        assert (answer.status_code, words in answer.text) == (400, True), question
    assert 'value="a b c d e f g h i"' in browser.get("/products/?q=a+b+c+d+e+f+g+h+i").text
    refused = web.program("manager").call("GET", "/products?q=" + "+".join("abcdefghi"))
    assert told(refused, 400)["field"] == "q"


def test_it_pages_by_id_and_keeps_what_was_asked(shop: Shop, web: Web) -> None:
    many = [{"id": f"p{number:03}", "title": f"Thing {number}", "price": "1 EUR"} for number in range(120)]
    take_products(shop.intake, shop.source, [*many, {"id": "other", "title": "Other", "price": "1 EUR"}], shop.now)
    browser, seen, address = web.browser("manager"), [], "/products/?q=thing"
    for _ in range(3):
        page = browser.get(address).text
        assert "120 products" in page
        seen += [part[:4] for part in page.split('<div class="text-secondary small"><code>')[1:]]
        address = f"/products/?after={seen[-1]}&q=thing"
        assert (f'href="{address.replace("&", "&amp;")}"' in page) == (len(seen) < 120)
    assert seen == [f"p{number:03}" for number in range(120)]
    program = web.program("manager")
    after: str | None = ""
    for size in (50, 50, 20):
        answer = program.told("GET", f"/products?q=thing&limit=50&after={after}")
        assert [one["id"] for one in answer["products"]] == seen[:size]
        seen, after = seen[size:], answer["next"]
    assert after is None
    assert "The list ends here" in browser.get("/products/?after=zzz").text


def test_it_says_how_feeds_do_and_why_items_were_refused(stocked: Shop, web: Web) -> None:
    bad = [
        {"id": "x", "title": "X", "price": "15,00 EUR"},
        {"id": "y", "title": "Y", "price": "free"},
        {"id": "z", "price": "1 EUR"},
    ]
    report = take_products(stocked.intake, stocked.source, bad, stocked.now)
    assert (report.stored, report.refused) == (0, 3)
    advance(stocked, timedelta(days=3))
    with stocked.sessions.begin() as session:
        other = sender(create_source(session, "tills", "server", stocked.now)[0])
    take_products(stocked.intake, other, [ITEMS[0]], stocked.now)
    listed = {one["source"]: one for one in web.program("manager").told("GET", "/product-feeds")["feeds"]}
    first, second = listed[stocked.source.id], listed[other.id]
    assert (first["products"], first["stale"], first["taken"], first["refused"]) == (3, 3, 4, 3)
    assert (second["products"], second["stale"], second["taken"], second["refused"]) == (1, 0, 1, 0)
    reasons = {(one["field"], one["times"]) for one in first["reasons"]}
    assert reasons == {("price", 2), ("title", 1)}
    page = web.browser("support").get("/product-feeds").text
    assert "must be an amount" in page
    assert f'href="/stream/?source={stocked.source.id}&amp;status=refused"' in page
    advance(stocked, timedelta(days=8))
    again = {one["source"]: one for one in web.program("manager").told("GET", "/product-feeds")["feeds"]}
    assert (again[stocked.source.id]["taken"], again[stocked.source.id]["reasons"]) == (0, [])


def alarm(web: Web) -> tuple[bool | None, str]:
    """Whether the alarm of stale feeds rings, and its value."""
    listed = web.program("admin").told("GET", "/system/alarms")["alarms"]
    (one,) = [one for one in listed if one["name"] == "FeedsStale"]
    return one["firing"], one["value"]


def mailing(shop: Shop, name: str, bound: timedelta, *needed: str, **offered: Any) -> int:
    """A campaign whose run has been frozen and that sends, with an offer of each product that is shown with a price."""
    made = [
        shop.offer("cross-sell", name=f"{name} {product}", product=product, **({"needs_stock": True} | offered))
        for product in needed
    ]
    default = shop.offer("neutral")
    slots = [SlotChoice(slot=0, default=default, offers=made), SlotChoice(slot=1, default=default)]
    number = shop.campaign(name=name, slots=slots, feed_stale_s=int(bound.total_seconds()))
    with shop.sessions.begin() as session:
        row = session.get_one(Campaign, number)
        row.state = "sending"
        run = Occurrence(
            campaign_id=number, number=1, state="sending", due_at=shop.now, frozen_at=shop.now, plan_hash=row.plan_hash
        )
        session.add(run)
    return number


def end(shop: Shop, campaign: int) -> None:
    """Have a campaign's run, and so the campaign, end now."""
    with shop.sessions.begin() as session:
        session.get_one(Campaign, campaign).state = "finished"
        run = session.get_one(Occurrence, (campaign, 1))
        run.state, run.finished_at = "finished", shop.now


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.feature("DE-06")
def test_it_raises_an_alarm_while_a_feed_is_older_than_a_campaign_trusts_it_for(stocked: Shop, web: Web) -> None:
    assert alarm(web) == (None, "–"), "nobody trusts a feed yet"
    mailing(stocked, "Spring", HOUR, "shoe", "sock_1", "belt")
    advance(stocked, HOUR)
    assert alarm(web) == (False, "0 feeds")
    advance(stocked, timedelta(seconds=1))
    assert alarm(web) == (True, "1 feed")
    assert take_products(stocked.intake, stocked.source, [ITEMS[0] | {"price": "free"}], stocked.now).stored == 0
    assert alarm(web) == (True, "1 feed"), "what is refused tells nothing"
    take_products(stocked.intake, stocked.source, [ITEMS[0]], stocked.now)
    assert alarm(web) == (False, "0 feeds")
    take_full(stocked.intake, stocked.source, ITEMS, stocked.now)
    advance(stocked, timedelta(hours=2))
    take_products(stocked.intake, stocked.source, [ITEMS[0]], stocked.now)
    assert alarm(web) == (True, "1 feed"), "a change of one is not the catalogue"
    with stocked.sessions.begin() as session:
        disable_source(session, stocked.source.id, stocked.now)
    assert alarm(web) == (False, "0 feeds"), "who has no key any more is not waited for"


@pytest.mark.feature("DE-06")
def test_a_feed_is_held_against_the_campaigns_that_need_it_as_they_were_published(stocked: Shop, web: Web) -> None:
    with stocked.sessions.begin() as session:
        tills = sender(create_source(session, "tills", "server", stocked.now)[0])
    take_products(stocked.intake, tills, [ITEMS[0]], stocked.now)
    mailing(stocked, "Words", HOUR, "pills/a", needs_stock=False)
    assert alarm(web) == (None, "–"), "an offer without price or stock needs no fresh facts"
    mailing(stocked, "Hourly", HOUR, "shoe")
    weekly = mailing(stocked, "Weekly", timedelta(days=7), "belt")
    advance(stocked, DAY)
    take_products(stocked.intake, tills, [ITEMS[0]], stocked.now)
    assert alarm(web) == (False, "0 feeds"), "the weekly feed is needed by the weekly campaign alone"
    with stocked.sessions.begin() as session:
        session.get_one(Campaign, weekly).feed_stale_s = 3600
    assert alarm(web) == (False, "0 feeds"), "opens go by what was published"
    stocked.publish(weekly)
    assert alarm(web) == (True, "1 feed")


@pytest.mark.feature("DE-06")
def test_no_feed_is_waited_for_once_nothing_that_needs_it_is_opened(stocked: Shop, web: Web) -> None:
    sale = mailing(stocked, "Sale", HOUR, "shoe", ends_at=stocked.now + timedelta(days=2))
    advance(stocked, DAY)
    assert alarm(web) == (True, "1 feed")
    with stocked.sessions.begin() as session:
        session.get_one(Campaign, sale).killed = True
    assert alarm(web) == (None, "–"), "defaults need no feed"
    with stocked.sessions.begin() as session:
        session.get_one(Campaign, sale).killed = False
    advance(stocked, DAY)
    assert alarm(web) == (None, "–"), "its offer is over"
    spring = mailing(stocked, "Spring", HOUR, "shoe")
    end(stocked, spring)
    advance(stocked, timedelta(days=59))
    assert alarm(web) == (True, "1 feed"), "its mails are opened still"
    assert "fresh: here for 1 hour" in web.browser("manager").get("/product-feeds").text
    end(stocked, sale)
    advance(stocked, DAY)
    assert alarm(web) == (None, "–"), "the lifetime of its mails is over"
    assert "fresh: here for 1 hour" in web.browser("manager").get("/product-feeds").text
    advance(stocked, timedelta(days=60))
    assert "fresh: here for 2 days" in web.browser("manager").get("/product-feeds").text


def test_it_tells_what_left_a_full_feed_and_whose_feed_is_not_believed(stocked: Shop, web: Web) -> None:
    offer = stocked.offer("cross-sell", product="belt", fields={"headline": "without price or stock"})
    later = stocked.now + timedelta(hours=1)
    browser, program = web.browser("support"), web.program("manager")
    assert take_full(stocked.intake, stocked.source, ITEMS[:2], later).held_back == 2
    page, (feed,) = browser.get("/product-feeds").text, program.told("GET", "/product-feeds")["feeds"]
    assert "leaves out 2 of 4 products" in page
    assert (feed["products"], feed["gone"], feed["held_back"]) == (4, 0, 2)
    assert feed["full_at"] == later.isoformat()
    assert program.told("GET", "/products?gone=true")["products"] == []

    later += timedelta(hours=1)
    assert take_full(stocked.intake, stocked.source, ITEMS[:2], later, any_share=True).gone == 2
    page, (feed,) = browser.get("/product-feeds").text, program.told("GET", "/product-feeds")["feeds"]
    assert ("The last full feed of" in page, 'href="/products/?gone=1"' in page) == (False, True)
    assert (feed["products"], feed["gone"], feed["held_back"]) == (2, 2, 0)
    assert found(web, "?gone=1") == ["belt", "pills/a"]
    answer = program.told("GET", "/products/belt")
    assert (answer["product"]["gone_at"], answer["hot"]["stock"], answer["differs"]) == (later.isoformat(), 0, [])
    assert answer["refused"] == [
        {"offer": offer, "why": "the full feed of its source no longer has it", "campaigns": []}
    ]  # fmt: skip
    assert "no longer has it, so no offer shows it" in web.browser("manager").get("/products/belt").text
    assert 'value="belt"' not in web.browser("manager").get("/offers/new").text
    assert 'value="shoe"' in web.browser("manager").get("/offers/new").text
