"""Words of names stay whole where there is room: columns are as wide as their words, and long names break between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from playwright.sync_api import Browser

from campaigns import permissions
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.test_switches import open_page
from tests.campaigns.web import Web

BROKEN: Final = """elements => elements.flatMap(element => {
    const found = [], texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) for (const word of texts.currentNode.data.matchAll(/[^\\s_]+_?/g)) {
        const range = document.createRange();
        range.setStart(texts.currentNode, word.index);
        range.setEnd(texts.currentNode, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map(box => box.top)).size > 1) found.push(word[0]);
    }
    return found;
})"""
"""The words within elements that go on in another line."""


def test_words_of_traits_and_of_consent_stay_whole(shop: Shop, web: Web, serve: Any, chromium: Browser) -> None:
    (ann,) = shop.people("ann")
    traits = {"household_composition": "single_parent_household", "level_of_the_programme": "gold"}
    shop.send({"type": "identify", "userId": "ann", "traits": traits})
    for wording in ("On the phone, " * 30, "x" * 400):
        permissions.state(shop.intake, ann, "push", True, wording, shop.now, MANAGER)
    path = f"/customers/{ann}"
    page = open_page(serve("campaigns", replace(shop.settings)), chromium, web, path, role="support")
    for width in (1280, 1000):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(page.url.partition("/customers")[0] + path)
        named = page.locator(".card:has(h2:text-is('Traits')) :is(dt, dd)")
        assert "household_composition" in named.all_inner_texts(), "copied, a name is as it was told"
        assert named.evaluate_all(BROKEN) == [], width
        page.goto(f"{page.url}/permissions")
        cells = page.locator("section[aria-labelledby=history] td:not([data-label=What])")
        assert "support staff" in cells.all_inner_texts()
        assert cells.evaluate_all(BROKEN) == [], width
    page.context.close()
