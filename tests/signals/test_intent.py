"""Intents: the baby gate and its kin, and what a shop may define."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from base.errors import InvalidInput
from signals.features import value
from signals.fold import fold_all
from signals.foldevent import FoldEvent
from signals.intent import DEFAULTS, assess, read_intents
from signals.state import ProfileState, tombstone
from tests.signals.stories import CATEGORIES, MORNING, event, identify, item, order

DAY = timedelta(days=1)
SHIPPED = read_intents(DEFAULTS, CATEGORIES)
GATE = order("gate", item("baby-gates"))
DOG_FOOD = order("food", item("dog-food"), at=MORNING + DAY)
GIFT = event("Offer Feedback", {"feedback": "gift", "order_id": "gate"}, at=MORNING + DAY, id="gift")


def known(*events: FoldEvent) -> ProfileState:
    """What the shipped intents make of a life."""
    return assess(fold_all(events), SHIPPED)


@pytest.mark.feature("DE-13")
@pytest.mark.parametrize(
    ("life", "top"),
    [
        ([GATE], None),
        ([GATE, DOG_FOOD], "puppy"),
        ([GATE, order("d", item("diapers"), at=MORNING + DAY)], "baby"),
        ([GATE, identify({"retired": True})], None),
        ([GATE, identify({"age": 71})], None),
        ([GATE, identify({"age": "65+"})], None),
        ([GATE, identify({"retired": True}), DOG_FOOD], "puppy"),
        ([DOG_FOOD], None),
        ([GATE, DOG_FOOD, GIFT], None),
    ],
)
def test_it_speaks_only_when_one_intent_stands_out(life: list[FoldEvent], top: str | None) -> None:
    state = known(*life)
    assert state.intent_top == top
    assert value(state, "intent.top", MORNING) == top


@pytest.mark.feature("DE-13")
def test_it_splits_a_lone_gate_between_baby_and_puppy() -> None:
    assert known(GATE).intents == {"baby": 0.4, "puppy": 0.4}
    assert known(GATE, identify({"retired": True})).intents["baby"] < 0.05


def test_it_forgets_a_gate_that_was_a_gift_or_went_back() -> None:
    assert known(GATE, GIFT).intents == {}
    assert known(GATE, event("Order Refunded", {"order_id": "gate"}, at=MORNING + DAY, id="r")).intents == {}


def test_it_counts_evidence_back_from_the_newest_signal() -> None:
    late = event("Call Note Added", {}, at=MORNING + 366 * DAY, id="n")
    assert known(GATE, late).intents == {}
    assert known(GATE, event("Call Note Added", {}, at=MORNING + 365 * DAY, id="n")).intents != {}


def test_it_reads_views_carts_and_traits() -> None:
    raw = {
        "runner": {
            "prior": 0.1,
            "threshold": 0.5,
            "evidence": [
                {"category": "shoes", "signal": "viewed", "likelihood": 9, "within_days": 3},
                {"category": "socks", "signal": "in_cart", "likelihood": 3},
                {"trait": "sport", "equals": "running", "likelihood": 2},
            ],
        }
    }
    intents = read_intents(raw, CATEGORIES)
    viewed, added = event("Product Viewed", item("shoes")), event("Product Added", item("socks"), id="a")
    states = [
        assess(fold_all(life), intents)
        for life in ([viewed], [added], [identify({"sport": "running"})], [viewed, added], [identify({"sport": 5})])
    ]
    assert [state.intents.get("runner") for state in states] == [0.5, 0.25, 0.1818, 0.75, None]
    assert [state.intent_top for state in states] == ["runner", None, None, "runner", None]


def test_it_weighs_groups_apart() -> None:
    raw = {name: {**definition, "group": name} for name, definition in DEFAULTS.items()}
    state = assess(fold_all([GATE]), read_intents(raw, CATEGORIES))
    assert state.intents == {"baby": 0.6621, "puppy": 0.6621}
    assert state.intent_top == "baby"


def test_it_leaves_out_evidence_a_shop_has_no_category_for() -> None:
    lean = {slug: number for slug, number in CATEGORIES.items() if slug != "baby-gates"}
    assert assess(fold_all([GATE]), read_intents(DEFAULTS, lean)).intents == {}


def test_it_changes_neither_the_given_state_nor_a_tombstone() -> None:
    state = fold_all([GATE])
    assess(state, SHIPPED)
    assert state.intents == {}
    assert assess(tombstone(3), SHIPPED) == tombstone(3)


FINE: dict[str, Any] = {"prior": 0.5, "evidence": [{"category": "shoes", "likelihood": 2}]}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"a": FINE, "b": FINE}, "sum to less than 1"),
        ({"a": FINE | {"prior": 1.0}}, "intents.a"),
        ({"a": FINE | {"evidence": []}}, "intents.a"),
        ({"a": FINE | {"evidnce": []}}, "evidnce"),
        ({"a": FINE | {"evidence": [{"likelihood": 2}]}}, r"evidence\[0\]"),
        ({"a": FINE | {"evidence": [{"likelihood": 2, "trait": "x"}]}}, r"evidence\[0\]"),
        ({"a": FINE | {"evidence": [{"likelihood": 2, "trait": "x", "category": "shoes", "equals": 1}]}}, "needs"),
        ({"a": FINE | {"evidence": [{"likelihood": 0, "category": "shoes"}]}}, "likelihood"),
        ({str(number): FINE for number in range(33)}, "at most 32"),
    ],
)
def test_it_refuses_definitions_that_make_no_sense(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_intents(raw, CATEGORIES)
