"""The drift protocol: a frozen model is silent while nothing moves, and what is planted raises an alarm."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from campaigns.drift import GAP
from signals.candidates import MODEL_FEATURES
from signals.foldevent import FoldEvent
from workers.evaluation_sets import drifts
from workers.evaluation_sets.drifts import CALIBRATE, FREEZE, LIVE, OFFERS, PLANTED, TRAIN, WEEK, Opens
from workers.evaluation_sets.past import Past, Walk
from workers.evaluation_sets.retail import DAY_MS, FIRST, Retail, day_of, moment


def opens(starts: range, a_week: int, seed: int) -> Opens:
    """Opens in which the offer bought last, and those with a large first column, are bought oftener."""
    random = np.random.default_rng(seed)
    days = np.repeat(np.array(starts), a_week) + random.integers(0, WEEK, len(starts) * a_week)
    features = random.random((len(days), OFFERS, len(MODEL_FEATURES)), dtype=np.float32)
    chance = 0.05 + 0.5 * features[:, :, MODEL_FEATURES.index("category.days_since")]
    return Opens(days, features, (random.random(chance.shape) < chance).astype(np.float64))


@pytest.fixture(scope="module")
def model() -> drifts.Frozen:
    return drifts.frozen(opens(range(TRAIN[0], CALIBRATE[-1] + 1, WEEK), 80, 1))


def test_it_is_silent_in_placebo_weeks_and_sees_what_is_planted(model: drifts.Frozen) -> None:
    assert "category.days_since" in model.watched
    live = opens(range(FREEZE, PLANTED + 4 * WEEK, WEEK), 150, 2)
    plain = drifts.weeks(model, live)
    assert list(plain) == list(LIVE[2 : 2 + len(plain)])
    assert not any(one.is_alarm for one in plain.values()), plain
    # The windows of the first planted week close nine days later.
    twice = drifts._planted("shown twice", drifts.weeks(model, live, shown_twice=True))
    assert twice[0].met
    assert twice[0].value >= 14
    moved = live.features.copy()
    moved[live.days >= PLANTED, :, MODEL_FEATURES.index("category.days_since")] **= 2
    found = drifts.weeks(model, Opens(live.days, moved, live.outcomes))
    assert [start for start, one in found.items() if one.is_alarm] == [start for start in found if start >= PLANTED]
    pies = live.outcomes.copy()
    drifts._double(pies[:, 3], live.days >= PLANTED)
    turned = drifts._turned(Opens(live.days, live.features, pies), model.says(live), PLANTED + 17)
    assert (turned[0].category, turned[0].gap > 0) == ("offer 3", True)
    assert max(one.gap for one in plain.values()) <= GAP


def test_it_tells_every_order_once_more_from_the_planted_day_on(shop: Path) -> None:
    retail = Retail.read(shop)
    late = tuple(
        FoldEvent(time_ms=order.time_ms, message_id=order.message_id, kind="order", lines=order.lines,
                  order_id=order.order_id)
        for order in retail.orders[1]
    )  # fmt: skip
    assert drifts.doubled(retail).orders == retail.orders, "all of them are before it"
    shifted = tuple(replace(order, time_ms=order.time_ms + 240 * DAY_MS) for order in late)
    twice = list(drifts._twice(shifted))
    days = [day_of(order.time_ms) for order in shifted]
    assert len(twice) == len(shifted) + sum(day >= PLANTED for day in days)
    again = next(order for order in twice if order.order_id.endswith("-again"))
    assert Walk(twice).at(366).orders > Walk(shifted).at(366).orders
    assert moment(day_of(again.time_ms)) >= FIRST + timedelta(days=PLANTED + 1)


def test_it_draws_the_same_opens_whatever_people_bought(shop: Path) -> None:
    past = Past(Retail.read(shop), days=366)
    place = past.candidates
    made = drifts._opens(past, place, (70, 77), frozen_with=past)
    again = drifts._opens(Past(drifts.doubled(past.retail)), place, (70, 77), frozen_with=past)
    np.testing.assert_array_equal(made.days, again.days)
    assert len(made.days) == 4
