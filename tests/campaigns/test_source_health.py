"""How sources do, and how to send a first event, on their page."""

from __future__ import annotations

import re

from signals.products import take_products
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web
from tests.damage import damaged_signal


def test_it_says_how_sources_do_and_how_to_send_a_first_event(shop: Shop, web: Web) -> None:
    desk = web.desk("admin")
    desk.get("/system/sources")
    made = desk.post("/system/sources", name="Shop pages", kind="browser").text
    (key,) = re.findall(r"curl -u ([\w-]{32}):", made)
    assert "anonymousId" in made
    assert key not in desk.get("/system/sources").text
    shop.people("ann")
    page = desk.get("/system/sources").text
    assert "nothing yet" in page
    assert f"/stream/?source={shop.source.id}" in page
    program = web.program("admin")
    health = {one["source"]: one for one in program.told("GET", "/sources/health")["sources"]}
    assert health[shop.source.id]["told"] == {"5 min": 2, "1 h": 2, "24 h": 2}
    assert health[shop.source.id]["skew"] == 0
    with damaged_signal(shop.sessions, shop.profile("ann")):
        assert health[shop.source.id] in program.told("GET", "/sources/health")["sources"]


def test_it_says_of_a_source_that_tells_of_products_alone_when_it_last_did(shop: Shop, web: Web) -> None:
    good, wrong = {"id": "p1", "title": "A", "price": "15.00 EUR"}, {"id": "p2", "title": "B", "price": "15,00 EUR"}
    assert take_products(shop.intake, shop.source, [good, wrong], shop.now).refused == 1
    page = web.desk("admin").get("/system/sources").text
    assert ">products alone, 2 Mar 2026" in page
    assert "nothing yet" not in page
    assert "100.0 %" not in page
