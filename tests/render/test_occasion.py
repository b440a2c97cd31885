"""Offers for an occasion: a replacement when it is due, an upsell in its hours, more units where they are plausible."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace

from base.clock import FixedClock
from render.decide import decide
from render.decision import SlotDecision
from render.explanation import explain
from render.faults import validate
from render.plan import Plan
from render.relations import LEAST_LINES, Interval, Learnt, Relations, encode
from render.replay import without_cause
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import (
    ATTIRE,
    DEFAULT,
    DISCOUNT,
    GIFTS,
    NOON,
    SENT,
    SHOES,
    TIGHTS,
    bought,
    facts,
    plan,
    product,
    returned,
    state,
)

DAYS = 90
LINES = (1_000, 300, 60, 49, *[0] * 8)
"""Order lines of attire with at least 1, 2 … units: 50 of 1,000 are the least share."""


def known(**changes: Any) -> Relations:
    content: dict[str, Any] = {"intervals": {SHOES: Interval(DAYS, 400)}, "units": {ATTIRE: LINES}}
    return Relations.load(encode(Learnt(**content | changes)))


def only(*numbers: int, **changes: Any) -> Plan:
    """The shop's plan with these candidates alone."""
    made = plan(**changes)
    return replace(made, slots=tuple(replace(slot, offers=numbers) for slot in made.slots))


def shown(made: Plan, events: Iterable[FoldEvent] = (), now: datetime = NOON, **changes: Any) -> SlotDecision:
    return decide(made, facts(state(events), **({"relations": known()} | changes)), now, 1).slots[0]


def why(decision: SlotDecision, offer: int) -> str | None:
    return next(one.rule for one in decision.candidates if one.offer == offer)


@pytest.mark.feature("CM-29")
def test_it_offers_no_replacement_before_the_interval_has_passed() -> None:
    made = only(DISCOUNT, discount={"when_due": True})
    due = NOON - timedelta(days=DAYS)
    assert shown(made, [bought(SHOES, due)]).offer == DISCOUNT
    early = shown(made, [bought(SHOES, due + timedelta(seconds=1))])
    assert (early.offer, why(early, DISCOUNT)) == (DEFAULT, "bought too recently")
    assert shown(made, [bought(SHOES, due + timedelta(seconds=1))], NOON + timedelta(seconds=1)).offer == DISCOUNT
    # What was sent back needs no other interval: the purchase before counts again.
    events = [bought(SHOES, due), bought(SHOES, SENT - timedelta(days=3), order="o2"), returned("o2", SENT)]
    assert shown(made, events).offer == DISCOUNT
    assert why(shown(made), DISCOUNT) == "nothing to replace"
    assert why(shown(made, [bought(SHOES, due)], relations=None), DISCOUNT) == "interval unknown"
    assert why(shown(made, [bought(SHOES, due)], relations=known(intervals={})), DISCOUNT) == "interval unknown"
    by_hand = known(days={SHOES: DAYS + 1})
    assert why(shown(made, [bought(SHOES, due)], relations=by_hand), DISCOUNT) == "bought too recently"
    # Without the wish nothing of it is asked.
    assert shown(only(DISCOUNT)).offer == DISCOUNT


def upselling(**changes: Any) -> Plan:
    """An upsell for two hours after a purchase of shoes, and a cross-sell at any time."""
    upsell = {"kind": "upsell", "purpose_category": None, "window_hours": 2} | changes
    return only(DISCOUNT, TIGHTS, discount=upsell)


@pytest.mark.feature("CM-46")
def test_it_switches_from_upsell_to_cross_sell_at_the_windows_end(
    client: FlaskClient, mail: Mail, noon: FixedClock
) -> None:
    made = upselling()
    at = NOON - timedelta(hours=2)
    mail.publish(made)
    mail.know(state([bought(SHOES, at)]))
    noon.set(NOON - timedelta(milliseconds=1))
    first = client.get(mail.url(), headers=browser()).data
    noon.set(NOON + timedelta(minutes=1))
    second = client.get(mail.url(), headers=browser()).data
    kinds = [made.offer_by_id[record.slots[0].offer].kind for record in mail.decisions()]
    assert kinds == ["upsell", "cross-sell"]
    assert second != first


@pytest.mark.feature("CM-46")
@pytest.mark.parametrize(("late_ms", "offer", "rule"), [(-1, DISCOUNT, None), (0, TIGHTS, "upsell window over")])
def test_it_ends_the_window_to_the_millisecond(late_ms: int, offer: int, rule: str | None) -> None:
    made = upselling()
    decision = shown(made, [bought(SHOES, NOON - timedelta(hours=2))], NOON + timedelta(milliseconds=late_ms))
    assert (decision.offer, why(decision, DISCOUNT)) == (offer, rule)
    assert why(shown(made), DISCOUNT) == "no purchase to add to"
    # A newer purchase opens the window again.
    again = [bought(SHOES, NOON - timedelta(days=9)), bought(SHOES, NOON - timedelta(hours=1), order="o2")]
    assert shown(made, again).offer == DISCOUNT


