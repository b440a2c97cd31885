"""Tabs on a phone: the chosen one is in sight, and what does not fit fades at the edge where it goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.campaigns.shop import Shop
from tests.campaigns.test_switches import open_page
from tests.campaigns.web import Web

MORE = ("more-before", "more-after")


@pytest.mark.parametrize("width", [390, 320])
def test_the_chosen_tab_is_in_sight_on_a_phone(shop: Shop, web: Web, serve: Any, chromium: Browser, width: int) -> None:
    served = serve("campaigns", replace(shop.settings))
    path = f"/campaigns/{shop.campaign()}"
    page = open_page(served, chromium, web, f"{path}/audience")
    page.set_viewport_size({"width": width, "height": 844})
    seen = {}
    for tab in ("audience", "offers", "results"):
        page.goto(f"{served.url}{path}/{tab}")
        chosen, tabs = (page.locator(name).bounding_box() for name in (".nav-tabs .active", ".nav-tabs"))
        assert chosen is not None
        assert tabs is not None
        assert tabs["x"] <= chosen["x"] + 1, tab
        assert chosen["x"] + chosen["width"] <= tabs["x"] + tabs["width"] + 1, tab
        told = page.locator(".nav-tabs").get_attribute("class") or ""
        seen[tab] = [name for name in MORE if name in told.split()]
        assert page.locator(".nav-tabs").evaluate("tabs => getComputedStyle(tabs).maskImage") != "none", tab
    assert (seen["audience"], seen["results"]) == (["more-after"], ["more-before"])
