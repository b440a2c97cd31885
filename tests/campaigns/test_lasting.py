"""What a mail says for good stays true whatever is shown: alternative texts and links speak of no single offer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from base.errors import InvalidInput
from campaigns import campaigns, compiling
from campaigns.campaigns import CampaignIn, SlotChoice
from campaigns.starting import ALT
from signals.products import take_products
from tests.campaigns.shop import MANAGER, MESSAGE, MJML, TEXT, Shop, named
from tests.campaigns.test_pages import Form
from tests.campaigns.web import Web

CANDIDATES: dict[str, dict[str, Any]] = {
    "discount": {
        "fields": {"headline": "Fresh running shoes!", "badge": "−20 %", "percent": 20},
        "product": "aero",
        "landing": "https://shop.example.com/shoes",
    },
    "thanks": {"kind": "thank-you", "fields": {"headline": "{{ profile.first_name }}, thank you", "button": "Go"}},
}


def compiled(shop: Shop, alt: str = "Your offer of the week", mjml: str = MJML) -> None:
    """Compile a campaign with two candidates and a default, whose message says this."""
    item = {"id": "aero", "title": "Aero Glide 5", "price": "90 EUR", "availability": "in_stock"}
    take_products(shop.intake, shop.source, [item], shop.now)
    slots = [msgspec.structs.replace(MESSAGE.slots[0], alt=alt), MESSAGE.slots[1]]
    default = shop.offer("neutral", fields={"headline": "Good things for you"})
    candidates = [shop.offer(**content) for content in CANDIDATES.values()]
    content = CampaignIn(
        name="Campaign",
        message_id=shop.message(slots=slots, mjml=mjml),
        default_landing="https://shop.example.com/",
        slots=[SlotChoice(slot=0, default=default, offers=candidates), SlotChoice(slot=1, default=default)],
    )
    with shop.sessions.begin() as session:
        row = campaigns.create_campaign(session, named(content), shop.now, MANAGER)
        compiling.compile_campaign(session, row)


UNTRUE = {
    "Save 20% today": "names a percentage (20%)",
    "20 per cent off": "names a percentage (20 per cent)",
    "Jetzt 15 Prozent sparen": "names a percentage (15 Prozent)",
    "Shoes for €89.90": "names a price (€89.90)",
    "Nur 89,90 EUR": "names a price (89,90 EUR)",
    "From 12 dollars": "names a price (12 dollars)",
    "fresh  RUNNING shoes are here": "names the headline of the offer",
    "The Aero-Glide 5 and more": "names the product of the offer",
    "Good things, for you": "names the headline of the offer",
}
TRUE = [
    "Your offer of the week", ALT, "Chosen for you when you look", "3 things for your 2 dogs", "Since 1985", "Go on",
    "Running shoes and more", "100 years of our shop", "Ihr Angebot, persönlich ausgewählt", "本週為您精選",
]  # fmt: skip


@pytest.mark.feature("EC-16")
def test_it_publishes_no_alternative_text_that_speaks_of_one_offer(shop: Shop) -> None:
    for alt, reason in UNTRUE.items():
        with pytest.raises(InvalidInput) as refusal:
            compiled(shop, alt)
        assert (refusal.value.field, reason in refusal.value.message) == ("slots[0].alt", True), (alt, refusal.value)
        assert "hero" in refusal.value.message
    for alt in TRUE:
        compiled(shop, alt)


LINKS = {
    '<a href="{{ link.hero }}">Fresh running shoes!</a>': "names the headline of the offer",
    '<a href="{{ link.hero }}"><b>Save</b> 20 %</a>': "names a percentage (20 %)",
    '<a href="https://shop.example.com/shoes">Shop</a>': "links straight to where the offer",
}


@pytest.mark.feature("EC-16")
def test_it_publishes_no_link_that_would_not_follow_what_is_shown(shop: Shop) -> None:
    for link, reason in LINKS.items():
        with pytest.raises(InvalidInput) as refusal:
            compiled(shop, mjml=MJML.replace("<mj-text>Hello", f"<mj-text>{link} Hello"))
        assert (refusal.value.field, reason in refusal.value.message) == ("mjml", True), (link, refusal.value)
    for link in (
        '<a href="{{ link.hero }}">See what we chose</a>',
        '<a href="https://shop.example.com/">Our shop, 20 % of it new</a>',
        '<a href="https://www.example.com/privacy">Fresh running shoes!</a>',
    ):
        compiled(shop, mjml=MJML.replace("<mj-text>Hello", f"<mj-text>{link} Hello"))


def test_it_edits_alternative_texts_with_the_message_and_says_where_one_is_wrong(web: Web) -> None:
    number = web.shop.campaign(published=False)
    browser = web.desk("manager")
    page = f"/campaigns/{number}/message"
    assert 'value="Your offer of the week"' in browser.get(page).text
    fields = Form(browser.get(page).text).fields | {"mjml": MJML, "text": TEXT}
    assert browser.post(page, **(fields | {"alt-0": "Everything 20 % off"})).status_code == 302
    assert "An alternative text names a percentage (20 %)" in browser.get(page).text
    fields = Form(browser.get(page).text).fields | {"mjml": MJML, "text": TEXT}
    refused = browser.post(page, **(fields | {"alt-1": "  "}))
    assert refused.status_code == 400
    assert 'id="e-alt-1">must describe the place' in refused.text
