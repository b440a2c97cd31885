"""A lower price of an offer: written on its page, refused by field, drawn, and told of where nothing lowers it."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns import offers, starting
from campaigns.campaigns import SlotChoice
from signals.products import take_products
from tests.campaigns.mailing import words
from tests.campaigns.test_pages import Form
from tests.campaigns.web import Web

ITEMS: list[dict[str, Any]] = [
    {"id": "shoe", "title": "Trail shoe", "price": "79.50 EUR", "sale_price": "59.50 EUR", "quantity": 3},
    {"id": "sock", "title": "Socks", "price": "1280 JPY", "quantity": 3},
    {"id": "belt", "title": "Belt", "price": "20 EUR", "quantity": 3},
]


@pytest.fixture
def stocked(web: Web) -> Web:
    """A shop with three products, of which one is on sale."""
    shop = web.shop
    assert take_products(shop.intake, shop.source, ITEMS, shop.now).refused == 0
    return web


def form(web: Web, **changes: str) -> dict[str, str]:
    """An offer of the design Price drop as a page sends it."""
    with web.shop.sessions.begin() as session:
        design = starting.usual_design(session, "volume")
    content = {"name": "Offer", "kind": "cross-sell", "creative_id": str(design), "product": "shoe"}
    return content | {"landing": "https://shop.example.com/"} | changes


def kept(web: Web, number: int) -> dict[str, str | int]:
    """The fields of a stored offer."""
    with web.shop.sessions.begin() as session:
        return offers.offer(session, number).fields


@pytest.mark.parametrize(
    ("changes", "lower"),
    [
        ({"lower_how": "percent", "lower": "20 %"}, {"percent": 20}),
        ({"lower_how": "amount_off_cents", "lower": "4,50"}, {"amount_off_cents": 450}),
        ({"lower_how": "price_cents", "lower": "49.5"}, {"price_cents": 4950}),
        ({"lower_how": "price_cents", "lower": "980", "product": "sock"}, {"price_cents": 980}),
        (
            {"lower_how": "amount_off_cents", "lower": "80", "product": "", "pick_how": "popular",
             "pick_products": "sock"},
            {"amount_off_cents": 80},
        ),
        ({}, {}),
    ],
)  # fmt: skip
def test_a_page_says_by_how_much_the_price_is_lowered(
    stocked: Web, changes: dict[str, str], lower: dict[str, int]
) -> None:
    browser = stocked.browser("manager")
    answer = browser.post("/offers/new", **form(stocked, headline="Less", **changes))
    assert answer.status_code == 302, answer.text
    number = int(answer.location.rsplit("/", 1)[1])
    assert kept(stocked, number) == {"headline": "Less"} | lower
    # Saved again as the page has it nothing changes; emptied, the lower price goes and what it does not show stays.
    with stocked.shop.sessions.begin() as session:
        row = offers.offer(session, number)
        row.fields = row.fields | {"delivery": "Free"}
    said = Form(browser.get(f"/offers/{number}").text).fields | {"category": "", "purpose_category": ""}
    said |= {"after_category": "", "kind": "cross-sell", "pick_how": changes.get("pick_how", "")}
    said |= {"lower_how": changes.get("lower_how", ""), "creative_id": form(stocked)["creative_id"]}
    assert browser.post(f"/offers/{number}", **said).status_code == 302
    assert kept(stocked, number) == {"headline": "Less", "delivery": "Free"} | lower
    said = Form(browser.get(f"/offers/{number}").text).fields | said | {"lower_how": "", "lower": ""}
    said["edition"] = Form(browser.get(f"/offers/{number}").text).fields["edition"]
    assert browser.post(f"/offers/{number}", **said).status_code == 302
    assert kept(stocked, number) == {"headline": "Less", "delivery": "Free"}


@pytest.mark.parametrize(
    ("how", "lower", "words"),
    [
        ("percent", "0", "must be a whole number from 1 to 100"),
        ("percent", "101", "must be a whole number from 1 to 100"),
        ("percent", "12,5", "must be a whole number from 1 to 100"),
        ("percent", "", "is missing: how much"),
        ("", "20", "choose it beside"),
        ("amount_off_cents", "0", "must be a whole number from 1"),
        ("price_cents", "4.505", "at most 2 decimals in EUR"),
        ("price_cents", "-1", "must be a whole number from 0"),
        ("price_cents", "cheap", "must be an amount such as 4.50"),
    ],
)
def test_it_says_beside_the_field_what_is_wrong_with_a_lower_price(
    stocked: Web, how: str, lower: str, words: str
) -> None:
    refused = stocked.browser("manager").post("/offers/new", **form(stocked, lower_how=how, lower=lower))
    assert refused.status_code == 400
    beside = refused.text.split('id="e-lower">')[1].split("</div>")[0]
    assert words in beside
    assert "alert-danger" not in refused.text


def test_yen_have_no_decimals_in_the_form(stocked: Web) -> None:
    sent = form(stocked, product="sock", lower_how="price_cents", lower="9.80")
    assert "without decimals in JPY" in stocked.browser("manager").post("/offers/new", **sent).text


def test_programs_name_one_lower_price_in_its_bounds(stocked: Web) -> None:
    program = stocked.program("manager")
    content = {"name": "Offer", "kind": "cross-sell", "creative_id": int(form(stocked)["creative_id"])}
    content |= {"landing": "https://shop.example.com/", "product": "shoe"}
    for lower, field in (
        ({"percent": "20"}, "fields.percent"),
        ({"percent": 101}, "fields.percent"),
        ({"amount_off_cents": 0}, "fields.amount_off_cents"),
        ({"price_cents": -1}, "fields.price_cents"),
        ({"percent": 20, "price_cents": 100}, "fields.percent"),
    ):
        answer = program.call("POST", "/offers", content | {"fields": lower})
        assert (answer.status_code, (answer.json or {})["field"]) == (400, field), answer.text
    assert program.told("POST", "/offers", content | {"fields": {"percent": 20}})["fields"] == {"percent": 20}


def test_the_preview_draws_the_sale_of_a_feed_and_a_lower_price(stocked: Web) -> None:
    browser = stocked.browser("manager")
    drawn = [
        browser.post("/offers/preview", **form(stocked, **changes)).text
        for changes in (
            {}, {"lower_how": "percent", "lower": "20"}, {"product": "belt"},
            {"product": "belt", "lower_how": "price_cents", "lower": "15"},
        )
    ]  # fmt: skip
    assert all("data:image/jpeg" in page for page in drawn)
    assert len(set(drawn)) == 4


def test_checks_tell_where_a_design_draws_a_lowered_price_and_nothing_lowers_it(stocked: Web) -> None:
    shop, program = stocked.shop, stocked.program("manager")
    design = int(form(stocked)["creative_id"])
    made = [
        shop.offer("cross-sell", name=name, creative_id=design, **changes)
        for name, changes in (
            ("Sale", {"product": "shoe"}), ("Percent", {"product": "belt", "fields": {"percent": 20}}),
            ("Nothing", {"product": "belt"}), ("Nobody's", {}),
        )
    ]  # fmt: skip
    plain = shop.offer("cross-sell", name="Another design", product="belt")
    default = shop.offer("neutral")
    slots = [SlotChoice(slot=0, default=default, offers=[*made, plain]), SlotChoice(slot=1, default=default)]
    number = shop.campaign(published=False, slots=slots)
    told = program.told("GET", f"/campaigns/{number}/findings")["findings"]
    lines = [one["words"] for one in told if one["code"] == "price"]
    assert [words.split("”")[0] for words in lines] == ["The offer “Nothing", "The offer “Nobody's"]
    assert "draws no price" in stocked.browser("manager").get(f"/campaigns/{number}/checks/").text


def test_checks_tell_where_something_is_taken_off_the_price_of_no_product(stocked: Web) -> None:
    shop = stocked.shop
    made = [
        shop.offer("cross-sell", name=name, **changes)
        for name, changes in (
            ("Percent", {"fields": {"percent": 20}}), ("Money", {"fields": {"amount_off_cents": 200}}),
            ("Own", {"fields": {"price_cents": 200}}), ("Belt", {"product": "belt", "fields": {"percent": 20}}),
        )
    ]  # fmt: skip
    slots = [SlotChoice(slot=at, default=shop.offer("neutral"), offers=made) for at in (0, 1)]
    number = shop.campaign(published=False, slots=slots)
    told = stocked.program("manager").told("GET", f"/campaigns/{number}/findings")["findings"]
    lines = [one["words"] for one in told if one["code"] == "price"]
    words = "takes something off a price, and has no product: name one."
    assert lines == [f"The offer “{name}” {words}" for name in ("Percent", "Money")]


def test_pages_name_an_offers_category_and_say_its_rules_in_words(stocked: Web) -> None:
    """Rules are set through the API alone; whoever looks at the offer is told them all the same."""
    shop, browser = stocked.shop, stocked.browser("manager")
    shop.people("ann")
    shop.send(shop.order("ann", "Trail > Running shoes", shop.now))
    answer = browser.post("/offers/new", **form(stocked, name="Come back", category="running-shoes"))
    number = int(answer.headers["Location"].rsplit("/", 1)[1])
    assert "was set through the API" not in browser.get(f"/offers/{number}").text
    assert "cross-sell · Running shoes" in words(browser.get("/offers/").text)
    lapsed = {"field": "lifecycle.stage", "op": "in", "value": ["at_risk", "lapsed"]}
    bought = {"field": "purchases.count", "category": "running-shoes", "op": ">=", "value": 2}
    with shop.sessions.begin() as session:
        row = offers.offer(session, number)
        row.relevant, row.beneficial = lapsed, bought
    page = words(browser.get(f"/offers/{number}").text)
    assert "where they stand as a customer is one of at risk, lapsed" in page
    assert "times they bought Running shoes at least 2" in page
