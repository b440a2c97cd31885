"""Offers that leave their product open: what a manager may say, and the pool that a plan makes of it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from base.errors import InvalidInput
from campaigns import offers, relations
from campaigns.campaigns import SlotChoice
from campaigns.pools import PickIn
from render.incentive import Incentive
from render.pick import MAX_POOL
from render.plan import Offer, Plan, decode
from render.relations import Learnt
from signals.fullfeeds import take_full
from signals.moments import unix_ms
from signals.products import take_products
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.test_pages import Form
from tests.campaigns.web import Web

ITEMS: list[dict[str, Any]] = [
    *(
        {"id": f"eos-{tier}", "title": f"Camera {tier}", "price": f"{price}.00 EUR", "product_type": "Cameras",
         "line": "eos", "link": f"https://goods.example.com/eos-{tier}", "availability": "in_stock"}
        for tier, price in ((1, 300), (2, 500), (3, 700))
    ),
    {"id": "card", "title": "Card", "price": "19.99 EUR", "product_type": "Cards", "promotion_id": "x"},
    {"id": "pills", "title": "Pills", "price": "9 EUR", "product_type": "Medicine"},
]  # fmt: skip


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """A shop with cameras in three versions, a card for them, and medicine."""
    assert take_products(shop.intake, shop.source, ITEMS, shop.now).refused == 0
    return shop


def planned(shop: Shop, **pick: Any) -> Plan:
    """The published plan of a campaign whose one offer picks its product so."""
    number = shop.offer("cross-sell", pick=PickIn(**pick))
    choice = SlotChoice(slot=0, default=shop.offer("neutral"), offers=[number])
    campaign = shop.campaign(published=False, slots=[choice, SlotChoice(slot=1, default=choice.default)])
    return decode(shop.blobs.get(shop.publish(campaign)))


def picking(plan: Plan) -> Offer:
    return next(offer for offer in plan.offers if offer.pick is not None)


@pytest.mark.feature("CM-41")
@pytest.mark.feature("DE-06")
def test_it_makes_whole_lines_of_an_upgrade_with_their_tiers(stocked: Shop) -> None:
    plan = planned(stocked, how="upgrade", products=["eos-2"])
    offer = picking(plan)
    assert offer.pick is not None
    assert [(entry.id, entry.tier) for entry in offer.pick.pool] == [("eos-2", 1), ("eos-1", 0), ("eos-3", 2)]
    assert offer.needs_stock
    assert plan.product_ids == ("eos-2", "eos-1", "eos-3")
    assert offer.landing_for("eos-3") == "https://goods.example.com/eos-3"
    assert "goods.example.com" in plan.landing_hosts
    # The shop's own tiers go before prices: the cheapest may be the best.
    told = [{**item, "tier": str(9 - number)} for number, item in enumerate(ITEMS[:3])]
    take_products(stocked.intake, stocked.source, told, stocked.now + timedelta(seconds=1))
    pool = picking(planned(stocked, how="upgrade", lines=["eos"])).pick
    assert pool is not None
    assert [entry.id for entry in pool.pool] == ["eos-3", "eos-2", "eos-1"]


def test_it_takes_products_in_the_order_named_and_then_those_of_categories(stocked: Shop) -> None:
    pick = picking(planned(stocked, how="popular", products=["card"], categories=["cameras"], within_days=9)).pick
    assert pick is not None
    assert [entry.id for entry in pick.pool] == ["card", "eos-1", "eos-2", "eos-3"]
    assert pick.within_days == 9


def test_it_brings_no_product_that_is_gone_by_its_category_but_whole_lines_for_an_upgrade(stocked: Shop) -> None:
    left = [item for item in ITEMS if item["id"] != "eos-1"]
    later = stocked.now + timedelta(seconds=1)
    assert take_full(stocked.intake, stocked.source, left, later, any_share=True).gone == 1

    def pool(**pick: Any) -> list[str]:
        made = picking(planned(stocked, **pick)).pick
        assert made is not None
        return [entry.id for entry in made.pool]

    assert pool(how="popular", categories=["cameras"]) == ["eos-2", "eos-3"]
    assert pool(how="popular", lines=["eos"]) == ["eos-2", "eos-3"]
    assert pool(how="popular", products=["eos-1"], categories=["cameras"]) == ["eos-1", "eos-2", "eos-3"]
    assert pool(how="upgrade", lines=["eos"]) == ["eos-1", "eos-2", "eos-3"]


@pytest.mark.feature("CM-44")
def test_it_reads_the_versions_of_a_line_where_a_text_tells_of_them(stocked: Shop) -> None:
    def published(product: str, text: str) -> Plan:
        number = stocked.offer("upsell", product=product, fields={"headline": text})
        choice = SlotChoice(slot=0, default=stocked.offer("neutral"), offers=[number])
        slots = [choice, SlotChoice(slot=1, default=choice.default)]
        return decode(stocked.blobs.get(stocked.publish(stocked.campaign(published=False, slots=slots))))

    text = "From {{ product.entry_price }}"
    plan = published("eos-2", text)
    assert plan.product_ids == ("eos-2", "eos-1", "eos-3")
    assert published("eos-2", "Better pictures").product_ids == ("eos-2",)
    with pytest.raises(InvalidInput, match="belongs to no line"):
        published("card", text)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"products": ["none"]}, "names the product 'none'"),
    ({"categories": ["none"]}, "names the category none"),
    ({"categories": ["medicine"]}, "medicine, a sensitive category"),
    ({"products": ["pills"]}, "leaves no product"),
    ({}, "leaves no product"),
    ({"how": "upgrade", "products": ["card"]}, "leaves no product"),
]


def test_it_refuses_a_pick_and_says_why(stocked: Shop) -> None:
    for changes, message in REFUSED:
        with pytest.raises(InvalidInput, match=message) as refused:
            stocked.offer("cross-sell", pick=PickIn(**({"how": "popular"} | changes)))
        assert refused.value.field == "pick"
    many = [{**ITEMS[3], "id": f"card-{number}"} for number in range(MAX_POOL)]
    take_products(stocked.intake, stocked.source, many, stocked.now)
    with pytest.raises(InvalidInput, match="more than 24"):
        stocked.offer("cross-sell", pick=PickIn(how="popular", categories=["cards"]))
    with pytest.raises(InvalidInput, match="either named or picked"):
        stocked.offer("cross-sell", product="card", pick=PickIn(how="popular", products=["card"]))


def test_it_keeps_what_was_said_of_a_pick(stocked: Shop) -> None:
    pick = PickIn(how="complement", products=["card"], within_days=30)
    number = stocked.offer("cross-sell", pick=pick)
    with stocked.sessions.begin() as session:
        row = offers.offer(session, number)
        assert offers.content(row).pick == pick
        changed = msgspec.structs.replace(offers.content(row), pick=None, product="card")
        offers.update_offer(session, number, changed, stocked.now, MANAGER)
        assert row.pick is None


def test_it_tells_and_changes_relations_by_the_api(web: Web) -> None:
    shop, program = web.shop, web.program("manager")
    take_products(shop.intake, shop.source, ITEMS, shop.now)
    empty = program.told("GET", "/relations")
    assert (empty["hash"], empty["until"], empty["complements"]) == (None, None, [])
    pair = {"kind": "pair", "category": "cameras", "other": "cards"}
    made = program.told("POST", "/relations/by-hand", pair)
    told = program.told("GET", "/relations")
    assert told["complements"] == [{"category": "cameras", "other": "cards", "orders": 0, "lift": 0.0, "by_hand": True}]
    page = web.desk("manager").get("/relations/").text
    for label in ("Who bought", "is offered", "Orders with both", "Likelier by"):
        assert f'<td data-label="{label}"' in page, "a phone has no row of titles"
    assert program.call("POST", "/relations/by-hand", pair).status_code == 409
    wrong = {"kind": "interval", "category": "cameras", "other": "cards", "days": 3}
    for body, field in (
        (pair | {"other": None}, "other"), (wrong, "other"), (pair | {"days": 3}, "days"),
        (pair | {"other": "medicine"}, "other"), (pair | {"other": "cameras"}, "other"),
        (pair | {"category": "none"}, "category"),
    ):  # fmt: skip
        answer = program.call("POST", "/relations/by-hand", body)
        assert (answer.status_code, answer.get_json()["field"]) == (400, field), answer.text
    assert program.told("DELETE", f"/relations/by-hand/{made['id']}")["done"]
    assert program.told("GET", "/relations")["complements"] == []


def test_it_sets_by_the_pages_how_a_product_is_picked_and_what_goes_together(web: Web) -> None:
    shop, browser = web.shop, web.browser("manager")
    take_products(shop.intake, shop.source, ITEMS, shop.now)
    form = {
        "name": "Card for the camera", "kind": "volume", "creative_id": str(shop.creative()),
        "landing": "https://shop.example.com/", "pick_how": "complement", "pick_products": "card, eos-1",
        "pick_days": "30", "units": "2", "percent": "", "incentive_limit": "40", "incentive_flagged": "on",
        "incentive_cents": "3.00",
    }  # fmt: skip
    assert browser.post("/offers/new", **form).status_code == 302
    with shop.sessions.begin() as session:
        row = offers.offers(session)[0]
        content, number = offers.content(row), row.id
    assert content.pick == PickIn(how="complement", products=["card", "eos-1"], within_days=30)
    assert (content.units, content.incentive) == (2, Incentive(flagged=True, limit=0.4))
    page = browser.get(f"/offers/{number}").text
    for written in ('value="card, eos-1"', 'value="30"', 'value="40"', '<option value="complement" selected>'):
        assert written in page
    # What the page says is what is kept: posted again it changes nothing.
    said = Form(page).fields | dict.fromkeys(("category", "purpose_category", "after_category"), "")
    said["kind"] = "volume"
    assert browser.post(f"/offers/{number}", **said).status_code == 302
    with shop.sessions.begin() as session:
        assert offers.content(offers.offer(session, number)) == content
    by_name = form | {"name": "Any camera", "pick_products": "", "pick_categories": " Cameras , cards"}
    assert browser.post("/offers/new", **by_name).status_code == 302
    with shop.sessions.begin() as session:
        picks = [offers.content(row).pick for row in offers.offers(session) if row.name == "Any camera"]
    assert picks == [PickIn(how="complement", categories=["cameras", "cards"], within_days=30)]
    refused = browser.post("/offers/new", **form | {"name": "Other", "pick_products": "none"})
    assert refused.status_code == 400
    assert "names the product &#39;none&#39;" in refused.text
    pair = {"kind": "pair", "category": "cameras", "other": "cards", "days": ""}
    assert browser.post("/relations/", **pair).status_code == 302
    told = browser.get("/relations/").text
    assert "Cameras goes with Cards" in told
    assert browser.post("/relations/", **pair).status_code == 400
    removal = re.search(r"/relations/(\d+)/remove", told)
    assert removal is not None
    assert browser.post(removal[0]).status_code == 302
    assert "goes with Cards" not in browser.get("/relations/").text


def test_it_says_that_orders_were_not_counted_yet_and_when_they_will_be(web: Web) -> None:
    shop, browser = web.shop, web.browser("manager")
    take_products(shop.intake, shop.source, ITEMS, shop.now)
    page = browser.get("/relations/").text
    assert "from when an offer picks its product" in page
    assert "latebind relate" in page
    assert page.count("Not counted yet.") == 3
    assert "was not counted yet" in browser.get("/products/card").text
    for untrue in ("No pair is known", "No interval is known", "No product was bought"):
        assert untrue not in page
    shop.offer("cross-sell", pick=PickIn(how="popular", products=["card"]))
    assert "That is due now" in browser.get("/relations/").text
    with shop.sessions.begin() as session:
        learnt = Learnt(until_ms=unix_ms(shop.now), counted_from_ms=unix_ms(shop.now - timedelta(days=30)))
        relations.keep(session, shop.blobs, learnt, shop.now)
    page = browser.get("/relations/").text
    assert "ot counted yet" not in page
    for true in ("No pair is known", "No interval is known", "No product was bought by 20 people in the last 30 days"):
        assert true in page
    assert "Nothing is known to go with its category." in browser.get("/products/card").text
