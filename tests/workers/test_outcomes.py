"""Outcomes: an order goes to the decision last clicked, or last seen, before it; once, net of what came back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from campaigns.reports import report
from render.record import FetchRecord
from signals import exchange, journal
from signals.exchange import Given
from tests.damage import damaged_signal
from tests.promises.reader import APPLE, BROWSER, GMAIL, SCANNER
from tests.signals.slowly import uncommitted
from tests.workers.opens import Opens
from workers import outcomes


def credited(opens: Opens) -> list[Any]:
    """Store and credit everything; the outcomes in order of their events."""
    opens.record()
    with opens.shop.sessions.begin() as session:
        newest = journal.newest(session)
        outcomes.credit(session, opens.shop.intake.categories, newest, opens.shop.now)
    return opens.rows("SELECT * FROM outcome ORDER BY event_id")


def buy(opens: Opens, name: str = "ann", order_id: str = "o1", **changes: Any) -> None:
    """An order of two things for 20 each, now."""
    line = {"product_id": "shoes-1", "category": "shoes", "price": 20, "quantity": 1}
    properties = {
        "order_id": order_id,
        "products": [line, line | {"product_id": "socks-1"}],
        "total": 40,
        "currency": "EUR",
    }
    call = {"type": "track", "userId": name, "event": "Order Completed", "properties": properties}
    opens.shop.send(call | changes)


def correct(opens: Opens, event: str, **properties: Any) -> None:
    """A correction of order o1, now."""
    opens.shop.send({"type": "track", "userId": "ann", "event": event, "properties": {"order_id": "o1"} | properties})


def test_it_credits_the_last_decision_that_was_seen(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.get(mail.clicks[0], SCANNER)
    opens.shop.clock.advance(timedelta(hours=3))
    opens.look(mail, 1)
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=5))
    buy(opens)
    (row,) = credited(opens)
    decisions = opens.rows("SELECT id, at, open_number FROM decision ORDER BY open_number")
    assert (row.decision_id, row.decision_at) == (decisions[-1].id, decisions[-1].at)
    assert (row.offer_id, row.slot, row.cents, row.currency) == (opens.discount, 0, 4000, "EUR")
    assert (row.rule, row.order_id, row.campaign_id) == ("clicked-7d", "o1", opens.campaign)


@pytest.mark.feature("CM-69")
@pytest.mark.parametrize("clicked", [0, 1])
def test_it_credits_the_block_and_the_offer_last_served_before_the_click(opens: Opens, clicked: int) -> None:
    """Two blocks with two offers, opened twice, one click in between: the first open's decision, and that block."""
    mail = opens.send("ann")["ann"]
    for slot in (0, 1):
        opens.look(mail, slot)
    opens.shop.clock.advance(timedelta(minutes=1))
    opens.get(mail.clicks[clicked])
    opens.get(mail.clicks[1 - clicked], SCANNER)
    opens.shop.clock.advance(timedelta(hours=3))
    for slot in (1, 0):
        opens.look(mail, slot)
    opens.shop.clock.advance(timedelta(minutes=5))
    buy(opens)
    (row,) = credited(opens)
    first, _ = opens.rows("SELECT id, at, slots FROM decision ORDER BY open_number")
    click = next(click for click in opens.rows("SELECT * FROM click") if click.fetch_class == "person")
    assert (row.decision_id, row.decision_at, row.click_id) == (first.id, first.at, click.id)
    assert (row.slot, row.offer_id) == (clicked, first.slots[str(clicked)])
    assert first.slots["0"] != first.slots["1"]
    with opens.shop.sessions.begin() as session:
        told = {line.offer: line.orders for line in report(session, opens.campaign).offers}
    assert told == {offer: int(offer == row.offer_id) for offer in first.slots.values()}


def test_it_prefers_the_last_click_to_an_earlier_one(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    for slot in (0, 1, 0):
        opens.look(mail, slot)
        opens.get(mail.clicks[slot])
        opens.shop.clock.advance(timedelta(hours=3))
    buy(opens)
    (row,) = credited(opens)
    assert row.click_id == opens.rows("SELECT id FROM click ORDER BY at DESC LIMIT 1")[0].id
    assert row.slot == 0


def test_it_leaves_what_an_earlier_release_credited(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=1))
    buy(opens)
    credited(opens)
    opens.rows("UPDATE outcome SET rule = 'seen-7d' RETURNING id")
    opens.get(mail.clicks[0])
    (row,) = credited(opens)
    assert (row.rule, row.cents) == ("seen-7d", 4000)
    correct(opens, "Order Cancelled")
    assert [row.cents for row in credited(opens)] == [0]


