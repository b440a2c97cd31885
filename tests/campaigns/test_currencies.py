"""A customer who pays in several currencies: the pages say that their amounts are added up."""

from __future__ import annotations

from datetime import timedelta

from tests.campaigns.shop import Shop
from tests.campaigns.web import Web

ADDED_UP = "Orders came in USD, EUR: their amounts are added up as they are, as if all were USD."


def pay(shop: Shop, number: int, currency: str | None) -> None:
    """Ann orders for 10.00 of a currency."""
    told = {"order_id": f"o{number}", "total": 10} | ({} if currency is None else {"currency": currency})
    shop.send({"type": "track", "event": "Order Completed", "userId": "ann", "properties": told})
    shop.clock.advance(timedelta(minutes=1))


def test_the_pages_of_a_customer_say_that_amounts_of_several_currencies_are_added_up(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    support = web.desk("support")
    for number, currency in enumerate(("EUR", "eur", None)):
        pay(shop, number, currency)
    for page in (f"/customers/{ann}", f"/customers/{ann}/known"):
        assert "added up" not in support.get(page).text
    pay(shop, 3, "USD")
    for page in (f"/customers/{ann}", f"/customers/{ann}/known"):
        assert ADDED_UP in support.get(page).text, page
