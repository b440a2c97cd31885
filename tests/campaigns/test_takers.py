"""Who would get an offer now: counts that add up to the audience, and intervals where only some were looked at."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from base import keys
from campaigns import audience, takers
from campaigns.campaigns import Replenish, SlotChoice
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web

NAMES = [f"p{number:02d}" for number in range(40)]


def campaign(shop: Shop, **discount: Any) -> tuple[int, int]:
    """A replacement until shoes are bought, for members; ten of forty are none, and five more have bought."""
    shop.intake.categories.learn(["Shoes"], create=True)
    shop.people(*NAMES[:10], card="none")
    shop.people(*NAMES[10:], card="gold")
    shop.send(*(shop.order(name, "shoes", shop.now) for name in NAMES[10:15]))
    member = {"field": "trait", "name": "card", "op": "=", "value": "gold"}
    offer = shop.offer("replacement", name="Shoes", after_category=None, beneficial=member, cap_total=7, **discount)
    after = shop.offer("thank-you", name="Thanks", after_category="shoes", priority=1)
    slots = [SlotChoice(slot=0, default=shop.offer("neutral"), offers=[offer, after])]
    slots += [SlotChoice(slot=1, default=slots[0].default)]
    return shop.campaign(slots=slots), offer


def test_it_tells_who_would_get_it_and_what_keeps_it_from_the_others(web: Web) -> None:
    shop = web.shop
    number, offer = campaign(shop)
    program, path = web.program("manager"), f"/offers/{{}}/takers?campaign={number}"
    told = program.told("GET", path.format(offer))
    assert (told["audience"], told["looked_at"], told["get_it"]["people"]) == (40, 40, 25)
    assert [(loss["layer"], loss["rule"], loss["lost"]["people"]) for loss in told["losses"]] == [
        ("is good for the person", "rule 1", 10), ("went first", "another went first", 5),
    ]  # fmt: skip
    assert told["get_it"] == {"people": 25, "share": 0.625, "low": 0.625, "high": 0.625}
    assert (told["cap_total"], told["cap_left"], told["came"]["clicked"]) == (7, 7, None)
    page = web.desk("manager").get(f"/offers/{offer}/takers?campaign={number}").text
    assert "All 40 people of the audience were looked at." in page
    assert '<span class="text-nowrap">62.5 %</span>' in page
    assert "not enough data" in page

    # With the cap used up nobody gets it, and that is told as the reason.
    shop.store.hset(keys.cap(offer), "left", "0")
    gone = program.told("GET", path.format(offer))
    assert gone["get_it"]["people"] == 0
    assert ("total cap", 40) in [(loss["rule"], loss["lost"]["people"]) for loss in gone["losses"]]
    # What is no cap is taken for one that is still to be opened, as where there is none.
    shop.store.hset(keys.cap(offer), "left", "many")
    none = program.told("GET", path.format(offer))
    assert (none["get_it"]["people"], none["cap_left"]) == (25, 7)
    assert program.call("GET", path.format(shop.offer())).status_code == 400
    other = shop.offer(name="Never")
    assert "No campaign offers it yet" in web.desk("manager").get(f"/offers/{other}/takers").text


def test_it_counts_the_audience_as_it_would_be_mailed_and_says_first_who_gets_no_mail(web: Web) -> None:
    shop = web.shop
    number, offer = campaign(shop)
    shop.people("mute", card="gold", consent=False)
    shop.send({"type": "identify", "userId": "nowhere", "traits": {"card": "gold"}}, shop.consent("p20", False))
    program, path = web.program("manager"), f"/offers/{offer}/takers?campaign={number}"
    told = program.told("GET", path)
    assert (told["audience"], told["looked_at"], told["get_it"]["people"]) == (42, 42, 25)
    first, second, *_ = told["losses"]
    assert (first["rule"], first["why"], first["lost"]["people"]) == (
        "no_address", "They get no mail: no e-mail address is known.", 1,
    )  # fmt: skip
    assert (second["rule"], second["lost"]["people"]) == ("unsubscribed", 1)

    # A restock campaign looks at who is due; those who are held out are no takers.
    for name in NAMES[20:30]:
        shop.send(*(shop.order(name, "coffee", shop.now - timedelta(days=day)) for day in (36, 29, 22, 15, 8)))
    after = shop.offer("thank-you", name="Coffee")
    slots = [SlotChoice(slot=0, default=shop.offer("neutral"), offers=[after])]
    slots += [SlotChoice(slot=1, default=slots[0].default)]
    due = Replenish(categories=["coffee"], ratio=1.0, until=3.0)
    restock = shop.campaign(slots=slots, kind="replenishment", replenish=due, content_holdout=0.3, send_holdout=0.2,
                            published=False)  # fmt: skip
    with shop.sessions.begin() as session:
        counted = audience.count(session, restock, shop.now, shop.settings.hash_key)
    told = program.told("GET", f"/offers/{after}/takers?campaign={restock}")
    lost = {loss["rule"]: loss["lost"]["people"] for loss in told["losses"]}
    assert (told["audience"], counted.excluded["unsubscribed"]) == (10, 1)
    assert told["get_it"]["people"] == counted.sendable - counted.content_held
    assert lost == {
        key: value for key, value in (counted.excluded | {"content_held": counted.content_held}).items() if value
    }


def test_it_looks_at_a_sample_of_a_large_audience_with_an_interval_that_holds_the_share(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, offer = campaign(web.shop)
    monkeypatch.setattr(takers, "SAMPLE", 20)
    program = web.program("manager")
    told, again = (program.told("GET", f"/offers/{offer}/takers?campaign={number}") for _ in range(2))
    assert (told["audience"], told["looked_at"], told) == (40, 20, again)
    assert told["get_it"]["people"] + sum(loss["lost"]["people"] for loss in told["losses"]) == 20
    assert told["get_it"]["low"] < 0.625 < told["get_it"]["high"]
