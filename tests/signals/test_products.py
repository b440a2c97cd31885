"""The product feed: three forms of it, bad items apart, and what an open then reads."""

from __future__ import annotations

import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace

from base import keys
from base.errors import InvalidInput
from render.money import money
from signals import products
from signals.feed import Format, change, entries, product, sniffed
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.products import Product, restore_product, take_products
from tests.signals.sending import NOW, Desk
from tests.signals.test_app import http, post

__all__ = ["http"]

TSV = (
    "id\ttitle\tprice\tavailability\tquantity\tproduct type\tbrand\titem_group_id\timage_link\n"
    'p1\tRunner "Road"\t79.50 EUR\tin_stock\t12\tApparel > Shoes > Running Shoes\tSwift\troad\thttps://img.example.com/1.jpg\n'
    "\n"
    "p2\tSocks\tEUR 5\tout of stock\t\tApparel > Socks\t\t\t\n"
)
RSS = """<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><title>Shop</title>
<item><g:id>p1</g:id><title>Runner "Road"</title><g:price>79.50 EUR</g:price><g:availability>in_stock</g:availability>
<g:quantity>12</g:quantity>
<g:product_type>Apparel &gt; Shoes &gt; Running Shoes</g:product_type><g:brand>Swift</g:brand>
<g:item_group_id>road</g:item_group_id><g:image_link>https://img.example.com/1.jpg</g:image_link></item>
<item><g:id>p2</g:id><title>Socks</title><g:price>5.00 EUR</g:price><g:availability>out_of_stock</g:availability>
<g:product_type>Apparel &gt; Socks</g:product_type></item></channel></rss>"""
JSON = {
    "products": [
        {
            "id": "p1", "title": 'Runner "Road"', "price": {"value": "79.50", "currency": "EUR"}, "brand": "Swift",
            "availability": "in stock", "quantity": 12, "productTypes": ["Apparel > Shoes > Running Shoes"],
            "itemGroupId": "road", "imageLink": "https://img.example.com/1.jpg",
        },
        {"id": "p2", "title": "Socks", "price": "5 EUR", "availability": "out_of_stock",
         "product_type": "Apparel > Socks"},
    ]
}  # fmt: skip
FEEDS = {"tsv": TSV.encode(), "xml": RSS.encode(), "json": json.dumps(JSON).encode()}
ITEM = {"id": "p1", "title": "Runner", "price": "79.50 EUR", "availability": "in_stock"}


def facts(desk: Desk, name: str) -> ProductFacts:
    """What an open would read of a product."""
    data = desk.store.get(keys.product(name))
    assert isinstance(data, bytes)
    return msgspec.msgpack.decode(data, type=ProductFacts)


@pytest.mark.feature("DE-06")
@pytest.mark.parametrize("form", ["tsv", "xml", "json"])
def test_it_takes_a_feed_in_each_form_and_tells_render(form: Format, desk: Desk, http: FlaskClient) -> None:
    answer = post(http, "/v1/products", FEEDS[form])

    assert answer.json == {
        "success": True, "stored": 2, "older": 0, "gone": 0, "held_back": 0, "refused": 0, "rejected": [],
    }  # fmt: skip
    running = desk.category("Running shoes")
    assert facts(desk, "p1") == ProductFacts(
        "p1", 7950, "EUR", 12, int(NOW.timestamp() * 1000), 'Runner "Road"', running, ""
    )
    assert (facts(desk, "p2").stock, facts(desk, "p2").price_cents) == (0, 500)
    row = desk.rows("SELECT brand, line, image_link, feed_at FROM product WHERE id = 'p1'")
    assert row == [("Swift", "road", "https://img.example.com/1.jpg", NOW)]
    assert desk.rows("SELECT department, sensitive FROM category WHERE slug = 'running-shoes'") == [("Apparel", False)]


@pytest.mark.feature("DE-06")
def test_it_shows_a_change_of_price_and_stock_to_the_next_open(desk: Desk) -> None:
    desk.feed(ITEM)
    desk.feed(ITEM | {"price": "60 EUR", "availability": "out_of_stock"}, now=NOW + timedelta(hours=1))

    later = facts(desk, "p1")
    assert (later.price_cents, later.stock, later.feed_ms) == (6000, 0, int(NOW.timestamp() * 1000) + 3_600_000)


