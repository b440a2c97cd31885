"""The retail year in Segment form."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from base.errors import StartError
from workers.demo.calendar import CLOSING, STORY_LENGTH, Calendar
from workers.demo.journey import HOUSEHOLDS, Journey
from workers.demo.wording import category_name, product_title, readable

CALENDAR = Calendar.ending_before(datetime(2026, 11, 22, 13, tzinfo=UTC))


@pytest.fixture(scope="module")
def journey() -> Journey:
    return Journey.read(CALENDAR)


def test_it_moves_the_year_by_whole_weeks_so_that_the_story_is_just_over() -> None:
    for days in range(14):
        today = datetime(2026, 11, 22, 13, tzinfo=UTC) + timedelta(days=days)
        calendar = Calendar.ending_before(today)
        assert timedelta(0) <= today - calendar.closed < timedelta(days=7)
        assert calendar.closed - calendar.end == CLOSING
        assert calendar.end - calendar.story == STORY_LENGTH
        assert calendar.story.weekday() == 2, "the story begins on a Wednesday"


def test_it_turns_each_basket_into_one_order_that_adds_up(journey: Journey) -> None:
    begin, end = CALENDAR.begin, CALENDAR.begin + timedelta(days=366, hours=5)
    ids, lines = set(), 0
    for line in journey.orders(begin, end):
        ids.add(line.split(b'"messageId":"', 1)[1].split(b'"', 1)[0])
        lines += line.count(b'"product_id"')
    assert len(ids) == 155_848
    assert lines == 1_469_307
    for line in list(journey.orders(CALENDAR.story, CALENDAR.end))[::50]:
        order = json.loads(line)
        properties = order["properties"]
        assert order["event"] == "Order Completed"
        assert re.fullmatch(r"household-\d+", order["userId"])
        assert properties["currency"] == "USD"
        assert all(item["quantity"] >= 1 and item["category"] for item in properties["products"])
        total = sum(item["price"] * item["quantity"] for item in properties["products"])
        pieces = sum(item["quantity"] for item in properties["products"])
        assert total == pytest.approx(properties["total"], abs=0.005 * pieces + 0.001)


def test_it_splits_history_and_live_week_without_overlap_or_gap(journey: Journey) -> None:
    week_before = list(journey.orders(CALENDAR.story - STORY_LENGTH, CALENDAR.story))
    live = list(journey.orders(CALENDAR.story, CALENDAR.end))
    both = list(journey.orders(CALENDAR.story - STORY_LENGTH, CALENDAR.end))
    assert both == week_before + live
    times = [json.loads(line)["timestamp"] for line in both]
    assert times == sorted(times)
    assert json.loads(week_before[-1])["timestamp"] < CALENDAR.story.strftime("%Y-%m-%dT%H:%M:%S")
    assert live
    assert list(journey.orders(CALENDAR.end, CALENDAR.end)) == []


def test_it_gives_every_household_an_invented_address_of_its_own(journey: Journey) -> None:
    told = [json.loads(line) for line in journey.identities()]
    people = [event for event in told if event["type"] == "identify"]
    consents = [event["properties"]["consents"] for event in told if event["type"] == "track"]
    assert len(people) == len(consents) == HOUSEHOLDS
    assert 40 < sum(not consent["email"] for consent in consents) < 120
    addresses = {person["traits"]["email"] for person in people}
    assert len(addresses) == HOUSEHOLDS
    assert all(re.fullmatch(r"[a-z]+\.\d+@example\.com", address) for address in addresses)
    assert sum("age_band" in person["traits"] for person in people) == 801


def test_it_feeds_every_bought_product_with_price_stock_and_one_parent_a_category(journey: Journey) -> None:
    header, *rows = [line.decode().rstrip("\n").split("\t") for line in journey.feed()]
    assert header == ["id", "title", "brand", "product_type", "item_group_id", "price", "availability", "quantity"]
    assert len(rows) == 68_509
    parents: dict[str, set[str]] = {}
    for identity, title, _, path, _, price, availability, stock in rows:
        department, category = path.split(" > ")
        parents.setdefault(category, set()).add(department)
        assert identity.isdigit()
        assert title
        assert float(price.removesuffix(" USD")) > 0
        assert availability == "in_stock"
        assert 20 <= int(stock) < 200
    assert all(len(found) == 1 for found in parents.values())
    assert parents["Soft drinks"] == {"Grocery"}
    assert "Fuel" in parents


def test_it_names_a_bestseller_and_a_dearer_one_of_a_category(journey: Journey) -> None:
    plain, dearer = journey.bestsellers()["Coffee"]
    assert dearer.cents >= plain.cents * 3 // 2
    assert plain.id != dearer.id


@pytest.mark.parametrize(
    ("shorthand", "words"),
    [
        ("FRZN MEAT/MEAT DINNERS", "Frozen meat, meat dinners"),
        ("FLUID MILK PRODUCTS", "Fluid milk products"),
        ("CANDY - CHECKLANE", "Candy, checklane"),
        ("CHIPS&SNACKS", "Chips snacks"),
    ],
)
def test_it_reads_till_shorthand(shorthand: str, words: str) -> None:
    assert readable(shorthand) == words


def test_it_finds_words_where_the_tables_are_silent() -> None:
    assert category_name("COUPON/MISC ITEMS", "GASOLINE-REG UNLEADED", "FUEL") == "Fuel"
    assert category_name(None, None, "GARDEN CENTER") == "Garden center"
    assert category_name(None, None, None) == "Other"
    assert product_title(None, None) == "Assorted"


def test_it_says_in_one_line_what_to_install_when_the_data_are_missing(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"latebind\[demo\]"):
        Journey.read(CALENDAR, tmp_path)
