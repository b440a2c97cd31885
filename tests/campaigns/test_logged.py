"""What the system page calls the things that somebody changed."""

from __future__ import annotations

import re

from campaigns import segments
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web


def test_it_names_what_was_changed_and_leads_there(shop: Shop, web: Web) -> None:
    desk = web.desk("admin")
    campaign, offer = shop.campaign(), shop.offer()
    with shop.sessions.begin() as session:
        kept, gone = (segments.create_segment(session, name, {"always": True}, shop.now, MANAGER) for name in "KG")
        segments.delete_segment(session, gone.id, shop.now, MANAGER)
        number = gone.id
        kept_number = kept.id
    page = desk.get("/system/").text
    listed = re.findall(r'baseline column-gap-3"><span class="wrap-any">(.*?)</span>', page)
    link = 'Create, <a class="text-decoration-underline" href="{}">{} “'.format
    for said in (link(f"/campaigns/{campaign}", "campaign"), link(f"/offers/{offer}", "offer")):
        assert any(one.startswith(said) for one in listed), said
    assert f"{link(f'/segments/{kept_number}', 'segment')}K”</a>" in listed
    assert f"Delete, segment {number}" in listed, "what is gone has its number alone"
