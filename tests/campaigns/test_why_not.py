"""Why not the others, as pages tell it: in words, and many that lost alike in one line."""

from __future__ import annotations

from html import unescape

from campaigns.campaigns import SlotChoice
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web


def test_it_folds_many_offers_by_what_kept_them_away(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    shop.send(shop.order("ann", "Shoes", shop.now))
    due = {"field": "purchases.due_ratio", "category": "shoes", "op": ">=", "value": 0.8}
    offers = [shop.offer(name=f"Pair {number}", relevant=due) for number in range(7)]
    default = shop.offer("neutral")
    slots = [SlotChoice(slot=0, default=default, offers=offers), SlotChoice(slot=1, default=default)]
    page = unescape(web.browser("manager").get(f"/campaigns/{shop.campaign(slots=slots)}/preview?customer={ann}").text)
    asks = "its rule for “makes sense now” was not met: how due they are to restock Shoes at least 0.8"
    assert f"<summary>7 offers: {asks}</summary>" in page
    assert f"<li>“Pair 6” was not shown: {asks}.</li>" in page