def test_it_opens_no_window_by_a_purchase_of_a_sensitive_category() -> None:
    made = upselling(category=GIFTS)
    assert why(shown(made, [bought(GIFTS, NOON - timedelta(hours=1))]), DISCOUNT) == "no purchase to add to"


def several(units: int, **fields: Any) -> Plan:
    """So many tights at once."""
    return only(TIGHTS, tights={"kind": "volume", "units": units, "fields": {"headline": "More", **fields}})


def took(quantity: int, at: datetime = SENT - timedelta(days=30)) -> FoldEvent:
    line = Line("tights-1", ATTIRE, quantity, 4_999)
    return FoldEvent(time_ms=unix_ms(at), message_id="o", kind="order", order_id="o", lines=(line,))


@pytest.mark.feature("CM-45")
@pytest.mark.parametrize(("units", "offer"), [(2, TIGHTS), (3, TIGHTS), (4, DEFAULT), (12, DEFAULT)])
def test_it_offers_more_units_only_where_so_many_at_once_are_plausible(units: int, offer: int) -> None:
    assert shown(several(units)).offer == offer
    if offer == DEFAULT:
        assert why(shown(several(units)), TIGHTS) == "too many at once"
        assert shown(several(units), [took(units)]).offer == TIGHTS
        assert shown(several(units), [took(units - 1)]).offer == DEFAULT
    few = {ATTIRE: (LEAST_LINES - 1, LEAST_LINES - 1, *[0] * 10)}
    assert why(shown(several(2), relations=known(units=few)), TIGHTS) == "too many at once"
    assert why(shown(several(2), relations=None), TIGHTS) == "quantity unknown"


@pytest.mark.feature("CM-45")
def test_it_prices_all_of_them_and_each_to_the_cent() -> None:
    fields = shown(several(3, percent=10)).fields
    assert fields["offer.was_cents"] == 3 * 4_999
    assert fields["offer.price_cents"] == (3 * 4_999 * 90 + 50) // 100
    assert fields["offer.saving_cents"] == 3 * 4_999 - 13_497
    # 134.97 among three are 44.99 each; what does not divide is rounded up, so that nobody pays more than is said.
    assert (fields["offer.units"], fields["offer.each"]) == ("3", "$44.99")
    assert shown(several(3, amount_off_cents=1)).fields["offer.each"] == "$49.99"
    plain = shown(several(2)).fields
    assert (plain["offer.price"], plain["offer.each"]) == ("$99.98", "$49.99")
    assert "offer.saving" not in plain


REASONS: dict[str, tuple[Plan, list[FoldEvent], dict[str, Any], int]] = {
    "nothing to replace": (only(DISCOUNT, discount={"when_due": True}), [], {}, DISCOUNT),
    "interval unknown": (
        only(DISCOUNT, discount={"when_due": True}), [bought(SHOES, SENT)], {"relations": None}, DISCOUNT
    ),
    "bought too recently": (
        only(DISCOUNT, discount={"when_due": True}), [bought(SHOES, SENT - timedelta(days=1))], {}, DISCOUNT
    ),
    "no purchase to add to": (upselling(), [], {}, DISCOUNT),
    "upsell window over": (upselling(), [bought(SHOES, SENT)], {}, DISCOUNT),
    "quantity unknown": (several(2), [], {"relations": None}, TIGHTS),
    "too many at once": (several(9), [], {}, TIGHTS),
}  # fmt: skip


@pytest.mark.feature("SU-04")
@pytest.mark.parametrize("code", REASONS)
def test_it_explains_why_it_is_not_the_occasion_and_tells_what_had_been_without(code: str) -> None:
    made, events, changes, offer = REASONS[code]
    world = facts(state(events), **({"relations": known(), "products": {"tights-1": product()}} | changes))
    decision = decide(made, world, NOON, 1)
    assert why(decision.slots[0], offer) == code
    told = next(one for one in explain(decision, made)[0].others if one.offer == offer)
    assert told.layer == "relevant"
    assert not told.sentence.endswith(f": {code}.")
    again = decide(*without_cause(made, world, 0, decision, offer), NOON, 1)
    assert again.slots[0].offer == offer


@pytest.mark.parametrize(
    ("number", "changes", "fault"),
    [
        (TIGHTS, {"when_due": True}, "when_due: is for offers of kind replacement"),
        (DISCOUNT, {"window_hours": 2}, "window_hours: is for offers of kind upsell"),
        (DISCOUNT, {"units": 3}, "units: is for offers of kind volume"),
        (DISCOUNT, {"when_due": True, "category": None}, "category: is missing"),
        (DISCOUNT, {"kind": "upsell", "window_hours": 0}, "window_hours: must be at least 1"),
        (TIGHTS, {"kind": "volume", "units": 1}, "units: must be 2 to 12"),
        (DISCOUNT, {"kind": "volume", "units": 3}, "product: is missing"),
    ],
)
def test_it_keeps_an_occasion_from_being_published_that_makes_no_sense(
    number: int, changes: dict[str, Any], fault: str
) -> None:
    made = plan()
    offers = tuple(replace(one, **changes) if one.id == number else one for one in made.offers)
    assert fault in " ".join(validate(replace(made, offers=offers)))
