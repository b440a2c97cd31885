"""The currency of a campaign: the usual one unless somebody says another, changed where its costs are named."""

from __future__ import annotations

import pytest

from signals import exchange
from signals.products import take_products
from tests.campaigns.shop import Shop
from tests.campaigns.test_currencies import pay
from tests.campaigns.web import Web


def made(web: Web, name: str, **form: str) -> str:
    """A campaign made on the page, by its path."""
    manager = web.desk("manager")
    manager.get("/campaigns/new")
    landing = "https://shop.example.com/"
    answer = manager.post("/campaigns/new", name=name, layout="offers", kind="broadcast", landing=landing, **form)
    assert answer.status_code == 302, answer.text
    return answer.location.removesuffix("/audience")


def currency_of(web: Web, path: str) -> str:
    return str(web.program("manager").told("GET", path)["currency"])


def usual(shop: Shop) -> str | None:
    with shop.sessions() as session:
        return exchange.usual(session)


def test_the_usual_currency_is_the_own_one_else_that_of_orders_else_that_of_products(shop: Shop) -> None:
    assert usual(shop) is None, "nothing tells one"
    feed = [
        {"id": f"p{number}", "title": "A shoe", "price": f"10.00 {currency}", "link": "https://shop.example.com/p"}
        for number, currency in enumerate(("GBP", "GBP", "SEK"))
    ]
    assert take_products(shop.intake, shop.source, feed, shop.now).refused == 0
    assert usual(shop) == "GBP", "most prices"
    shop.people("ann")
    for number, currency in enumerate(("usd", "USD", "EUR", None, "dollars", "pounds", "crowns")):
        pay(shop, number, currency)
    assert usual(shop) == "USD", "most orders; what is no code is none"
    with shop.sessions.begin() as session:
        exchange.set_own(session, "CHF", shop.now)
    assert usual(shop) == "CHF"


def test_a_campaign_begins_in_the_usual_currency_and_keeps_what_is_said(shop: Shop, web: Web) -> None:
    manager, program = web.desk("manager"), web.program("manager")
    assert 'name="currency" type="text" value="EUR"' in manager.get("/campaigns/new").text, "none is known"
    with shop.sessions.begin() as session:
        exchange.set_own(session, "USD", shop.now)
    assert 'name="currency" type="text" value="USD"' in manager.get("/campaigns/new").text
    assert "Margin of a success, USD" in manager.get("/offers/new").text
    assert currency_of(web, made(web, "Dollars", currency="USD")) == "USD"
    assert currency_of(web, made(web, "Pounds", currency="gbp")) == "GBP"
    written = program.told("POST", "/campaigns", {"name": "By a program"})
    assert written["currency"] == "USD"
    with shop.sessions.begin() as session:
        exchange.set_own(session, "CHF", shop.now)
    changed = program.told("PUT", f"/campaigns/{written['id']}", {"name": "Renamed"})
    assert changed["currency"] == "USD", "what it has is kept"


@pytest.mark.parametrize("told", ["EURO", "E1", "xxx"])
def test_what_is_no_currency_is_refused_by_its_field(web: Web, told: str) -> None:
    manager = web.desk("manager")
    manager.get("/campaigns/new")
    form = {"name": "Odd", "layout": "offers", "kind": "broadcast", "landing": "https://shop.example.com/"}
    refused = manager.post("/campaigns/new", **form, currency=told)
    assert refused.status_code == 400
    assert "must be three letters, such as EUR" in refused.text


def test_costs_say_their_currency_and_change_it(web: Web) -> None:
    path, manager = made(web, "Costs", currency="USD"), web.desk("manager")
    assert 'autocapitalize="characters" value="USD"' in manager.get(f"{path}/schedule").text
    costs = {"margin_share": "40", "return_cost": "4.50", "service_cost": "3", "profit_days": "14"}
    assert manager.post(f"{path}/schedule", do="costs", **costs, currency="sek").status_code == 302
    assert currency_of(web, path) == "SEK"
    assert manager.post(f"{path}/schedule", do="costs", **costs).status_code == 302
    assert currency_of(web, path) == "SEK", "a form without the field changes nothing"
    assert manager.post(f"{path}/schedule", do="costs", **costs, currency="crowns").status_code == 400
