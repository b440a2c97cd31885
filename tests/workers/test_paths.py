"""What people have just told us changes what they get: suppression at send and open, moods, and carts left behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from campaigns import audience
from campaigns.campaigns import SlotChoice
from tests.promises.reader import Mail
from tests.workers.opens import Opens
from tests.workers.test_sending import run_jobs

COMPLAINT = {"field": "complaint.open", "op": "=", "value": True}
BAD_REVIEW = {"field": "review.sentiment", "category": "shoes", "op": "=", "value": "negative"}
HAS_BOUGHT = {"field": "purchases.count", "category": "shoes", "within_days": 30, "op": ">=", "value": 1}


def said(name: str, event: str, **properties: Any) -> dict[str, Any]:
    """A track call of somebody."""
    return {"type": "track", "userId": name, "event": event, "properties": properties}


def shoes(name: str, event: str, **more: Any) -> dict[str, Any]:
    """A track call about the shoes."""
    return said(name, event, product_id="shoes-1", category="shoes", price=80, **more)


def shown(opens: Opens, mail: Mail) -> int:
    """The offer in the hero of a mail that is opened now."""
    opens.shop.clock.advance(timedelta(minutes=1))
    opens.look(mail)
    return opens.shown(mail).live.chosen[0].offer


def hero(opens: Opens, *offers: int) -> list[SlotChoice]:
    """A hero with these offers, in this order."""
    opens.default = opens.shop.offer("neutral")
    return [
        SlotChoice(slot=0, default=opens.default, offers=list(offers)), SlotChoice(slot=1, default=opens.default),
    ]  # fmt: skip


@pytest.mark.feature("CM-06")
def test_it_suppresses_at_the_freeze_at_the_send_and_at_the_open(opens: Opens) -> None:
    shop = opens.shop
    shop.intake.categories.learn(["Shoes"], create=True)
    names = ("ann", "bea", "cara", "dan", "eva", "fay", "gus")
    shop.people(*names)
    service = shop.offer("service", sticky=False, fields={"headline": "How can we help?"})
    discount = shop.offer("replacement", priority=2)
    opens.campaign = shop.campaign(
        suppress={"any": [COMPLAINT, BAD_REVIEW, HAS_BOUGHT]}, slots=hero(opens, discount, service)
    )
    # Before the freeze: bought already, a complaint, a bad review.
    shop.send(
        shop.order("ann", "shoes", shop.now - timedelta(days=3)),
        said("bea", "Complaint Opened", complaint_id="c1"),
        shoes("cara", "Product Reviewed", rating=1),
    )
    with shop.sessions.begin() as session:
        counted = audience.count(session, opens.campaign, shop.now, shop.settings.hash_key)
    assert (counted.sendable, counted.excluded) == (4, {"ruled_out": 3})
    shop.schedule(opens.campaign)
    opens.scheduler.tick()
    # Between the freeze and the send.
    shop.send(said("dan", "Complaint Opened", complaint_id="c2"))
    run_jobs(shop)
    profiles = {number: name for name, number in shop.known().items()}
    told = {profiles[row.profile_id]: (row.state, row.reason) for row in shop.ledger(opens.campaign)}
    assert told == {
        **dict.fromkeys(("ann", "bea", "cara"), ("skipped", "ruled_out")),
        "dan": ("skipped", "ruled_out_since"),
        **dict.fromkeys(("eva", "fay", "gus"), ("accepted", None)),
    }
    opens.scheduler.tick()
    assert shop.state(opens.campaign) == "finished"
    # Between the send and the open.
    mails = opens.read_mails()
    assert {shown(opens, mail) for mail in mails.values()} == {discount}
    shop.send(said("eva", "Complaint Opened", complaint_id="c3"), shoes("fay", "Product Reviewed", rating=2))
    assert {name: shown(opens, mail) for name, mail in mails.items()} == {
        "eva": service, "fay": service, "gus": discount,
    }  # fmt: skip
    shop.send(said("eva", "Complaint Closed", complaint_id="c3"))
    assert shown(opens, mails["eva"]) == discount


@pytest.mark.feature("DE-14")
def test_it_leads_a_bad_review_to_service_and_a_wish_for_the_same_product_to_the_offer(opens: Opens) -> None:
    shop = opens.shop
    shop.intake.categories.learn(["Shoes"], create=True)
    shop.people("ann", "bob", "cara")
    service, offer = (
        shop.offer(kind, relevant={"field": "route", "category": "shoes", "op": "=", "value": route})
        for kind, route in (("service", "service"), ("cross-sell", "offer"))
    )
    mails = opens.send_campaign(slots=hero(opens, service, offer))
    assert {shown(opens, mail) for mail in mails.values()} == {opens.default}
    shop.send(
        shoes("ann", "Product Reviewed", rating=1), *(shoes("bob", "Product Viewed") for _ in range(2)),
        shoes("cara", "Product Added", quantity=1),
    )  # fmt: skip
    told = {name: shown(opens, mail) for name, mail in mails.items()}
    assert told == {"ann": service, "bob": offer, "cara": offer}
    # Both at once: trouble goes first. Who buys it again has got over it.
    shop.clock.advance(timedelta(minutes=1))
    shop.send(shoes("ann", "Product Added", quantity=1))
    assert shown(opens, mails["ann"]) == service
    shop.clock.advance(timedelta(days=1))
    shop.send(shop.order("ann", "shoes", shop.now))
    assert shown(opens, mails["ann"]) == opens.default


@pytest.mark.feature("DE-15")
def test_it_answers_each_cause_of_a_cart_left_behind_and_stops_at_the_checkout(opens: Opens) -> None:
    shop = opens.shop
    shop.intake.categories.learn(["Shoes"], create=True)
    clues = {
        "price": said("price", "Coupon Denied", coupon="TEN"),
        "delivery": said("delivery", "Checkout Step Viewed", step=2, step_name="Shipping options"),
        "stock": shoes("stock", "Stock Alert Requested"),
        "bought elsewhere": shoes("elsewhere", "Offer Feedback", feedback="already own"),
    }
    people = {cause: cause.rpartition(" ")[2] for cause in (*clues, "browsing")}
    shop.people(*people.values(), "unsure")
    answers = {
        cause: shop.offer(
            "service" if cause == "bought elsewhere" else "cross-sell",
            relevant={"field": "cart.cause", "op": "=", "value": cause},
        )
        for cause in people
    }
    mails = opens.send_campaign(slots=hero(opens, *answers.values()))
    for name in (*people.values(), "unsure"):
        shop.send(shoes(name, "Product Added", quantity=1))
    shop.clock.advance(timedelta(minutes=5))
    begun = ("price", "delivery", "stock", "elsewhere", "unsure")
    shop.send(*(said(name, "Checkout Started", order_id=f"o-{name}") for name in begun))
    shop.clock.advance(timedelta(minutes=5))
    shop.send(*clues.values())
    told = {cause: shown(opens, mails[name]) for cause, name in people.items()}
    assert told == answers
    assert len(set(told.values())) == 5
    # A checkout that says nothing of why it stopped is answered with nothing about the cart.
    assert shown(opens, mails["unsure"]) == opens.default
    shop.send(*(shop.order(name, "shoes", shop.now) for name in people.values()))
    assert {shown(opens, mails[name]) for name in people.values()} == {opens.default}
