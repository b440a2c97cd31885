"""A mail tells whoever holds it nothing about purchases in sensitive categories, nor about the household's others."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from tests.promises.reader import Mail
from tests.workers.opens import Opens

BOUGHT_GIFTS = {"field": "purchases.count", "category": "gifts", "op": ">=", "value": 1}
DISCOUNT = {"fields": {"headline": "Ten off running shoes"}, "landing": "https://shop.example.com/shoes"}
_OPEN = re.compile(r"\b[0-9a-f]{32}\b")


def order(name: str, category: str, product: str) -> dict[str, Any]:
    """An order of one thing, now."""
    line = {"product_id": product, "category": category, "price": 20, "quantity": 1}
    properties = {"order_id": f"o-{name}-{product}", "products": [line], "total": 20, "currency": "EUR"}
    return {"type": "track", "userId": name, "event": "Order Completed", "properties": properties}


def surfaces(opens: Opens, mail: Mail) -> dict[str, bytes | str]:
    """Everything that the mail shows and leads to, anew: pictures, the page with its texts, and where clicks go."""
    opens.shop.clock.advance(timedelta(hours=3))
    found: dict[str, bytes | str] = {}
    for slot in mail.pictures:
        found[f"light {slot}"] = opens.look(mail, slot)
        found[f"dark {slot}"] = opens.look(mail, slot, dark=True)
    found["page"] = _OPEN.sub("", opens.get(mail.view).text)
    for slot, path in mail.clicks.items():
        found[f"click {slot}"] = opens.get(path).headers["Location"]
    return found


def shown(opens: Opens, mail: Mail) -> int:
    """The offer in the hero."""
    return opens.shown(mail).live.chosen[0].offer


@pytest.mark.feature("EC-25")
def test_it_shows_nothing_of_a_sensitive_purchase_nor_of_who_lives_there_too(opens: Opens) -> None:
    opens.shop.intake.categories.learn(["Gifts"], create=True)
    mail = opens.send("ann", "bob", discount=DISCOUNT)["ann"]
    for name in ("ann", "bob"):
        opens.shop.send({"type": "group", "userId": name, "groupId": "h1", "traits": {"household_size": 2}})
    before = surfaces(opens, mail)
    assert shown(opens, mail) == opens.discount
    opens.shop.send(order("ann", "gifts", "ring-1"))
    assert surfaces(opens, mail) == before
    opens.shop.send(order("bob", "shoes", "shoes-1"), order("bob", "gifts", "ring-2"))
    assert surfaces(opens, mail) == before
    # Her own purchase that is not sensitive does change the mail, so the comparison can fail.
    opens.shop.send(order("ann", "shoes", "shoes-1"))
    after = surfaces(opens, mail)
    assert shown(opens, mail) == opens.thanks
    assert after["light 0"] != before["light 0"]


@pytest.mark.feature("EC-25")
@pytest.mark.parametrize("suppresses", [True, False], ids=["suppresses", "would select"])
def test_it_lets_a_sensitive_purchase_remove_an_offer_and_never_bring_one(opens: Opens, suppresses: bool) -> None:
    opens.shop.intake.categories.learn(["Gifts"], create=True)
    rule = {"not": BOUGHT_GIFTS} if suppresses else BOUGHT_GIFTS
    mail = opens.send("ann", discount=DISCOUNT | {"relevant": rule})["ann"]
    before = surfaces(opens, mail)
    assert shown(opens, mail) == (opens.discount if suppresses else opens.default)
    opens.shop.send(order("ann", "gifts", "ring-1"))
    after = surfaces(opens, mail)
    assert shown(opens, mail) == opens.default
    differing = {name for name in before if before[name] != after[name]}
    assert {"light 0", "dark 0", "click 0"} <= differing if suppresses else not differing
    assert differing <= {"light 0", "dark 0", "page", "click 0"}
    assert not [text for text in after.values() if isinstance(text, str) and re.search("ring|gift", text, re.I)]
