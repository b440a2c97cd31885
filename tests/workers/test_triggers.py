"""Campaigns that wait for a behaviour: nothing leaves before it, one mail right after it, and only to who fits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from campaigns import audience, triggers
from campaigns.campaigns import Trigger
from campaigns.campaigns import campaign as stored
from signals.joining import join
from signals.scores import assign
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web, told
from tests.workers.relay import Relay
from tests.workers.test_sending import run_jobs
from workers.schedule import Scheduler
from workers.sending import Sender

BEST = {"all": [{"field": "score", "name": "best", "op": ">=", "value": 0.5}]}
VIEW = Trigger(event="Product Viewed", category="shoes")
MINUTE = timedelta(minutes=1)


def ordered(name: str, number: str, *categories: str) -> dict[str, Any]:
    """An order of one product of each category."""
    lines = [{"product_id": f"{one}-1", "category": one, "price": 20, "quantity": 1} for one in categories]
    said = {"order_id": number, "total": 20 * len(lines), "products": lines}
    return {"type": "track", "userId": name, "event": "Order Completed", "properties": said}


def viewed(name: str, category: str = "shoes") -> dict[str, Any]:
    """A look at a product."""
    properties = {"product_id": f"{category}-1", "category": category}
    return {"type": "track", "userId": name, "event": "Product Viewed", "properties": properties}


def minutes(shop: Shop, scheduler: Scheduler, count: int) -> None:
    """Let minutes pass, with the loop and the senders at work."""
    for _ in range(count):
        scheduler.tick()
        run_jobs(shop)
        shop.clock.advance(MINUTE)


@pytest.mark.feature("CM-72")
def test_it_waits_for_the_trigger_and_mails_who_matches_once_within_minutes(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.intake.categories.learn(["Shoes", "Socks"], create=True)
    shop.people("alike", "second", "decoy", "early")
    known = shop.known()
    best = {"alike": 0.9, "second": 0.7, "decoy": 0.1, "early": 0.8}
    assign(shop.intake, {known[name]: {"best": value} for name, value in best.items()}, shop.now, 1, shop.now)
    # Done before the campaign began: it starts nothing.
    shop.send(viewed("early"))
    shop.clock.advance(MINUTE)
    campaign = shop.campaign(
        kind="triggered", trigger=VIEW, audience=BEST, ends_at=shop.now + timedelta(days=2), send_holdout=0.0
    )
    shop.schedule(campaign)
    minutes(shop, scheduler, 5)
    assert (relay.received(), shop.ledger(campaign), shop.state(campaign)) == ({}, [], "sending")
    # Who matches does something else, and who does it does not match.
    shop.send(viewed("alike", "socks"), viewed("decoy"))
    minutes(shop, scheduler, 3)
    assert relay.received() == {}
    shop.send(viewed("alike"))
    minutes(shop, scheduler, 2)
    assert relay.received() == {"alike@example.com": 1}
    shop.send(viewed("alike"), viewed("second"), viewed("second"))
    minutes(shop, scheduler, 3)
    assert relay.received() == {"alike@example.com": 1, "second@example.com": 1}
    assert [(row.occurrence, row.state) for row in shop.ledger(campaign)] == [(1, "accepted"), (2, "accepted")]
    # What was done a day ago starts nothing any more: the loop was down, and the decoy has become one who matches.
    shop.clock.advance(timedelta(hours=25))
    assign(shop.intake, {known["decoy"]: {"best": 0.9}}, shop.now, 2, shop.now)
    minutes(shop, scheduler, 2)
    assert len(shop.ledger(campaign)) == 2
    shop.clock.advance(timedelta(days=1))
    shop.send(viewed("early"))
    minutes(shop, scheduler, 2)
    assert (shop.state(campaign), len(shop.ledger(campaign))) == ("finished", 2)


@pytest.mark.feature("CM-72")
def test_it_mails_nobody_again_who_was_merged_into_somebody_else(shop: Shop) -> None:
    shop.intake.categories.learn(["Shoes"], create=True)
    _old, ann = shop.people("old", "ann")
    number = shop.campaign(kind="triggered", trigger=VIEW, ends_at=shop.now + timedelta(days=2), send_holdout=0.0)
    shop.schedule(number)
    shop.clock.advance(MINUTE)
    shop.send(viewed("ann"))
    with shop.sessions.begin() as session:
        audience.freeze(session, number, 1, shop.now, shop.settings.hash_key)
    assert [(row.profile_id, row.state) for row in shop.ledger(number)] == [(ann, "queued")]
    shop.send({"type": "alias", "userId": "old", "previousId": "ann"})
    assert shop.profile("ann") != ann
    with shop.sessions.begin() as session:
        assert session.execute(select(triggers.due(session, stored(session, number), shop.now))).all() == []


def test_what_is_waited_for_may_come_by_another_of_its_names(shop: Shop) -> None:
    shop.intake.categories.learn(["Shoes"], create=True)
    (ann,) = shop.people("ann")
    number = shop.campaign(kind="triggered", trigger=VIEW, ends_at=shop.now + timedelta(days=2), send_holdout=0.0)
    shop.schedule(number)
    shop.clock.advance(MINUTE)
    shop.send(viewed("ann") | {"event": "Viewed Product"})
    with shop.sessions.begin() as session:
        found = session.execute(select(triggers.due(session, stored(session, number), shop.now))).all()
    assert [row.profile_id for row in found] == [ann]


def test_a_page_is_waited_for_by_its_name_and_is_no_order_by_it(shop: Shop) -> None:
    (ann,) = shop.people("ann")
    asked = {
        event: shop.campaign(
            kind="triggered", trigger=Trigger(event=event), ends_at=shop.now + timedelta(days=2), send_holdout=0.0
        )
        for event in ("Pricing", "Order Completed")
    }
    for number in asked.values():
        shop.schedule(number)
    shop.clock.advance(MINUTE)
    shop.send(*({"type": "page", "userId": "ann", "name": name} for name in asked))
    with shop.sessions.begin() as session:
        found = {
            event: [
                row.profile_id for row in session.execute(select(triggers.due(session, stored(session, one), shop.now)))
            ]
            for event, one in asked.items()
        }
    assert found == {"Pricing": [ann], "Order Completed": []}


@pytest.mark.usefixtures("sender")
def test_an_order_of_which_nothing_is_left_starts_nothing_and_one_is_of_what_is_left(
    shop: Shop, relay: Relay, scheduler: Scheduler
) -> None:
    shop.intake.categories.learn(["Shoes", "Socks"], create=True)
    shop.people("ann", "ben", "eve", "ida", "uma", "kim", "kim-2")
    join(shop.intake, shop.profile("kim"), shop.profile("kim-2"), shop.now, by="a person")
    shop.clock.advance(MINUTE)
    waits: dict[str, Any] = {"kind": "triggered", "ends_at": shop.now + timedelta(days=2), "send_holdout": 0.0}
    thanks = shop.campaign(trigger=Trigger(event="Order Completed"), **waits)
    shoes = shop.campaign(trigger=Trigger(event="Order Completed", category="shoes"), **waits)
    changed = shop.campaign(trigger=Trigger(event="Order Updated"), **waits)
    for number in (thanks, shoes, changed):
        shop.schedule(number)
    shop.clock.advance(MINUTE)
    shop.send(ordered("ann", "a-1", "shoes"), ordered("ben", "b-1", "shoes", "socks"), ordered("eve", "e-1", "shoes"))
    shop.clock.advance(MINUTE)
    back = {"order_id": "b-1", "refund_id": "r-1", "total": 20, "products": [{"product_id": "shoes-1", "quantity": 1}]}
    shop.send(
        {"type": "track", "userId": "ann", "event": "Order Cancelled", "properties": {"order_id": "a-1"}},
        {"type": "track", "userId": "ben", "event": "Order Refunded", "properties": back},
    )
    minutes(shop, scheduler, 3)
    names = {number: name for name, number in shop.known().items()}
    assert {names[row.profile_id] for row in shop.ledger(thanks)} == {"ben", "eve"}
    assert {names[row.profile_id] for row in shop.ledger(shoes)} == {"eve"}
    assert relay.received() == {"ben@example.com": 1, "eve@example.com": 2}
    # The next order of who cancelled starts it; an update of an order begins none, and is an event all the same, unless
    # nothing is left of the order. It may be the only call that tells of it.
    of = {"eve": "e-1", "ann": "a-1", "ida": "i-1", "uma": "u-1", "kim-2": "k-1"}
    shop.send(
        ordered("ann", "a-2", "socks"),
        ordered("kim", "k-1", "socks"),
        *(ordered(name, number, "shoes") | {"event": "Order Updated"} for name, number in of.items()),
        {"type": "track", "userId": "uma", "event": "Order Cancelled", "properties": {"order_id": "u-1"}},
    )
    minutes(shop, scheduler, 2)
    assert relay.received()["ann@example.com"] == 1
    assert {names[row.profile_id] for row in shop.ledger(changed)} == {"eve", "ida", "kim-2"}, "whoever speaks for kim"


@pytest.mark.usefixtures("sender")
def test_an_order_that_an_update_emptied_starts_nothing_unless_something_is_in_it_again(
    shop: Shop, relay: Relay, scheduler: Scheduler
) -> None:
    shop.intake.categories.learn(["Shoes", "Socks"], create=True)
    names = ("ann", "ben", "eve", "ida", "uma", "kim", "kim-2", "leo")
    shop.people(*names)
    join(shop.intake, shop.profile("kim"), shop.profile("kim-2"), shop.now, by="a person")
    shop.clock.advance(MINUTE)
    waits: dict[str, Any] = {"kind": "triggered", "ends_at": shop.now + timedelta(days=2), "send_holdout": 0.0}
    thanks = shop.campaign(trigger=Trigger(event="Order Completed"), **waits)
    changed = shop.campaign(trigger=Trigger(event="Order Updated"), **waits)
    for number in (thanks, changed):
        shop.schedule(number)
    shop.clock.advance(MINUTE)
    # Leo's was emptied, by its shop's clock, before somebody ordered it; of uma's no goods were ever told.
    empty: tuple[dict[str, Any], ...] = {"event": "Order Updated"}, {"products": []}

    def at(call: dict[str, Any], seconds: int, *changes: dict[str, Any]) -> dict[str, Any]:
        """The call so much later, with these fields and properties."""
        told = call | {"timestamp": (shop.now + timedelta(seconds=seconds)).isoformat()}
        for one, two in (changes,) if changes else ():
            told |= one | {"properties": call["properties"] | two}
        return told

    orders = {name: ordered(name, f"{name[:3]}-1", "shoes") for name in names}
    shop.send(
        *(at(orders[name], -40) for name in ("ann", "ben", "eve", "kim")),
        at(orders["uma"], -40, {}, {"products": []}),
        at(orders["leo"], -30),
    )
    shop.send(
        at(orders["ann"], -20, *empty),
        at(orders["kim-2"], -20, *empty),
        at(orders["ben"], -20, *empty),
        at(orders["ben"], -10, {"event": "Order Updated"}, {}),
        at(orders["eve"], -20, {"event": "Order Updated"}, {"products": None, "order_status": "shipped"}),
        at(orders["ida"], -20, *empty),
        at(orders["leo"], -40, *empty),
    )
    minutes(shop, scheduler, 2)
    by_number = {number: name for name, number in shop.known().items()}
    assert {by_number[row.profile_id] for row in shop.ledger(thanks)} == {"ben", "eve", "uma", "leo"}
    assert {by_number[row.profile_id] for row in shop.ledger(changed)} == {"ben", "eve", "leo"}
    sent = relay.received()
    # What has left stays as it is; who orders anew is thanked.
    shop.send(at(orders["eve"], 0, *empty), ordered("ann", "ann-2", "socks"))
    minutes(shop, scheduler, 2)
    assert relay.received() == sent | {"ann@example.com": 1}


def test_it_is_written_on_the_pages_and_kept(shop: Shop) -> None:
    shop.intake.categories.learn(["Shoes"], create=True)
    web = Web(shop)
    try:
        browser, api = web.browser("manager"), web.program("manager")
        browser.get("/campaigns/new")
        form = {"name": "Right after", "layout": "offers", "landing": "https://shop.example.com/", "kind": "triggered"}
        assert "must be chosen" in browser.post("/campaigns/new", **form, event="Sneezed").text
        made = browser.post("/campaigns/new", **form, **{"event": "Product Viewed", "trigger-category": "shoes"})
        number = made.headers["Location"].split("/")[2]
        assert api.told("GET", f"/campaigns/{number}")["trigger"] == {
            "event": "Product Viewed", "category": "shoes", "within_hours": 24,
        }  # fmt: skip
        page = browser.get(f"/campaigns/{number}/audience").text
        assert "What it waits for" in page
        browser.post(
            f"/campaigns/{number}/audience", event="Product Added", guard="offers", **{"suppress-complaint": "on"}
        )
        kept = api.told("GET", f"/campaigns/{number}")
        assert (kept["trigger"]["event"], kept["trigger"]["category"]) == ("Product Added", None)
        assert kept["guard"] == "offers"
        assert kept["suppress"] == {"any": [{"field": "complaint.open", "op": "=", "value": True}]}
        wrong = {"name": "No trigger", "kind": "triggered"}
        assert told(api.call("POST", "/campaigns", wrong), 400)["field"] == "trigger"
    finally:
        web.close()
