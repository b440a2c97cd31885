"""What changes of products, told by delta feeds and by changes of price and stock: the rest stays as it is known."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signals import requests
from signals.feed import Format
from signals.moments import unix_ms
from signals.products import restore_product
from tests.signals.sending import NOW, Desk
from tests.signals.test_app import field, http, post
from tests.signals.test_products import facts

__all__ = ["http"]

HOUR = timedelta(hours=1)
WHOLE: dict[str, Any] = {
    "id": "p1", "title": "Runner", "price": "79.50 EUR", "product_type": "Shoes", "brand": "Swift", "line": "road",
    "tier": 2, "sale_price": "70 EUR", "availability": "in_stock", "quantity": 12, "promotion_id": "spring",
    "link": "https://shop.example.com/p1", "image_link": "https://img.example.com/1.jpg", "complements": "Socks, Belts",
}  # fmt: skip
CHANGES = "/v1/products/changes"
TIMES = ("feed_at", "price_told_at", "stock_told_at", "rest_told_at")
FORMS: dict[Format, bytes] = {
    "tsv": b"id\ttitle\tprice\tquantity\np1\t\t60 EUR\t\n",
    "xml": b"<rss xmlns:g='g'><item><g:id>p1</g:id><g:price>60 EUR</g:price><g:quantity/></item></rss>",
    "json": b'{"products": [{"id": "p1", "price": "60 EUR"}]}',
}


def row(desk: Desk, name: str = "p1") -> dict[str, Any]:
    """Everything that is stored of a product but when and by whom it was told."""
    (found,) = desk.rows(f"SELECT to_jsonb(p) FROM product p WHERE id = '{name}'")
    return {key: value for key, value in found[0].items() if key != "source_id" and key not in TIMES}


@pytest.mark.feature("DE-06")
@pytest.mark.parametrize("form", FORMS)
def test_it_keeps_what_a_delta_does_not_tell(form: Format, desk: Desk, http: FlaskClient) -> None:
    desk.feed(WHOLE, now=NOW - HOUR)
    before = row(desk)
    company = sorted(desk.category(name) for name in ("socks", "belts"))
    assert (before["complements"], before["line"], before["tier"]) == (company, "road", 2)

    assert post(http, "/v1/products?feed=delta", FORMS[form]).json == {
        "success": True, "stored": 1, "older": 0, "gone": 0, "held_back": 0, "refused": 0, "rejected": [],
    }  # fmt: skip
    assert row(desk) == before | {"price_cents": 6000}
    told = facts(desk, "p1")
    assert (told.price_cents, told.sale_cents, told.stock, told.title, told.promoted, told.feed_ms) == (
        6000, 7000, 12, "Runner", True, unix_ms(NOW),
    )  # fmt: skip
    assert desk.rows("SELECT feed_at FROM product") == [(NOW,)]


@pytest.mark.parametrize(
    ("told", "changed"),
    [
        ({"title": "Racer"}, {"title": "Racer", "words": "p1 racer swift road"}),
        ({"quantity": 3}, {"stock": 3}),
        ({"availability": "in stock"}, {}),
        ({"availability": "out_of_stock"}, {"stock": 0}),
        ({"availability": "preorder", "quantity": 4}, {"stock": 0}),
        ({"availability": None}, {"stock": None}),
        ({"sale_price": None}, {"sale_cents": None}),
        ({"sale_price": "65 EUR"}, {"sale_cents": 6500}),
        ({"price": "80 USD", "sale_price": "70 USD"}, {"price_cents": 8000, "currency": "USD"}),
        ({"brand": None, "tier": None}, {"brand": None, "tier": None, "words": "p1 runner road"}),
        ({"promotion_id": None}, {"promoted": False}),
        ({"complements": []}, {"complements": []}),
        ({"link": " ", "product_type": ""}, {}),
        (
            {"sale_price_effective_date": "2026-03-01T00:00Z/2026-03-03T00:00Z"},
            {"sale_from": "2026-03-01T00:00:00+00:00", "sale_until": "2026-03-03T00:00:00+00:00"},
        ),
    ],
)
def test_it_changes_what_a_delta_tells(told: dict[str, Any], changed: dict[str, Any], desk: Desk) -> None:
    desk.feed(WHOLE)
    before = row(desk)

    assert desk.feed({"id": "p1"} | told, telling="delta", now=NOW + HOUR).refused == 0
    assert row(desk) == before | changed


def test_it_says_that_something_is_in_stock_again_without_a_number(desk: Desk) -> None:
    desk.feed(WHOLE | {"availability": "out_of_stock"})
    desk.feed({"id": "p1", "availability": "in_stock"}, telling="delta")

    assert facts(desk, "p1").stock == 1


def test_it_takes_what_a_delta_says_twice_in_its_order(desk: Desk) -> None:
    told: list[dict[str, Any]] = [{"id": "p1", "price": "60 EUR", "quantity": 3}, {"id": "p1", "price": "61 EUR"}]
    report = desk.feed(WHOLE, *told, telling="delta")

    assert (report.stored, report.refused) == (1, 0)
    assert (facts(desk, "p1").price_cents, facts(desk, "p1").stock, row(desk)["title"]) == (6100, 3, "Runner")


@pytest.mark.parametrize(
    ("told", "blamed"),
    [
        ({"id": "p2", "price": "1 EUR"}, "id"),
        ({"price": "1 EUR"}, "id"),
        ({"id": "p1", "price": "80 USD"}, "sale_price"),
        ({"id": "p1", "sale_price": "60 USD"}, "sale_price"),
        ({"id": "p1", "price": None}, "price"),
        ({"id": "p1", "title": None}, "title"),
        ({"id": "p1", "quantity": -1}, "quantity"),
    ],
)
def test_it_names_what_is_wrong_with_a_change_and_changes_nothing(
    told: dict[str, Any], blamed: str, desk: Desk
) -> None:
    desk.feed(WHOLE)
    before = row(desk)
    report = desk.feed(told, telling="delta", now=NOW + HOUR)

    assert [bad.field for bad in report.rejected] == [blamed]
    assert (row(desk), desk.rows("SELECT count(*) FROM product")) == (before, [(1,)])


def test_it_wants_a_time_for_a_sale_price_where_the_known_one_is_over(desk: Desk) -> None:
    window = {"sale_price_effective_date": "2026-01-01T00:00Z/2026-01-31T00:00Z"}
    desk.feed(WHOLE | window)
    report = desk.feed({"id": "p1", "sale_price": "65 EUR"}, telling="delta")

    assert [bad.field for bad in report.rejected] == ["sale_price_effective_date"]
    desk.feed({"id": "p1", "sale_price": "65 EUR", "sale_price_effective_date": None}, telling="delta")
    assert facts(desk, "p1").priced(unix_ms(NOW)).price_cents == 6500


def test_it_takes_a_new_product_that_a_delta_tells_whole(desk: Desk) -> None:
    assert desk.feed(WHOLE, telling="delta").stored == 1
    assert (facts(desk, "p1").price_cents, row(desk)["brand"]) == (7950, "Swift")


def test_it_lets_an_older_change_give_way_and_says_so(desk: Desk) -> None:
    desk.feed(WHOLE, now=NOW)
    report = desk.feed({"id": "p1", "price": "60 EUR"}, telling="delta", now=NOW - HOUR)

    assert (report.stored, report.older) == (1, 1)
    assert facts(desk, "p1").price_cents == row(desk)["price_cents"] == 7950


def test_it_leaves_a_product_with_the_feed_that_told_it_whole(desk: Desk) -> None:
    desk.feed(WHOLE)
    desk.feed({"id": "p1", "price": "60 EUR"}, telling="delta", via=desk.source("tills", "server"))

    assert desk.rows("SELECT s.name FROM product p JOIN source s ON s.id = p.source_id") == [("shop",)]


@pytest.mark.feature("DE-06")
def test_it_takes_changes_of_price_and_stock_for_the_next_open(desk: Desk, http: FlaskClient) -> None:
    desk.feed(WHOLE, WHOLE | {"id": "p2"}, now=NOW - HOUR)
    told = [
        {"id": "p1", "price": "60 EUR", "salePrice": None, "quantity": 0},
        {"id": "none", "price": "1 EUR"},
        {"id": "p2", "title": "Another"},
        "text",
        {"id": "p2", "availability": "out_of_stock"},
    ]
    answer = post(http, CHANGES, {"changes": told}).json

    assert answer is not None
    assert (answer["success"], answer["stored"], answer["older"], answer["refused"]) == (True, 2, 0, 3)
    assert [(bad["index"], bad["field"]) for bad in answer["rejected"]] == [(1, "id"), (2, "title"), (3, "id")]
    assert (facts(desk, "p1").price_cents, facts(desk, "p1").sale_cents, facts(desk, "p1").stock) == (6000, None, 0)
    assert (facts(desk, "p2").price_cents, facts(desk, "p2").stock, row(desk, "p2")["title"]) == (7950, 0, "Runner")
    assert desk.rows("SELECT count(*) FROM rejected_event WHERE reason = 'product'") == [(3,)]


def test_it_orders_changes_by_the_time_since_when_they_hold(desk: Desk, http: FlaskClient) -> None:
    desk.feed(WHOLE, now=NOW - 3 * HOUR)

    def told(price: str, at: Any) -> tuple[int, int]:
        body = {"changes": [{"id": "p1", "price": price}], "at": at.isoformat()}
        older = post(http, CHANGES, body).json["older"]  # type: ignore[index]
        return older, facts(desk, "p1").price_cents

    assert told("60 EUR", NOW - HOUR) == (0, 6000)
    assert told("50 EUR", NOW - 2 * HOUR) == (1, 6000)
    assert told("40 EUR", NOW + 2 * HOUR) == (0, 4000)
    assert facts(desk, "p1").feed_ms == unix_ms(NOW), "nobody speaks from the future"
    assert told("30 EUR", NOW) == (0, 3000)


def test_it_dates_what_is_refused_by_when_it_came(desk: Desk, http: FlaskClient) -> None:
    desk.feed(WHOLE, now=NOW - 3 * HOUR)
    body = {"changes": [{"id": "p1", "price": "1 EUR"}, {"id": "p2", "title": "Hat"}], "at": "2026-01-01T12:00:00Z"}
    assert len(post(http, CHANGES, body).get_json()["rejected"]) == 1
    assert desk.rows("SELECT at FROM rejected_event") == [(NOW,)]


def test_it_tells_every_change_that_is_refused(desk: Desk, http: FlaskClient) -> None:
    answer = post(http, CHANGES, {"changes": [{"id": f"p{n}", "quantity": 1} for n in range(requests.CHANGES)]}).json

    assert answer is not None
    assert [bad["index"] for bad in answer["rejected"]] == list(range(requests.CHANGES))


@pytest.mark.parametrize(
    ("body", "blamed"),
    [
        ({"changes": [{"id": "p1"}] * (requests.CHANGES + 1)}, "changes"),
        ({"changes": {"id": "p1"}}, "changes"),
        ({}, "changes"),
        ({"changes": [], "at": "yesterday"}, "at"),
        ({"changes": [], "at": "2026-03-01T12:00:00"}, "at"),
        ({"changes": [], "at": "0001-01-01T00:00:00+14:00"}, "at"),
        ({"changes": [], "at": "9999-12-31T23:59:59-14:00"}, "at"),
        (b"{", ""),
        (b"\xff", ""),
        (b'{"changes":' + b"[" * 100_000, ""),
    ],
)
def test_it_refuses_changes_that_are_none(body: Any, blamed: str, http: FlaskClient) -> None:
    answer = post(http, CHANGES, body)

    assert (answer.status_code, field(answer)) == (400, blamed)


def test_it_takes_changes_from_servers_alone(http: FlaskClient) -> None:
    assert post(http, CHANGES, {"changes": []}, name="site").status_code == 403
    assert post(http, CHANGES, {"changes": []}, name="nobody").status_code == 401
    assert post(http, CHANGES, {"changes": []}).status_code == 200


def test_it_refuses_a_kind_of_feed_that_there_is_not(http: FlaskClient) -> None:
    refused = post(http, "/v1/products?feed=weekly", b"id\n")
    assert (refused.status_code, field(refused)) == (400, "feed")
    assert post(http, "/v1/products?feed=delta", b"id\n").status_code == 200


_NAMES = st.sampled_from(
    ["id", "price", "sale_price", "sale_price_effective_date", "availability", "quantity", "title"]
)  # fmt: skip
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=40),
    st.sampled_from(["p1", "60 EUR", "1 JPY", "in_stock", "2026-03-01T00:00Z/2026-03-03T00:00Z", "9" * 400 + " EUR"]),
    st.lists(st.text(max_size=5), max_size=2), st.dictionaries(st.text(max_size=9), st.text(max_size=5), max_size=2),
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(st.one_of(_VALUES, st.dictionaries(_NAMES, _VALUES, max_size=5)), max_size=4))
def test_it_answers_any_change_and_says_of_each_what_became_of_it(
    items: list[Any], desk: Desk, http: FlaskClient
) -> None:
    desk.feed(WHOLE, now=NOW - HOUR)
    answer = post(http, CHANGES, json.dumps({"changes": items}).encode())

    assert answer.status_code == 200, answer.data
    told = answer.json
    assert told is not None
    assert told["refused"] == len(told["rejected"]) <= len(items)
    assert all(bad["message"] and bad["index"] < len(items) for bad in told["rejected"])
    # What opens read is what is stored.
    known = facts(desk, "p1")
    assert restore_product(desk.intake, "p1")
    assert facts(desk, "p1") == known
