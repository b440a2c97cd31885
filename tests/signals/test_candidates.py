"""The model's features: each by hand for a small life, the same bits at training and at open, and fast."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.clock import monotonic
from signals.candidates import MODEL_FEATURES, CandidateContext, candidate_matrix, transposed
from signals.features import value
from signals.fold import advance, fold_all
from signals.foldevent import FoldEvent
from signals.moments import unix_ms
from signals.state import ProfileState, decode, encode
from tests.signals.stories import CATEGORIES, MORNING, event, histories, item, order
from tests.signals.test_state import YEAR_BEGAN_MS, household

DAY = timedelta(days=1)
NOW = MORNING + 100 * DAY
SHOES, ATTIRE, SOCKS = (CATEGORIES[name] for name in ("shoes", "attire", "socks"))
CONTEXTS = [
    CandidateContext(category, kind, price, share, after, trend=0.5, starts=0.01, leads={ATTIRE: 2.0, SOCKS: -0.5})
    for category, kind, price, share, after in (
        (SHOES, 0, 2000, 0.25, {SOCKS: 0.5, ATTIRE: 0.125}),
        (ATTIRE, 1, None, 0.1, {SHOES: 0.25, SOCKS: 0.5}),
        (SOCKS, 2, 1, 0.0, {}),
        (0, 7, 0, 0.0, {SHOES: 1.0}),
    )
]
LIFE = [
    order("o1", item("shoes", price=10), at=MORNING),
    order("o2", item("shoes", price=30), item("socks", price=2), at=MORNING + 40 * DAY),
    order("o3", item("shoes", price=20), at=MORNING + 60 * DAY),
    order("o4", item("socks", price=4), item("shoes", price=20) | {"coupon": "SPRING"}, at=MORNING + 90 * DAY),
    event("Product Viewed", item("attire"), at=MORNING + 95 * DAY, id="v"),
    event("Product Added", item("attire"), at=MORNING + 95 * DAY + DAY / 2, id="a"),
    event("Email Link Clicked", {"class": "person"}, at=MORNING + 97 * DAY, id="c"),
]


def row(state: ProfileState, context: CandidateContext, now: datetime = NOW) -> dict[str, float]:
    """One candidate's features by name."""
    return dict(zip(MODEL_FEATURES, candidate_matrix(state, [context], now)[0].tolist(), strict=True))


def test_it_computes_each_feature_as_by_hand() -> None:
    found = row(fold_all(LIFE), CONTEXTS[0])
    expected = {
        "category.days_since": 10,
        "category.orders_14": 1,
        "category.orders_28": 1,
        "category.orders_84": 3,
        "category.orders": 4,
        "category.interval_days": 30,
        "category.due_ratio": 1 / 3,
        "category.last_gap_days": 30,
        "category.cents_per_order": 2000,
        "category.share_of_orders_84": 1,
        "category.share_of_favourite_84": 1,
        "category.views": 0,
        "category.view_days_since": math.nan,
        "category.in_cart": 0,
        "category.coupons": 1,
        "category.pace": 2 ** (-10 / 28) + 2 ** (-40 / 28) + 2 ** (-60 / 28) + 2 ** (-100 / 28),
        "orders.count_28": 1,
        "orders.count_84": 3,
        "orders.days_since": 10,
        "orders.interval_days": 30,
        "orders.cents_per_order": 2150,
        "orders.categories_84": 2,
        "person.known_days": 100,
        "person.click_days_since": 3,
        "cart.lines": 1,
        "now.weekday": 2,
        "now.day_of_year": 105,
        "orders.coupon_share": 0.25,
        "offer.popularity": 0.25,
        "offer.affinity": 0.5,
        "offer.affinity_best": 0.5,
        "offer.kind": 0,
        "offer.price_cents": 2000,
        "offer.price_ratio": 1,
        "offer.trend": 0.5,
        "offer.starts": 0.01,
        "offer.taken": math.nan,
        "offer.products": math.nan,
        "offer.leaning": -0.5,
    }
    assert list(found) == list(expected)
    assert found == pytest.approx({name: float(number) for name, number in expected.items()}, nan_ok=True, rel=1e-6)


