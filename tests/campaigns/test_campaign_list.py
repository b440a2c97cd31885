"""The list of campaigns: a page at a time, however many there are, and a search over all of them."""

from __future__ import annotations

import re

from campaigns.views.campaigns import CARDS
from tests.campaigns.web import Web

CARD = re.compile(r'href="/campaigns/(\d+)"')


def test_it_lists_campaigns_a_page_at_a_time_and_searches_all(web: Web) -> None:
    message = web.shop.message()
    made = {web.shop.campaign(published=False, message=message, name=f"Spring 50% {n}") for n in range(CARDS + 2)}
    manager = web.desk("manager")
    first = manager.get("/campaigns/").text
    assert len(set(CARD.findall(first))) == CARDS
    (older,) = re.findall(r'href="(/campaigns/\?after=\d+)"', first)
    second = manager.get(older).text
    assert {int(number) for number in CARD.findall(first + second)} == made
    assert "Older campaigns" not in second
    found = manager.get("/campaigns/?q=spring+50%25+1").text
    assert 1 < len(set(CARD.findall(found))) < CARDS
    assert CARD.findall(manager.get("/campaigns/?q=50_").text) == [], "what is typed is no pattern"
