"""Exit on conversion, keyed to the thing: this cart, this product; else converted elsewhere; else nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from base.blobs import Blobs
from base.queues import QueueName
from campaigns import exits
from campaigns.campaigns import Trigger, campaign
from campaigns.erasure import erase_person
from campaigns.models import Campaign
from tests.campaigns.shop import MANAGER, Shop
from tests.workers.relay import Relay
from workers import jobs
from workers.schedule import Scheduler
from workers.sending import Sender

MINUTE = timedelta(minutes=1)


def left(name: str, product: str, cart: str) -> dict[str, Any]:
    """A cart with one product that was left."""
    line = {"product_id": product, "category": "shoes", "price": 20, "quantity": 1}
    return {
        "type": "track",
        "userId": name,
        "event": "Cart Abandoned",
        "properties": {"cart_id": cart, "products": [line]},
    }


def bought(name: str, product: str, **more: Any) -> dict[str, Any]:
    """An order of one product."""
    line = {"product_id": product, "category": "shoes", "price": 20, "quantity": 1}
    said = {"order_id": f"o-{name}-{product}", "products": [line], "total": 20} | more
    return {"type": "track", "userId": name, "event": "Order Completed", "properties": said}


def cancelled(name: str, product: str) -> dict[str, Any]:
    """The cancellation of such an order."""
    said = {"order_id": f"o-{name}-{product}"}
    return {"type": "track", "userId": name, "event": "Order Cancelled", "properties": said}


class Carts:
    """A campaign that mails who left a cart, and its loop."""

    def __init__(self, shop: Shop, scheduler: Scheduler, **changes: Any) -> None:
        self.shop, self.scheduler = shop, scheduler
        shop.intake.categories.learn(["Shoes"], create=True)
        content: dict[str, Any] = {"kind": "triggered", "trigger": Trigger(event="Cart Abandoned")}
        self.number = shop.campaign(**(content | {"ends_on_purchase": True} | changes))
        shop.schedule(self.number)
        self.pass_by()

    def pass_by(self, *, with_senders: bool = True) -> None:
        """A minute passes."""
        self.scheduler.tick()
        if with_senders:
            jobs.work(QueueName.SEND, self.shop.queues, burst=True)
        self.shop.clock.advance(MINUTE)

    def found(self) -> dict[str, str]:
        """Everybody's exit, by name."""
        names = {number: name for name, number in self.shop.known().items()}
        with self.shop.sessions.begin() as session:
            row = campaign(session, self.number)
            told = exits.of(session, self.shop.blobs, row, self.shop.now)
            numbers = exits.exits(session, self.shop.blobs, row, self.shop.now).numbers
        by_name: dict[str, str] = {names[profile]: how for (_, profile), how in told.items()}
        assert {how: number for how, number in numbers.items() if number} == {
            how: list(by_name.values()).count(how) for how in by_name.values()
        }
        return by_name


@pytest.mark.feature("CM-08")
@pytest.mark.usefixtures("sender")
def test_it_tells_who_bought_the_mailed_item_another_one_and_nothing(
    shop: Shop, relay: Relay, scheduler: Scheduler
) -> None:
    shop.people("ann", "ben", "eve", "cleo")
    carts = Carts(shop, scheduler)
    shop.send(*(left(name, f"shoes-{name}", f"cart-{name}") for name in ("ann", "ben", "eve", "cleo")))
    carts.pass_by()
    carts.pass_by()
    assert len(relay.mails) == 4
    assert set(carts.found().values()) == {"open"}
    # Ben buys something of the same category; what cleo buys is named otherwise, and from her cart.
    shop.send(bought("ann", "shoes-ann"), bought("ben", "shoes-other"), bought("cleo", "set-1", cart_id="cart-cleo"))
    carts.pass_by()
    assert carts.found() == {"ann": "converted", "ben": "converted_elsewhere", "eve": "open", "cleo": "converted"}
    shop.clock.advance(timedelta(days=exits.WINDOW_DAYS))
    assert carts.found()["eve"] == "nothing"
    # What is bought when the time is over changes nothing any more.
    shop.send(bought("eve", "shoes-eve"))
    assert carts.found()["eve"] == "nothing"