@pytest.mark.feature("DE-06")
@pytest.mark.parametrize(
    ("change", "costs"),
    [
        ({}, {NOW: 7950}),
        ({"sale_price": "50 EUR"}, {NOW: 5000, NOW + timedelta(days=900): 5000}),
        ({"sale_price": "90 EUR"}, {NOW: 7950}),
        (
            {"sale_price": "50 EUR", "sale_price_effective_date": "2026-03-01T00:00+0100/2026-03-03T23:59:59Z"},
            {
                datetime(2026, 2, 28, 22, 59, 59, tzinfo=UTC): 7950, datetime(2026, 2, 28, 23, tzinfo=UTC): 5000,
                datetime(2026, 3, 3, 23, 59, 59, tzinfo=UTC): 5000, datetime(2026, 3, 4, tzinfo=UTC): 7950,
            },
        ),
    ],
)  # fmt: skip
def test_it_tells_opens_when_a_sale_price_counts(
    change: dict[str, Any], costs: dict[datetime, int], desk: Desk
) -> None:
    desk.feed(ITEM | change)
    told = facts(desk, "p1")

    assert {at: told.priced(unix_ms(at)).price_cents for at in costs} == costs
    with desk.sessions() as session:
        assert {at: session.get_one(Product, "p1").price_at(at) for at in costs} == costs


