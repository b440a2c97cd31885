"""Finding a customer by the number of an order, as the customer reads it out, and what then says why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from campaigns import customers
from signals import shopify, woocommerce
from signals.rebuild import rebuild
from signals.shoporders import settle
from signals.shops import create_shop, shop_by_hook
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web
from tests.signals.shopbodies import SHOPIFY_ORDER, SHOPIFY_REFUND, WOO_ORDER, like
from tests.signals.test_households_meanwhile import nodes

KEY = b"k" * 32


def placed(shop: Shop, name: str, platform: str, *orders: dict[str, Any], prefix: str = "") -> None:
    """An order that a new shop of this name tells of, as often as there are bodies."""
    with shop.sessions.begin() as session:
        _, row, _ = create_shop(session, name, platform, KEY, shop.now, secret="long-enough", prefix=prefix)
        connected = shop_by_hook(session, platform, row.hook, KEY, shop.settings.hash_key)
    assert connected is not None
    reads, topic = {
        "shopify": (shopify.read, "orders/create"), "woocommerce": (woocommerce.read, "order.created"),
    }[platform]  # fmt: skip
    for order in orders:
        said = reads(topic, order, connected)
        assert said is not None
        settle(shop.intake, connected, said, shop.now)


def listed(web: Web, query: str) -> Any:
    """Who is found."""
    return web.program("support").told("POST", "/customers/search", {"q": query})["customers"]


def found(web: Web, query: str) -> dict[str, str]:
    """Who is found, by which words."""
    return {one["name"]: one["matched"] for one in listed(web, query)}


@pytest.mark.feature("SU-01")
def test_it_finds_an_order_by_the_number_that_its_buyer_knows(shop: Shop, web: Web) -> None:
    placed(shop, "Berg & Co", "shopify", like(SHOPIFY_ORDER, id=900, name="#EN1001"))
    for query in ("#EN1001", "en1001", " #en1001 ", "900", "#900"):
        assert found(web, query) == {"Ida Berg": "order number (Berg & Co)"}, query
    for query in ("#", "# #", "1001", "EN100", "%", "#\x7f"):
        assert found(web, query) == {}, query
    placed(shop, "Poles", "woocommerce", like(WOO_ORDER, number="2026/17"), prefix="b-")
    for query in ("2026/17", "#2026/17", "727", "#727", "b-727", "B-727"):
        assert found(web, query) == {"Jon Maier": "order number (Poles)"}, query


def test_it_lists_everybody_whose_order_has_the_number_with_the_shop(shop: Shop, web: Web) -> None:
    placed(shop, "Berg & Co", "shopify", like(SHOPIFY_ORDER, name="#727"))
    placed(shop, "Poles", "woocommerce", WOO_ORDER)
    shop.people("ann")
    call = shop.order("ann", "Shoes", shop.now)
    call["properties"] |= {"order_id": "o-1", "order_number": 727}
    shop.send(call)
    assert found(web, "#727") == {
        "Ann": "order number (shop)", "Ida Berg": "order number (Berg & Co)", "Jon Maier": "order number (Poles)",
    }  # fmt: skip
    desk = web.desk("support")
    desk.get("/customers/")
    page = desk.post("/customers/", q="727").text
    assert page.count("found by order number (") == 3
    assert "found by order number (Berg &amp; Co)" in page


def test_the_timeline_says_which_order_of_which_shop_a_line_is_about(shop: Shop, web: Web) -> None:
    order = like(SHOPIFY_ORDER, refunds=[SHOPIFY_REFUND], updated_at="2026-03-01T11:00:01+01:00")
    placed(shop, "Berg & Co", "shopify", order)
    shop.people("ann")
    shop.send(shop.order("ann", "Shoes", shop.now, "o-17"))
    known = {one["name"]: one["profile"] for query in ("1042", "o-17") for one in listed(web, query)}
    lines = {
        name: [
            (entry["title"], entry["detail"])
            for entry in web.program("support").told("GET", f"/customers/{profile}/timeline?kind=order")["entries"]
        ]
        for name, profile in known.items()
    }
    assert ("Order placed", "Order #1042 (Berg & Co): Road Runner · Wool Socks") in lines["Ida Berg"]
    assert {detail.partition(":")[0] for _, detail in lines["Ida Berg"]} == {"Order #1042 (Berg & Co)"}
    assert "Goods returned" in dict(lines["Ida Berg"]), "a refund goes by the number too, which only its order told"
    assert [detail.partition(":")[0] for _, detail in lines["Ann"]] == ["Order o-17 (shop)"]
    page = web.desk("support").get(f"/customers/{known['Ida Berg']}").text
    assert "Order #1042 (Berg &amp; Co): Road Runner" in page


def test_the_timeline_tells_what_changed_of_an_order_and_what_was_paid_back(shop: Shop, web: Web) -> None:
    def later(minutes: int, **changes: Any) -> dict[str, Any]:
        return like(WOO_ORDER, date_modified_gmt=f"2026-03-01T08:{30 + minutes}:05", **changes)

    refund = {"id": 9, "total": "-10.00", "reason": ""}
    fewer = {"line_items": WOO_ORDER["line_items"][:1], "total": "46.00"}
    bodies = [
        later(0), later(1, status="completed"), later(2, **fewer), later(3, **fewer, status="cancelled"),
        later(4, **fewer), later(5, **fewer, refunds=[refund]),
    ]  # fmt: skip
    placed(shop, "Poles", "woocommerce", *bodies)
    (jon,) = listed(web, "#727")
    shown = web.program("support").told("GET", f"/customers/{jon['profile']}/timeline?kind=order")["entries"]
    assert [(entry["title"], entry["cents"]) for entry in shown] == [
        ("Money paid back", 1000), ("Order changed", 4600), ("Order cancelled", None), ("Order changed", 4600),
        ("Order placed", 5480),
    ]  # fmt: skip
    page = web.desk("support").get(f"/customers/{jon['profile']}").text
    assert page.count("Order changed") == 2
    assert "€10.00" in page, "in the currency of its order, which the refund does not tell"


def test_the_timeline_says_what_a_refund_brought_back_and_no_currency_that_nobody_told(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    yen = shop.order("ann", "Shoes", shop.now, "o-1")
    line = {"product_id": "shoes-1", "quantity": 1}
    yen["properties"] |= {"total": 99, "currency": "JPY", "products": [line | {"quantity": 3}]}
    untold = shop.order("ann", "Shoes", shop.now - timedelta(days=1), "o-2")
    untold["properties"] |= {"total": 99.5}
    shop.send(yen, untold)
    for refund in ({"total": 10}, {"products": [line]}, {"product_id": "shoes-1", "total": 20}, {}):
        shop.clock.advance(timedelta(minutes=1))
        told = {"order_id": "o-1"} | refund
        shop.send({"type": "track", "userId": "ann", "event": "Order Refunded", "properties": told})
    shown = web.program("support").told("GET", f"/customers/{ann}/timeline?kind=order")["entries"]
    assert [(entry["title"], entry["cents"]) for entry in shown[:4]] == [
        ("Order returned", 6900), ("Goods returned", 2000), ("Goods returned", None), ("Money paid back", 1000),
    ]  # fmt: skip
    page = web.desk("support").get(f"/customers/{ann}").text
    assert ("¥99<" in page, "¥10<" in page, ">99.50<" in page) == (True, True, True)


def test_it_keeps_no_number_that_names_somebody(shop: Shop, web: Web) -> None:
    shop.people("ann")
    given: list[Any] = ["ann@example.com", "order of Ann Berg, Linz", "+43 660 1112223", "1" * 101, True, 1.5, {}, " "]
    for number, told in enumerate(given):
        call = shop.order("ann", "Shoes", shop.now, f"o-{number}")
        call["properties"]["order_number"] = told
        shop.send(call)
    with shop.sessions.begin() as session:
        assert set(session.scalars(text("SELECT order_number FROM event"))) == {None}


def test_a_rebuild_makes_older_orders_known_by_their_number(shop: Shop, web: Web) -> None:
    placed(shop, "Poles", "woocommerce", like(WOO_ORDER, number="2026/17"))
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE event SET order_number = NULL"))
    assert found(web, "2026/17") == {}
    for _ in range(2):
        assert rebuild(shop.intake, shop.now).different == 0
        assert found(web, "2026/17") == {"Jon Maier": "order number (Poles)"}


def test_a_bare_number_opens_no_page_by_its_own_number(shop: Shop, web: Web) -> None:
    (nobody,) = shop.people("ann", firstName="")
    assert found(web, str(nobody)) == {}
    assert found(web, f"customer  {nobody}") == {f"Customer {nobody}": "number of their page"}
    assert found(web, f"Customer {nobody + 1}") == {}
    desk = web.desk("support")
    desk.get("/customers/")
    page = desk.post("/customers/", q=str(nobody)).text
    assert ("Nobody goes by that" in page, "A name finds nobody" in page) == (True, True)


def test_it_says_on_the_page_that_opens_at_once_by_what_it_was_found(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    shop.send(shop.order("ann", "Shoes", shop.now, "ANN"))
    desk = web.desk("support")
    desk.get("/customers/")
    answer = desk.post("/customers/", q="ann")
    assert answer.location == f"/customers/{ann}?found=user_id&found=order"
    assert "Found by customer number, order number." in desk.get(answer.location).text
    assert "Found by" not in desk.get(f"/customers/{ann}?found=a+friend").text


def test_it_finds_an_order_by_its_numbers_and_reads_no_other_events(shop: Shop, web: Web) -> None:
    placed(shop, "Berg & Co", "shopify", like(SHOPIFY_ORDER, name="#EN1001"))
    with shop.sessions.begin() as session:
        session.execute(
            text("""
                INSERT INTO event (message_id, source_id, profile_id, type, name, event_time, received_at, order_id,
                                   order_number, content_hash, folds, body)
                SELECT 'm' || n, 1, n / 10, 'track', 'x', :now, :now, order_id, order_number, '', true, ''
                FROM generate_series(1000001, 1040000) AS n, LATERAL (
                    SELECT CASE WHEN n % 2 = 0 THEN 'o' || n END, CASE WHEN n % 4 = 0 THEN '#' || n END
                ) AS told (order_id, order_number)
            """),
            {"now": shop.now},
        )
        session.execute(text("ANALYZE event"))
        ran: list[tuple[str, Any]] = []

        def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
            ran.append((statement, values))

        connection = session.connection()
        event.listen(connection, "before_cursor_execute", note)
        (one,) = customers.find(session, "en1001", shop.settings.hash_key, ())
        event.remove(connection, "before_cursor_execute", note)
        plans = [
            connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
            for statement, values in ran
        ]
    assert one.matched == "order number (Berg & Co)"
    read = [node for (plan,) in plans for node in nodes(plan["Plan"])]
    assert {node["Node Type"] for node in read if node.get("Relation Name") == "event"} == {"Bitmap Heap Scan"}
    used = {str(node["Index Name"]) for node in read if node["Node Type"] == "Bitmap Index Scan"}
    assert used >= {"ix_event_order_id", "ix_event_order_number"}