@pytest.mark.feature("CM-08")
@pytest.mark.usefixtures("sender", "relay")
def test_who_bought_and_cancelled_has_not_left(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann", "ben", "eve")
    carts = Carts(shop, scheduler)
    names = {number: name for name, number in shop.known().items()}
    shop.send(*(left(name, f"shoes-{name}", f"cart-{name}") for name in ("ann", "ben")))
    carts.pass_by()
    carts.pass_by()
    shop.send(bought("ann", "shoes-ann"), bought("ben", "shoes-ben"))
    carts.pass_by()
    assert carts.found() == {"ann": "converted", "ben": "converted"}
    shop.send(cancelled("ann", "shoes-ann"))
    assert carts.found() == {"ann": "open", "ben": "converted"}
    # A mail that waits leaves nevertheless: neither the loop nor the sender takes the order for a purchase.
    shop.send(left("eve", "shoes-eve", "cart-eve"))
    carts.pass_by(with_senders=False)
    shop.send(bought("eve", "shoes-eve"), cancelled("eve", "shoes-eve"))
    carts.pass_by()
    ledger = {names[row.profile_id]: (row.state, row.reason) for row in shop.ledger(carts.number)}
    assert ledger["eve"] == ("accepted", None)


@pytest.mark.feature("CM-08")
@pytest.mark.usefixtures("sender", "relay")
def test_who_keeps_only_other_goods_has_converted_elsewhere(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann", "ben")
    shop.intake.categories.learn(["Socks"], create=True)
    carts = Carts(shop, scheduler, trigger=Trigger(event="Product List Viewed"))
    looked = {"type": "track", "event": "Product List Viewed", "properties": {"category": "Shoes"}}
    shop.send(*({"userId": name} | looked for name in ("ann", "ben")))
    carts.pass_by()
    carts.pass_by()
    socks = {"product_id": "socks", "category": "Socks", "price": 5, "quantity": 1}
    shoes = {"product_id": "shoes", "category": "Shoes", "price": 20, "quantity": 1}
    shop.send(*(bought(name, "both", products=[shoes, socks]) for name in ("ann", "ben")))
    carts.pass_by()
    assert carts.found() == {"ann": "converted", "ben": "converted"}
    for name, event, lines in (("ann", "Order Refunded", [shoes]), ("ben", "Order Updated", [socks])):
        said = {"order_id": f"o-{name}-both", "products": lines}
        shop.send({"type": "track", "userId": name, "event": event, "properties": said})
    assert carts.found() == {"ann": "converted_elsewhere", "ben": "converted_elsewhere"}


@pytest.mark.feature("SU-13")
@pytest.mark.usefixtures("sender", "relay")
def test_an_erasure_changes_nothing_in_how_people_left(shop: Shop, scheduler: Scheduler) -> None:
    names = ("ann", "ben", "eve", "cleo")
    shop.people(*names)
    carts = Carts(shop, scheduler)
    shop.send(*(left(name, f"shoes-{name}", f"cart-{name}") for name in names))
    carts.pass_by()
    carts.pass_by()
    shop.send(bought("ann", "shoes-ann"), bought("ben", "shoes-other"), bought("cleo", "set-1", cart_id="cart-cleo"))
    carts.pass_by()

    def numbers() -> dict[str, int]:
        with shop.sessions.begin() as session:
            row = campaign(session, carts.number)
            told = exits.exits(session, shop.blobs, row, shop.now)
        return {str(name): number for name, number in told.numbers.items()}

    before = {"converted": 2, "converted_elsewhere": 1, "open": 1, "nothing": 0}
    assert numbers() == before
    for name in ("ann", "ben", "eve"):
        erase_person(shop.intake, shop.blobs, shop.profile(name), shop.now, MANAGER)
        assert numbers() == before, name
    shop.clock.advance(timedelta(days=exits.WINDOW_DAYS))
    assert numbers() == before | {"open": 0, "nothing": 1}


@pytest.mark.feature("CM-08")
@pytest.mark.parametrize("ends", [True, False])
def test_it_ends_the_campaign_for_who_buys_while_their_mail_waits(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender, ends: bool
) -> None:
    shop.people("ann", "ben", "eve")
    carts = Carts(shop, scheduler, ends_on_purchase=ends)
    shop.send(*(left(name, f"shoes-{name}", f"cart-{name}") for name in ("ann", "ben", "eve")))
    carts.pass_by(with_senders=False)
    assert {row.state for row in shop.ledger(carts.number)} == {"queued"}
    shop.send(bought("ann", "shoes-ann"), bought("ben", "socks-9"))
    carts.pass_by()
    names = {number: name for name, number in shop.known().items()}
    ledger = {names[row.profile_id]: (row.state, row.reason) for row in shop.ledger(carts.number)}
    assert ledger == {
        "ann": ("skipped", "converted") if ends else ("accepted", None),
        "ben": ("skipped", "converted_elsewhere") if ends else ("accepted", None),
        "eve": ("accepted", None),
    }
    assert len(relay.mails) == (1 if ends else 3)


@pytest.mark.usefixtures("relay")
def test_it_is_asked_when_a_mail_is_claimed_whatever_the_schedule_loop_has_seen(
    shop: Shop, scheduler: Scheduler, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.people("ann", "ben", "eve")
    carts = Carts(shop, scheduler)
    shop.send(*(left(name, f"shoes-{name}", f"cart-{name}") for name in ("ann", "ben", "eve")))
    carts.pass_by(with_senders=False)
    names = {number: name for name, number in shop.known().items()}
    shop.send(bought("eve", "shoes-eve"))
    sender.send([row.id for row in shop.ledger(carts.number)])
    ledger = {names[row.profile_id]: (row.state, row.reason) for row in shop.ledger(carts.number)}
    assert ledger == {"ann": ("accepted", None), "ben": ("accepted", None), "eve": ("skipped", "converted")}
    with shop.sessions.begin() as session:
        row = campaign(session, carts.number)
        assert not exits.exits(session, shop.blobs, row, shop.now).is_part
        monkeypatch.setattr(exits, "MAX_COUNTED", 1)
        told = exits.exits(session, shop.blobs, row, shop.now)
    assert (told.is_part, sum(told.numbers.values())) == (True, 1)


def test_it_looks_through_new_signals_in_pieces(
    shop: Shop, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.people("ann", "ben")
    carts = Carts(shop, scheduler)
    shop.send(*(left(name, f"shoes-{name}", f"cart-{name}") for name in ("ann", "ben")))
    carts.pass_by(with_senders=False)
    shop.send(bought("ann", "shoes-ann"), bought("ben", "shoes-ben"))
    monkeypatch.setattr(exits, "PIECE", 1)
    skipped = []
    with shop.sessions.begin() as session:
        seen = exits.end_new(session, shop.blobs, shop.now, None) - 2
    for _ in range(3):
        with shop.sessions.begin() as session:
            seen = exits.end_new(session, shop.blobs, shop.now, seen)
        skipped.append(sum(row.state == "skipped" for row in shop.ledger(carts.number)))
    assert skipped == [1, 2, 2]


def test_it_ends_the_other_campaigns_for_who_bought_when_one_fails(
    shop: Shop, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.people("ann")
    broken, other = Carts(shop, scheduler), Carts(shop, scheduler)
    shop.send(left("ann", "shoes-ann", "cart-ann"))
    other.pass_by(with_senders=False)
    given = exits._given

    def fails(session: Session, blobs: Blobs, row: Campaign, now: datetime) -> dict[str, Any]:
        if row.id == broken.number:
            raise OverflowError("date value out of range")
        return given(session, blobs, row, now)

    monkeypatch.setattr(exits, "_given", fails)
    shop.send(bought("ann", "shoes-ann"))
    for _ in range(2):
        scheduler.tick()
    assert [(row.state, row.reason) for row in shop.ledger(other.number)] == [("skipped", "converted")]
    assert (shop.state(broken.number), shop.state(other.number)) == ("paused", "sending")
    with shop.sessions.begin() as session:
        assert campaign(session, broken.number).trouble == "whoever bought cannot leave it: it failed: OverflowError"


@pytest.mark.usefixtures("sender", "relay")
def test_an_order_that_an_update_emptied_is_no_purchase(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann", "ben")
    carts = Carts(shop, scheduler)
    shop.send(*(left(name, f"shoes-{name}", f"cart-{name}") for name in ("ann", "ben")))
    carts.pass_by(with_senders=False)
    shop.send(bought("ann", "shoes-ann"), bought("ben", "shoes-ben"))
    shop.send(bought("ann", "shoes-ann", products=[], total=0) | {"event": "Order Updated"})
    carts.pass_by()
    assert carts.found() == {"ann": "open"}
    names = {number: name for name, number in shop.known().items()}
    states = {names[row.profile_id]: (row.state, row.reason) for row in shop.ledger(carts.number)}
    assert states == {"ann": ("accepted", None), "ben": ("skipped", "converted")}
