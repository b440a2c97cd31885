"""What ends something for good asks once before it is done, wherever its button is."""

from __future__ import annotations

import re

from tests.campaigns.desk import Desk
from tests.campaigns.web import Web

FORM = re.compile(r'<form [^>]*action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
ASKS = re.compile(r'data-confirm="[^"]{40,}\."')


def test_buttons_that_end_something_for_good_ask_first(web: Web) -> None:
    desk = Desk(web)
    segment, export, key = desk.segment_id(), desk.export(), desk.program.key.partition(".")[0]
    for page, action in (
        (f"/segments/{segment}", f"/segments/{segment}/delete"),
        ("/exports/", f"/exports/{export}/act"),
        ("/system/keys", f"/system/keys/{key}/revoke"),
        ("/system/sources", f"/system/sources/{desk.source('till')}/end"),
        ("/system/tracking-plan/", f"/system/tracking-plan/{desk.planned('Called')}/remove"),
    ):
        shown = dict(FORM.findall(desk.browser.get(page).text))
        assert ASKS.search(shown[action]), page
    assert desk.browser.post("/system/shops/", name="Boots", platform="shopify", secret="s" * 32).status_code < 400
    shops = dict(FORM.findall(desk.browser.get("/system/shops/").text))
    assert any(action.endswith("/end") and ASKS.search(shown) for action, shown in shops.items())
