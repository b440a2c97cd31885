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
_FADES = SEASON_DAYS * 2
_FADED = tuple(2.0 ** (-age / MONTH_DAYS) for age in range(_FADES))

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
        categories = state.categories
        season = {category for category, stats in categories.items() if stats.last_s >= oldest_s}
        recent = {category for category in season if categories[category].last_s >= month_s}
        favourite = 0
        for category in season:
            stats = categories[category]
            gaps = stats.gaps
            # One order more than the favourite so far lies within 84 days if that many gaps fit.
            while len(gaps) >= favourite and sum(gaps[:favourite]) <= stats.last_s // DAY_S - oldest:
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


def candidate_matrix(state: ProfileState, candidates: Sequence[CandidateContext], now: datetime) -> Matrix:
    """One row a candidate, one column for each of MODEL_FEATURES, C-contiguous float32.

    `now` is aware UTC. Nothing of `state` that is newer than `now` is expected: at training pass the state as it stood.
    """
    person = Person(state, now)
    categories, views, cart, row = state.categories, state.views, person.cart, person.row
    flat: list[float] = []
    for candidate in candidates:
        category = candidate.category
        stats = categories.get(category)
        seen = views.get(category)
        in_cart = 1.0 if category in cart and category else 0.0
        coupons = pace = paid = 0.0
        if stats is None:
            flat += _NEVER_BOUGHT
        else:
            coupons, paid = float(stats.coupons), stats.cents / stats.n
            pace = _add_bought(flat, person, stats, paid)
        if seen is None:
            flat += (0.0, NAN, in_cart, coupons, pace)
        else:
            days = person.today - day_of(seen.last_s)
            flat += (float(seen.n), float(days if days > 0 else 0), in_cart, coupons, pace)
        flat += row
        _add_offered(flat, person, candidate, paid)
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


def _add_bought(flat: list[float], person: Person, stats: CategoryStats, paid: float) -> float:
    """Add what purchases of a category say to the row; returns their pace, which stands further to the right."""
    age = person.today - stats.last_s // DAY_S
    since = age if age > 0 else 0
    within_14 = 1 if age <= SHORT_DAYS else 0
    within_28 = 1 if age <= MONTH_DAYS else 0
    within_84 = 1 if age <= SEASON_DAYS else 0
    faded = since
    pace = _FADED[faded] if faded < _FADES else 0.0
    gaps = stats.gaps
    # Within the windows no gap can be 255 bytes long, so a byte is a gap until the walk ends.
    for gap in gaps:
        faded += gap
        if faded >= _FADES:
            break
        pace += _FADED[faded]
        age += gap
        if age <= SEASON_DAYS:
            within_84 += 1
            if age <= MONTH_DAYS:
                within_28 += 1
                if age <= SHORT_DAYS:
                    within_14 += 1
    # Fewer than two gaps are fewer than three days, which have no interval.
    between = interval(gaps) if len(gaps) > 1 else None
    orders, favourite = person.orders_84, person.favourite_84
    flat += (
        float(since),
        float(within_14),
        float(within_28),
        float(within_84),
        float(stats.n),
        NAN if between is None else between,
        NAN if between is None else since / between,
        float(gaps[0]) if gaps else NAN,
        paid,
        within_84 / orders if orders else 0.0,
        within_84 / favourite if favourite else 0.0,
    )
    return pace


def _add_offered(flat: list[float], person: Person, candidate: CandidateContext, paid: float) -> None:
    """Add what a candidate says of itself; `paid` is what the person usually spends on its category, 0 for never."""
    total = best = leaning = 0.0
    if candidate.after:
        recent = person.recent
        for bought, weight in candidate.after.items():
            if bought in recent:
                total += weight
                if weight > best:
                    best = weight
    if candidate.leads:
        season = person.season
        for bought, weight in candidate.leads.items():
            if bought in season:
                leaning += weight
    price, trend, starts = candidate.price_cents, candidate.trend, candidate.starts
    taken, products = candidate.taken, candidate.products
    flat += (
        candidate.popularity,
        total,
        best,
        float(candidate.kind),
        NAN if price is None else float(price),
        NAN if price is None or paid <= 0.0 else price / paid,
        NAN if trend is None else trend,
        NAN if starts is None else starts,
        NAN if taken is None else taken,
        NAN if products is None else float(products),
        leaning,
    )


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