def test_it_reports_orders_of_another_currency_without_their_worth(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=5))
    buy(opens)
    dollars = {"order_id": "o2", "products": [], "total": 70, "currency": "USD"}
    buy(opens, properties=dollars)
    assert [row.cents for row in credited(opens)] == [4000, 7000]
    with opens.shop.sessions.begin() as session:
        told = report(session, opens.campaign)
    assert (told.orders, told.cents, told.elsewhere) == (2, 4000, 1)
    assert sum(line.cents for line in told.offers) == 4000


def test_a_credited_order_stays_in_the_currency_it_was_paid_in_whatever_it_is_given_back_in(opens: Opens) -> None:
    with opens.shop.sessions.begin() as session:
        exchange.set_own(session, "EUR", opens.shop.now)
        rates = list(exchange.read_rates(["currency,day,rate", "USD,2026-01-01,0.8"], "EUR", Given()))
        exchange.give(session, rates, "EUR", Given())
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=5))
    buy(opens, properties={"order_id": "o1", "products": [], "total": 70, "currency": "USD"})
    (row,) = credited(opens)
    assert (row.cents, row.currency) == (7000, "USD")
    opens.shop.clock.advance(timedelta(minutes=5))
    correct(opens, "Order Refunded", total=8, currency="eur")
    assert [(row.cents, row.currency) for row in credited(opens)] == [(7000 - 1000, "USD")]
    line = {"product_id": "shoes-1", "category": "shoes", "price": 60}
    correct(opens, "Order Updated", total=60, currency="GBP", products=[line])
    assert [(row.cents, row.currency) for row in credited(opens)] == [(6000, "GBP")], (
        "eight euros are nobody knows what"
    )


def test_it_waits_for_the_record_of_what_was_seen_before_the_order(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.record()
    opens.shop.clock.advance(timedelta(hours=3))
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=5))
    buy(opens)
    opens.following.idle()
    assert opens.count("outcome") == 0
    opens.record()
    opens.following.idle()
    (row,) = opens.rows("SELECT d.open_number FROM outcome o JOIN decision d ON d.id = o.decision_id")
    assert row.open_number == 2


def test_it_names_the_click_on_that_decision(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=1))
    opens.get(mail.clicks[0], SCANNER)
    opens.get(mail.clicks[0])
    opens.shop.clock.advance(timedelta(minutes=1))
    buy(opens)
    (row,) = credited(opens)
    assert row.click_id == opens.rows("SELECT id FROM click WHERE fetch_class = 'person'")[0].id


@pytest.mark.parametrize(("agent", "counts"), [(BROWSER, True), (GMAIL, True), (APPLE, True), (SCANNER, False)])
def test_it_counts_what_may_have_been_seen_and_no_machine(opens: Opens, agent: str, counts: bool) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail, agent=agent)
    opens.shop.clock.advance(timedelta(minutes=1))
    buy(opens)
    assert bool(credited(opens)) == counts


@pytest.mark.parametrize(
    ("wait", "counts"), [(timedelta(days=7), True), (timedelta(days=7, milliseconds=1), False), (timedelta(0), False)]
)
def test_it_holds_to_its_window(opens: Opens, wait: timedelta, counts: bool) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.clock.advance(wait)
    buy(opens)
    assert bool(credited(opens)) == counts


def test_it_credits_nothing_to_a_picture_that_fell_back(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    (made,) = [made for made in opens.waiting() if isinstance(made, FetchRecord)]
    opens.record()
    with opens.shop.sessions.begin() as session:
        session.connection().exec_driver_sql("UPDATE \"fetch\" SET rung = 'default'")
    assert made.rung == "drawn"
    opens.shop.clock.advance(timedelta(minutes=1))
    buy(opens)
    assert credited(opens) == []


def test_it_credits_an_order_once(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=1))
    buy(opens, messageId="one")
    first = credited(opens)
    buy(opens, messageId="two")
    assert credited(opens) == first
    with opens.shop.sessions.begin() as session:
        session.connection().exec_driver_sql("UPDATE loop_cursor SET position = 0")
    assert credited(opens) == first


