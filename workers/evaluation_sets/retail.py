"""The Complete Journey retail year as signals and offers: orders to fold, campaigns with their coupons, redemptions.

Days are counted from the first of January 2017 = 0, UTC. An offer is the main category of a coupon's products within
one campaign. Categories that fewer than LEAST_BUYERS households ever bought are no candidates, but are folded.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from workers.evaluation_sets import tables

FIRST: Final = datetime(2017, 1, 1, tzinfo=UTC)
DAY_MS: Final = 86_400_000
LEAST_BUYERS: Final = 100
NO_CATEGORIES: Final = frozenset({"COUPON/MISC ITEMS", "NO COMMODITY DESCRIPTION", "UNKNOWN", "MISCELLANEOUS", "FUEL"})

# Above this a quantity is no count: gasoline is recorded in thousandths of a gallon.
_MOST_PIECES: Final = 100

Whole = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Campaign:
    """One campaign: its first and last day, its households, and how many coupons it has of each category."""

    number: int
    kind: str
    starts: int
    ends: int
    households: tuple[int, ...]
    coupons: dict[int, int]


@dataclass(frozen=True)
class Redemption:
    """A coupon that a household used; `category` 0 where the coupon's products have none."""

    household: int
    campaign: int
    category: int
    day: int


@dataclass(frozen=True)
class Retail:
    """The year. `orders`: household -> its orders, oldest first. `names`: category number -> name.

    `candidates`: the numbers of the categories that an offer may be about, ascending.
    """

    orders: dict[int, tuple[FoldEvent, ...]]
    names: dict[int, str]
    candidates: tuple[int, ...]
    campaigns: tuple[Campaign, ...]
    redemptions: tuple[Redemption, ...]

    @classmethod
    def read(cls, folder: Path) -> Retail:
        """Read the package's files in a folder. Raises InvalidInput that names a missing file or column."""
        products = tables.read(tables.found(folder, "products"), ("product_id", "product_category"))
        words = pc.fill_null(products["product_category"].cast(pa.string()), "").to_pylist()
        names = dict(enumerate(sorted(set(words) - {""}), start=1))
        numbers = {name: number for number, name in names.items()}
        ids = products["product_id"].to_numpy()
        place = np.argsort(ids, kind="stable")
        categories = Categories(ids[place], np.array([numbers.get(word, 0) for word in words])[place])
        orders = _orders(folder, categories)
        coupons = _coupons(folder, categories)
        return cls(
            orders, names, _candidates(orders, names), _campaigns(folder, coupons), _redemptions(folder, coupons)
        )

    def orders_in(self, household: int, begin: int, end: int) -> int:
        """How many orders a household made on days begin to below end."""
        return sum(begin <= day_of(order.time_ms) < end for order in self.orders.get(household, ()))


@dataclass(frozen=True)
class Categories:
    """The category of each product; `products` ascend."""

    products: Whole
    numbers: Whole

    def of(self, products: Whole) -> Whole:
        """The category numbers of products, 0 for those that are not known."""
        at = np.minimum(np.searchsorted(self.products, products), len(self.products) - 1)
        return np.asarray(np.where(self.products[at] == products, self.numbers[at], 0))


def moment(day: int) -> datetime:
    """The first moment of a day of the year."""
    return FIRST + timedelta(days=day)


def day_of(time_ms: int) -> int:
    """The day of the year that holds a Unix time in milliseconds."""
    return (time_ms - unix_ms(FIRST)) // DAY_MS


