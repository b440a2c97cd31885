"""Segment calls as they are folded: the spec's shapes are read, what cannot be read is left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.foldevent import Line, cents_of, fold_event, kind_of, trait_name
from tests.signals.stories import CATEGORIES, event, identify


@pytest.mark.parametrize(
    ("value", "cents"),
    [
        (19.99, 1999),
        ("19.99", 1999),
        (" 5 ", 500),
        (0.005, 1),
        (1.005, 101),
        (-20, -2000),
        (7, 700),
        ("ten", None),
        (True, None),
        (None, None),
        (float("nan"), None),
        ("1e400", None),
        (10**15, None),
    ],
)
def test_it_reads_prices_in_cents(value: Any, cents: int | None) -> None:
    assert cents_of(value) == cents


def test_it_reads_an_order_with_its_products() -> None:
    told = event(
        "order completed",
        {
            "orderId": 77,
            "total": "30.10",
            "products": [
                {"product_id": "p1", "category": "shoes", "price": 10.05, "quantity": "2"},
                {"sku": 5, "category": "unknown", "price": None},
                {"price": 3},
                {"product_id": "p2", "quantity": 0},
                "nonsense",
            ],
        },
        context={"campaign": {"medium": "Email"}},
    )
    assert (told.kind, told.order_id, told.total_cents, told.by_mail) == ("order", "77", 3010, True)
    assert told.lines == (Line("p1", CATEGORIES["shoes"], 2, 1005), Line("5", 0, 1, None))


@pytest.mark.parametrize(
    ("quantity", "read"),
    [
        (1.5, (2, 1_500_000)), ("0.75", (1, 750_000)), (2.0, (2, 0)), ("2", (2, 0)), (None, (1, 0)),
        (0.1234565, (1, 123_457)), (0.0000004, None), (0, None), (-1.5, None), (-2, None), ("much", None), (True, None),
        ("nan", None), (1e300, None), (10**400, None), (100_000.5, (100_000, 0)), (10**9, (100_000, 0)),
    ],
)  # fmt: skip
def test_it_reads_how_much_of_a_product_in_millionths_where_it_is_no_whole_number(
    quantity: Any, read: tuple[int, int] | None
) -> None:
    told = event("Order Completed", {"order_id": "o1", "products": [{"product_id": "p1", "quantity": quantity}]})
    assert [(line.quantity, line.millionths) for line in told.lines] == ([] if read is None else [read])


@pytest.mark.parametrize(
    ("order_id", "refund_id", "read"),
    [
        ("727", "91", "91"),
        ("w1-727", "91", "91"),
        ("w1-727", "w1-91", "91"),
        ("w1-727", "w2-91", "w2-91"),
        (727, 91, "91"),
        ("o-a", "r-1", "r-1"),
        ("o-1", None, ""),
        ("o-1", True, ""),
    ],
)
def test_it_reads_the_id_of_a_refund_with_or_without_the_prefix_of_its_order(
    order_id: Any, refund_id: Any, read: str
) -> None:
    told = {"order_id": order_id, "refund_id": refund_id}
    assert event("Order Refunded", told).refund_id == read
    assert event("Order Completed", told).refund_id == ""


def test_it_reads_a_product_at_the_top_level() -> None:
    told = event("Product Viewed", {"product_id": "p1", "category": "shoes", "price": 5})
    assert (told.kind, told.lines) == ("view", (Line("p1", 1, 1, 500),))


def test_it_keeps_no_personal_traits() -> None:
    told = identify(
        {
            "email": "ann@example.com",
            "phone": "1",
            "firstName": "Ann",
            "address": {"street": "Elm St", "city": "Rome"},
            "list": [1],
            "big": 2**60,
            "x" * 100: "y" * 200,
            "gone": None,
        }
    )
    assert told.traits == {"first_name": "Ann", "address.city": "Rome", "x" * 64: "y" * 128, "gone": None}


def test_it_reads_consent_one_by_one_or_many() -> None:
    assert event("Consent Changed", {"purpose": "email", "granted": False}).consent == {"email": False}
    many = {"consents": {"email": True, "tracking": "yes", "profiling": False}}
    assert event("Consent Changed", many).consent == {"email": True, "profiling": False}


@pytest.mark.parametrize(
    ("said", "word"),
    [("not for me", "not_for_me"), ("Already-Own", "already_own"), ("gift", "gift"), ("nice", ""), (5, "")],
)
def test_it_reads_the_word_of_feedback(said: Any, word: str) -> None:
    assert event("Offer Feedback", {"feedback": said}).word == word


@pytest.mark.parametrize(
    ("call", "name", "kind"),
    [
        ("track", "Viewed Product", "view"),
        ("track", " order canceled ", "cancel"),
        ("page", "Home", "other"),
        ("track", None, "other"),
    ],
)
def test_it_knows_events_by_name(call: str, name: str | None, kind: str) -> None:
    assert kind_of(call, name) == kind


def test_it_spells_traits_one_way() -> None:
    assert [trait_name(name) for name in ("firstName", "first_name", "Home City", "LTV")] == [
        "first_name",
        "first_name",
        "home_city",
        "ltv",
    ]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["products", "price", "quantity"]), inner)
    ),
    max_leaves=8,
)
_fields = ["order_id", "products", "total", "category", "quantity", "price", "consents", "purpose", "granted", "rating"]


@given(
    st.sampled_from(["Order Completed", "Consent Changed", "Product Reviewed", "Offer Feedback", "Email Opened"]),
    st.one_of(_json, st.dictionaries(st.sampled_from([*_fields, "feedback", "class", "product_id"]), _json)),
    _json,
)
def test_it_never_fails_on_content(name: str, properties: Any, context: Any) -> None:
    for kind in ("track", "identify"):
        raw = {"type": kind, "event": name, "properties": properties, "traits": properties, "context": context}
        assert fold_event(raw, CATEGORIES.get, time_ms=0).time_ms == 0


@pytest.mark.parametrize("purpose", [["email"], {"a": 1}, 5, None, ""])
def test_it_reads_no_consent_for_a_purpose_that_is_no_text(purpose: Any) -> None:
    assert event("Consent Changed", {"purpose": purpose, "granted": True}).consent == {}
