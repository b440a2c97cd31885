"""Several products in one picture: which are shown, what they cost, and cells that are alike whatever is in them."""

from __future__ import annotations

from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from base.errors import InvalidInput
from render.binding import resolve
from render.creative import (
    Background,
    Box,
    Button,
    Cells,
    Column,
    Countdown,
    Creative,
    Grid,
    Item,
    Price,
    Text,
    asset_hashes,
)
from render.decide import decide
from render.decision import Decision
from render.draw import compose
from render.faults import validate
from render.incentive import Incentive
from render.plan import Plan
from render.reasons import WHY
from render.record import DecisionRecord
from render.starting import BY_NAME
from render.validity import check
from signals.productfacts import ProductFacts
from tests.render.drawing import fonts, pixels
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import ATTIRE, NOON, TIGHTS, bought, facts, plan, product, state
from tests.render.test_picking import CAMERA, said

NAMES = ("tights-1", "shirt", "socks", "cap", "jacket", "belt")
DESIGN = BY_NAME["Product grid"]
ITEMS: tuple[Item, ...] = (Text("{{ product.name }}", 14, 11, 2), Price("{{ product.offer_cents }}"))


def known(**changes: ProductFacts) -> dict[str, ProductFacts]:
    """The products in stock; the first costs 49.99, each other one 10.00 more."""
    made = {name: product(price=4999 + 1000 * number, name=name) for number, name in enumerate(NAMES)}
    return made | changes


def offering(kind: str = "cross-sell", names: tuple[str, ...] = NAMES, **changes: Any) -> Plan:
    """The shoe shop's plan; its attire is an offer of several products in a grid, and goes first."""
    plain = plan()
    fields = {"product": names[0], "products": names[1:], "kind": kind, "creative": DESIGN.id, "priority": 9} | changes
    offers = tuple(replace(one, **fields) if one.id == TIGHTS else one for one in plain.offers)
    made = replace(plain, offers=offers, creatives=(*plain.creatives, DESIGN))
    assert validate(made) == []
    return made


def decided(made: Plan, products: dict[str, ProductFacts], **changes: Any) -> Decision:
    return decide(made, facts(changes.pop("known", state()), products=products, **changes), NOON, 1)


def test_it_shows_what_is_in_stock_and_not_bought_yet_in_the_offers_order() -> None:
    slot = decided(offering(), known()).slots[0]
    assert slot.offer == TIGHTS
    assert slot.products == ("tights-1", "shirt", "socks", "cap")
    gone = known(shirt=product(0, name="shirt"), socks=product(None, name="socks"))
    stale = gone | {"cap": product(name="cap", fed=NOON - timedelta(days=9))}
    assert decided(offering(), gone).slots[0].products == ("tights-1", "cap", "jacket", "belt")
    assert decided(offering(), stale).slots[0].products == ("tights-1", "jacket", "belt")
    had = state([bought(ATTIRE, NOON - timedelta(days=40), product="shirt")])
    assert decided(offering(), known(), known=had).slots[0].products == ("tights-1", "socks", "cap", "jacket")
    for unwanted in (said("not_for_me", "shirt"), said("already_own", "shirt"), said("not_for_me", category=CAMERA)):
        shirt = known(shirt=replace(product(name="shirt"), category=CAMERA))
        assert decided(offering(), shirt, known=state([unwanted])).slots[0].products == (
            "tights-1", "socks", "cap", "jacket",
        )  # fmt: skip


def fate(decision: Decision | DecisionRecord) -> tuple[str | None, str | None]:
    """What removed the offer of several products, and by which rule."""
    (one,) = [one for one in decision.slots[0].candidates if one.offer == TIGHTS]
    return one.removed_by, one.rule


@pytest.mark.parametrize("number", range(4))
def test_it_leaves_out_the_one_product_that_cannot_be_shown_whichever_of_them_it_is(number: int) -> None:
    name, made = NAMES[number], offering(needs_stock=True, shows_price=True)
    rest = tuple(one for one in NAMES if one != name)[:4]
    for known_state in (
        state([bought(ATTIRE, NOON - timedelta(days=40), product=name)]), state([said("already_own", name)]),
        state([said("not_for_me", name)]), state([said("not_for_me", category=CAMERA)]),
    ):  # fmt: skip
        stocked = known(**{name: replace(known()[name], category=CAMERA)})
        slot = decided(made, stocked, known=known_state).slots[0]
        assert (slot.offer, slot.products) == (TIGHTS, rest)
        assert slot.fields["product.name"] == stocked[rest[0]].title, "what it tells of is shown"
        assert slot.fields["product.price_cents"] == stocked[rest[0]].price_cents
    old = NOON - timedelta(days=9)
    for facts_of in (product(0, name=name), product(name=name, fed=old), replace(product(name=name), gone=True)):
        slot = decided(made, known(**{name: facts_of})).slots[0]
        assert (slot.offer, slot.products) == (TIGHTS, rest)
    lacking = {one: told for one, told in known().items() if one != name}
    decision = decided(made, lacking)
    assert (decision.slots[0].products, decision.lost) == (rest, (f"product:{name}",))


