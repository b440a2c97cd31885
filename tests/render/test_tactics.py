"""Incentives as parts of a creative: the saving, free delivery, the dearer version and the cheapest to begin with."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace

from render.binding import resolve
from render.creative import Box, Column, Creative, Pill, Price, Text
from render.decide import decide
from render.faults import validate
from render.pick import PoolProduct
from render.plan import Plan
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import ATTIRE, CREATIVE, GIFTS, NOON, NOON_MS, TIGHTS, bought, facts, plan, product, state
from tests.render.test_picking import said as mark

LINE = (("tights-0", 2_999), ("tights-1", 4_999), ("tights-2", 6_999), ("tights-3", 8_999))
DELIVERY = (
    "{% if profile.to_free_delivery %}Only {{ profile.to_free_delivery }} to free delivery"
    "{% elif profile.has_free_delivery %}Delivery is free"
    "{% else %}Free delivery from {{ brand.free_delivery }}{% endif %}"
)
STRETCH = "{% if product.stretch_more %}{{ product.stretch_name }} for {{ product.stretch_more }} more{% endif %}"
ENTRY = "{% if product.entry_price %}Or begin at {{ product.entry_price }}{% endif %}"
DESIGN = Creative(
    id=CREATIVE.id,
    name="Tactics",
    width=600,
    height=300,
    layers=(
        Column(
            box=Box(20, 20, 560, 260),
            items=(
                Text("{{ offer.headline }}"),
                Price("{{ offer.price_cents }}", struck="{{ offer.was_cents }}"),
                Text("{% if offer.saving %}You save {{ offer.saving }}{% endif %}"),
                Text("{{ offer.delivery }}"),
                Pill("{{ offer.stretch }}"),
                Text("{{ offer.entry }}"),
            ),
        ),
    ),
)


def tempting(**changes: Any) -> Plan:
    """The shop's tights, whose offer uses every tactic."""
    made = plan()
    texts = {
        "headline": "Tights", "percent": 10, "free_delivery_cents": 5_000,
        "delivery": DELIVERY, "stretch": STRETCH, "entry": ENTRY,
    }  # fmt: skip
    versions = tuple(PoolProduct(name, ATTIRE, "tights", tier) for tier, (name, _) in enumerate(LINE))
    content = {"fields": texts, "versions": versions, "shows_price": True, "priority": 9} | changes
    offers = tuple(replace(one, **content) if one.id == TIGHTS else one for one in made.offers)
    made = replace(made, offers=offers, creatives=(DESIGN,))
    assert validate(made) == []
    return made


def stocked(*sold_out: str, **changes: Any) -> dict[str, ProductFacts]:
    return {
        name: replace(product(0 if name in sold_out else 5, price, name=name), title=name.title(), **changes)
        for name, price in LINE
    }


def cart(*lines: tuple[str, int, int, int | None], minute: int = 0) -> FoldEvent:
    """The cart as a whole: product, category, quantity and price of one."""
    made = tuple(Line(name, category, quantity, cents) for name, category, quantity, cents in lines)
    at_ms = unix_ms(NOON - timedelta(minutes=9 - minute))
    return FoldEvent(time_ms=at_ms, message_id=f"cart-{minute}", kind="cart", arrival=at_ms, lines=made)


def said(made: Plan, events: Iterable[FoldEvent] = (), **changes: Any) -> dict[str, str | int]:
    slot = decide(made, facts(state(events), **({"products": stocked()} | changes)), NOON, 1).slots[0]
    assert slot.offer == TIGHTS
    return slot.fields


@pytest.mark.feature("CM-44")
@pytest.mark.parametrize(
    ("cents", "quantity", "line"),
    [
        (1_250, 2, "Only $25.00 to free delivery"),
        (4_999, 1, "Only $0.01 to free delivery"),
        (2_500, 2, "Delivery is free"),
        (9_999, 9, "Delivery is free"),
    ],
)
def test_it_tells_what_is_missing_to_free_delivery_by_the_cart_at_the_open(
    cents: int, quantity: int, line: str
) -> None:
    fields = said(tempting(), [cart(("sock", ATTIRE, quantity, cents))])
    assert fields["offer.delivery"] == line
    half = [cart(("sock", ATTIRE, quantity, cents)), cart(("sock", ATTIRE, quantity, 2 * cents), minute=1)]
    half[1] = replace(half[1], lines=(replace(half[1].lines[0], millionths=quantity * 500_000),))
    assert said(tempting(), half)["offer.delivery"] == line
    assert "delivery" in str(fields["profile.bound"])


