"""What the timeline of a customer says of the signals that came of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.campaigns.shop import Shop
from tests.campaigns.web import Web


def said(shop: Shop, web: Web, name: str, title: str) -> list[str]:
    """What the lines of somebody's timeline with this title say, the newest first."""
    told = web.program("support").told("GET", f"/customers/{shop.profile(name)}/timeline?kind=signal")
    return [entry["detail"] for entry in told["entries"] if entry["title"] == title]


@pytest.mark.feature("SU-01")
def test_it_says_of_each_purpose_what_was_agreed_to_in_both_forms_of_a_consent(shop: Shop, web: Web) -> None:
    shop.people("ann", consent=False)
    forms: list[dict[str, Any]] = [
        {"consents": {"email": True, "tracking": True}},
        {"consents": {"profiling": False, "sms": True}},
        {"purpose": "email", "granted": False},
        {"purpose": "advertising", "granted": True},
    ]
    for properties in forms:
        shop.clock.advance(timedelta(minutes=1))
        shop.send({"type": "track", "userId": "ann", "event": "Consent Changed", "properties": properties})
    assert said(shop, web, "ann", "Consent changed") == [
        "agreed to being named to advertising channels", "refuses mail",
        "refuses being profiled, agreed to text messages",
        "agreed to mail, agreed to being followed",
    ]  # fmt: skip
    assert (
        "agreed to mail, agreed to being followed" in web.desk("support").get(f"/customers/{shop.profile('ann')}").text
    )


def test_a_customers_page_says_who_it_is_and_what_is_known_before_the_timeline(shop: Shop, web: Web) -> None:
    """So a phone shows them, which sets the one below the other; a wide page has them side by side."""
    shop.people("ann")
    page = web.desk("support").get(f"/customers/{shop.profile('ann')}").text
    assert page.index("Known as") < page.index(">Now<") < page.index("What they allow") < page.index('class="timeline"')
    assert 'kind=order#timeline"' in page, "what is left out of the timeline leaves one there"