def _orders(folder: Path, categories: Categories) -> dict[int, tuple[FoldEvent, ...]]:
    """One order a basket, one line a category: what it cost, and whether a coupon was used on it."""
    columns = ("household_id", "basket_id", "product_id", "quantity", "sales_value", "coupon_disc")
    stamp = "transaction_timestamp"
    table = tables.read(tables.found(folder, "transactions"), (*columns, stamp))
    household, basket, product, quantity, value, discount = (table[name].to_numpy() for name in columns)
    time_ms = pc.cast(pc.cast(table[stamp], pa.timestamp("ms"), safe=False), pa.int64()).to_numpy()
    category = categories.of(product)
    order = np.lexsort((category, basket, household))
    new_line = np.r_[True, (np.diff(basket[order]) != 0) | (np.diff(category[order]) != 0)]
    starts = np.flatnonzero(new_line)
    first = order[starts]
    pieces = np.add.reduceat(np.where((quantity < 1) | (quantity > _MOST_PIECES), 1, quantity)[order], starts)
    cents = np.rint(np.add.reduceat(value[order], starts) * 100)
    coupon = np.add.reduceat(discount[order], starts) > 0
    baskets: dict[tuple[int, int], list[Line]] = {}
    times: dict[tuple[int, int], int] = {}
    rows = zip(
        household[first].tolist(), basket[first].tolist(), category[first].tolist(), time_ms[first].tolist(),
        pieces.tolist(), cents.tolist(), coupon.tolist(), strict=True,
    )  # fmt: skip
    for owner, number, kind, at, count, paid, used in rows:
        key = owner, number
        times[key] = min(at, times.get(key, at))
        baskets.setdefault(key, []).append(Line("", kind, count, round(paid / count), coupon=used))
    found: dict[int, list[FoldEvent]] = defaultdict(list)
    for (owner, number), lines in baskets.items():
        found[owner].append(
            FoldEvent(
                time_ms=times[owner, number],
                message_id=str(number),
                kind="order",
                lines=tuple(lines),
                order_id=str(number),
            )
        )
    return {owner: tuple(sorted(events, key=lambda event: event.key)) for owner, events in sorted(found.items())}


def _candidates(orders: dict[int, tuple[FoldEvent, ...]], names: dict[int, str]) -> tuple[int, ...]:
    buyers = Counter(
        category
        for events in orders.values()
        for category in {line.category for event in events for line in event.lines}
    )
    return tuple(
        number for number, name in names.items() if buyers[number] >= LEAST_BUYERS and name not in NO_CATEGORIES
    )


def _coupons(folder: Path, categories: Categories) -> dict[tuple[int, int], int]:
    """(campaign, coupon) -> the category of most of its products, the lower number first among equals."""
    table = tables.read(tables.found(folder, "coupons"), ("coupon_upc", "product_id", "campaign_id"))
    coupon, product, campaign = (table[name].to_numpy() for name in table.column_names)
    votes: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for key, number in zip(
        zip(campaign.tolist(), coupon.tolist(), strict=True), categories.of(product).tolist(), strict=True
    ):
        votes[key][number] += 1
    return {key: min(counts, key=lambda number: (-counts[number], number)) for key, counts in votes.items()}


def _campaigns(folder: Path, coupons: dict[tuple[int, int], int]) -> tuple[Campaign, ...]:
    described = tables.read(
        tables.found(folder, "campaign_descriptions"), ("campaign_id", "campaign_type", "start_date", "end_date")
    )
    members: dict[int, list[int]] = defaultdict(list)
    for row in tables.read(tables.found(folder, "campaigns"), ("campaign_id", "household_id")).to_pylist():
        members[row["campaign_id"]].append(row["household_id"])
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for (campaign, _), category in coupons.items():
        counts[campaign][category] += 1
    starts, ends = (_days(described[name]) for name in ("start_date", "end_date"))
    numbers, kinds = described["campaign_id"].to_pylist(), described["campaign_type"].to_pylist()
    return tuple(
        Campaign(number, kind, first, last, tuple(sorted(members[number])), dict(counts[number]))
        for number, kind, first, last in sorted(zip(numbers, kinds, starts, ends, strict=True), key=lambda row: row[2])
    )


def _redemptions(folder: Path, coupons: dict[tuple[int, int], int]) -> tuple[Redemption, ...]:
    columns = ("household_id", "coupon_upc", "campaign_id", "redemption_date")
    table = tables.read(tables.found(folder, "coupon_redemptions"), columns)
    household, coupon, campaign = (table[name].to_pylist() for name in columns[:3])
    return tuple(
        Redemption(owner, number, coupons.get((number, used), 0), day)
        for owner, used, number, day in zip(household, coupon, campaign, _days(table[columns[3]]), strict=True)
    )


def _days(column: Any) -> list[int]:
    stamps = pc.cast(pc.cast(column, pa.timestamp("ms"), safe=False), pa.int64())
    return [day_of(stamp) for stamp in stamps.to_pylist()]
