"""A customer who pays in several currencies: the pages say how their amounts are added up, or that they are not."""

from __future__ import annotations

from datetime import timedelta

from campaigns import presenting
from campaigns.models import ScoreRun
from signals import exchange
from signals.exchange import Given
from signals.profiles import ProfileScore
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
    pay(shop, 0, None)
    shown = support.get(f"/customers/{ann}").text
    assert ">10.00</dd>" in shown, "nothing told a currency"
    assert "€" not in shown
    for number, currency in enumerate(("EUR", "eur"), 1):
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


def test_audience_tools_print_money_in_the_currency_of_the_sums(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    with shop.sessions.begin() as session:
        computed = dict.fromkeys(("asked_at", "as_of", "began_at", "ended_at"), shop.now)
        session.add(ScoreRun(asked_by="test", people=1, **computed))
        session.add(ProfileScore(profile_id=ann, name="ltv", value=12_345.0, as_of=shop.now, run_id=1))
    manager = web.desk("manager")

    def shown() -> str:
        page = manager.get("/scores/").text
        assert "€" not in page
        return page

    assert '<dd class="col-5 text-end number">123.45</dd>' in shown(), "no order told a currency"
    pay(shop, 1, "USD")
    assert '<dd class="col-5 text-end number">$123.45</dd>' in shown()
    assert "A return costs, USD" in shown()
    pay(shop, 2, "CHF")
    assert '<dd class="col-5 text-end number">123.45</dd>' in shown(), "added up as they are"
    with shop.sessions.begin() as session:
        exchange.set_own(session, "CHF", shop.now)
    assert '<dd class="col-5 text-end number">CHF 123.45</dd>' in shown()


def test_the_bar_of_the_largest_amounts_stands_apart_and_says_how_wide_it_is(shop: Shop, web: Web) -> None:
    people = shop.people(*(f"p{number}" for number in range(40)))
    with shop.sessions.begin() as session:
        computed = dict.fromkeys(("asked_at", "as_of", "began_at", "ended_at"), shop.now)
        session.add(ScoreRun(asked_by="test", people=40, **computed))
        for number, one in enumerate(people):
            for name, value in (("ltv", 500_000.0 if number == 39 else 9_000.0), ("churn", 0.4)):
                session.add(ProfileScore(profile_id=one, name=name, value=value, as_of=shop.now, run_id=1))
    page = web.desk("manager").get("/scores/").text
    churn, ltv = page.partition("Worth ahead")[0], page.partition("Worth ahead")[2].partition('id="bands"')[0]
    assert "<span>0.00</span><span>90.00</span>" in ltv, "the axis is that of the bars that are alike"
    assert "More: 40 customers from 90.00 to 5,000.00, in one bar." in ltv
    assert ltv.count("spread-beyond") == 1
    assert "<span>0 %</span><span>100 %</span>" in churn
    assert "spread-beyond" not in churn
    assert (churn.count("spread-bin"), churn.count("spread-bar")) == (10, 1), "nobody is no bar"
    assert '<td class="number">40 %</td><td class="number">50 %</td><td class="text-end number">40</td>' in churn
