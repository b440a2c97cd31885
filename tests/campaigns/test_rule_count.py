"""The count beside a rule while it is typed, in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from playwright.sync_api import Browser, expect

from tests.campaigns.web import PASSWORD, Web


def test_it_counts_what_is_typed_and_dims_the_number_before(
    web: Web, serve: Callable[..., Any], chromium: Browser
) -> None:
    shop = web.shop
    shop.people("ann", "bob", "cleo")
    shop.send(*(shop.order(name, "Shoes", shop.now - timedelta(days=3)) for name in ("ann", "bob")))
    shop.send(shop.order("ann", "Shoes", shop.now - timedelta(days=2)))
    address = web.person("manager")
    served = serve("campaigns", shop.settings)
    context = chromium.new_context()
    page = context.new_page()
    page.goto(served.url + "/sign-in")
    page.fill("input[name=email]", address)
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_load_state("networkidle")
    page.goto(served.url + "/segments/new")
    count = page.locator(".rules-count")
    expect(count).to_contain_text("3 of 3 customers")
    page.select_option("select[name=condition-0]", "orders")
    page.locator("input[name=value-0]").press_sequentially("1")
    expect(count).to_contain_text("2 of 3 customers")
    typed = page.locator("input[name=value-0]")
    typed.fill("2")
    assert "is-old" in (count.get_attribute("class") or "")
    expect(count).to_contain_text("1 of 3 customers")
    expect(count).not_to_have_class("rules-count is-old")
    assert page.evaluate("document.activeElement.name") == "value-0", "nobody left the field"
    typed.fill("")
    compared = page.locator("select[name=comparison-0]")
    for condition, begins in (("trait", "="), ("bought", ">=")):
        page.select_option("select[name=condition-0]", condition)
        expect(compared).to_have_value(begins)
    expect(count).to_contain_text("Not complete yet. Row 1: needs a category")
    assert count.locator(".text-danger").count() == 0
    context.close()
