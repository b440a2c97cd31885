"""Words on a product that overtake each other: of price, stock and the rest the newest counts, each for itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from signals.fullfeeds import take_full
from signals.products import Telling
from tests.signals.sending import NOW, Desk
from tests.signals.test_products import facts

SECOND = timedelta(seconds=1)
SHOE: dict[str, Any] = {"id": "p1", "title": "Shoe", "price": "10 EUR", "quantity": 5, "brand": "Swift"}
PRICE, STOCK, REST = {"id": "p1", "price": "20 EUR"}, {"id": "p1", "quantity": 0}, {"id": "p1", "brand": "Slow"}


def known(desk: Desk) -> tuple[int, int | None, str]:
    """Price, stock and brand that are stored; opens are told the same of the first two."""
    (row,) = desk.rows("SELECT price_cents, stock, brand FROM product WHERE id = 'p1'")
    assert (facts(desk, "p1").price_cents, facts(desk, "p1").stock) == (row[0], row[1])
    return row[0], row[1], row[2]


@pytest.mark.feature("DE-06")
@pytest.mark.parametrize("first", [PRICE, STOCK, REST])
def test_it_takes_late_what_nobody_said_anything_newer_of(first: dict[str, Any], desk: Desk) -> None:
    desk.feed(SHOE, now=NOW - 9 * SECOND)
    words = [first, *(word for word in (PRICE, STOCK, REST) if word is not first)]
    assert [desk.feed(word, telling="delta", now=NOW - n * SECOND).older for n, word in enumerate(words)] == [0, 0, 0]
    assert known(desk) == (2000, 0, "Slow")
    assert desk.rows("SELECT feed_at FROM product") == [(NOW,)], "its age is that of the newest word"
    # Of each there is a newer word now.
    assert desk.feed(SHOE, now=NOW - 3 * SECOND).older == 1
    assert known(desk) == (2000, 0, "Slow")


@pytest.mark.parametrize("telling", ["part", "delta"])
def test_it_counts_for_older_what_counts_for_nothing(telling: Telling, desk: Desk) -> None:
    desk.feed(SHOE, now=NOW - 9 * SECOND)
    desk.feed(PRICE, telling="changes", now=NOW)
    again = SHOE | {"price": "30 EUR", "quantity": 7}
    assert desk.feed(again, telling=telling, now=NOW - SECOND).older == 0
    assert known(desk) == (2000, 7, "Swift")
    assert desk.feed(PRICE | {"price": "1 EUR"}, telling="changes", now=NOW - SECOND).older == 1
    assert desk.feed({"id": "p1"}, telling="changes", now=NOW + SECOND).older == 0, "it renews its age"
    assert desk.rows("SELECT feed_at FROM product") == [(NOW + SECOND,)]


def test_it_keeps_words_of_price_and_stock_that_come_at_once(desk: Desk) -> None:
    desk.feed(SHOE, now=NOW - SECOND)
    with ThreadPoolExecutor(2) as pool:
        for number in range(1, 41):
            both = Barrier(2)
            now = NOW + number * SECOND

            def say(word: dict[str, Any], now: Any = now, both: Barrier = both) -> int:
                both.wait()
                return desk.feed(word, telling="changes", now=now).older

            price = pool.submit(say, {"id": "p1", "price": f"{number} EUR"}, now)
            stock = pool.submit(say, {"id": "p1", "quantity": number}, now - timedelta(milliseconds=5))
            assert (price.result(), stock.result()) == (0, 0)
            assert known(desk) == (number * 100, number, "Swift")


@pytest.mark.feature("DE-06")
def test_a_sale_during_a_full_feed_hides_nothing_of_it(desk: Desk) -> None:
    items = [SHOE | {"id": f"p{n}"} for n in range(10)]
    take_full(desk.intake, desk.server, items, NOW)
    take_full(desk.intake, desk.server, items[:9], NOW + SECOND)
    # The till sells while the feed of a second before is still being read: of what it names and what it leaves out.
    sold = [{"id": name, "quantity": 1} for name in ("p0", "p1", "p9")]
    desk.feed(*sold, telling="changes", now=NOW + 3 * SECOND)
    report = take_full(desk.intake, desk.server, [one | {"price": "20 EUR"} for one in items[1:]], NOW + 2 * SECOND)

    assert (report.older, report.gone) == (0, 1)
    assert (facts(desk, "p9").gone, facts(desk, "p9").price_cents, facts(desk, "p9").stock) == (False, 2000, 1)
    assert (facts(desk, "p1").price_cents, facts(desk, "p1").stock) == (2000, 1)
    assert (facts(desk, "p0").gone, facts(desk, "p0").stock) == (True, 0)


def test_it_takes_a_late_word_of_stock_on_what_was_told_without_any(desk: Desk) -> None:
    desk.feed({"id": "p1", "title": "Shoe", "price": "10 EUR"}, telling="delta", now=NOW)
    assert desk.feed({"id": "p1", "quantity": 3}, telling="changes", now=NOW - SECOND).older == 0
    assert facts(desk, "p1").stock == 3
