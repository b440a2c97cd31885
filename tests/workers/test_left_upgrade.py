"""The upgrade that fills in what is left of the orders that are there."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from base.embedded import PostgresServer
from tests.databases import VAULT
from tests.workers.test_sealing_upgrade import upgraded
from workers.migration import migrate

EVENT = """
    INSERT INTO event (message_id, source_id, profile_id, type, name, event_time, received_at, category_ids, order_id,
                       order_total_cents, content_hash, folds, body, figures)
    VALUES (%s, 1, %s, 'track', %s, '2026-03-01Z'::timestamptz + make_interval(days => %s), now(), %s, %s, %s, '', %s,
            '', %s)
"""
LINES = [{"product_id": "p1", "price": 80, "quantity": 1}, {"product_id": "p2", "price": "30.00"}, {}]
P1 = {"product_id": "p1", "quantity": 1}
DOLLARS = {"currency": "USD"}
ROWS = (
    ("INSERT INTO own_currency VALUES (1, 'EUR', now())", ()),
    ("INSERT INTO exchange_rate VALUES ('EUR', 'USD', '2026-01-01', 0.5)", ()),
    ("INSERT INTO profile (id, root_id, created_at) VALUES (1, 1, now()), (2, 1, now()), (3, 3, now())", ()),
)

Told = tuple[str, dict[str, Any], list[int]]
ORDERS: dict[str, tuple[dict[str, Any], list[Told], bool, list[int] | None]] = {
    "kept": ({}, [], False, None),
    "some money": ({}, [("Order Refunded", {"total": "109.99"}, [])], False, None),
    "all money": ({}, [("Order Refunded", {"total": 60}, []), ("Order Refunded", {"revenue": 50}, [])], True, None),
    "without a word": ({}, [("Order Refunded", {}, [])], True, None),
    "a line": ({}, [("Order Refunded", {"products": [P1]}, [1])], False, [2]),
    "a line and the rest": ({}, [("Order Refunded", {"products": [P1]}, [1]), ("Order Refunded", {"total": 30}, [])],
                            True, None),
    "all pieces": ({}, [("Order Refunded", {"products": [{}, {}, {}]}, [])], True, None),
    "something else": ({}, [("Order Refunded", {"products": [{"product_id": "p9"}]}, [9])], False, None),
    "cancelled": ({}, [("Order Canceled", {}, [])], True, None),
    "placed": ({}, [("Order Cancelled", {}, []), ("Order Updated", {"order_status": "placed"}, [])], False, None),
    "dollars": (DOLLARS, [("Order Refunded", {"total": 55, "currency": "EUR"}, [])], True, None),
    "half the dollars": (DOLLARS, [("Order Refunded", {"total": 55}, [])], False, None),
    "dollars back": ({}, [("Order Refunded", {"total": 110, **DOLLARS}, [])], False, None),
    "all dollars back": ({}, [("Order Refunded", {"total": 220, **DOLLARS}, [])], True, None),
    "francs back": ({}, [("Order Refunded", {"total": 900, "currency": "CHF"}, [])], False, None),
}  # fmt: skip


def test_it_takes_updates_for_none_of_their_own_until_a_rebuild_finds_them(postgres: PostgresServer) -> None:
    with (
        upgraded(postgres, "0058", ROWS) as url,
        psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as there,
    ):
        for name in ("Order Completed", "Order Updated", "ORDER UPDATED", "Order Refunded"):
            there.execute(EVENT, (name, 1, name, 1, [1], "o1", None, True, None))
        migrate(url, VAULT, b"", "0060")
        found = there.execute("SELECT name FROM event WHERE void").fetchall()
        assert sorted(found) == [("ORDER UPDATED",), ("Order Updated",)]


def test_it_fills_in_what_windows_took_for_it(postgres: PostgresServer) -> None:
    with (
        upgraded(postgres, "0056", ROWS) as url,
        psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as there,
    ):

        def tell(profile: int, name: str, day: int, categories: list[int], order: str, told: dict[str, Any],
                 total: int | None = None, folds: bool = True) -> None:  # fmt: skip
            number = f"{order}-{name}-{day}-{profile}-{folds}"
            figures = json.dumps({"properties": told}) if told else None
            there.execute(EVENT, (number, profile, name, day, categories, order, total, folds, figures))

        for order, (bought, corrections, _, _) in ORDERS.items():
            total = 11_000 if order == "all money" else None
            tell(1, "Order Completed", 0, [1, 2], order, {"products": LINES} | bought, total)
            tell(3, "Order Cancelled", 1, [1], order, {})  # Of a stranger's order of this id.
            tell(1, "Order Refunded", 1, [1], order, {}, folds=False)  # A repeat.
            for day, (name, told, categories) in enumerate(corrections, 1):
                tell(2, name, day, categories, order, told)
        migrate(url, VAULT, b"", "0057")
        found = there.execute("""
            SELECT order_id, void, left_category_ids FROM event WHERE name = 'Order Completed' AND profile_id = 1
        """).fetchall()
        assert {order: (void, left) for order, void, left in found} == {
            order: (void, left) for order, (_, _, void, left) in ORDERS.items()
        }
        others = (
            "SELECT count(*) FROM event WHERE (void OR left_category_ids IS NOT NULL) AND name <> 'Order Completed'"
        )
        assert there.execute(others).fetchone() == (0,)


def test_it_takes_orders_without_a_total_for_their_lines(postgres: PostgresServer) -> None:
    many = [{"product_id": "p", "price": 9_999_999_999, "quantity": 100_000}] * 95
    lines = [*LINES[:2], {"product_id": "p3", "price": 0.995, "quantity": "2"}, {"product_id": "p4", "price": "?"}]
    orders: dict[str, tuple[dict[str, Any] | None, int | None, int | None]] = {
        "lines": ({"products": lines}, None, 11_200),
        "told": ({"products": lines}, 10_000, 10_000),
        # The order has a category, but these two lines name neither it nor a product.
        "with shipping": ({"products": [{"price": 1}, {"product_id": "p1", "price": 3.99}]}, None, 399),
        "shipping": ({"products": [{"price": 1}, {"product_id": "p1"}]}, None, None),
        "too much": ({"products": many}, None, 10**12),
        "no piece": ({"products": [{"product_id": "p", "price": 1, "quantity": 0}]}, None, None),
        "no price": ({"products": [P1]}, None, None),
        "no lines": ({"currency": "EUR"}, None, None),
        "nothing": (None, None, None),
    }
    with (
        upgraded(postgres, "0067", ROWS) as url,
        psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as there,
    ):
        for name, (told, total, _) in orders.items():
            figures = None if told is None else json.dumps({"properties": told})
            there.execute(EVENT, (name, 1, "Order Completed", 1, [1], name, total, True, figures))
        there.execute(EVENT, ("refund", 1, "Order Refunded", 1, [1], "lines", None, True, json.dumps(LINES)))
        migrate(url, VAULT, b"", "0068")
        found = there.execute("SELECT message_id, order_total_cents FROM event").fetchall()
        assert dict(found) == {name: cents for name, (_, _, cents) in orders.items()} | {"refund": None}
