"""Plans: one byte form, one name, and what may not be published."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from base.errors import InvalidInput
from render.facts import (
    NO_USE,
    Chosen,
    Lane,
    LastDecision,
    LastShown,
    Shown,
    Used,
    decode_shown,
    decode_used,
    encode_shown,
    encode_used,
)
from render.faults import validate
from render.plan import Live, Plan, decode, decode_live, digest, encode, encode_live
from tests.render import shoe_shop as shop


def test_it_reads_back_the_plan_it_wrote() -> None:
    plan = shop.plan(mode="model", slots=2, discount={"rules": {"legal": {"always": True}}, "cap_total": 5})
    assert decode(encode(plan)) == plan


def test_it_gives_a_plan_one_name_however_its_maps_were_filled() -> None:
    plan = shop.plan()
    turned = replace(plan, categories=dict(reversed(plan.categories.items())))
    assert digest(encode(plan)) == digest(encode(turned))
    assert digest(encode(replace(plan, name="Other"))) != digest(encode(plan))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"campaign": "x"}', b"\xff"])
def test_it_refuses_bytes_that_are_no_plan(data: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(data)
    assert caught.value.field == "plan"


def test_it_refuses_a_plan_of_a_later_format() -> None:
    with pytest.raises(InvalidInput, match=r"plan\.version: is 2"):
        decode(encode(replace(shop.plan(), version=2)))


def slot_with(plan: Plan, **changes: Any) -> Plan:
    return replace(plan, slots=(replace(plan.slots[0], **changes), *plan.slots[1:]))


@pytest.mark.feature("CM-30")
def test_it_does_not_publish_a_slot_without_a_default() -> None:
    faults = validate(slot_with(shop.plan(), default=12345))
    assert faults == ["slots[0].default: names the offer 12345, which is not in the plan; every slot needs a default"]


@pytest.mark.feature("CM-30")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "service"}, "is of kind service; a default must be neutral"),
        ({"cap_total": 5}, "is limited; a default must always be there"),
        ({"no_repeat_days": 5}, "is limited; a default must always be there"),
        ({"ends_ms": 5}, "is bound to time; a default must always be true"),
        ({"clock_bound": True}, "is bound to time; a default must always be true"),
        ({"product": "p"}, "depends on a product; a default carries no price and no stock"),
        ({"requires_consent": ("email",)}, "has conditions; a default must suit everybody"),
        ({"after_category": 1}, "has conditions; a default must suit everybody"),
        ({"fields": {"percent": 20}}, "names a price in its field percent; a default carries no price"),
    ],
)
def test_it_does_not_publish_a_default_that_may_be_untrue(change: dict[str, Any], said: str) -> None:
    plan = shop.plan()
    offers = tuple(replace(offer, **change) if offer.id == shop.DEFAULT else offer for offer in plan.offers)
    assert validate(replace(plan, offers=offers)) == [f"slots[0].default: the offer 'default' {said}"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"creative": 9}, "offers[0].creative: names the creative 9"),
        ({"starts_ms": 5, "ends_ms": 5}, "offers[0].ends_ms: is not after starts_ms"),
        ({"cost_cents": -1}, "offers[0].cost_cents: is below 0"),
        ({"cap_total": -1}, "offers[0].cap_total: must be at least 0"),
        ({"cap_person": 0}, "offers[0].cap_person: must be at least 1"),
        ({"period_days": 3}, "offers[0].period_days: has no cap_person"),
        ({"cap_person": 33, "period_days": 3}, "offers[0].cap_person: is above 32"),
        ({"needs_stock": True}, "offers[0].product: is missing"),
        ({"after_category": shop.GIFTS}, "offers[0].after_category: is a sensitive category"),
        ({"landing": "javascript:alert(1)"}, "offers[0].landing: must be an http"),
    ],
)
def test_it_names_the_field_of_a_bad_offer(change: dict[str, Any], said: str) -> None:
    plan = shop.plan()
    faults = validate(replace(plan, offers=(replace(plan.offers[0], **change), *plan.offers[1:])))
    assert len(faults) == 1
    assert faults[0].startswith(said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": 255}, "slots[0].index"),
        ({"width": 610}, "slots[0].width"),
        ({"height": 1210}, "slots[0].height"),
        ({"alt": " "}, "slots[0].alt"),
        ({"offers": (1, 1)}, "slots[0].offers: names an offer twice"),
        ({"offers": (77,)}, "slots[0].offers: names the offer 77"),
    ],
)
def test_it_names_the_field_of_a_bad_slot(change: dict[str, Any], said: str) -> None:
    faults = validate(slot_with(shop.plan(), **change))
    assert len(faults) == 1
    assert faults[0].startswith(said)


def test_it_names_repeated_ids() -> None:
    plan = shop.plan()
    assert validate(replace(plan, offers=plan.offers + plan.offers[:1])) == ["offers: use the id 1 more than once"]


def test_it_knows_what_an_open_must_read() -> None:
    plan = shop.plan(discount={"cap_total": 4})
    assert plan.product_ids == ("tights-1",)
    assert plan.capped_ids == (shop.DISCOUNT,)


def test_it_reads_back_live_used_and_shown() -> None:
    live = Live(plan="ab", withdrawn=(3,), model="cd", brand="Stride")
    assert decode_live(encode_live(live)) == live
    used = Used().reserved([(5, "shoes"), (2, None)], 1000)
    assert decode_used(encode_used(used)) == used
    sight = LastShown(5, "d1", 1001, "person")
    lane = Lane(1, 1000, 7, "d1", "ab", None, (Chosen(0, 5, 1, {"offer.headline": "Hi"}),)).after_sight(0, sight)
    shown = Shown().with_lane("live", lane, 1002)
    assert decode_shown(encode_shown(shown)) == shown
    assert msgspec.convert([5, "d1", 1001, "person"], LastShown) == sight, "as earlier releases wrote it"
    assert shown.lane("machine").last is None
    assert shown.lane("live").last == LastDecision("d1", 1, 1000, {0: 5})


def test_it_writes_equal_use_as_equal_bytes_whatever_came_first() -> None:
    one = Used().reserved([(5, None)], 1).reserved([(2, None)], 2)
    other = Used().reserved([(2, None)], 2).reserved([(5, None)], 1)
    assert encode_used(one) == encode_used(other)


def test_it_takes_a_released_showing_back_and_no_other() -> None:
    used = Used().reserved([(5, "g")], 10).reserved([(5, "g")], 20)
    assert used.released([(5, "g")], 20) == Used().reserved([(5, "g")], 10)
    assert used.released([(5, "g")], 15) == used
    assert Used().released([(9, None)], 15).offer(9) == NO_USE


def test_it_keeps_the_latest_eight_sights_of_a_slot() -> None:
    lane = Lane(1, 0)
    for at in range(20):
        lane = lane.after_sight(0, LastShown(at, "d", at, "proxy"))
    assert [sight.at_ms for sight in lane.shown[0]] == list(range(12, 20))
