"""Words in the colour of danger are read on their ground, in both themes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser

from campaigns import receivers, segments
from campaigns.models import AudienceExport
from campaigns.receivers import ExportIn
from tests.browser.visitor import AXE
from tests.campaigns.shop import MANAGER
from tests.campaigns.web import PASSWORD, Web


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_fault_of_an_export_is_read_and_its_badge_says_so(
    web: Web, serve: Callable[..., Any], chromium: Browser, scheme: Any
) -> None:
    shop = web.shop
    with shop.sessions.begin() as session:
        made = segments.create_segment(session, "Everybody", {"always": True}, shop.now, MANAGER)
        wanted = ExportIn("Ads", made.id, "google", None)
        number = receivers.create(session, wanted, shop.settings, shop.now, MANAGER)[0].id
        row = session.get_one(AudienceExport, number)
        row.url, row.fault, row.not_before = "https://nowhere.example/", "the receiver is away", shop.now
    context = chromium.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(served := serve("campaigns", shop.settings).url + "/sign-in")
    page.fill("input[name=email]", web.person("manager"))
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_load_state("networkidle")
    page.goto(served.replace("/sign-in", "/exports/"))
    assert page.inner_text(".text-danger").startswith("Not told: the receiver is away; tried again")
    badge = page.locator(".badge", has_text="active")
    assert (badge.inner_text(), "bg-red-lt" in (badge.get_attribute("class") or "")) == ("active, not told", True)
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run(document, {runOnly: ['color-contrast']}).then(result => result.violations)")
    assert found == []
    ground = page.evaluate("getComputedStyle(document.querySelector('label.required'), '::after').color")
    assert ground == {"light": "rgb(196, 43, 43)", "dark": "rgb(255, 143, 143)"}[scheme]
    context.close()
