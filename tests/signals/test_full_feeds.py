"""Full feeds: what they leave out of their source's products is gone, unless that is too much to be believed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import select

from base import keys
from base.errors import Unavailable
from signals import feedhealth
from signals.fullfeeds import FullFeed, take_full
from signals.products import FeedReport, Telling, publish_due_products, restore_product
from signals.publishing import HOT_STORE
from signals.sources import Sender
from tests.signals.sending import NOW, Desk
from tests.signals.test_app import field, http, post
from tests.signals.test_import import cli, loaded
from tests.signals.test_products import facts

__all__ = ["cli", "http"]

HOUR = timedelta(hours=1)
BEFORE = NOW - HOUR
ALL: list[dict[str, Any]] = [
    {"id": f"p{n}", "title": f"Shoe {n}", "price": f"{n + 1} EUR", "quantity": 5} for n in range(10)
]  # fmt: skip


def full(
    desk: Desk, items: list[dict[str, Any]], after: int = 0, via: Sender | None = None, **more: bool
) -> FeedReport:
    """Take a full feed of these items, so many hours after NOW."""
    return take_full(desk.intake, via or desk.server, items, NOW + after * HOUR, **more)


def gone(desk: Desk) -> list[str]:
    """The products that are gone; opens are told the same."""
    stored = [row[0] for row in desk.rows("SELECT id FROM product WHERE gone_at IS NOT NULL ORDER BY id")]
    told = [name for (name,) in desk.rows("SELECT id FROM product ORDER BY id") if facts(desk, name).gone]
    assert stored == told
    return stored


@pytest.mark.feature("DE-06")
def test_it_takes_what_a_full_feed_leaves_out_for_gone_and_keeps_its_row(desk: Desk) -> None:
    assert full(desk, ALL).gone == 0
    report = full(desk, ALL[:8], 1)

    assert (report.stored, report.gone, report.held_back, gone(desk)) == (8, 2, 0, ["p8", "p9"])
    assert (facts(desk, "p9").stock, facts(desk, "p9").title) == (0, "Shoe 9")
    assert desk.rows("SELECT gone_at, stock, title FROM product WHERE id = 'p9'") == [(NOW + HOUR, 5, "Shoe 9")]
    desk.store.delete(keys.product("p9"))
    assert restore_product(desk.intake, "p9")
    assert facts(desk, "p9").gone


def test_it_has_what_is_told_whole_again(desk: Desk) -> None:
    full(desk, ALL)
    full(desk, ALL[:8], 1)
    full(desk, ALL[:9], 2)
    assert gone(desk) == ["p9"]
    desk.feed(ALL[9], now=NOW + 3 * HOUR)
    assert gone(desk) == []


def test_it_keeps_what_is_gone_away_whatever_its_price_and_stock(desk: Desk) -> None:
    full(desk, ALL)
    full(desk, ALL[:9], 1)
    desk.feed({"id": "p9", "price": "3 EUR", "quantity": 70}, telling="changes", now=NOW + 2 * HOUR)

    assert (gone(desk), facts(desk, "p9").stock, facts(desk, "p9").price_cents) == (["p9"], 0, 300)
    desk.feed(ALL[9], telling="delta", now=NOW + 3 * HOUR)
    assert (gone(desk), facts(desk, "p9").stock) == ([], 5)


@pytest.mark.parametrize("telling", ["part", "delta"])
def test_it_takes_nothing_away_by_a_feed_of_some_products(telling: Telling, desk: Desk) -> None:
    full(desk, ALL)
    desk.feed(*ALL[:9], telling=telling, now=NOW + HOUR)

    assert gone(desk) == []


def test_it_takes_away_of_its_own_source_alone(desk: Desk) -> None:
    other = desk.source("depot", "server")
    full(desk, [ALL[0] | {"id": f"d{n}"} for n in range(5)], via=other)
    full(desk, ALL)
    # A change tells nothing of whose catalogue a product is of.
    desk.feed({"id": "p9", "quantity": 1}, telling="delta", now=NOW + HOUR, via=other)
    full(desk, ALL[:9], 2)

    assert gone(desk) == ["p9"]


def test_it_goes_on_saying_what_is_there_whoever_else_tells_some_products(desk: Desk) -> None:
    shop = desk.source("webhooks", "server")
    full(desk, ALL)
    desk.feed(ALL[9] | {"title": "Edited"}, now=NOW + HOUR, via=shop)
    assert facts(desk, "p9").title == "Edited"
    full(desk, ALL[:9], 2)
    assert gone(desk) == ["p9"]
    # What is gone there is the shop's from when it tells it whole, until a full feed names it.
    desk.feed(ALL[9], now=NOW + 3 * HOUR, via=shop)
    full(desk, ALL[:9], 4)
    assert gone(desk) == []
    full(desk, ALL, 5)
    full(desk, ALL[:9], 6)
    assert gone(desk) == ["p9"]


def test_it_has_what_a_feed_names_and_cannot_read(desk: Desk) -> None:
    full(desk, ALL)
    bad: list[dict[str, Any]] = [
        {"id": "p9", "title": "Shoe 9", "price": "free"},
        {"id": "\x00"},
        {"id": ["p8"]},
        {"price": "1 EUR"},
    ]
    report = full(desk, [*ALL[:8], *bad], 1)

    assert (report.refused, gone(desk)) == (4, [])


@pytest.mark.feature("DE-06")
def test_it_does_not_believe_a_feed_that_leaves_out_too_much(desk: Desk) -> None:
    full(desk, ALL)
    report = full(desk, ALL[:7], 1)
    assert (report.stored, report.gone, report.held_back, gone(desk)) == (7, 0, 3, [])
    with desk.sessions() as session:
        (health,) = feedhealth.feeds(session, NOW + HOUR, HOUR)
    assert (health.full_at, health.held_back, health.known, health.gone) == (NOW + HOUR, 3, 10, 0)

    report = full(desk, ALL[:7], 2, any_share=True)
    assert (report.gone, report.held_back, gone(desk)) == (3, 0, ["p7", "p8", "p9"])
    with desk.sessions() as session:
        (health,) = feedhealth.feeds(session, NOW + 2 * HOUR, HOUR)
        assert session.scalars(select(FullFeed.gone)).all() == [3]
    assert (health.held_back, health.products, health.gone) == (0, 7, 3)


@pytest.mark.feature("DE-06")
def test_it_believes_a_feed_that_leaves_out_a_fifth(desk: Desk) -> None:
    full(desk, ALL)
    report = full(desk, ALL[:8], 1)
    assert (report.gone, report.held_back, gone(desk)) == (2, 0, ["p8", "p9"])


def test_it_does_not_believe_a_feed_whose_refused_items_are_too_many_to_remember(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signals.fullfeeds.MOST_UNREAD", 1)
    full(desk, ALL)
    bad = [{"id": f"b{n}"} for n in range(2)]
    assert (full(desk, [*ALL[:9], *bad], 1, any_share=True).held_back, gone(desk)) == (1, [])
    assert (full(desk, [*ALL[:9], bad[0]], 2).gone, gone(desk)) == (1, ["p9"])


def test_it_takes_nothing_away_by_a_feed_that_breaks_off(desk: Desk, http: FlaskClient) -> None:
    full(desk, ALL, -1)
    feed = "<rss>" + "".join(
        f"<item><id>{one['id']}</id><title>T</title><price>{one['price']}</price></item>" for one in ALL[:9]
    )
    assert post(http, "/v1/products?leaving=any", feed.encode()).status_code == 400

    assert gone(desk) == []


def test_it_lets_no_older_full_feed_take_away_what_a_newer_one_has(desk: Desk) -> None:
    full(desk, ALL)
    assert full(desk, ALL[:9], -1).gone == 0
    full(desk, ALL[:9], 1)
    # What was true before is told late.
    full(desk, ALL, 0)
    assert gone(desk) == ["p9"]


def test_it_takes_away_thousands(desk: Desk) -> None:
    many = [ALL[0] | {"id": f"m{n:04}"} for n in range(2_300)]
    full(desk, [*many, *ALL])

    assert full(desk, ALL, 1, any_share=True).gone == 2_300
    assert len(gone(desk)) == 2_300


@contextmanager
def failing_after(desk: Desk, monkeypatch: pytest.MonkeyPatch, writes: int) -> Iterator[None]:
    """So many times products are written; from then on they are committed alone, as by a process that dies."""
    offer, left = desk.intake.publisher.offer_products, [None] * writes

    def fail(products: Any) -> set[str]:
        if not left:
            raise Unavailable(HOT_STORE)
        left.pop()
        return offer(products)

    with monkeypatch.context() as broken:
        broken.setattr(desk.intake.publisher, "offer_products", fail)
        yield


@pytest.mark.feature("DE-06")
def test_a_recorder_tells_opens_what_an_interrupted_feed_took_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    full(desk, ALL, -1)
    with failing_after(desk, monkeypatch, 1), pytest.raises(Unavailable):
        full(desk, ALL[:9])
    assert not facts(desk, "p9").gone, "else this shows nothing"
    # Nothing is believed of this one, and the next names the same as the one that was interrupted.
    assert full(desk, ALL[:3], 1).held_back == 6
    assert full(desk, ALL[:9], 2).gone == 0
    assert publish_due_products(desk.intake) == 1
    assert gone(desk) == ["p9"]
    assert publish_due_products(desk.intake) == 0


@pytest.mark.feature("DE-06")
def test_a_recorder_tells_opens_new_prices_that_were_only_committed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(desk, ALL)
    for after in (1, 2):
        with failing_after(desk, monkeypatch, 0), pytest.raises(Unavailable):
            full(desk, [one | {"price": f"{after}00 EUR"} for one in ALL], after)
    assert facts(desk, "p0").price_cents == 100
    assert desk.rows("SELECT count(*) FROM product_due") == [(10,)], "one note a product"
    assert publish_due_products(desk.intake) == 10
    assert {facts(desk, one["id"]).price_cents for one in ALL} == {20_000}
    assert desk.rows("SELECT count(*) FROM product_due") == [(0,)]


def test_it_takes_a_feed_over_http_for_full_unless_it_says_otherwise(desk: Desk, http: FlaskClient) -> None:
    full(desk, ALL, -1)

    def told(address: str, count: int) -> tuple[int, int, int]:
        answer = post(http, f"/v1/products{address}", {"products": ALL[:count]}).json
        assert answer is not None
        return answer["stored"], answer["gone"], answer["held_back"]

    assert told("?feed=part", 2) == (2, 0, 0)
    assert told("", 7) == (7, 0, 3)
    assert told("?feed=full&leaving=any", 7) == (7, 3, 0)
    assert gone(desk) == ["p7", "p8", "p9"]
    for address in ("?leaving=all", "?feed=delta&leaving=any"):
        refused = post(http, f"/v1/products{address}", {"products": ALL})
        assert (refused.status_code, field(refused)) == (400, "leaving")


def test_it_says_on_the_command_line_what_is_gone_and_what_is_not_believed(
    desk: Desk, cli: CliRunner, tmp_path: Any
) -> None:
    full(desk, ALL, -1)
    feed = tmp_path / "feed.tsv"
    feed.write_text("id\ttitle\tprice\n" + "".join(f"p{n}\tShoe\t1 EUR\n" for n in range(7)))

    held = loaded(cli, "products", str(feed), "--source", "shop")
    assert (held.stdout, "leaves out 3 products of shop" in held.stderr) == ("7 stored, 0 refused\n", True)
    said = loaded(cli, "products", str(feed), "--source", "shop", "--leaving-any")
    assert (said.stdout, said.stderr) == ("7 stored, 0 refused, 3 gone\n", "")
    assert gone(desk) == ["p7", "p8", "p9"]