def test_it_credits_an_order_that_comes_in_behind_thousands_of_others(opens: Opens) -> None:
    mails = opens.send("ann", "bob")
    for mail in mails.values():
        opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=1))
    with uncommitted(lambda: buy(opens, "ann")):
        opens.rows("SELECT nextval('event_id_seq') FROM generate_series(1, :many)", many=2 * outcomes.LOOK_BACK)
        buy(opens, "bob", "o2")
        assert credited(opens) == [], "what is still to be committed is waited for"

    assert [row.order_id for row in credited(opens)] == ["o1", "o2"]


def test_it_corrects_no_order_of_which_a_signal_is_damaged_and_all_others(opens: Opens) -> None:
    mail, shop = opens.send("ann")["ann"], opens.shop
    opens.look(mail)
    for order_id in ("o1", "o2"):
        shop.clock.advance(timedelta(minutes=1))
        buy(opens, order_id=order_id)
    assert [row.cents for row in credited(opens)] == [4000, 4000]
    correct(opens, "Order Refunded", total=15)
    with damaged_signal(shop.sessions, shop.profile("ann")):
        correct(opens, "Order Refunded", order_id="o2", total=10)
        assert [row.cents for row in credited(opens)] == [4000, 3000]
    correct(opens, "Order Refunded", order_id="o2", total=1)
    assert [row.cents for row in credited(opens)] == [2500, 2900]


def test_an_order_whose_refund_is_damaged_is_credited_once_though_an_earlier_call_of_it_comes(opens: Opens) -> None:
    mail, shop = opens.send("ann")["ann"], opens.shop
    opens.look(mail)
    shop.clock.advance(timedelta(hours=2))
    buy(opens)
    credited(opens)
    correct(opens, "Order Refunded", total=15)
    assert [row.cents for row in credited(opens)] == [2500]
    earlier = shop.now - timedelta(hours=1)
    with damaged_signal(shop.sessions, shop.profile("ann")):
        buy(opens, timestamp=earlier.isoformat())
        assert [(row.at, row.cents) for row in credited(opens)] == [(earlier, 4000)]
    correct(opens, "Order Refunded", total=1)
    assert [(row.at, row.cents) for row in credited(opens)] == [(earlier, 2400)]


def test_it_follows_an_order_that_turns_out_to_have_been_earlier(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.clock.advance(timedelta(hours=2))
    buy(opens)
    assert len(credited(opens)) == 1
    earlier = opens.shop.now - timedelta(hours=1)
    buy(opens, timestamp=earlier.isoformat())
    (row,) = credited(opens)
    assert row.at == earlier


@pytest.mark.parametrize(
    ("event", "properties", "left"),
    [
        ("Order Refunded", {}, 0),
        ("Order Cancelled", {}, 0),
        ("Order Refunded", {"products": [{"product_id": "socks-1", "quantity": 1}]}, 2000),
        ("Order Refunded", {"total": 15}, 2500),
        ("Order Updated", {"total": 55, "products": [{"product_id": "shoes-1", "price": 55, "quantity": 1}]}, 5500),
    ],
)
def test_it_takes_off_what_came_back(opens: Opens, event: str, properties: dict[str, Any], left: int) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=1))
    buy(opens)
    assert [row.cents for row in credited(opens)] == [4000]
    opens.shop.clock.advance(timedelta(days=3))
    correct(opens, event, **properties)
    assert [row.cents for row in credited(opens)] == [left]


def test_it_credits_a_person_over_all_profiles_merged_into_one(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.shop.clock.advance(timedelta(minutes=1))
    opens.shop.send({"type": "alias", "userId": "anna", "previousId": "ann"})
    buy(opens, "anna")
    (row,) = credited(opens)
    assert row.profile_id == opens.shop.profile("anna")
    correct(opens, "Order Cancelled")
    assert [row.cents for row in credited(opens)] == [0]
