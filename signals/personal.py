"""What the models of a person's future see: one row of numbers of a state at a moment, the same in training and after.

There is one function, `person_row`; training calls it on states as they stood then. Missing is NaN. Days are UTC days,
money is in cents. Nothing counts time since the first signal or names the season: with less than some years of data
that would only tell the weeks of training from each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from signals.moments import day_of, today_of
from signals.state import ProfileState, interval, order_days

Rows = npt.NDArray[np.float32]
NAN: Final = float("nan")
PERSONAL_FEATURES: Final[tuple[str, ...]] = (
    "orders.count",
    "orders.count_28",
    "orders.count_84",
    "orders.count_168",
    "orders.days_since",
    "orders.interval_days",
    "orders.due_ratio",
    "orders.last_gap_days",
    "orders.cents_per_order",
    "orders.cents_84",
    "orders.by_mail_share",
    "categories.count",
    "categories.active_28",
    "categories.active_84",
    "categories.favourite_share",
    "mail.clicks",
    "mail.click_days_since",
    "mail.opens",
    "mail.open_days_since",
    "views.categories",
    "views.days_since",
    "cart.lines",
    "checkout.begun",
    "complaints.open",
    "reviews.negative",
    "notes.count",
)
"""The columns every model has, in order. A model trained on another tuple must not be used."""


def columns(categories: Sequence[int]) -> tuple[str, ...]:
    """The names of the columns with those of these categories: what people buy is part of what they are like."""
    return (*PERSONAL_FEATURES, *(f"bought.{number}" for number in categories))


def person_row(state: ProfileState, now: datetime, categories: Sequence[int] = ()) -> list[float]:
    """One number for each of `columns(categories)`. Nothing of `state` that is newer than `now` is expected."""
    today = today_of(now)
    days = order_days(state)
    within = {window: sum(day >= today - window for day in days) for window in (28, 84, 168)}
    since = float(max(0, today - days[0])) if days else NAN
    between = interval(state.order_gaps)
    bought = state.categories.values()
    active = {window: sum(stats.last_day >= today - window for stats in bought) for window in (28, 84)}
    per_order = state.order_cents / state.orders if state.orders else NAN
    return [
        float(state.orders),
        float(within[28]),
        float(within[84]),
        float(within[168]),
        since,
        NAN if between is None else between,
        NAN if between is None else since / between,
        float(days[0] - days[1]) if len(days) > 1 else NAN,
        per_order,
        per_order * within[84] if state.orders else 0.0,
        state.mail_orders / state.orders if state.orders else NAN,
        float(len(state.categories)),
        float(active[28]),
        float(active[84]),
        max((stats.n for stats in bought), default=0) / state.orders if state.orders else NAN,
        float(state.clicks),
        _since(state.last_click_s, today),
        float(state.opens),
        _since(state.last_open_s, today),
        float(len(state.views)),
        _since(max((seen.last_s for seen in state.views.values()), default=None), today),
        float(len(state.cart)),
        float(state.checkout_s is not None),
        float(len(state.complaints)),
        float(sum(review.sentiment == "negative" for review in state.reviews.values())),
        float(state.notes),
        *(float(state.categories[number].n) if number in state.categories else 0.0 for number in categories),
    ]


def matrix(rows: Sequence[Sequence[float]], categories: Sequence[int] = ()) -> Rows:
    """Rows of `person_row` as a model reads them, rounded to float32 once."""
    return np.array(rows, dtype=np.float32).reshape(len(rows), len(columns(categories)))


def _since(moment_s: int | None, today: int) -> float:
    return NAN if moment_s is None else float(max(0, today - day_of(moment_s)))
