"""What the model sees of a person and a candidate: one row of numbers a candidate, the same at training and at open.

There is one function, `candidate_matrix`, and training calls it on the states as they stood then. It computes in Python
numbers and rounds to float32 once, so the same state, candidates and moment give the same bits on every machine.
Missing is NaN. Days are UTC days, money is in cents.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
import numpy as np
import numpy.typing as npt

from signals.moments import DAY_S, day_of, today_of
from signals.state import CategoryStats, ProfileState, interval

Matrix = npt.NDArray[np.float32]
NAN = float("nan")
SHORT_DAYS, MONTH_DAYS, SEASON_DAYS = 14, 28, 84
"""Windows of two, four and twelve weeks: whole weeks, so that a weekly rhythm does not beat against them."""
_FADED = tuple(2.0 ** (-age / MONTH_DAYS) for age in range(SEASON_DAYS * 2))

CATEGORY_FEATURES = (
    "category.days_since",
    "category.orders_14",
    "category.orders_28",
    "category.orders_84",
    "category.orders",
    "category.interval_days",
    "category.due_ratio",
    "category.last_gap_days",
    "category.cents_per_order",
    "category.share_of_orders_84",
    "category.share_of_favourite_84",
    "category.views",
    "category.view_days_since",
    "category.in_cart",
    "category.coupons",
    "category.pace",
)
PERSON_FEATURES = (
    "orders.count_28",
    "orders.count_84",
    "orders.days_since",
    "orders.interval_days",
    "orders.cents_per_order",
    "orders.categories_84",
    "person.known_days",
    "person.click_days_since",
    "cart.lines",
    "now.weekday",
    "now.day_of_year",
    "orders.coupon_share",
)
OFFER_FEATURES = (
    "offer.popularity",
    "offer.affinity",
    "offer.affinity_best",
    "offer.kind",
    "offer.price_cents",
    "offer.price_ratio",
    "offer.trend",
    "offer.starts",
    "offer.taken",
    "offer.products",
    "offer.leaning",
)
MODEL_FEATURES: tuple[str, ...] = CATEGORY_FEATURES + PERSON_FEATURES + OFFER_FEATURES
"""The columns, in order. A model trained on another tuple must not be used."""

DEFINITIONS: Mapping[str, str] = {
    "category.days_since": "days since the category was last bought",
    "category.orders_14": "orders with the category, last 14 days",
    "category.orders_28": "orders with the category, last 28 days",
    "category.orders_84": "orders with the category, last 84 days",
    "category.orders": "orders with the category, ever",
    "category.interval_days": "usual days between two orders of the category",
    "category.due_ratio": "days since it was last bought, as a share of its usual interval",
    "category.last_gap_days": "days between the last two orders of the category",
    "category.cents_per_order": "cents spent on the category in an order, on average",
    "category.share_of_orders_84": "share of the last 84 days' orders that hold the category",
    "category.share_of_favourite_84": "orders with it, as a share of those with the favourite category, last 84 days",
    "category.views": "pages of the category looked at",
    "category.view_days_since": "days since a page of the category was looked at",
    "category.in_cart": "1 if the cart holds the category, else 0",
    "category.coupons": "orders with the category that used a coupon",
    "category.pace": "orders with the category, each counting half as much for every 28 days it lies back",
    "orders.count_28": "orders, last 28 days",
    "orders.count_84": "orders, last 84 days",
    "orders.days_since": "days since the last order",
    "orders.interval_days": "usual days between two orders",
    "orders.cents_per_order": "cents of an order, on average",
    "orders.categories_84": "different categories bought, last 84 days",
    "person.known_days": "days since the person's first signal",
    "person.click_days_since": "days since the person's last click in a mail",
    "cart.lines": "lines in the cart",
    "now.weekday": "day of the week, Monday 0",
    "now.day_of_year": "day of the year, from 1",
    "orders.coupon_share": "share of the orders that used a coupon",
    "offer.popularity": "share of everybody's purchases that fall into the category",
    "offer.affinity": "how strongly the last 28 days' purchases speak for the category, added up",
    "offer.affinity_best": "how strongly the one purchase does that speaks for it most",
    "offer.kind": "number of the offer's kind",
    "offer.price_cents": "the price that is shown, in cents",
    "offer.price_ratio": "the price that is shown, as a share of what the person usually spends on the category",
    "offer.trend": "how much more or less everybody buys of the category now than before",
    "offer.starts": "how often people begin with the category who did not buy it before",
    "offer.taken": "how often the offer was taken so far",
    "offer.products": "products that the offer covers",
    "offer.leaning": "how the last 84 days' purchases lean towards the category, all others held equal",
}
"""What each column means, as the registry keeps it with every model."""


class CandidateContext(msgspec.Struct, frozen=True, gc=False):
    """A candidate as the model sees it.

    `category` 0 is none; `kind` the number of the offer kind; `price_cents` None when no price is shown. `popularity`
    is the share of all purchases that fall into the category. `after` says how strongly a purchase of another category
    speaks for this one (category bought -> weight): keep it to the strongest twenty or so, it is walked at every open.
    `leads` says the same of what was bought in twelve weeks, learnt with all other categories held equal; its weights
    may be negative (keep it to the strongest forty). `trend`, `starts` and `taken` say how the category stands with
    everybody, `products` how many products the offer covers; None where it is not known.
    """

    category: int
    kind: int = 0
    price_cents: int | None = None
    popularity: float = 0.0
    after: Mapping[int, float] = {}
    trend: float | None = None
    starts: float | None = None
    taken: float | None = None
    products: int | None = None
    leads: Mapping[int, float] = {}


class Person:
    """What all candidates share of one state at one moment, computed once."""

    __slots__ = ("cart", "favourite_84", "orders_84", "recent", "row", "season", "state", "today")

    def __init__(self, state: ProfileState, now: datetime) -> None:
        self.state = state
        self.today = today = today_of(now)
        oldest = today - SEASON_DAYS
        oldest_s, month_s = oldest * DAY_S, (today - MONTH_DAYS) * DAY_S
        recent: set[int] = set()
        season: set[int] = set()
        favourite = 0
        for category, stats in state.categories.items():
            last_s = stats.last_s
            if last_s < oldest_s:
                continue
            season.add(category)
            if last_s >= month_s:
                recent.add(category)
            gaps = stats.gaps
            # One order more than the favourite so far lies within 84 days if that many gaps fit.
            while len(gaps) >= favourite and sum(gaps[:favourite]) <= last_s // DAY_S - oldest:
                favourite += 1
        self.favourite_84 = favourite
        self.recent = recent
        self.season = season
        last_order = None if state.last_order_s is None else day_of(state.last_order_s)
        orders_28 = 0 if last_order is None else _orders_within(last_order, state.order_gaps, today - MONTH_DAYS)
        self.orders_84 = 0 if last_order is None else _orders_within(last_order, state.order_gaps, oldest)
        self.cart = {line.category for line in state.cart}
        order_interval = interval(state.order_gaps)
        self.row = (
            float(orders_28),
            float(self.orders_84),
            NAN if last_order is None else float(max(0, today - last_order)),
            NAN if order_interval is None else order_interval,
            state.order_cents / state.orders if state.orders else NAN,
            float(len(season)),
            NAN if state.since_s is None else float(max(0, today - day_of(state.since_s))),
            NAN if state.last_click_s is None else float(max(0, today - day_of(state.last_click_s))),
            float(len(state.cart)),
            float(now.weekday()),
            float(now.timetuple().tm_yday),
            state.coupon_orders / state.orders if state.orders else NAN,
        )


_NEVER_BOUGHT = (NAN, 0.0, 0.0, 0.0, 0.0, NAN, NAN, NAN, NAN, 0.0, 0.0)
_NO_BASIS = (0.0, 0.0)


def candidate_matrix(state: ProfileState, candidates: Sequence[CandidateContext], now: datetime) -> Matrix:
    """One row a candidate, one column for each of MODEL_FEATURES, C-contiguous float32.

    `now` is aware UTC. Nothing of `state` that is newer than `now` is expected: at training pass the state as it stood.
    """
    person = Person(state, now)
    flat: list[float] = []
    for candidate in candidates:
        stats = state.categories.get(candidate.category)
        flat += _NEVER_BOUGHT if stats is None else _bought(person, stats)
        flat += _browsed(person, candidate.category)
        flat += _NO_BASIS if stats is None else (float(stats.coupons), _pace(person, stats))
        flat += person.row
        flat += _offered(person, candidate, stats)
    # Through an array of doubles: NumPy reads it four times as fast as a list, and rounds to float32 in one step.
    doubles = np.frombuffer(array("d", flat), dtype=np.float64)
    return doubles.astype(np.float32).reshape(len(candidates), len(MODEL_FEATURES))


def transposed(complements: Mapping[int, Mapping[int, float]], keep: int = 20) -> dict[int, dict[int, float]]:
    """From "bought -> {other: weight}" to what `CandidateContext.after` wants: "other -> {bought: weight}".

    Keeps the `keep` strongest of each, the lower id first among equals.
    """
    turned: dict[int, list[tuple[float, int]]] = {}
    for bought, others in complements.items():
        for other, weight in others.items():
            turned.setdefault(other, []).append((weight, bought))
    return {other: dict(strongest(pairs, keep)) for other, pairs in sorted(turned.items())}


def strongest(pairs: Iterable[tuple[float, int]], keep: int) -> list[tuple[int, float]]:
    """The `keep` pairs of a weight and a category that weigh most either way, by category; none of weight 0."""
    ordered = sorted((pair for pair in pairs if pair[0]), key=lambda pair: (-abs(pair[0]), pair[1]))[:keep]
    return sorted((category, weight) for weight, category in ordered)


def _bought(person: Person, stats: CategoryStats) -> tuple[float, ...]:
    age = person.today - stats.last_s // DAY_S
    days_since = float(age if age > 0 else 0)
    gaps = stats.gaps
    within_14 = int(age <= SHORT_DAYS)
    within_28 = int(age <= MONTH_DAYS)
    within_84 = int(age <= SEASON_DAYS)
    # Within 84 days no gap can be 255 bytes long, so a byte is a gap until the walk ends.
    for gap in gaps:
        age += gap
        if age > SEASON_DAYS:
            break
        within_84 += 1
        if age <= MONTH_DAYS:
            within_28 += 1
            within_14 += age <= SHORT_DAYS
    # Fewer than two gaps are fewer than three days, which have no interval.
    between = interval(gaps) if len(gaps) > 1 else None
    return (
        days_since,
        float(within_14),
        float(within_28),
        float(within_84),
        float(stats.n),
        NAN if between is None else between,
        NAN if between is None else days_since / between,
        float(gaps[0]) if gaps else NAN,
        stats.cents / stats.n,
        within_84 / person.orders_84 if person.orders_84 else 0.0,
        within_84 / person.favourite_84 if person.favourite_84 else 0.0,
    )


def _browsed(person: Person, category: int) -> tuple[float, float, float]:
    seen = person.state.views.get(category)
    in_cart = 1.0 if category in person.cart and category else 0.0
    if seen is None:
        return 0.0, NAN, in_cart
    return float(seen.n), float(max(0, person.today - day_of(seen.last_s))), in_cart


def _offered(person: Person, candidate: CandidateContext, stats: CategoryStats | None) -> tuple[float, ...]:
    total = best = 0.0
    if candidate.after:
        recent = person.recent
        for bought, weight in candidate.after.items():
            if bought in recent:
                total += weight
                if weight > best:
                    best = weight
    leaning = 0.0
    if candidate.leads:
        season = person.season
        for bought, weight in candidate.leads.items():
            if bought in season:
                leaning += weight
    price = candidate.price_cents
    paid = stats.cents / stats.n if stats is not None else 0.0
    return (
        candidate.popularity,
        total,
        best,
        float(candidate.kind),
        NAN if price is None else float(price),
        NAN if price is None or paid <= 0.0 else price / paid,
        NAN if candidate.trend is None else candidate.trend,
        NAN if candidate.starts is None else candidate.starts,
        NAN if candidate.taken is None else candidate.taken,
        NAN if candidate.products is None else float(candidate.products),
        leaning,
    )


def _pace(person: Person, stats: CategoryStats) -> float:
    age = max(person.today - stats.last_s // DAY_S, 0)
    pace = 0.0
    for gap in (0, *stats.gaps):
        age += gap
        if age >= len(_FADED):
            break
        pace += _FADED[age]
    return pace


def _orders_within(last_day: int, gaps: bytes, oldest: int) -> int:
    """Orders on `oldest` or later. Needs `oldest` less than 255 days before `last_day`, so that a byte is a gap."""
    left = last_day - oldest
    if left < 0:
        return 0
    orders = 1
    for gap in gaps:
        left -= gap
        if left < 0:
            break
        orders += 1
    return orders