@pytest.mark.feature("CM-44")
def test_it_tells_the_threshold_alone_where_the_cart_has_no_value_to_tell() -> None:
    made = tempting()
    for events in (
        [],
        [cart(("sock", ATTIRE, 1, None))],
        [cart(("sock", ATTIRE, 1, 900), ("card", GIFTS, 1, 900))],
    ):
        fields = said(made, events)
        assert fields["offer.delivery"] == "Free delivery from $50.00"
        assert not any(name.startswith("profile.") for name in fields)
    german = said(made, [cart(("sock", ATTIRE, 1, 1_250))], locale="de")
    assert german["offer.delivery"] == "Only 37,50\N{NO-BREAK SPACE}$ to free delivery"
    yen = replace(tempting(), currency="JPY")
    assert said(yen, [cart(("sock", ATTIRE, 1, 125_000))])["profile.to_free_delivery"] == "¥3,750"


@pytest.mark.feature("CM-44")
def test_it_shows_the_dearer_version_and_the_cheapest_beside_the_price() -> None:
    fields = said(tempting())
    assert (fields["offer.price_cents"], fields["offer.saving"]) == (4_499, "$5.00")
    assert fields["offer.stretch"] == "Tights-2 for $25.00 more"
    assert fields["offer.entry"] == "Or begin at $29.99"
    scarce = said(tempting(), products=stocked("tights-2", "tights-0"))
    assert scarce["offer.stretch"] == "Tights-3 for $45.00 more"
    assert "offer.entry" not in scarce
    owning = said(tempting(), [bought(ATTIRE, NOON - timedelta(days=9), product="tights-2")])
    assert owning["offer.stretch"] == "Tights-3 for $45.00 more"
    declined = said(tempting(), [mark("not_for_me", "tights-2")])
    assert declined["offer.stretch"] == "Tights-3 for $45.00 more"
    stale = {name: replace(one, feed_ms=NOON_MS - 9 * 86_400_000) for name, one in stocked().items()}
    alone = said(tempting(), products=stale | {"tights-1": stocked()["tights-1"]})
    assert "offer.stretch" not in alone
    assert "offer.entry" not in alone


@pytest.mark.feature("CM-44")
def test_it_draws_the_tactics_as_parts_and_leaves_out_those_without_a_claim() -> None:
    def parts(fields: dict[str, str | int]) -> list[str]:
        (column,) = resolve(DESIGN, fields, "en", "USD").layers
        assert isinstance(column, Column)
        return [item.amount if isinstance(item, Price) else getattr(item, "text", "") for item in column.items]

    whole = parts(said(tempting(), [cart(("sock", ATTIRE, 1, 1_000))]))
    assert whole == [
        "Tights", "$44.99", "You save $5.00", "Only $40.00 to free delivery", "Tights-2 for $25.00 more",
        "Or begin at $29.99",
    ]  # fmt: skip
    alone = tempting(fields={"headline": "Tights"}, versions=())
    assert parts(said(alone)) == ["Tights"]


@pytest.mark.feature("CM-44")
def test_it_redraws_a_real_open_when_the_cart_has_changed(client: FlaskClient, mail: Mail) -> None:
    mail.publish(tempting())
    for one in stocked().values():
        mail.stock(one)
    mail.know(state([cart(("sock", ATTIRE, 1, 1_000))]))
    first = client.get(mail.url(), headers=browser()).data
    more = [cart(("sock", ATTIRE, 1, 1_000)), cart(("sock", ATTIRE, 6, 1_000), minute=1)]
    mail.know(replace(state(more), version=9))
    second = client.get(mail.url(), headers=browser()).data
    assert second != first
    lines = [record.personal.fields[0]["offer.delivery"] for record in mail.decisions()]
    assert lines == ["Only $40.00 to free delivery", "Delivery is free"]
    assert all(fetch.is_personal for fetch in mail.fetches())