@pytest.mark.feature("SU-04")
def test_it_removes_an_offer_of_several_once_none_is_left_and_says_what_for() -> None:
    three, bundle = offering(names=NAMES[:3]), offering("bundle", NAMES[:3])
    had = [bought(ATTIRE, NOON - timedelta(days=40), order=name, product=name) for name in NAMES[:3]]
    unwanted = [said("not_for_me", name) for name in NAMES[:3]]
    sold_out = known(shirt=product(0, name="shirt"))
    for made, products, story, cause, words in (
        (three, known(), had, ("relevant", "already bought"), "already has each of its products that was in stock"),
        (three, known(), unwanted, ("beneficial", "not for me"), "or each of its products that was left, is not for"),
        (three, known(), [had[0], *unwanted[1:]], ("beneficial", "not for me"), "each of its products that was left"),
        (three, sold_out, [had[0], had[2]], ("relevant", "already bought"), "each of its products that was in stock"),
        (bundle, known(), had[1:2], ("relevant", "already bought"), "already has a part of its bundle"),
        (bundle, known(), unwanted[:1], ("beneficial", "not for me"), "a part of its bundle is not for them"),
        (bundle, sold_out, [], ("relevant", "no product in stock"), "a part of its bundle was not in stock"),
    ):
        decision = decided(made, products, known=state(story))
        assert fate(decision) == cause, story
        assert words in WHY[cause[1]](made.offer_by_id[TIGHTS], made), story


def test_it_removes_an_offer_none_of_whose_products_can_be_shown() -> None:
    none = {name: product(0, name=name) for name in NAMES}
    decision = decided(offering(needs_stock=False), none)
    assert decision.slots[0].offer != TIGHTS
    (removed,) = [one for one in decision.slots[0].candidates if one.offer == TIGHTS]
    assert (removed.removed_by, removed.rule) == ("relevant", "no product in stock")
    machine = decided(offering(needs_stock=False), known(), lane="machine")
    (removed,) = [one for one in machine.slots[0].candidates if one.offer == TIGHTS]
    assert removed.rule == "machine fetch: stock or price may change"


@pytest.mark.feature("CM-39")
def test_it_lowers_the_price_of_those_alone_that_are_flagged() -> None:
    def flagged(*names: str) -> dict[str, ProductFacts]:
        return {name: replace(one, promoted=name in names) for name, one in known().items()}

    lower: dict[str, Any] = {"incentive": Incentive(), "fields": {"percent": 10}}
    made, bundle = offering(**lower), offering("bundle", NAMES[:3], **lower)
    for some in (NAMES[:1], ("shirt", "cap"), NAMES[3:]):
        assert decided(made, flagged(*some)).slots[0].products == some
    assert decided(made, flagged(*NAMES)).slots[0].products == NAMES[:4]
    assert decided(bundle, flagged(*NAMES[:3])).slots[0].products == NAMES[:3]
    sold_out = flagged("shirt") | {"shirt": replace(product(0, name="shirt"), promoted=True)}
    for one, products, story, cause, words in (
        (made, flagged(), [], ("legal", "not on promotion"), "none of its products is flagged"),
        (bundle, flagged(*NAMES[:2]), [], ("legal", "not on promotion"), "a part of its bundle is not flagged"),
        (made, sold_out, [], ("relevant", "no product in stock"), "was in stock and flagged for a lower price"),
        (made, flagged("cap"), [said("already_own", "cap")], ("relevant", "already bought"), "in stock and flagged"),
        (made, flagged("cap"), [said("not_for_me", "cap")], ("beneficial", "not for me"), "that was left"),
    ):
        decision = decided(one, products, known=state(story))
        assert fate(decision) == cause
        assert words in WHY[cause[1]](one.offer_by_id[TIGHTS], one)


