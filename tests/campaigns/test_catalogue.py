"""Offers, creatives, messages, segments: what may be written and what is refused, with the field named."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from base.errors import Conflict, InvalidInput
from campaigns import admin_log, campaigns, creatives, messages, offers, segments
from campaigns.campaigns import CampaignIn, SlotChoice
from campaigns.mail import compile_mail
from campaigns.offers import OfferIn
from render.starting import STARTING
from tests.campaigns.shop import MANAGER, MESSAGE, Shop, named


def test_it_keeps_an_offer_and_its_history(shop: Shop) -> None:
    number = shop.offer("replacement", value_cents=500)
    with shop.sessions.begin() as session:
        row = offers.offer(session, number)
        changed = msgspec.structs.replace(offers.content(row), value_cents=700)
        offers.update_offer(session, number, changed, shop.now, MANAGER)
    with shop.sessions.begin() as session:
        assert offers.offer(session, number).value_cents == 700
        latest = admin_log.entries(session, object_type="offer", object_id=number)[0]
    assert (latest.action, latest.before, latest.after) == ("change", {"value_cents": 500}, {"value_cents": 700})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": " "}, "name"),
    ({"landing": "javascript:alert(1)"}, "landing"),
    ({"landing": "https://shop.example.com/a\nb"}, "landing"),
    ({"category": "no-such"}, "category"),
    ({"product": "no-such"}, "product"),
    ({"needs_stock": True}, "product"),
    ({"period_days": 7}, "period_days"),
    ({"requires_consent": ["everything"]}, "requires_consent"),
    ({"fields": {"headline": "{{ offer.body }}"}}, "fields.headline"),
    ({"fields": {"body": "Hello {{ profile.first_name"}}, "fields.body"),
    ({"relevant": {"field": "shoe.size", "op": "=", "value": 1}}, "relevant.field"),
    ({"legal": {"event": "Order Completed", "from": {"months_ago": 2}}}, "legal"),
]


def test_it_refuses_an_offer_and_names_the_field(shop: Shop) -> None:
    for changes, field in REFUSED:
        with pytest.raises(InvalidInput) as refused:
            shop.offer("replacement", **changes)
        assert refused.value.field.startswith(field), changes


def test_it_refuses_an_offer_that_ends_before_it_begins(shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="ends_at: must be after starts_at"):
        shop.offer("replacement", starts_at=shop.now, ends_at=shop.now - timedelta(seconds=1))


def test_it_refuses_a_second_offer_of_the_same_name(shop: Shop) -> None:
    content = OfferIn(name="Twice", kind="service", creative_id=shop.creative(), landing="https://shop.example.com/")
    with shop.sessions.begin() as session:
        offers.create_offer(session, content, shop.now, MANAGER)
    with pytest.raises(Conflict), shop.sessions.begin() as session:
        offers.create_offer(session, content, shop.now, MANAGER)


def test_it_refuses_a_creative_whose_text_calls_something(shop: Shop) -> None:
    document = msgspec.to_builtins(STARTING[0])
    content = {name: value for name, value in document.items() if name not in ("id", "name")}
    broken = content | {"layers": [{"type": "badge", "box": [0, 0, 50, 50], "text": "{{ offer.name() }}"}]}
    with pytest.raises(InvalidInput, match=r"layers\[0\].text"), shop.sessions.begin() as session:
        creatives.create_creative(session, "Broken", broken, shop.now, MANAGER)
    with pytest.raises(InvalidInput, match="document: has fields"), shop.sessions.begin() as session:
        creatives.create_creative(session, "Broken", content | {"colour": "red"}, shop.now, MANAGER)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": "two\r\nlines"}, "subject"),
        ({"from_address": "Shop <shop@example.com>"}, "from_address"),
        ({"from_name": "Shop\nBcc: a@example.com"}, "from_name"),
        ({"mjml": MESSAGE.mjml.replace("mj-button", "mj-knob")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("</mj-body>", "")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("{{ slot.strip }}", "")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("{{ slot.strip }}", "{{ slot.other }}")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("{{ link.unsubscribe }}", "https://example.com")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("Hello", "<script>alert(1)</script>")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("Hello", '<b onclick="x()">Hello</b>')}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("{{ link.hero }}", "javascript:x")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("{{ link.hero }}", "https://x.example/?n={{ profile.first_name }}")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("Hello", "{% for x in profile %}x{% endfor %}")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("Hello", "{{ profile.first_name.__class__ }}")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("Hello", "{{ ''.__class__ }}")}, "mjml"),
        ({"mjml": MESSAGE.mjml.replace("Hello", "{{ profile.town }}")}, "fallbacks"),
        ({"mjml": MESSAGE.mjml.replace("Hello", "word " * 25_000)}, "mjml"),
        ({"text": "Hello"}, "text"),
        ({"text": MESSAGE.text + "{{ link.nowhere }}"}, "text"),
        ({"postal_address": " "}, "postal_address"),
        ({"slots": [msgspec.structs.replace(MESSAGE.slots[0], width=610), MESSAGE.slots[1]]}, "slots[0].width"),
        ({"slots": [msgspec.structs.replace(MESSAGE.slots[0], alt=""), MESSAGE.slots[1]]}, "slots[0].alt"),
        ({"slots": [msgspec.structs.replace(MESSAGE.slots[0], name="strip"), MESSAGE.slots[1]]}, "slots"),
    ],
)
def test_it_refuses_a_message_and_names_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        compile_mail(named(MESSAGE, **changes), 1, "shop")
    assert refused.value.field == field


def test_it_does_not_save_a_message_that_cannot_be_compiled(shop: Shop) -> None:
    number = shop.message()
    broken = named(MESSAGE, text="Hello")
    with pytest.raises(InvalidInput), shop.sessions.begin() as session:
        messages.create_message(session, broken, shop.now, MANAGER)
    with pytest.raises(InvalidInput), shop.sessions.begin() as session:
        messages.update_message(session, number, broken, shop.now, MANAGER)
    with shop.sessions.begin() as session:
        assert [row.text for row in messages.messages(session)] == [MESSAGE.text]


@pytest.mark.feature("CM-30")
def test_it_does_not_save_a_slot_without_a_neutral_default(shop: Shop) -> None:
    message, sold = shop.message(), shop.offer("replacement")
    limited, conditional = shop.offer("neutral", cap_total=5), shop.offer("neutral", relevant={"always": True})
    with pytest.raises(msgspec.ValidationError, match="missing required field `default`"):
        msgspec.convert({"slot": 0, "offers": [sold]}, SlotChoice)
    for default in (sold, limited, conditional, 999):
        content = CampaignIn(name="C", message_id=message, slots=[SlotChoice(slot=0, default=default, offers=[sold])])
        with pytest.raises(InvalidInput) as refused, shop.sessions.begin() as session:
            campaigns.create_campaign(session, content, shop.now, MANAGER)
        assert refused.value.field == "slots[0].default"


def test_it_does_not_publish_a_message_slot_that_the_campaign_does_not_fill(shop: Shop) -> None:
    half = [SlotChoice(slot=0, default=shop.offer("neutral"))]
    with pytest.raises(InvalidInput, match="what the slot strip shows"):
        shop.campaign(slots=half)


def test_it_refuses_segments_that_contain_themselves(shop: Shop) -> None:
    with shop.sessions.begin() as session:
        inner = segments.create_segment(session, "Inner", {"always": True}, shop.now, MANAGER).id
        outer = segments.create_segment(session, "Outer", {"segment": inner}, shop.now, MANAGER).id
    with pytest.raises(InvalidInput, match="contains itself"), shop.sessions.begin() as session:
        segments.update_segment(session, inner, "Inner", {"any": [{"segment": outer}]}, shop.now, MANAGER)
    with pytest.raises(Conflict, match="Outer still names"), shop.sessions.begin() as session:
        segments.delete_segment(session, inner, shop.now, MANAGER)


def test_it_refuses_a_segment_that_would_break_what_contains_it(shop: Shop) -> None:
    ulm = {"field": "trait", "name": "city", "op": "=", "value": "Ulm"}
    large = {"any": [ulm] * 198}
    with shop.sessions.begin() as session:
        inner = segments.create_segment(session, "Inner", ulm, shop.now, MANAGER).id
        outer = segments.create_segment(session, "Outer", {"segment": inner}, shop.now, MANAGER).id
    with shop.sessions.begin() as session:
        segments.update_segment(session, inner, "Inner", large, shop.now, MANAGER)
        segments.update_segment(session, inner, "Inner", ulm, shop.now, MANAGER)
    campaign = shop.campaign(audience={"all": [{"segment": outer}, ulm]}, name="Autumn")
    shop.schedule(campaign, timedelta(days=1))
    with (
        pytest.raises(InvalidInput, match="would break the audience of the campaign Autumn: a rule has at most 200"),
        shop.sessions.begin() as session,
    ):
        segments.update_segment(session, inner, "Inner", large, shop.now, MANAGER)
    with shop.sessions.begin() as session:
        segments.update_segment(session, outer, "Outer", {"all": [{"segment": inner}, ulm]}, shop.now, MANAGER)
    with (
        pytest.raises(InvalidInput, match="would break the segment Outer: a rule has at most 200 parts"),
        shop.sessions.begin() as session,
    ):
        segments.update_segment(session, inner, "Inner", large, shop.now, MANAGER)


def test_it_keeps_no_segment_too_deep_to_be_named(shop: Shop) -> None:
    with shop.sessions.begin() as session:
        last = segments.create_segment(session, "S0", {"always": True}, shop.now, MANAGER).id
        for depth in range(1, 5):
            last = segments.create_segment(session, f"S{depth}", {"segment": last}, shop.now, MANAGER).id
    with pytest.raises(InvalidInput, match="5 deep"), shop.sessions.begin() as session:
        segments.create_segment(session, "S5", {"segment": last}, shop.now, MANAGER)


def test_it_counts_who_is_in_a_segment_now(shop: Shop) -> None:
    shop.people("ann", city="Ulm")
    shop.people("bob")
    with shop.sessions.begin() as session:
        number = segments.create_segment(
            session, "Ulm", {"field": "trait", "name": "city", "op": "=", "value": "Ulm"}, shop.now, MANAGER
        ).id
        assert segments.count(session, number, shop.now) == 1
