"""What a browser checks before it sends a form, which a test that posts by itself never meets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from playwright.sync_api import Browser
from sqlalchemy import text

from tests.campaigns.shop import Shop
from tests.campaigns.test_switches import open_page
from tests.campaigns.web import Web

FORMS = ("/customers/{}/merges", "/customers/{}/household", "/customers/{}/erase", "/pictures")
FAULTY = """inputs => inputs.filter(one => [...one.attributes].some(said => /^["']|["']$/.test(said.value)
    || /["'=]/.test(said.name))).map(one => one.outerHTML)"""


def test_two_customers_can_be_merged_from_a_browser(shop: Shop, web: Web, serve: Any, chromium: Browser) -> None:
    shop.people("ann", "bob")
    ann = shop.profile("ann")
    served = serve("campaigns", replace(shop.settings))
    page = open_page(served, chromium, web, f"/customers/{ann}/merges", role="admin")
    page.fill("input[name=other]", "bob")
    page.click("form:has(input[name=other]) button")
    page.click("button:has-text('Merge with Bob')")
    page.wait_for_selector("text=The two are one customer now.")
    with shop.sessions.begin() as session:
        assert session.scalar(text("SELECT count(*) FROM profile_link WHERE undone_at IS NULL")) == 1


def test_attributes_of_fields_are_what_the_pages_meant(shop: Shop, web: Web, serve: Any, chromium: Browser) -> None:
    shop.people("ann")
    served = serve("campaigns", replace(shop.settings))
    page = open_page(served, chromium, web, "/", role="admin")
    for path in FORMS:
        page.goto(served.url + path.format(shop.profile("ann")))
        assert page.locator("input").count(), path
        assert page.locator("input").evaluate_all(FAULTY) == [], path