def test_it_prices_every_cell_under_the_offer() -> None:
    fields = decided(offering(fields={"percent": 15}), known()).slots[0].fields
    assert [fields[f"products.{number}.price_cents"] for number in range(4)] == [4999, 5999, 6999, 7999]
    assert [fields[f"products.{number}.offer_cents"] for number in range(4)] == [4249, 5099, 5949, 6799]
    assert fields["products.1.price"] == "$59.99"
    whole = decided(offering(fields={"price_cents": 100}), known()).slots[0].fields
    assert whole["products.1.offer_cents"] == 5999


@pytest.mark.feature("CM-42")
def test_it_sells_a_bundle_for_the_price_of_all_its_parts_to_the_cent() -> None:
    made = offering("bundle", NAMES[:3], fields={"percent": 7})
    fields = decided(made, known()).slots[0].fields
    assert fields["offer.was_cents"] == 4999 + 5999 + 6999
    assert fields["offer.price_cents"] == (17997 * 93 + 50) // 100
    assert fields["offer.saving_cents"] == 17997 - 16737
    assert fields["offer.saving"] == "$12.60"
    lacking = decided(made, known(socks=product(0, name="socks")))
    assert lacking.slots[0].offer != TIGHTS
    euro = replace(product(name="socks"), currency="EUR")
    assert "offer.price_cents" not in decided(made, known(socks=euro)).slots[0].fields


@pytest.mark.feature("CM-42")
def test_it_withdraws_a_bundle_once_a_part_is_owned_or_sold_out(client: FlaskClient, mail: Mail) -> None:
    made = offering("bundle", NAMES[:3], fields={"amount_off_cents": 1001})
    for facts_of in known().values():
        mail.stock(facts_of)
    mail.publish(made)
    client.get(mail.url(), headers=browser())
    mail.stock(product(0, name="socks"))
    client.get(mail.url(), headers=browser())
    mail.stock(product(name="socks"))
    mail.know(state([bought(ATTIRE, NOON, product="shirt")]))
    client.get(mail.url(), headers=browser())
    whole, lacking, owning = mail.decisions()
    assert whole.slots[0].offer == TIGHTS
    assert (whole.personal.fields[0]["offer.was_cents"], whole.personal.fields[0]["offer.price_cents"]) == (
        17997,
        16996,
    )
    assert fate(lacking) == ("relevant", "no product in stock")
    assert fate(owning) == ("relevant", "already bought")


@pytest.mark.feature("CM-42")
@given(st.lists(st.integers(1, 10**7), min_size=2, max_size=4), st.integers(0, 100))
@settings(max_examples=60)
def test_it_states_the_saving_of_any_bundle_to_the_cent(prices: list[int], percent: int) -> None:
    names = NAMES[: len(prices)]
    made = offering("bundle", names, fields={"percent": percent})
    parts = {name: product(price=price, name=name) for name, price in zip(names, prices, strict=True)}
    fields = decided(made, parts).slots[0].fields
    exact = Decimal(sum(prices)) * (100 - percent) / 100
    price = int(exact.to_integral_value(ROUND_HALF_UP))
    assert fields["offer.price_cents"] == price
    assert fields.get("offer.saving_cents", 0) == sum(prices) - price


def test_it_names_what_keeps_an_offer_of_several_products_from_being_published() -> None:
    many = tuple(f"p{number}" for number in range(14))
    with pytest.raises(AssertionError, match=r"offers\[2\]\.products: are 13"):
        offering(names=many)
    with pytest.raises(AssertionError, match=r"offers\[2\]\.products: make a bundle of more than 4"):
        offering("bundle")


def test_it_draws_anew_when_a_product_of_the_grid_sells_out_within_the_hold(client: FlaskClient, mail: Mail) -> None:
    for facts_of in known().values():
        mail.stock(facts_of)
    mail.publish(offering())
    first = client.get(mail.url(), headers=browser()).data
    assert client.get(mail.url(), headers=browser()).data == first
    mail.stock(product(0, name="socks"))
    second = client.get(mail.url(), headers=browser()).data
    assert second != first
    assert [decision.slots[0].product for decision in mail.decisions()] == ["tights-1", "tights-1"]
    assert mail.lane().chosen[0].products == ("tights-1", "shirt", "cap", "jacket")


def test_a_click_leads_on_until_all_that_was_shown_is_sold_out(client: FlaskClient, mail: Mail) -> None:
    for facts_of in known().values():
        mail.stock(facts_of)
    mail.publish(offering(needs_stock=True))
    client.get(mail.url(), headers=browser())
    mail.stock(product(0))
    assert client.get(mail.click(), headers=browser()).status_code == 302
    client.get(mail.url(), headers=browser())
    assert mail.lane().chosen[0].products == ("shirt", "socks", "cap", "jacket")
    for name in NAMES:
        mail.stock(product(0, name=name))
    assert "out of stock" in client.get(mail.click(), headers=browser()).text