@pytest.mark.parametrize("window", ["2026-03-01", "2026-03-01/2026-03-03", "2026-03-03T00:00Z/2026-03-01T00:00Z", "/"])
def test_it_refuses_a_time_of_a_sale_that_is_none(window: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        product(ITEM | {"sale_price": "50 EUR", "sale_price_effective_date": window})
    assert refused.value.field == "sale_price_effective_date"


def test_it_reads_facts_of_before_sales_were_told_apart() -> None:
    older = msgspec.msgpack.encode(["p1", 7950, "EUR", 1, unix_ms(NOW), "Runner", 0, "", False])

    read = msgspec.msgpack.decode(older, type=ProductFacts)
    assert read.priced(unix_ms(NOW)) == ProductFacts("p1", 7950, "EUR", 1, unix_ms(NOW), "Runner", 0, "")


@pytest.mark.feature("DE-06")
def test_it_lets_no_older_feed_overtake_a_newer_one(desk: Desk) -> None:
    desk.feed(ITEM | {"price": "60 EUR"}, now=NOW + timedelta(hours=1))
    desk.feed(ITEM)

    assert facts(desk, "p1").price_cents == 6000
    assert desk.rows("SELECT price_cents FROM product") == [(6000,)]


@pytest.mark.parametrize("held", [b"junk", b"\xc1", b"", msgspec.msgpack.encode(["p", 1, 2, 3, 2**62]), ["a list"]])
def test_it_takes_the_place_of_what_is_no_product_in_the_hot_store(desk: Desk, held: bytes | list[str]) -> None:
    name = keys.product("p1")
    desk.store.rpush(name, *held) if isinstance(held, list) else desk.store.set(name, held)
    desk.feed(ITEM)
    known = facts(desk, "p1")
    assert known.price_cents == 7950
    older = replace(known, price_cents=1, feed_ms=known.feed_ms - 1)
    desk.intake.publisher.offer_products([("p1", older.feed_ms, msgspec.msgpack.encode(older))])
    assert facts(desk, "p1") == known


def test_it_restores_a_product_that_the_hot_store_lost(desk: Desk) -> None:
    desk.feed(ITEM)
    before = facts(desk, "p1")
    desk.store.flushdb()

    assert restore_product(desk.intake, "p1")
    assert facts(desk, "p1") == before
    assert not restore_product(desk.intake, "nothing")


@pytest.mark.feature("DE-31")
def test_it_keeps_the_good_items_of_a_feed_and_names_what_is_wrong_with_the_others(
    desk: Desk, http: FlaskClient
) -> None:
    wrong: list[dict[str, Any]] = [
        {"id": "p2", "price": "dear"},
        {"id": "p3", "quantity": "-1"},
        {"id": "p4", "image_link": "javascript:alert(1)"},
        {"id": "x" * 65},
        {"id": "p5", "title": ""},
        {"id": "p6", "availability": "perhaps"},
        {"id": "p7", "sale_price": "5 USD"},
    ]
    items: list[Any] = [ITEM, {}, "text", *(ITEM | change for change in wrong)]
    answer = post(http, "/v1/products", items).json

    assert answer is not None
    assert (answer["stored"], answer["refused"]) == (1, 9)
    assert [bad["index"] for bad in answer["rejected"]] == list(range(1, 10))
    assert [bad["field"] for bad in answer["rejected"]] == [
        "id", "id", "price", "quantity", "image_link", "id", "title", "availability", "sale_price",
    ]  # fmt: skip
    assert desk.rows("SELECT count(*) FROM rejected_event WHERE reason = 'product'") == [(9,)]


def test_it_refuses_a_feed_that_is_none_and_a_browser_that_sends_one(http: FlaskClient) -> None:
    assert post(http, "/v1/products", b"no columns\n1\t2\n").status_code == 400
    assert post(http, "/v1/products", b"<rss><channel><item></rss>").status_code == 400
    assert post(http, "/v1/products", b'<!DOCTYPE a [<!ENTITY b "c">]><rss/>').status_code == 400
    assert post(http, "/v1/products", b'{"products": [').status_code == 400
    assert post(http, "/v1/products", b'{"products": 5}').status_code == 400
    assert post(http, "/v1/products", b"").status_code == 400
    for encoding in (b"rot13", b"shift_jis", b"gb2312", b"utf-7", b"idna", b"none"):
        for rest in (b"<rss><item><id>1</id></item></rss>", b""):
            answer = post(http, "/v1/products", b'<?xml version="1.0" encoding="%s"?>' % encoding + rest)
            assert answer.status_code == 400, encoding
            assert answer.json is not None
            assert "names an encoding that cannot be read here" in answer.json["error"]["message"], encoding
    assert post(http, "/v1/products", FEEDS["tsv"], name="site").status_code == 403


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_it_sees_a_document_type_in_any_writing(encoding: str) -> None:
    feed = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><rss><item><id>&b;</id></item></rss>'
    with pytest.raises(InvalidInput):
        list(entries(io.BytesIO(feed.encode(encoding)), "xml"))


@pytest.mark.parametrize("before", range(65_520, 65_540))
def test_it_sees_a_document_type_wherever_it_is_cut(before: int) -> None:
    start = b'<?xml version="1.0"?>'
    feed = start + b" " * (before - len(start)) + b'<!DOCTYPE a [<!ENTITY b "c">]><rss><item><id>&b;</id></item></rss>'
    with pytest.raises(InvalidInput, match="document type"):
        list(entries(io.BytesIO(feed), "xml"))


@pytest.mark.parametrize(
    ("begins", "ends"), [("<rss>", "</rss>"), ("<rss><item>", "</item></rss>"), ("<rss><channel>", "</channel></rss>")]
)
@pytest.mark.parametrize("one", ["<a/>", "<item/>", "<a><b/></a>"])
def test_it_keeps_nothing_of_an_element_that_has_ended(begins: str, one: str, ends: str) -> None:
    feed = io.BytesIO(f"{begins}{one * 200_000}<entry><id>p1</id></entry>{ends}".encode())
    tracemalloc.start()
    read = [item for item in entries(feed, "xml") if item.get("id")]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == [{"id": "p1"}]
    assert most < 8_000_000, "a tree of so many elements has more than twenty"


def test_it_refuses_elements_that_lie_deep_in_each_other() -> None:
    assert list(entries(io.BytesIO(b"<a>" * 99 + b"<item/>" + b"</a>" * 99), "xml")) == [{}]
    with pytest.raises(InvalidInput, match="100 deep"):
        list(entries(io.BytesIO(b"<a>" * 101 + b"</a>" * 101), "xml"))


@pytest.mark.parametrize("named", ["<a{}/>", "<a b{}=''/>"])
@pytest.mark.parametrize("within", ["rss", "item"])
def test_it_refuses_a_feed_of_very_many_names(monkeypatch: pytest.MonkeyPatch, within: str, named: str) -> None:
    monkeypatch.setattr("signals.feedxml.NAMES", 100)
    one = "<entry><id>p1</id></entry>"
    for number, refused in ((90, False), (110, True)):
        feed = f"<{within}>{one}{''.join(map(named.format, range(number)))}{one}</{within}>".encode()
        read = entries(io.BytesIO(feed), "xml")
        if refused:
            with pytest.raises(InvalidInput, match="of more than 100 names"):
                list(read)
        else:
            assert [item for item in read if item.get("id") == "p1"] == [{"id": "p1"}] * 2


@pytest.mark.parametrize(("one", "has"), [("<a/>", 1), ("<a><b/></a>", 2), ("<a><b><item/></b></a>", 3)])
def test_it_refuses_an_item_of_very_many_elements_and_reads_on(
    monkeypatch: pytest.MonkeyPatch, one: str, has: int
) -> None:
    monkeypatch.setattr("signals.feedxml.ELEMENTS", 13)
    first, second, third = (f"<item><id>p{number}</id>{one * (12 // has)}{{}}</item>" for number in (1, 2, 3))
    feed = f"<rss>{one * 100}{first.format('')}{second.format('<a/>')}{third.format('')}</rss>"
    read = [item for item in entries(io.BytesIO(feed.encode()), "xml") if item.get("id")]
    assert [change(item).id for item in (read[0], read[2])] == ["p1", "p3"]
    with pytest.raises(InvalidInput, match=r"item [0-9]+ of the feed has 14 elements within it, and may have 13"):
        change(read[1])
    assert (len(read), read[1]["id"]) == (3, "p2")


@pytest.mark.parametrize("fault", ["<a", "</a>", "<a>" * 100, "".join(f"<a{number}/>" for number in range(10_001))])
def test_it_reads_what_stands_above_a_fault(fault: str) -> None:
    read = entries(io.BytesIO(f"<rss><item><id>p1</id></item>{fault}</rss>".encode()), "xml")
    assert next(read) == {"id": "p1"}
    with pytest.raises(InvalidInput):
        next(read)


@pytest.mark.parametrize("size", [1, 65_530, 65_536, 131_070])
def test_it_reads_an_item_wherever_pieces_are_cut(size: int) -> None:
    title = "x" * size
    feed = f"<feed><entry><id>p1</id><title>{title}</title></entry><entry><id>p2</id><link href='https://e.com'/></entry></feed>"
    assert list(entries(io.BytesIO(feed.encode()), "xml")) == [
        {"id": "p1", "title": title}, {"id": "p2", "link": "https://e.com"},
    ]  # fmt: skip


@pytest.mark.parametrize("refused", [3, 4, 7])
def test_it_lists_the_first_refused_items_of_a_feed_and_counts_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    monkeypatch.setattr(products, "LISTED", 3)
    monkeypatch.setattr(products, "CHUNK", 2)
    items = [{"id": f"p{number}", "title": "No price"} for number in range(refused)]
    report = take_products(desk.intake, desk.server, [*items, ITEM | {"id": "good"}], NOW, "part")

    assert (report.stored, report.refused, len(report.rejected)) == (1, refused, refused)
    assert desk.rows("SELECT refused FROM feed_day") == [(refused,)]
    listed = desk.rows("SELECT field, message FROM rejected_event ORDER BY id")
    assert listed[:3] == [("price", "must be given")] * 3
    more = {3: [], 4: [("", "1 more item was refused than the 3 that are listed")]}
    assert listed[3:] == more.get(refused, [("", "4 more items were refused than the 3 that are listed")])


def test_it_marks_new_categories_of_health_and_intimacy_and_gifts_as_sensitive(desk: Desk) -> None:
    names = ["Health > Cold Medicine", "Lingerie", "Gift Cards", "Shoes", "Prescription glasses"]
    desk.feed(*(ITEM | {"id": f"p{n}", "product_type": name} for n, name in enumerate(names)))

    assert desk.rows("SELECT slug, sensitive FROM category ORDER BY slug") == [
        ("cold-medicine", True), ("gift-cards", True), ("lingerie", True), ("prescription-glasses", True),
        ("shoes", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "price", "stock"),
    [
        ({"price": "1,234.50 EUR"}, 123450, 1),
        ({"availability": ""}, 7950, None),
        ({"availability": "preorder", "quantity": "4"}, 7950, 0),
        ({"availability": "", "quantity": 4}, 7950, 4),
    ],
)
def test_it_reads_price_and_stock_as_merchant_center_means_them(
    change: dict[str, Any], price: int, stock: int | None
) -> None:
    read = product(ITEM | change)

    assert (read.price_cents, read.currency, read.stock) == (price, "EUR", stock)


@pytest.mark.parametrize(
    ("price", "minor", "shown"),
    [
        ("1,500 JPY", 1500, "¥1,500"),
        ("1499.5 JPY", 1500, "¥1,500"),
        ("KWD 1.299", 1299, "KWD\u00a01.299"),
        ("12.345 EUR", 1235, "€12.35"),
    ],
)
def test_it_counts_prices_in_the_currencys_own_minor_units_as_pictures_do(price: str, minor: int, shown: str) -> None:
    read = product(ITEM | {"price": price})
    assert (read.price_cents, money(read.price_cents, read.currency)) == (minor, shown)


@pytest.mark.parametrize(
    "price", ["15,00 EUR", "1.299,00 EUR", "12,34,567 EUR", "1.2.3 EUR", "1,2345 EUR", "9" * 40 + " EUR"]
)
def test_it_takes_no_comma_for_a_point(price: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        product(ITEM | {"price": price})
    assert refused.value.field == "price"


def test_it_reads_a_long_feed_without_holding_it(desk: Desk) -> None:
    item = b"<item><g:id>%d</g:id><title>T</title><g:price>1 EUR</g:price></item>"
    feed = b'<rss xmlns:g="g"><channel>' + b"".join(item % n for n in range(5000)) + b"</channel></rss>"

    assert sniffed(feed) == "xml"
    assert desk.feed(*entries(io.BytesIO(feed), "xml")).stored == 5000
    with pytest.raises(InvalidInput):
        list(entries(io.BytesIO(feed[:-20]), "xml"))