def test_it_says_what_is_missing_of_a_category_never_bought() -> None:
    found = row(fold_all(LIFE), CONTEXTS[1])
    assert (found["category.orders"], found["category.share_of_favourite_84"]) == (0, 0)
    assert (found["category.views"], found["category.view_days_since"], found["category.in_cart"]) == (1, 5, 1)
    assert (found["offer.affinity"], found["offer.affinity_best"]) == (0.75, 0.5)
    missing = ("category.days_since", "category.interval_days", "category.due_ratio", "offer.price_cents")
    assert all(math.isnan(found[name]) for name in missing)


def test_it_has_a_row_for_somebody_unknown() -> None:
    matrix = candidate_matrix(ProfileState(), CONTEXTS, NOW)
    assert matrix.shape == (4, len(MODEL_FEATURES))
    assert matrix.dtype == np.dtype(np.float32)
    assert matrix.flags.c_contiguous


@settings(max_examples=60)
@given(histories(), st.integers(0, 400))
def test_it_counts_as_the_rules_do(events: list[FoldEvent], hours: int) -> None:
    state, now = fold_all(events), MORNING + timedelta(hours=54 + hours)
    for category in CATEGORIES.values():
        found = row(state, CandidateContext(category), now)
        for name, feature, window in (
            ("category.orders_14", "purchases.count", 14),
            ("category.orders_28", "purchases.count", 28),
            ("category.orders_84", "purchases.count", 84),
            ("category.orders", "purchases.count", None),
            ("category.days_since", "purchases.days_since", None),
            ("category.interval_days", "purchases.interval_days", None),
            ("category.due_ratio", "purchases.due_ratio", None),
        ):
            known = value(state, feature, now, category=category, within_days=window)
            assert found[name] == pytest.approx(math.nan if known is None else float(known), nan_ok=True, rel=1e-6)


@settings(max_examples=100)
@given(histories(), st.integers(0, 1000))
def test_it_gives_the_bits_at_training_that_were_served_at_the_open(events: list[FoldEvent], hours: int) -> None:
    ordered = sorted(events, key=lambda told: told.key)
    now = ordered[len(ordered) // 2]
    opened = MORNING + timedelta(milliseconds=now.time_ms - unix_ms(MORNING), hours=hours / 1000)
    before = [told for told in ordered if told.time_ms <= unix_ms(opened)]
    served_state = ProfileState()
    for at, told in enumerate(before, 1):
        advanced = advance(served_state, [told])
        served_state = decode(encode(fold_all(before[:at]) if advanced is None else advanced))
    served = candidate_matrix(served_state, CONTEXTS, opened)
    trained = candidate_matrix(fold_all(reversed(before)), [CONTEXTS[1], *CONTEXTS], opened)[1:]
    assert trained.tobytes() == served.tobytes()


def test_it_does_not_look_past_the_state_it_is_given() -> None:
    prefixes = [fold_all(LIFE[:count]) for count in range(1, 5)]
    moments = [MORNING + days * DAY + DAY / 24 for days in (0, 40, 60, 90)]
    counts = [row(state, CONTEXTS[0], now)["category.orders"] for state, now in zip(prefixes, moments, strict=True)]
    assert counts == [1, 2, 3, 4]
    assert all(earlier < later for earlier, later in pairwise(counts))


def test_it_turns_complements_round_and_keeps_the_strongest() -> None:
    complements = {1: {2: 0.5, 3: 0.1}, 4: {2: 0.9}, 5: {2: 0.5}}
    assert transposed(complements, keep=2) == {2: {1: 0.5, 4: 0.9}, 3: {1: 0.1}}


def test_it_takes_a_fraction_of_a_millisecond_for_twenty_candidates() -> None:
    state = household(1, 150, 20)
    contexts = [
        CandidateContext(7 * at + 1, 1, 199, 0.01, {5 * other + 1: 0.1 for other in range(10)}) for at in range(20)
    ]
    now = MORNING.fromtimestamp((YEAR_BEGAN_MS / 1000) + 365 * 86_400, tz=MORNING.tzinfo)
    best = math.inf
    for _ in range(20):
        began = monotonic()
        for _ in range(20):
            candidate_matrix(state, contexts, now)
        best = min(best, (monotonic() - began) / 20)
    # About 0.1 ms on one quiet core; the ceiling leaves room for a busy one.
    assert best < 0.001
