"""The preview's mail in the theme of the mail client that is asked for, whatever the browser's own is."""

from __future__ import annotations

from playwright.sync_api import Browser

from tests.campaigns.web import PASSWORD, Web
from tests.serving import Serve


def test_a_preview_is_all_in_the_theme_that_is_asked_for(web: Web, serve: Serve, chromium: Browser) -> None:
    address, number = web.person("manager"), web.shop.campaign()
    served = serve("campaigns", web.shop.settings)
    seen = {}
    for own in ("light", "dark"):
        page = chromium.new_context(color_scheme="dark" if own == "dark" else "light").new_page()
        page.goto(f"{served.url}/sign-in")
        page.fill("input[name=email]", address)
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_load_state("networkidle")
        for theme, query in (("light", ""), ("dark", "?dark=on")):
            page.goto(f"{served.url}/campaigns/{number}/preview{query}")
            assert page.get_by_text(f"in a {theme} mail client", exact=True).count() == 1
            page.goto(f"{served.url}/campaigns/{number}/preview/mail{query}")
            page.wait_for_load_state("networkidle")
            assert "prefers-color-scheme" not in page.content()
            seen[own, theme] = page.screenshot()
        page.context.close()
    assert seen["light", "light"] == seen["dark", "light"]
    assert seen["light", "dark"] == seen["dark", "dark"]
    assert seen["light", "light"] != seen["light", "dark"]
