"""The pages where a value says where it comes from, and where it is said which source is believed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.campaigns.shop import Shop
from tests.campaigns.test_switches import open_page
from tests.campaigns.web import Web, told
from tests.signals.sending import viewed


@pytest.mark.feature("DE-09")
def test_it_says_of_every_value_from_where_and_since_when(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann", city="Bonn")
    shop.send(
        shop.order("ann", "Running shoes", shop.now),
        viewed("Running shoes", userId="ann", timestamp=shop.now.isoformat()),
    )
    page = web.desk("support").get(f"/customers/{ann}/known").text
    for words in ("Stated", "city", "Bonn", "shop", "Consent", "Bought", "20.00"):
        assert words in page, words
    known = web.program("support").told("GET", f"/customers/{ann}/known")["known"]
    (city,) = [one for one in known if one["name"] == "city"]
    assert (city["value"], city["source"], city["since"]) == ("Bonn", "shop", shop.now.isoformat())
    assert {one["group"] for one in known} >= {"stated", "consent", "purchases"}
    # Each value of both: from where, and since when.
    assert {(one["source"], one["since"]) for one in known} == {("shop", shop.now.isoformat())}
    cells = dict(re.findall(r'<td data-label="What"[^>]*>([^<]+)</td>(.*?)</tr>', page, re.DOTALL))
    named = {"running-shoes": "Running shoes"}
    assert cells.keys() == {named.get(one["name"], one["name"]) for one in known}, "categories by name"
    for name, cell in cells.items():
        assert re.findall(r'data-label="(?:From|Since|Newest|As of)"[^>]*>([^<]*)<', cell) == [
            "shop",
            "2 Mar 2026, 12:00",
        ], name
    assert f"/customers/{ann}/known" in web.desk("support").get(f"/customers/{ann}").text


def test_it_names_the_categories_that_a_state_gives_by_number(shop: Shop, web: Web) -> None:
    shop.intake.categories.learn(["Nobody’s"], create=True)
    ann, bob = shop.people("ann", "bob")
    shop.send(
        shop.order("ann", "Running Shoes", shop.now),
        viewed("Sun Hats", userId="ann"),
        {"type": "track", "userId": "ann", "event": "Product Added",
         "properties": {"product_id": "g1", "category": "Garden", "price": 4, "quantity": 1}},
        {"type": "track", "userId": "ann", "event": "Offer Feedback",
         "properties": {"category": "Baby", "feedback": "not_for_me"}},
    )  # fmt: skip
    told_of = web.program("support").told("GET", f"/customers/{ann}")
    state, names = told_of["state"], told_of["categories"]
    assert sorted(names.values()) == ["Baby", "Garden", "Running Shoes", "Sun Hats"]
    assert [names[number] for number in state["categories"]] == ["Running Shoes"]
    assert [names[str(line["category"])] for line in state["cart"]] == ["Garden"]
    assert [names[mark["target"].partition(":")[2]] for mark in state["marks"]] == ["Baby"]
    assert web.program("support").told("GET", f"/customers/{bob}")["categories"] == {}


@pytest.mark.feature("DE-09")
def test_it_has_a_trait_go_by_a_policy_and_a_source_be_believed_more(shop: Shop, web: Web) -> None:
    desk, program = web.desk("admin"), web.program("admin")
    desk.get("/system/traits/")
    assert desk.post("/system/traits/", name="lastCity", policy="longest").status_code == 302
    assert desk.post(f"/system/traits/sources/{shop.source.id}", trust="300").status_code == 302
    page = desk.get("/system/traits/").text
    assert "last_city" in page
    assert 'value="300"' in page
    program.told("PUT", "/trait-policies", {"name": "tier", "policy": "trusted"})
    listed = [{"name": "last_city", "policy": "longest"}, {"name": "tier", "policy": "trusted"}]
    assert program.told("GET", "/trait-policies")["policies"] == listed
    for path, form in (("", {"name": "", "policy": "longest"}), (f"sources/{shop.source.id}", {"trust": "5000"})):
        answer = desk.post(f"/system/traits/{path}", **form)
        assert (answer.status_code, 'role="alert"' in answer.text) == (400, True), path
    assert f">Trust in {shop.source.name}: must be" in answer.text
    assert 'name="trust" value="5000"' in answer.text, "what was typed stays"
    assert told(program.call("PUT", f"/sources/{shop.source.id}/trust", {"trust": 5000}), 400)["field"] == "trust"
    assert program.call("PUT", "/sources/999/trust", {"trust": 5}).status_code == 404
    assert web.desk("manager").get("/system/traits/").status_code == 403


def test_what_may_hold_of_a_trait_is_read_whole_on_a_phone(shop: Shop, web: Web, serve: Any, chromium: Browser) -> None:
    desk = web.desk("admin")
    desk.get("/system/traits/")
    desk.post("/system/traits/", name="first_name", policy="longest")
    page = open_page(serve("campaigns", shop.settings), chromium, web, "/system/traits/", role="admin")
    page.set_viewport_size({"width": 390, "height": 844})
    cut = page.locator("#f-policy").evaluate(
        """select => {
            const looks = getComputedStyle(select), pen = document.createElement("canvas").getContext("2d");
            pen.font = looks.font;
            const room = select.clientWidth - parseFloat(looks.paddingLeft) - parseFloat(looks.paddingRight);
            return [...select.options].map(one => one.text).filter(words => pen.measureText(words).width > room);
        }"""
    )
    assert cut == []
    assert "a server’s before a browser’s" in page.locator("td[data-label='What holds']").inner_text()
    page.context.close()
