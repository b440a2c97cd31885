"""Stock and price at the open: what cannot be had is not promoted, what nobody knows is not claimed, and a sale price
counts in its time alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace

from base.clock import FixedClock
from render.decide import decide
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from tests.render.mail import Mail, browser, size_of
from tests.render.shoe_shop import DEFAULT, DISCOUNT, NOON, TIGHTS, facts, plan, product, state


@pytest.mark.feature("CM-38")
def test_it_changes_the_block_when_the_last_one_sells_between_two_opens(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(tights={"priority": 9}))
    mail.stock(product(stock=1))
    first = client.get(mail.url(), headers=browser()).data
    mail.stock(product(stock=0))
    second = client.get(mail.url(), headers=browser()).data
    assert second != first
    assert size_of(second) == size_of(first)
    before, after = mail.decisions()
    assert (before.slots[0].offer, before.slots[0].product) == (TIGHTS, "tights-1")
    assert after.slots[0].offer != TIGHTS
    (removed,) = [one for one in after.slots[0].candidates if one.offer == TIGHTS]
    assert (removed.removed_by, removed.rule) == ("relevant", "out of stock")


@pytest.mark.feature("CM-38")
def test_it_shows_the_default_once_the_feed_is_older_than_the_limit(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    made = plan(tights={"shows_price": True})
    alone = replace(made, slots=tuple(replace(slot, offers=(TIGHTS,)) for slot in made.slots))
    mail.publish(alone)
    mail.stock(product(fed=NOON - timedelta(seconds=made.feed_stale_s)))
    client.get(mail.url(), headers=browser())
    noon.advance(timedelta(milliseconds=1))
    client.get(mail.url(), headers=browser())
    before, after = mail.decisions()
    assert (before.slots[0].offer, after.slots[0].offer) == (TIGHTS, DEFAULT)
    (removed,) = after.slots[0].candidates
    assert removed.rule == "feed stale"
    # The default says nothing that the feed would have to vouch for.
    assert not any("price" in name or "product" in name for name in after.personal.fields[0])


def test_it_shows_no_offer_of_several_products_that_are_all_sold_out() -> None:
    made = plan(discount={"purpose_category": None, "products": ("tights-1", "tights-2")})
    for stock, offer in ((5, DISCOUNT), (0, DEFAULT)):
        pieces = {name: product(stock=stock, name=name) for name in ("tights-1", "tights-2")}
        assert decide(made, facts(state(), products=pieces), NOON, seed=1).offers == (offer,)


@pytest.mark.feature("DE-06")
def test_it_shows_a_new_price_in_the_very_next_open_within_the_hold(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    mail.publish(plan(tights={"priority": 9, "shows_price": True}))
    for minute, cents in enumerate((4999, 4999, 5999, 5999, 3999)):
        noon.set(NOON + timedelta(minutes=minute))
        mail.stock(replace(product(), price_cents=cents))
        mail.published()
        client.get(mail.url(), headers=browser())
    prices = [made.personal.fields[0]["product.price"] for made in mail.decisions()]
    assert prices == ["$49.99", "$59.99", "$39.99"]
    assert [made.slots[0].offer for made in mail.decisions()] == [TIGHTS] * 3


@pytest.mark.feature("CM-38")
@pytest.mark.parametrize("known", ["sold out", "stale", "one of several"])
def test_it_gives_a_default_up_for_a_product_that_can_be_had_again(
    client: FlaskClient, mail: Mail, noon: FixedClock, known: str
) -> None:
    several = ("tights-1", "tights-2") if known == "one of several" else ()
    made = plan(tights={"product": None, "needs_stock": False, "products": several} if several else {})
    mail.publish(replace(made, slots=tuple(replace(slot, offers=(TIGHTS,)) for slot in made.slots)))
    fed = NOON - timedelta(days=30) if known == "stale" else NOON
    for minute, stock in enumerate((0, 0, 5, 5, 0, 0, 2)):
        noon.set(NOON + timedelta(minutes=minute))
        mail.stock(product(stock=5 if known == "stale" else stock, fed=fed if not stock else noon.now()))
        client.get(mail.url(), headers=browser())
    # Within the hold: what sells out or is there again alone begins an open.
    assert [made.slots[0].offer for made in mail.decisions()] == [DEFAULT, TIGHTS, DEFAULT, TIGHTS]


def test_it_decides_once_where_a_product_is_there_again_that_is_shown_to_nobody(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    made = plan(tights={"cap_person": 1})
    mail.publish(replace(made, slots=tuple(replace(slot, offers=(TIGHTS,)) for slot in made.slots)))
    for minute, stock in enumerate((5, 0, 5, 5)):
        noon.set(NOON + timedelta(minutes=minute))
        mail.stock(product(stock=stock))
        client.get(mail.url(), headers=browser())
    assert [made.slots[0].offer for made in mail.decisions()] == [TIGHTS, DEFAULT]


def on_sale(begins: timedelta, ends: timedelta) -> ProductFacts:
    """The tights, for 29.99 instead of 49.99 from and to so long after noon."""
    return replace(product(), sale_cents=2999, sale_from_ms=unix_ms(NOON + begins), sale_until_ms=unix_ms(NOON + ends))


@pytest.mark.feature("CM-38")
def test_an_offer_of_a_product_on_sale_names_the_sale_price_and_the_former_one() -> None:
    known = facts(state(), products={"tights-1": on_sale(timedelta(0), timedelta(minutes=1))})

    def said(minutes: int, **changes: Any) -> tuple[Any, ...]:
        made = plan(tights={"priority": 9, "shows_price": True} | changes)
        told = decide(made, known, NOON + timedelta(minutes=minutes), 1).slots[0].fields
        return tuple(told.get(f"offer.{name}") for name in ("price_cents", "was_cents", "saving"))

    assert said(0) == (2999, 4999, "$20.00")
    assert said(2) == (None, None, None)
    # An offer's own price is compared with what the product costs without it.
    assert said(0, fields={"percent": 10}) == (2699, 2999, "$3.00")
    assert said(2, fields={"percent": 10}) == (4499, 4999, "$5.00")


@pytest.mark.feature("CM-38")
def test_it_takes_a_sale_price_back_when_its_time_is_over(client: FlaskClient, mail: Mail, noon: FixedClock) -> None:
    mail.publish(plan(tights={"priority": 9, "shows_price": True}))
    mail.stock(on_sale(timedelta(minutes=10), timedelta(minutes=20)))
    pictures = []
    for minutes in (0, 9, 10, 15, 20, 21):
        noon.set(NOON + timedelta(minutes=minutes))
        mail.published()
        pictures.append(client.get(mail.url(), headers=browser()).data)

    # Within the hold: only the turns of the price begin opens of their own.
    prices = [made.personal.fields[0]["product.price"] for made in mail.decisions()]
    assert prices == ["$49.99", "$29.99", "$49.99"]
    assert [made.slots[0].offer for made in mail.decisions()] == [TIGHTS] * 3


@pytest.mark.parametrize(("at", "price"), [(-1, "$49.99"), (0, "$29.99"), (60_000, "$29.99"), (60_001, "$49.99")])
def test_it_decides_by_the_clock_to_the_millisecond_what_a_sale_costs(at: int, price: str) -> None:
    made = plan(tights={"priority": 9, "shows_price": True})
    known = facts(state(), products={"tights-1": on_sale(timedelta(0), timedelta(minutes=1))})

    decided = decide(made, known, NOON + timedelta(milliseconds=at), seed=1)
    assert decided.slots[0].fields["product.price"] == price


@pytest.mark.feature("CM-38")
def test_it_shows_no_product_that_left_the_catalogue(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(tights={"priority": 9, "needs_stock": False}))
    client.get(mail.url(), headers=browser())
    mail.stock(replace(product(), stock=0, gone=True))
    assert client.get(mail.click(), headers=browser()).status_code == 200
    client.get(mail.url(), headers=browser())

    before, after = mail.decisions()
    assert (before.slots[0].offer, after.slots[0].offer) == (TIGHTS, DISCOUNT)
    (removed,) = [one for one in after.slots[0].candidates if one.offer == TIGHTS]
    assert (removed.removed_by, removed.rule) == ("relevant", "no longer sold")
    assert [click.outcome for click in mail.clicks()] == ["out of stock"]


@pytest.mark.parametrize("kind", ["replacement", "bundle"])
def test_it_leaves_out_of_several_products_what_left_the_catalogue(kind: str) -> None:
    several = ("tights-1", "tights-2", "tights-3")
    made = plan(discount={"kind": kind, "purpose_category": None, "products": several})
    pieces = {name: product(name=name) for name in several}
    pieces["tights-2"] = replace(pieces["tights-2"], gone=True)

    made = replace(made, slots=tuple(replace(slot, offers=(DISCOUNT,)) for slot in made.slots))

    decided = decide(made, facts(state(), products=pieces), NOON, seed=1).slots[0]
    shown = (DISCOUNT, ("tights-1", "tights-3")) if kind == "replacement" else (DEFAULT, ())
    assert (decided.offer, decided.products) == shown
