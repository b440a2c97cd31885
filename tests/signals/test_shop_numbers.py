"""The numbers of shops: equal ones of two shops stay apart by prefixes, and prefixes cannot be taken for each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier

import pytest

from base.errors import InvalidInput
from signals.shops import alike, create_shop
from signals.sources import disable_source
from tests.signals.sending import NOW, Desk, call
from tests.signals.shopbodies import WOO_ORDER, like
from tests.signals.shopcalls import KEY, SECRET, Shops


def test_equal_numbers_of_two_shops_are_two_orders_and_two_guests(shops: Shops) -> None:
    with shops.desk.sessions.begin() as session:
        with pytest.raises(InvalidInput) as refused:
            create_shop(session, "second", "woocommerce", KEY, NOW, secret=SECRET)
        assert (refused.value.field, "woocommerce" in refused.value.message) == ("prefix", True)
        _, row, _ = create_shop(session, "second", "woocommerce", KEY, NOW, secret=SECRET, prefix="b-")
    first = shops.hooks["woocommerce"]
    shops.told("woocommerce", "order.created", WOO_ORDER)
    shops.hooks["woocommerce"] = f"/v1/webhooks/woocommerce/{row.hook}"
    again = like(WOO_ORDER, total="20.00")
    shops.told("woocommerce", "order.created", again)
    assert (shops.state("26").orders, shops.state("b-26").orders) == (1, 1)
    shops.desk.send(call("alias", userId="26", previousId="b-26"))
    assert shops.state("26").orders == 2
    assert shops.state("26").order_cents == 5480 + 2000
    shops.told("woocommerce", "order.updated", like(again, status="cancelled", date_modified_gmt="2026-03-01T11:00:00"))
    assert shops.state("26").order_cents == 5480
    # Another channel names the order as the shop's calls do, and it stays one.
    told = {"order_id": "b-727", "total": 20}
    shops.desk.send(call("track", event="Order Completed", userId="b-26", properties=told))
    assert shops.state("26").order_cents == 5480
    nameless = like(WOO_ORDER, id=900, customer_id=0, billing={})
    for hook in (first, f"/v1/webhooks/woocommerce/{row.hook}"):
        shops.hooks["woocommerce"] = hook
        shops.told("woocommerce", "order.created", nameless)
    roots = {shops.desk.root("anonymous_id", f"woocommerce-guest-order-{order}") for order in ("900", "b-900")}
    assert len(roots) == 2


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        ("", "1", True),
        ("a", "a12", True),
        ("a12", "a", True),
        ("b-", "b-", True),
        ("a1", "a-1", False),
        ("", "b-", False),
    ],
)
def test_no_prefix_can_be_read_as_another_and_a_number(desk: Desk, first: str, second: str, *, meet: bool) -> None:
    with desk.sessions.begin() as session:
        create_shop(session, "one", "woocommerce", KEY, NOW, secret=SECRET, prefix=first)
        _, row, _ = create_shop(session, "two", "woocommerce", KEY, NOW, secret=SECRET, prefix="apart-")
        row.prefix = second
        session.flush()
        assert [(found.names, found.customers) for found in alike(session)] == [(("one", "two"), True)] * meet
        disable_source(session, row.source_id, NOW)
        with pytest.raises(InvalidInput, match="that of one") if meet else nullcontext():
            create_shop(session, "three", "woocommerce", KEY, NOW, secret=SECRET, prefix=second)


def test_of_two_shops_made_at_once_one_is_refused(desk: Desk) -> None:
    def make(name: str) -> str:
        barrier.wait()
        try:
            with desk.sessions.begin() as session:
                create_shop(session, name, "woocommerce", KEY, NOW, secret=SECRET)
        except InvalidInput as error:
            return error.field
        return "made"

    barrier = Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(make, "abcd")) == ["made", "prefix", "prefix", "prefix"]


def test_shops_that_were_there_before_numbers_had_to_differ_are_told(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        made = {}
        for number, (name, platform) in enumerate(
            [
                ("one", "woocommerce"),
                ("two", "woocommerce"),
                ("three", "woocommerce"),
                ("s", "shopify"),
                ("t", "shopify"),
            ]
        ):
            _, made[name], _ = create_shop(session, name, platform, KEY, NOW, secret=SECRET, prefix=f"{number}-")
        assert alike(session) == []
        made["one"].prefix, made["one"].prefixes_orders = "", False
        made["three"].prefixes_orders = made["s"].prefixes_orders = made["t"].prefixes_orders = False
        session.flush()
        (found,) = alike(session)
        assert (found.names, found.customers) == (("one", "three"), False)
        assert found.words.startswith("three and one number their orders alike, ")
        made["two"].prefix = ""
        session.flush()
        (found,) = alike(session)
        assert (found.names, found.customers) == (("one", "two", "three"), True)
        assert found.words.startswith("two, three and one number their customers and orders alike, ")
        disable_source(session, made["one"].source_id, NOW)
        disable_source(session, made["two"].source_id, NOW)
        assert alike(session) == []
        with pytest.raises(InvalidInput, match="that of three"):
            create_shop(session, "four", "woocommerce", KEY, NOW, secret=SECRET)


def test_a_shop_that_told_orders_without_its_prefix_goes_on_so(shops: Shops) -> None:
    with shops.desk.sessions.begin() as session:
        _, row, _ = create_shop(session, "second", "woocommerce", KEY, NOW, secret=SECRET, prefix="b-")
        row.prefixes_orders = False
    shops.hooks["woocommerce"] = f"/v1/webhooks/woocommerce/{row.hook}"
    shops.told("woocommerce", "order.created", WOO_ORDER)
    assert shops.events() == [("Order Completed", "727")]
    assert shops.state("b-26").orders == 1
