"""The stage of a customer's life: by the silence since the last order, in the person's own rhythm."""

from __future__ import annotations

from datetime import timedelta

import pytest

from signals.fold import fold_all
from signals.moments import today_of
from signals.stages import STAGES, stage
from signals.state import ProfileState
from tests.signals.stories import MORNING, bought_on, event, item, order


@pytest.mark.parametrize(
    ("days", "silent", "expected"),
    [
        ((0,), 0, "new"),
        ((0, 0), 119, "new"),
        ((0,), 120, "at_risk"),
        ((0,), 299, "at_risk"),
        ((0,), 300, "lapsed"),
        ((0, 10), 119, "active"),
        ((0, 10), 120, "at_risk"),
        ((0, 20, 40), 39, "active"),
        ((0, 20, 40), 40, "at_risk"),
        ((0, 20, 40), 99, "at_risk"),
        ((0, 20, 40), 100, "lapsed"),
        ((0, 2, 4, 6), 29, "active"),
        ((0, 2, 4, 6), 30, "at_risk"),
        ((0, 2, 4, 6), 90, "lapsed"),
        ((0, 365, 730), 729, "active"),
        ((0, 365, 730), 1825, "lapsed"),
        ((0, 20, 40), -3, "active"),
    ],
)
def test_silence_is_measured_by_the_usual_gap(days: tuple[int, ...], silent: int, expected: str) -> None:
    assert stage(bought_on(*days), today_of(MORNING) + days[-1] + silent) == expected


def test_who_has_no_order_that_stayed_is_a_prospect() -> None:
    looked = event("Product Viewed", item("shoes"))
    ordered = order("o1", item("shoes"), arrival=2)
    cancelled = event("Order Cancelled", {"order_id": "o1"}, at=MORNING + timedelta(hours=1), id="c1", arrival=3)
    today = today_of(MORNING)
    assert stage(ProfileState(), today) == "prospect"
    assert stage(fold_all([looked]), today) == "prospect"
    assert stage(fold_all([looked, ordered]), today) == "new"
    assert stage(fold_all([looked, ordered, cancelled]), today) == "prospect"


def test_they_come_back_by_buying() -> None:
    today = today_of(MORNING) + 500
    assert stage(bought_on(0, 20, 40), today) == "lapsed"
    assert stage(bought_on(0, 20, 40, 500), today) == "active"


def test_every_stage_has_a_place() -> None:
    seen = {stage(bought_on(*days), today_of(MORNING) + on) for days in ((0,), (0, 20, 40)) for on in range(0, 400, 10)}
    assert seen | {stage(ProfileState(), 0)} == set(STAGES)