def fields_of(count: int, long: bool = False) -> dict[str, str | int]:
    name = "An extraordinarily long name of a product that needs two lines and is cut" if long else "Shirt"
    return {
        f"products.{number}.{field}": value
        for number in range(count)
        for field, value in (("name", f"{name} {number}"), ("offer_cents", 999), ("picture", f"{number}" * 64))
    }


def grid(items: tuple[Item, ...] = ITEMS, **changes: Any) -> Creative:
    made: dict[str, Any] = {
        "box": Box(0, 0, 600, 300),
        "items": items,
        "colour": "#ff00ff",
        "picture_height": 0,
    } | changes
    return Creative(1, "grid", 600, 300, (Background("#000000"), Grid(**made)))


def spans(creative: Creative, fields: dict[str, str | int], locale: str = "en") -> list[tuple[int, int]]:
    """Where cells lie, from left to right, by the colour of their ground along the middle of their top edge."""
    image = compose(resolve(creative, fields, locale), {}, (600, 300), False, fonts())
    row = [image.getpixel((x, 1)) == (255, 0, 255) for x in range(image.width)]
    edges = [x for x in range(1, len(row)) if row[x] != row[x - 1]]
    if row[0]:
        edges.insert(0, 0)
    if row[-1]:
        edges.append(len(row))
    return list(zip(edges[::2], edges[1::2], strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
def test_it_gives_every_cell_the_same_size_and_room(count: int, long: bool) -> None:
    found = spans(grid(radius=0), fields_of(count, long))
    assert len(found) == count
    widths = [right - left for left, right in found]
    assert max(widths) - min(widths) <= 1
    assert max(widths) <= 600
    assert all(after[0] - before[1] == 24 for before, after in pairwise(found))
    assert abs(found[0][0] - (1200 - found[-1][1])) <= 2


def test_it_shows_five_products_as_four_and_one_product_alone() -> None:
    cells = next(layer.cells for layer in resolve(grid(), fields_of(6)).layers if isinstance(layer, Cells))
    assert [item.text for cell in cells for item in cell.items if isinstance(item, Text)] == [
        "Shirt 0", "Shirt 1", "Shirt 2", "Shirt 3",
    ]  # fmt: skip
    assert asset_hashes(resolve(grid(), fields_of(2))) == ("0" * 64, "1" * 64)
    alone = resolve(grid(), {"product.name": "Shirt", "product.offer_cents": 999}).layers[1]
    assert isinstance(alone, Cells)
    assert len(alone.cells) == 1
    assert len(resolve(grid(), {}).layers) == 1


def test_it_begins_on_the_right_where_people_read_so() -> None:
    from_left = compose(resolve(grid(), fields_of(3)), {}, (600, 300), False, fonts())
    mirrored = resolve(grid(), fields_of(3), "ar")
    cells = mirrored.layers[1]
    assert isinstance(cells, Cells)
    swapped = replace(mirrored, layers=(mirrored.layers[0], replace(cells, cells=cells.cells[::-1])))
    drawn = compose(mirrored, {}, (600, 300), False, fonts())
    assert pixels(drawn) != pixels(compose(swapped, {}, (600, 300), False, fonts()))
    assert pixels(drawn) != pixels(from_left)
    assert len(spans(grid(radius=0), fields_of(3), "ar")) == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"items": ()}, r"layers\[1\]\.items"),
        ({"items": (Countdown(),)}, r"layers\[1\]\.items"),
        ({"picture_height": 400}, r"layers\[1\]\.picture_height"),
        ({"padding": 99}, r"layers\[1\]\.padding"),
        ({"colour": "red"}, r"layers\[1\]\.colour"),
        ({"items": (Button("{{ customer.name }}"),)}, r"layers\[1\]\.items\[0\]\.text"),
    ],
)
def test_it_names_what_is_wrong_with_a_grid(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        check(grid(**changes))


def test_it_says_which_fields_of_its_products_a_grid_reads() -> None:
    read = check(grid())
    assert {"products.name", "product.name", "products.offer_cents", "products.picture"} <= set(read)
    column = Column(Box(0, 0, 9, 9), (Text("{{ product.brand }}"),))
    assert "products.brand" not in check(Creative(1, "x", 600, 300, (column,)))
