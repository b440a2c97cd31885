"""Webhooks of shops: signed, counted once, the same in any order of arrival, right to the cent."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import itertools
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from base.errors import InvalidInput
from base.settings import Settings
from signals import refusals, shoporders
from signals.app import create_app
from signals.shops import create_shop
from signals.sources import disable_source
from tests.damage import flip
from tests.signals.sending import NOW, Desk, call, clocked
from tests.signals.shopbodies import (
    SHOPIFY_CUSTOMER,
    SHOPIFY_ORDER,
    SHOPIFY_PRODUCT,
    SHOPIFY_REFUND,
    WOO_CUSTOMER,
    WOO_ORDER,
    WOO_PRODUCT,
    like,
)
from tests.signals.shopcalls import KEY, SECRET, Shops


def test_it_takes_an_order_to_the_cent_with_its_buyer(shops: Shops) -> None:
    shops.desk.feed({"id": "RUN-42", "title": "Runner", "price": "30 EUR", "product_type": "Shoes"})
    assert shops.told("shopify", "orders/create", SHOPIFY_ORDER) == "taken"
    state = shops.state("7209846112447")
    assert (state.orders, state.order_cents) == (1, 10490)
    ((body, total),) = shops.desk.rows("SELECT body, order_total_cents FROM event WHERE name = 'Order Completed'")
    assert (total, body["properties"]["currency"], body["properties"]["coupon"]) == (10490, "EUR", "SPRING")
    # 80.00 for three pairs is no whole cents each: two at 26.67 and one at 26.66.
    lines = [(line["product_id"], line["quantity"], line["price"]) for line in body["properties"]["products"]]
    assert sorted(lines) == [("45128805023935", 2, 10.0), ("RUN-42", 1, 26.66), ("RUN-42", 2, 26.67)]
    assert shops.desk.root("email", "ida@example.com") == shops.desk.root("user_id", "7209846112447")
    assert state.categories[shops.desk.category("Shoes")].cents == 8000


def test_it_adds_taxes_that_are_not_in_the_prices(shops: Shops) -> None:
    taxed = like(SHOPIFY_ORDER, taxes_included=False)
    taxed["line_items"] = [taxed["line_items"][0] | {"tax_lines": [{"price": "16.00"}]}]
    shops.told("shopify", "orders/create", taxed)
    ((body,),) = shops.desk.rows("SELECT body FROM event WHERE name = 'Order Completed'")
    assert [(line["quantity"], line["price"]) for line in body["properties"]["products"]] == [(3, 32.0)]


def life(platform: str) -> list[tuple[str, dict[str, Any]]]:
    """Everything a shop tells of one order: placed, paid, edited, partly returned."""
    if platform == "shopify":
        edited = like(SHOPIFY_ORDER, updated_at="2026-03-01T10:15:00+01:00", total_price="114.90")
        edited["line_items"][1]["quantity"] = 3
        returned = like(edited, updated_at="2026-03-01T11:00:01+01:00", refunds=[SHOPIFY_REFUND])
        return [
            ("orders/create", SHOPIFY_ORDER), ("orders/paid", SHOPIFY_ORDER), ("orders/updated", edited),
            ("refunds/create", SHOPIFY_REFUND), ("orders/updated", returned),
        ]  # fmt: skip
    changed = like(WOO_ORDER, status="completed", date_modified_gmt="2026-03-01T09:00:00")
    returned = like(changed, date_modified_gmt="2026-03-01T10:00:00", refunds=[{"id": 801, "total": "-10.05"}])
    return [
        ("order.created", WOO_ORDER), ("order.updated", WOO_ORDER), ("order.updated", changed),
        ("order.updated", returned),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("platform", "user", "cents"), [("shopify", "7209846112447", 8823), ("woocommerce", "26", 4475)]
)
def test_it_comes_to_the_same_in_any_order_and_however_often(
    shops: Shops, platform: str, user: str, cents: int
) -> None:
    calls = life(platform)
    seen = []
    for way in (calls, calls[::-1], calls[2:] + calls[:2], [*calls, *calls, *calls[::-1]]):
        shops.desk.run(
            "TRUNCATE event, identifier, profile, profile_state, trait_lineage, profile_link, shop_waiting,"
            " household_claim, dwelling, household_due"
        )
        shops.desk.store.flushdb()
        for topic, body in way:
            shops.told(platform, topic, body)
        seen.append(shops.state(user))
        assert shops.desk.rows("SELECT count(*) FROM event_conflict") == [(0,)]
        assert shops.desk.rows("SELECT count(*) FROM shop_waiting") == [(0,)]
        assert [name for name, _ in shops.events()].count("Order Completed") == 1
        assert [name for name, _ in shops.events()].count("Order Refunded") == 1
    assert (seen[0].orders, seen[0].order_cents) == (1, cents)
    assert all(one == seen[0] for one in seen[1:])


@pytest.mark.parametrize("platform", ["shopify", "woocommerce"])
@pytest.mark.parametrize("moment", ["same", "later"])
@pytest.mark.parametrize("turn", [1, -1])
def test_an_order_holds_what_it_was_changed_to(shops: Shops, platform: str, moment: str, turn: int) -> None:
    """Within the second of its placing too, and where nothing is left in it."""
    if platform == "shopify":
        user, first, topics = "7209846112447", SHOPIFY_ORDER, ("orders/create", "orders/updated")
        changed = {"line_items": [], "total_price": "0.00", "updated_at": "2026-03-01T10:15:00+01:00"}
        time = "created_at"
    else:
        user, first, topics = "26", WOO_ORDER, ("order.created", "order.updated")
        changed = {"line_items": [], "total": "0.00", "date_modified_gmt": "2026-03-01T10:00:00"}
        time = "date_created_gmt"
    if moment == "same":
        changed[("updated_at" if platform == "shopify" else "date_modified_gmt")] = str(first[time])
    told = list(zip(topics, (first, like(first, **changed)), strict=True))
    for topic, body in told[::turn]:
        shops.told(platform, topic, body)
    state = shops.state(user)
    assert (state.orders, state.order_cents, state.categories, state.recent) == (1, 0, {}, ())


def test_it_keeps_a_refund_until_its_order_comes(shops: Shops) -> None:
    assert shops.told("shopify", "refunds/create", SHOPIFY_REFUND) == "taken"
    assert shops.desk.rows("SELECT count(*) FROM event") == [(0,)]
    with shops.desk.sessions.begin() as session:
        assert shoporders.waiting(session) == {shops.sources["shopify"]: 1}
    shops.told("shopify", "orders/create", SHOPIFY_ORDER)
    assert shops.state("7209846112447").order_cents == 10490 - 2667
    assert shops.desk.rows("SELECT count(*) FROM shop_waiting") == [(0,)]


def test_a_damaged_word_that_waits_keeps_no_order_waiting(shops: Shops) -> None:
    for number in (1, 2):
        shops.told("shopify", "refunds/create", like(SHOPIFY_REFUND, id=number))
    flip(shops.desk.sessions, "shop_waiting.properties", "id = (SELECT min(id) FROM shop_waiting)")
    assert shops.told("shopify", "orders/create", SHOPIFY_ORDER) == "taken"
    assert shops.state("7209846112447").order_cents == 10490 - 2667
    assert shops.desk.rows("SELECT count(*) FROM shop_waiting") == [(1,)], "it may still be put back"
    flip(shops.desk.sessions, "shop_waiting.properties")
    shops.told("shopify", "orders/updated", SHOPIFY_ORDER)
    assert shops.desk.rows("SELECT count(*) FROM shop_waiting") == [(0,)]


def test_it_counts_a_refund_once_that_a_server_tells_of_too(shops: Shops) -> None:
    refunds = [{"id": 91, "total": "-10.00"}, {"id": 92, "total": "-5.00"}]
    returned = like(WOO_ORDER, date_modified_gmt="2026-03-01T10:00:00", refunds=refunds)
    told = {"order_id": "727", "refund_id": "91", "total": 10}
    shops.desk.send(call("track", event="Order Refunded", userId="26", properties=told))
    shops.told("woocommerce", "order.updated", returned)
    assert shops.state("26").order_cents == 5480 - 1500
    shops.desk.send(call("track", event="Order Refunded", userId="26", properties=told))
    assert shops.state("26").order_cents == 5480 - 1500


def test_it_lets_what_waits_for_no_order_go(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shoporders, "MOST_WAITING", 2)
    for number in range(4):
        shops.told("shopify", "refunds/create", like(SHOPIFY_REFUND, id=number, order_id=number + 100))
    assert shops.desk.rows("SELECT order_id FROM shop_waiting ORDER BY id") == [("102",), ("103",)]
    shops.clock.set(NOW + shoporders.KEPT + timedelta(days=1))
    shops.told("shopify", "refunds/create", like(SHOPIFY_REFUND, id=9, order_id=109))
    assert shops.desk.rows("SELECT order_id FROM shop_waiting") == [("109",)]


def test_it_cancels_an_order_and_counts_none_that_is_not_placed(shops: Shops) -> None:
    shops.told("shopify", "orders/create", SHOPIFY_ORDER)
    gone = like(SHOPIFY_ORDER, cancelled_at="2026-03-01T12:00:00+01:00", cancel_reason="customer",
                updated_at="2026-03-01T12:00:00+01:00")  # fmt: skip
    assert shops.told("shopify", "orders/cancelled", gone) == "taken"
    assert (shops.state("7209846112447").orders, shops.state("7209846112447").order_cents) == (0, 0)
    for topic, body in (
        ("order.created", like(WOO_ORDER, status="pending")),
        ("order.updated", like(WOO_ORDER, status="checkout-draft")),
        ("order.deleted", {"id": 727}),
    ):
        assert shops.told("woocommerce", topic, body) == "passed", topic
    assert shops.told("shopify", "orders/create", like(SHOPIFY_ORDER, id=1, test=True)) == "passed"
    assert shops.told("shopify", "orders/delete", {"id": 5304182735103}) == "passed"
    shops.told("woocommerce", "order.updated", WOO_ORDER)
    assert shops.state("26").order_cents == 5480
    shops.told("woocommerce", "order.updated", like(WOO_ORDER, status="cancelled"))
    assert shops.state("26").orders == 0


@pytest.mark.parametrize("ended", ["cancelled", "failed"])
@pytest.mark.parametrize("turn", [1, -1])
def test_an_order_that_ends_within_the_second_of_its_payment_has_ended(shops: Shops, ended: str, turn: int) -> None:
    moment = "2026-03-01T10:40:00"
    told = [like(WOO_ORDER, status=status, date_modified_gmt=moment) for status in ("processing", ended)]
    for body in [*told[::turn], WOO_ORDER]:
        shops.told("woocommerce", "order.updated", body)
    assert shops.state("26").orders == 0
    shops.told("woocommerce", "order.updated", like(told[0], date_modified_gmt="2026-03-01T10:40:01"))
    assert shops.state("26").orders == 1


@pytest.mark.parametrize("ended", ["cancelled", "failed"])
@pytest.mark.parametrize("turn", list(itertools.permutations(range(3))))
def test_the_newest_status_of_an_order_holds_in_any_order_of_arrival(
    shops: Shops, ended: str, turn: tuple[int, ...]
) -> None:
    told = [
        like(WOO_ORDER, status=status, date_modified_gmt=f"2026-03-01T1{hour}:40:00")
        for hour, status in ((0, "on-hold"), (1, ended), (2, "processing"))
    ]
    for number in turn:
        shops.told("woocommerce", "order.updated", told[number])
    assert (shops.state("26").orders, shops.state("26").order_cents) == (1, 5480)
    again = like(WOO_ORDER, status=ended, date_modified_gmt="2026-03-01T13:40:00")
    shops.told("woocommerce", "order.updated", again)
    assert shops.state("26").orders == 0
    for body in told:
        shops.told("woocommerce", "order.updated", body)
    assert shops.state("26").orders == 0


def test_it_takes_a_woocommerce_order_with_lines_as_they_were_paid(shops: Shops) -> None:
    shops.told("woocommerce", "order.created", WOO_ORDER)
    ((body,),) = shops.desk.rows("SELECT body FROM event WHERE name = 'Order Completed'")
    lines = [(line["product_id"], line["quantity"], line["price"]) for line in body["properties"]["products"]]
    assert lines == [("POLE", 2, 21.0), ("188", 1, 8.8)]
    weighed = copy.deepcopy(WOO_ORDER) | {"id": 728, "total": "18.83"}
    weighed["line_items"][0] |= {"quantity": 1.5, "total": "14.99", "total_tax": "0.00"}
    weighed["line_items"][1] |= {"quantity": 150.5, "total": "3.84", "total_tax": "0.00"}
    shops.told("woocommerce", "order.created", weighed)
    ((body,),) = shops.desk.rows("SELECT body FROM event WHERE name = 'Order Completed' ORDER BY id DESC LIMIT 1")
    lines = [(line["product_id"], line["quantity"], line["price"]) for line in body["properties"]["products"]]
    assert lines == [("POLE", 1.5, 9.99), ("188", 67.5, 0.02), ("188", 83, 0.03)]
    assert shops.desk.root("phone", "+436605556677") == shops.desk.root("user_id", "26")


def test_it_knows_a_guest_by_their_address_and_else_by_the_order(shops: Shops) -> None:
    for number, email in ((1, "Guest@example.com"), (2, "guest@example.com "), (3, "")):
        billing = {"email": email, "first_name": "Jon", "last_name": "Maier"}
        shops.told("woocommerce", "order.created", like(WOO_ORDER, id=number, customer_id=0, billing=billing))
    people = shops.desk.rows(
        "SELECT count(DISTINCT p.root_id) FROM event e JOIN profile p ON p.id = e.profile_id"
        " WHERE name = 'Order Completed'"
    )
    assert people == [(2,)]
    assert shops.desk.state(shops.desk.root("email", "guest@example.com")).orders == 2


def test_it_lets_no_browser_key_speak_for_a_guest_whose_address_it_knows(shops: Shops) -> None:
    billing = {"email": "guest@example.com", "first_name": "Jon", "last_name": "Maier"}
    for number, told in ((1, billing), (2, {"first_name": "Eva"})):
        shops.told("woocommerce", "order.created", like(WOO_ORDER, id=number, customer_id=0, billing=told))
    guests = [guest for (guest,) in shops.desk.rows("SELECT value FROM identifier WHERE type = 'anonymous_id'")]
    guessed = f"woocommerce-guest-{hashlib.sha256(b'guest@example.com').hexdigest()[:32]}"
    assert len(guests) == 2
    assert guessed not in guests, "an address alone does not tell the id"
    for guest in (*guests, guessed, "shopify-guest-order-1"):
        told = call("identify", anonymousId=guest, traits={"firstName": "Buy at evil.example"})
        (outcome,) = shops.desk.send(told, via=shops.desk.browser)
        assert (outcome.status, outcome.field, outcome.untrusted) == ("rejected", "anonymousId", True), guest
    assert shops.desk.state(shops.desk.root("email", "guest@example.com")).traits["first_name"] == "Jon"
    own = call("identify", anonymousId="web-guest-1", traits={"firstName": "Eva"})
    assert shops.desk.statuses(own, via=shops.desk.browser) == ["accepted"]


def test_it_takes_customers_their_consent_and_products(shops: Shops) -> None:
    assert shops.told("shopify", "customers/update", SHOPIFY_CUSTOMER) == "taken"
    state = shops.state("7209846112447")
    assert (state.consent, state.traits["first_name"]) == ({"email": True}, "Ida")
    refused = like(SHOPIFY_CUSTOMER, updated_at="2026-03-02T09:00:00+01:00")
    refused["email_marketing_consent"] |= {"state": "unsubscribed", "consent_updated_at": "2026-03-02T09:00:00+01:00"}
    shops.told("shopify", "customers/update", refused)
    shops.told("shopify", "customers/update", SHOPIFY_CUSTOMER)
    assert shops.state("7209846112447").consent == {"email": False}
    shops.told("woocommerce", "customer.created", WOO_CUSTOMER)
    assert shops.desk.root("email", "jon@example.com") == shops.desk.root("user_id", "26")

    assert shops.told("shopify", "products/update", SHOPIFY_PRODUCT) == "taken"
    assert shops.told("woocommerce", "product.updated", WOO_PRODUCT) == "taken"
    stale = like(SHOPIFY_PRODUCT, updated_at="2026-02-01T08:00:00+01:00")
    stale["variants"][0]["price"] = "99.00"
    shops.told("shopify", "products/update", stale)
    listed = shops.desk.rows("SELECT id, price_cents, currency, stock FROM product ORDER BY id")
    assert listed == [("POLE", 2400, "EUR", 12), ("RUN-42", 3000, "EUR", 4), ("RUN-43", 3250, "EUR", None)]
    assert shops.told("woocommerce", "product.updated", like(WOO_PRODUCT, price="")) == "passed"


def test_it_believes_nothing_that_is_not_signed(shops: Shops) -> None:
    assert shops.post("shopify", "orders/create", SHOPIFY_ORDER, secret="another secret").status_code == 403
    data = json.dumps(SHOPIFY_ORDER).encode()
    for heads in ({}, {"X-Shopify-Hmac-Sha256": ""}, {"X-Shopify-Hmac-Sha256": "Ω"}):
        raw = {name: value.encode().decode("latin-1") for name, value in heads.items()}
        answer = shops.http.post(shops.hooks["shopify"], data=data, headers=raw | {"X-Shopify-Topic": "orders/create"})
        assert answer.status_code == 403, heads
    # The signature goes over the bytes as they came, not over what they mean.
    made = base64.b64encode(hmac.new(SECRET.encode(), data, hashlib.sha256).digest()).decode()
    signed = {"X-Shopify-Topic": "orders/create", "X-Shopify-Hmac-Sha256": made}
    assert shops.http.post(shops.hooks["shopify"], data=data + b" ", headers=signed).status_code == 403
    assert shops.http.post(f"{shops.hooks['shopify']}x", data=data, headers=signed).status_code == 404
    other = shops.hooks["shopify"].replace("shopify", "woocommerce")
    assert shops.http.post(other, data=data, headers=signed).status_code == 404
    assert shops.desk.rows("SELECT count(*) FROM event") == [(0,)]
    assert shops.topics() == {("", "forged"): 5}


def test_it_acknowledges_and_lists_what_it_does_not_understand(shops: Shops) -> None:
    assert shops.told("shopify", "fulfillments/create", {"id": 1}) == "unknown topic"
    assert shops.told("shopify", "DROP TABLE; --", {"id": 1}) == "unknown topic"
    for body in (b"{", b"[]", {"id": 5}, like(SHOPIFY_ORDER, total_price="a lot"), like(SHOPIFY_ORDER, line_items={}),
                 like(SHOPIFY_ORDER, created_at="yesterday"), like(SHOPIFY_ORDER, id=True),
                 like(SHOPIFY_ORDER, id="5\x00"), like(SHOPIFY_ORDER, refunds=[like(SHOPIFY_REFUND, id="9\x00")]),
                 like(SHOPIFY_ORDER, created_at="0001-01-01T00:00:00+14:00"),
                 like(SHOPIFY_ORDER, updated_at="9999-12-31T23:59:59-14:00")):  # fmt: skip
        assert shops.told("shopify", "orders/create", body) == "unreadable", body
    assert "ida@" not in str(shops.desk.rows("SELECT body FROM rejected_event"))
    listed = [field for (field,) in shops.desk.rows("SELECT field FROM rejected_event ORDER BY id")]
    assert listed == ["", "", "created_at", "total_price", "line_items", "created_at", "id", "id",
                      "refunds[0].id", "created_at", "updated_at"]  # fmt: skip
    assert shops.topics() == {
        ("fulfillments/create", "unknown topic"): 1, ("other", "unknown topic"): 1, ("orders/create", "unreadable"): 11,
    }  # fmt: skip
    ping = shops.http.post(shops.hooks["woocommerce"], data=b"webhook_id=12")
    assert (ping.status_code, ping.json) == (200, {"success": True, "outcome": "ping"})
    assert shops.http.post(shops.hooks["woocommerce"], data=b"webhook_id=12&more=1").status_code == 403


def test_it_answers_for_zeros_where_a_number_or_an_address_is_wanted(shops: Shops) -> None:
    refund = like(SHOPIFY_REFUND, order_id="5\x00")
    assert shops.told("shopify", "refunds/create", refund) == "unreadable"
    assert shops.told("shopify", "customers/update", like(SHOPIFY_CUSTOMER, id="\x00")) == "unreadable"
    assert shops.told("woocommerce", "order.updated", like(WOO_ORDER, id="7\x00")) == "unreadable"
    for hook in (*shops.hooks.values(), "/v1/webhooks/ses", "/v1/track", "/healthz", "/v1/webhooks/"):
        for bad in ("%00", "\x00", "a%00b"):
            assert shops.http.post(hook + bad).status_code == 404, hook
        assert shops.http.post(hook + "%ED%A0%80").status_code == 404, hook
    assert shops.http.post("/v1/products?format=%00&feed=%ED%A0%80").status_code == 401


def test_it_takes_nothing_of_a_shop_that_was_ended_nor_without_the_key(
    shops: Shops, settings: Settings, tmp_path: Path
) -> None:
    keyless = create_app(replace(clocked(settings, shops.desk, tmp_path), subject_key=b""))
    answer = keyless.test_client().post(shops.hooks["shopify"], data=b"{}")
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    keyless.extensions["signals"].close()
    with shops.desk.sessions.begin() as session:
        disable_source(session, shops.sources["shopify"], NOW)
    assert shops.post("shopify", "orders/create", SHOPIFY_ORDER).status_code == 404


def test_it_says_what_is_wrong_with_a_shop_and_keeps_its_secret_sealed(desk: Desk) -> None:
    for field, given in (
        ("platform", {"platform": "magento"}),
        ("secret", {"platform": "shopify"}),
        ("secret", {"platform": "shopify", "secret": "short"}),
        ("currency", {"platform": "woocommerce", "currency": "euro"}),
        ("prefix", {"platform": "woocommerce", "prefix": "x" * 41}),
    ):
        with desk.sessions.begin() as session, pytest.raises(InvalidInput) as refused:
            create_shop(session, "x", given.pop("platform"), KEY, NOW, **given)
        assert refused.value.field == field, given
    with desk.sessions.begin() as session:
        _, row, given_secret = create_shop(session, "woo", "woocommerce", KEY, NOW)
        assert given_secret.encode() not in row.secret
    assert len(given_secret) >= 32


def test_it_counts_topics_without_end_together(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.shops.MOST_TOPICS", 3)
    for number in itertools.islice(itertools.count(), 6):
        shops.told("shopify", f"odd/topic_{number}", {"id": 1})
    assert shops.topics()["other", "unknown topic"] == 3


def test_it_lists_whom_a_shop_asks_to_have_erased_until_that_is_done(shops: Shops) -> None:
    shops.told("shopify", "customers/create", SHOPIFY_CUSTOMER)
    number = str(SHOPIFY_CUSTOMER["id"])
    asked = {
        "shop_id": 1,
        "customer": {"id": SHOPIFY_CUSTOMER["id"], "email": "ida@example.com"},
        "orders_to_redact": [],
    }
    for minutes in range(2):
        shops.clock.set(NOW + timedelta(minutes=minutes))
        assert shops.told("shopify", "customers/redact", asked) == "to be erased"
    assert shops.told("shopify", "customers/redact", {"customer": {}}) == "unreadable"
    shops.desk.rows("DELETE FROM rejected_event WHERE reason = 'shop' RETURNING id")
    (listed,) = shops.desk.rows("SELECT id, reason, field, body FROM rejected_event")
    assert listed[1:] == ("erasure", "userId", f'{{"topic":"customers/redact","userId":"{number}"}}')
    root = shops.desk.root("user_id", number)
    with shops.desk.sessions.begin() as session:
        assert refusals.naming(session, [root]) == [listed.id], "so an erasure takes it along"
