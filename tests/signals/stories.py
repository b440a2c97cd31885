"""Made-up people for the tests of folding: single events by name, and random histories."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from msgspec import structs

from signals.currencies import PAR
from signals.fold import fold_all
from signals.foldevent import FoldEvent, fold_event
from signals.moments import unix_ms
from signals.state import ProfileState

CATEGORIES = {"shoes": 1, "attire": 2, "socks": 3, "baby-gates": 4, "dog-food": 5, "diapers": 6}
MORNING = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
RATES = {"": PAR, "EUR": PAR, "USD": 9_212_345_678, "JPY": 61_000_001}
"""What a unit of a currency is worth of the own one, on an even day; of others nobody knows."""


def event(
    name: str,
    properties: Mapping[str, Any] | None = None,
    *,
    at: datetime = MORNING,
    id: str = "m1",
    arrival: int = 1,
    context: Mapping[str, Any] | None = None,
) -> FoldEvent:
    """A track call as it is folded."""
    raw = {"type": "track", "event": name, "messageId": id, "properties": properties, "context": context}
    return rated(fold_event(raw, CATEGORIES.get, time_ms=unix_ms(at), source=1, arrival=arrival))


def rated(told: FoldEvent) -> FoldEvent:
    """The event with the rate of its currency: on an odd day what is foreign is worth a tenth more."""
    rate, day = RATES.get(told.currency, 0), told.time_ms // 86_400_000
    return structs.replace(told, rate=rate if rate == PAR else rate * (10 + day % 2) // 10)


def identify(traits: Mapping[str, Any], *, at: datetime = MORNING, id: str = "i1", arrival: int = 1) -> FoldEvent:
    """An identify call as it is folded."""
    raw = {"type": "identify", "messageId": id, "traits": traits}
    return fold_event(raw, CATEGORIES.get, time_ms=unix_ms(at), source=1, arrival=arrival)


def item(category: str, product: str | None = None, price: float | str = 10, quantity: float = 1) -> dict[str, Any]:
    """A product in a call."""
    return {"product_id": product or f"{category}-1", "category": category, "price": price, "quantity": quantity}


def order(
    order_id: str, *items: dict[str, Any], at: datetime = MORNING, id: str | None = None, arrival: int = 1
) -> FoldEvent:
    """An order as it is folded."""
    properties = {"order_id": order_id, "products": list(items)}
    return event("Order Completed", properties, at=at, id=id or f"m-{order_id}", arrival=arrival)


def bought_on(*days: int) -> ProfileState:
    """The state of who bought on these days, counted from MORNING."""
    return fold_all(
        order(f"o{place}", item("shoes"), at=MORNING + timedelta(days=day), arrival=place + 1)
        for place, day in enumerate(days)
    )


_items = st.builds(
    item,
    st.sampled_from(sorted(CATEGORIES)),
    st.sampled_from(["p1", "p2", "p3", None]),
    st.sampled_from([1, 2.5, "19.99", 0.005]),
    st.integers(1, 3),
)
_currencies = st.sampled_from(["EUR", "usd", "USD", "JPY", "CHF", "pounds", ""])
_order_ids = st.sampled_from([f"o{number}" for number in range(24)])
_orders = st.fixed_dictionaries(
    {"order_id": _order_ids, "products": st.lists(_items, min_size=1, max_size=4)},
    optional={"total": st.sampled_from([0, 12.5, 40]), "gift": st.booleans(), "currency": _currencies},
)
_bare = st.fixed_dictionaries(
    {"order_id": _order_ids}, optional={"order_status": st.just("placed"), "total": st.sampled_from([5, 40])}
)
_refunds = st.fixed_dictionaries(
    {},
    optional={
        "order_id": _order_ids,
        "products": st.lists(_items, min_size=1, max_size=2),
        "total": st.sampled_from([1, 500]),
        "currency": _currencies,
    },
)
_marks = st.fixed_dictionaries(
    {"feedback": st.sampled_from(["gift", "not for me", "already own", "wrong person", "??"])},
    optional={
        "order_id": _order_ids,
        "product_id": st.sampled_from(["p1", "p2"]),
        "category": st.sampled_from(sorted(CATEGORIES)),
    },
)
_withdrawals = st.fixed_dictionaries({"message_id": st.sampled_from(["m1", "m2", "m3", "m5", "m8"])})
_scores = st.integers(0, 10)
_calls: st.SearchStrategy[tuple[str, dict[str, Any]]] = st.one_of(
    st.tuples(st.just("Order Completed"), _orders),
    st.tuples(st.just("Order Completed"), _orders),
    st.tuples(st.just("Order Updated"), st.one_of(_orders, _bare)),
    st.tuples(st.sampled_from(["Order Refunded", "Order Cancelled"]), _refunds),
    st.tuples(st.just("Offer Feedback"), _marks),
    st.tuples(st.just("Offer Feedback Withdrawn"), _withdrawals),
    st.tuples(st.sampled_from(["Product Viewed", "Product Added", "Product Removed", "Product Registered"]), _items),
    st.tuples(
        st.sampled_from(["Cart Viewed", "Checkout Started"]),
        st.fixed_dictionaries({"products": st.lists(_items, max_size=3)}),
    ),
    st.tuples(
        st.just("Product Reviewed"),
        st.fixed_dictionaries({"category": st.sampled_from(sorted(CATEGORIES)), "rating": st.integers(1, 5)}),
    ),
    st.tuples(
        st.sampled_from(["Complaint Opened", "Complaint Closed"]),
        st.fixed_dictionaries({}, optional={"complaint_id": st.sampled_from("abcdef")}),
    ),
    st.tuples(
        st.just("Survey Answered"),
        st.fixed_dictionaries({"survey_id": st.sampled_from(["nps", "quality", "speed"]), "score": _scores}),
    ),
    st.tuples(
        st.just("Consent Changed"),
        st.fixed_dictionaries(
            {
                "purpose": st.sampled_from(["email", "tracking", "profiling", "advertising", "sms", "push"]),
                "granted": st.booleans(),
            }
        ),
    ),
    st.tuples(
        st.sampled_from(["Email Opened", "Email Link Clicked"]),
        st.fixed_dictionaries({"class": st.sampled_from(["person", "proxy", "scanner"])}),
    ),
    st.tuples(st.sampled_from(["Call Note Added", "Something Else"]), st.just({})),
    st.tuples(
        st.sampled_from(["Coupon Denied", "Stock Alert Requested", "Checkout Step Viewed"]),
        st.sampled_from([{}, {"step_name": "Shipping"}]),
    ),
)
_traits = st.dictionaries(
    st.sampled_from(["age", "firstName", "householdSize", "household_kids", "household_age", "vip", "height", "city"]),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 100),
        st.sampled_from(["", "5", "Ann", "Zoë", "é", "true"]),
        st.floats(-2, 200, allow_nan=False).map(lambda number: round(number, 3)),
    ),
    max_size=4,
)


@st.composite
def histories(draw: st.DrawFn, most: int = 30) -> list[FoldEvent]:
    """Events of one person in the order of their arrival; times collide and order ids repeat on purpose."""
    events = []
    for arrival in range(1, draw(st.integers(1, most)) + 1):
        at = MORNING + timedelta(hours=draw(st.sampled_from([6, 400])) * draw(st.integers(-30, 9)))
        if draw(st.integers(0, 5)) == 0:
            events.append(identify(draw(_traits), at=at, id=f"m{arrival}", arrival=arrival))
        else:
            name, properties = draw(_calls)
            events.append(event(name, properties, at=at, id=f"m{arrival}", arrival=arrival))
    return events


@st.composite
def order_histories(draw: st.DrawFn) -> list[FoldEvent]:
    """Forty to eighty orders and corrections, a minute apart: more order ids than a state remembers, many twice."""
    chance = draw(st.randoms(use_true_random=False))
    events = []
    for number in range(chance.randint(40, 80)):
        order_id = f"o{chance.randint(max(0, number - 30), number + 3)}"
        name = chance.choice(["Order Completed"] * 9 + ["Order Updated", "Order Refunded", "Offer Feedback"])
        products = [
            item(
                chance.choice(sorted(CATEGORIES)),
                chance.choice(["p1", "p2"]),
                quantity=chance.choice([0, 1, 1, 2, 0.35]),
            )
            for _ in range(2)
        ]
        if chance.random() < 0.2:
            del products[0]["price"]
        properties: dict[str, Any] = {"order_id": order_id, "products": products, "feedback": "gift"}
        properties["currency"] = chance.choice(["EUR", "USD", "CHF", None])
        if name in ("Order Refunded", "Order Updated") and chance.random() < 0.5:
            properties["products"] = []
        if chance.random() < 0.3:
            properties["total"] = chance.choice([0, 5, 10, 20])
        at = MORNING + timedelta(minutes=number)
        events.append(event(name, properties, at=at, id=f"m{number * 7919 % 1000}", arrival=number + 1))
    return events
