"""A customer who pays in several currencies: the pages say how their amounts are added up, or that they are not."""

from __future__ import annotations

from datetime import timedelta

from campaigns import presenting
from signals import exchange
from signals.exchange import Given
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web

ADDED_UP = "Orders came in USD, EUR: their amounts are added up as they are, as if all were USD."


def pay(shop: Shop, number: int, currency: str | None, total: int = 10) -> None:
    """Ann orders for 10.00 of a currency."""
    told = {"order_id": f"o{number}", "total": total} | ({} if currency is None else {"currency": currency})
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


def test_the_pages_tell_what_is_in_no_sum_for_want_of_a_rate_and_from_whom(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    with shop.sessions.begin() as session:
        exchange.set_own(session, "EUR", shop.now)
        rates = list(exchange.read_rates(["currency,day,rate", "USD,2026-01-01,0.9"], "EUR", Given()))
        exchange.give(session, rates, "EUR", Given())
    for number, currency in enumerate(("EUR", "USD", None, "CHF")):
        pay(shop, number, currency)
    support, admin = web.desk("support"), web.desk("admin")
    for page in (f"/customers/{ann}", f"/customers/{ann}/known"):
        shown = support.get(page).text
        assert "An order in CHF has no exchange rate: CHF 10.00 is in no sum." in shown, page
        assert "added up" not in shown
    now = support.get(f"/customers/{ann}").text
    assert "€29.00" in now, "10.00 euros, 9.00 for the dollars, and 10.00 of which no currency is told"
    assert "$10.00" in now, "the timeline has what was paid"
    assert "An order in CHF has no exchange rate: the money is in no sum." in admin.get("/system/sources").text
    told = [one["unadded"] for one in web.program("admin").told("GET", "/sources/health")["sources"]]
    assert [one for one in told if one] == [{"CHF": 1}]


def test_each_currency_is_written_with_its_own_decimals(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    for number, (currency, total) in enumerate((("JPY", 9_000), ("KWD", 4))):
        pay(shop, number, currency, total)
    page = web.desk("support").get(f"/customers/{ann}").text
    assert "¥9,000" in page
    assert "¥9,000.00" not in page
    assert "KWD 4.000" in page
    written = [presenting.money(cents, currency) for cents, currency in ((-123_450, "EUR"), (5, "JPY"), (None, "JPY"))]
    assert written == ["−€1,234.50", "¥0", "–"]
