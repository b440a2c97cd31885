"""Numbers on pages: rebuilt from raw rows, by definitions that were named, adding up."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from base.blobs import blobs_from
from base.errors import InvalidInput
from base.ids import Delivery as Key
from campaigns import goals, sentfacts
from render.decide import decide
from render.facts import Facts, Used, decode_used
from render.plan import decode
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.state import decode as decode_state
from tests.campaigns.living import Living
from tests.campaigns.mailing import mailed, words
from tests.campaigns.shop import MANAGER
from tests.campaigns.web import Web
from tests.conftest import NOON
from tests.promises.reader import APPLE, BROWSER, GMAIL, SCANNER, fetch
from tests.promises.world import Story, World

DAY = timedelta(days=1)
AGENTS = (BROWSER, GMAIL, APPLE, SCANNER)


# --- CM-70: the share of opens that differ from the choice at send time


@pytest.fixture(scope="module")
def opened(life: Living) -> Story:
    """A campaign whose people bought, or not, between the mail and the open."""
    world = life.world
    made = world.story("swap", people=12, slots=2, content_holdout=0.2)
    for number, name in enumerate(made.names):
        if number % 3 == 1:
            world.tell(world.buy(name))
        if number % 5 != 4:
            for path in made.mail(name).pictures.values():
                fetch(world.render.url, path, AGENTS[number % len(AGENTS)])
            world.clock.advance(timedelta(minutes=2))
    world.clock.advance(2 * DAY)
    for name in made.names[:4]:
        fetch(world.render.url, made.mail(name).pictures[0])
    world.recorded()
    return made


def send_time_choice(world: World, row: Any) -> dict[int, int] | None:
    """What send time would have chosen for an open: the same plan, seed and model on what was known at the send."""
    blobs = blobs_from(world.settings)
    record = json.loads(row.public)
    if record["neutral"]:
        return None
    with world.sessions.begin() as session:
        key = Key(row.profile_id, row.campaign_id, row.occurrence)
        kept = sentfacts.read(session, blobs, key, world.settings.subject_key)
    assert kept is not None
    person, shared, sent_at = kept
    assert not shared.caps
    products = {name: goods(data) for name, data in shared.products.items()}
    facts = Facts(
        state=decode_state(person.state) if person.state else None,
        sent_at_ms=record["sent_ms"] or unix_ms(sent_at),
        used=decode_used(person.used) if person.used else Used(),
        products=products,
        undecided=record["undecided"],
    )
    decision = decide(decode(blobs.get(row.plan_hash)), facts, sent_at, record["seed"])
    return {slot.slot: slot.offer for slot in decision.slots}


def goods(data: bytes) -> Any:
    return msgspec.msgpack.decode(data, type=ProductFacts)


@pytest.mark.feature("CM-70")
def test_it_tells_the_share_that_the_raw_rows_have(life: Living, opened: Story) -> None:
    world = life.world
    rows = world.rows(
        "SELECT * FROM decision WHERE campaign_id = :campaign AND occurrence < 2147483648 AND lane = 'live'",
        campaign=opened.campaign,
    )
    compared = differing = 0
    for row in rows:
        choice = send_time_choice(world, row)
        if choice is not None:
            shown = {slot["slot"]: slot["offer"] for slot in json.loads(row.public)["slots"]}
            compared += 1
            differing += shown != choice
    assert 0 < differing < compared
    page = words(life.web.desk("manager").get(f"/campaigns/{opened.campaign}/results").text)
    assert f"{differing} of {compared} opens differ from the choice at send time" in page
    assert f"Shown something else {100 * differing / compared:.1f} %" in page
    told = life.web.program("manager").told("GET", f"/campaigns/{opened.campaign}/report")
    assert (told["compared_with_send_time"], told["differing_from_send_time"]) == (compared, differing)


@pytest.mark.feature("CM-70")
def test_it_tells_what_the_swap_earned_as_the_raw_rows_have_it(life: Living, opened: Story) -> None:
    world = life.world
    name = opened.names[1]
    world.tell(world.buy(name, "attire", opened.product))
    world.recorded()
    credited = "SELECT offer_id, count(*) AS n, sum(cents) AS cents FROM outcome WHERE campaign_id = :c GROUP BY 1"
    until_credited(life, opened.campaign)
    rows = world.rows(credited, c=opened.campaign)
    told = life.web.program("manager").told("GET", f"/campaigns/{opened.campaign}/report")
    assert sum(row.n for row in rows) == told["orders"] > 0
    assert {row.offer_id: row.cents for row in rows} == {
        line["offer"]: line["cents"] for line in told["offers"] if line["orders"]
    }


def until_credited(life: Living, campaign: int) -> None:
    for _ in range(100):
        if life.world.rows("SELECT count(*) AS n FROM outcome WHERE campaign_id = :c", c=campaign)[0].n:
            return
        life.world.settle()
    raise AssertionError("no order was credited")


def test_it_keeps_people_and_machines_apart(life: Living, opened: Story) -> None:
    world = life.world
    rows = world.rows('SELECT DISTINCT profile_id, fetch_class FROM "fetch" WHERE campaign_id = :c', c=opened.campaign)
    told = life.web.program("manager").told("GET", f"/campaigns/{opened.campaign}/report")
    by = {
        name: {row.profile_id for row in rows if row.fetch_class in classes}
        for name, classes in {
            "surely": ("person", "proxy"), "possibly": ("person", "proxy", "undecided"),
            "machine": ("scanner", "prefetch"),
        }.items()
    }  # fmt: skip
    assert told["opened_surely"] == len(by["surely"])
    assert told["opened_possibly"] == len(by["possibly"])
    assert told["fetched_by_machines"] == len(by["machine"])


# --- CM-04: the count adds up, on the page and in the ledger


@pytest.mark.feature("CM-04")
def test_it_counts_an_audience_that_adds_up_and_comes_true(life: Living) -> None:
    world = life.world
    made = world.story("count", people=30, send=False, send_holdout=0.4, content_holdout=0.2)
    world.tell(*(world.shop.consent(name, False) for name in made.names[:3]))
    world.tell({"type": "identify", "userId": "count-nowhere", "traits": {"suite": "count"}})
    shared = f"{made.names[4]}@example.com"
    world.tell({"type": "identify", "userId": "count-twin", "traits": {"suite": "count", "email": shared}})
    manager = life.web.desk("manager")
    page = words(manager.get(f"/campaigns/{made.campaign}/audience/count").text)
    parts = [int(number) for number in re.findall(r"− [^0-9]+ (\d+)", page)]
    total = int(re.search(r"Everybody the conditions describe (\d+)", page)[1])  # type: ignore[index]
    sendable = int(re.search(r"^\s*(\d+) would be mailed now", page)[1])  # type: ignore[index]
    assert len(parts) >= 4, page
    assert total == sendable + sum(parts) == 32
    world.send(made.campaign)
    ledger = words(manager.get(f"/campaigns/{made.campaign}/ledger").text)
    assert f"All {total} " in ledger
    assert f"Accepted {sendable} " in ledger
    assert f"Skipped {sum(parts)} " in ledger
    told = life.web.program("manager").told("GET", f"/campaigns/{made.campaign}/deliveries?limit=500")
    assert told["account"]["accepted"] == sendable == len(world.mails(made.campaign))
    reasons = [row["reason"] for row in told["deliveries"] if row["state"] == "skipped"]
    assert sorted(parts) == sorted(reasons.count(reason) for reason in set(reasons))


# --- CM-63: success is named up front, by version


def spend(web: Web, name: str, days: float, cents: int) -> None:
    """An order so many days after the mail; it has happened by now."""
    order = web.shop.order(name, "shoes", NOON + timedelta(days=days))
    order["properties"] |= {"total": cents / 100}
    web.shop.send(order)


def success(web: Web, campaign: int) -> list[dict[str, Any]]:
    return list(web.program("manager").told("GET", f"/campaigns/{campaign}/success")["definitions"])


@pytest.mark.feature("CM-63")
def test_it_counts_success_as_it_was_named_and_keeps_what_was_named_before(web: Web) -> None:
    browser = web.browser("manager")
    number = web.shop.campaign(published=False)
    at = f"/campaigns/{number}/schedule"
    assert browser.post(at, do="goal", metric="orders", window_days="7").status_code == 302
    assert "Version 1" in browser.get(at).text
    campaign = mailed(web, 160)
    browser.post(f"/campaigns/{campaign}/schedule", do="goal", metric="orders", window_days="7")
    spend(web, "g0", -30, 1_000)
    web.shop.clock.advance(10 * DAY)
    for days, cents in ((1, 2_000), (6.9, 3_000), (7.1, 5_000)):
        spend(web, "g0", days, cents)
    spend(web, "g1", 3, 4_000)
    (first,) = success(web, campaign)
    counted = {name: sum(group[name] for group in first["groups"]) for name in ("people", "orders", "cents")}
    assert counted == {"people": 160, "orders": 3, "cents": 9_000}
    assert sum(group["repeat_customers"] for group in first["groups"]) == 1
    assert sum(group["window_over"] for group in first["groups"]) == 160
    for group in first["groups"]:
        assert group["value"] == pytest.approx(group["orders"] / group["people"])
    before = words(browser.get(f"/campaigns/{campaign}/results").text)
    assert "Success: orders within 7 days after the mail" in before
    browser.post(f"/campaigns/{campaign}/schedule", do="goal", metric="average_order", window_days="30")
    second, again = success(web, campaign)
    assert again == first, "what was named before is told as before"
    assert (second["goal"]["version"], second["up_front"]) == (2, False)
    assert sum(group["orders"] for group in second["groups"]) == 4
    assert sum(group["window_over"] for group in second["groups"]) == 0
    after = words(browser.get(f"/campaigns/{campaign}/results").text)
    assert "Success: average order value within 30 days after the mail named after the first mail had left" in after
    assert "Earlier definitions, each with its own result Orders within 7 days after the mail, version 1" in after
    web.shop.clock.advance(30 * DAY)
    spend(web, "g0", 20, 7_000)
    third, same = success(web, campaign)
    assert same == first
    assert sum(group["cents"] for group in third["groups"]) == 21_000


@pytest.mark.feature("CM-63")
def test_it_says_that_success_was_named_before_the_first_mail(web: Web) -> None:
    web.shop.people("ada")
    campaign = web.shop.campaign()
    web.program("manager").told("PUT", f"/campaigns/{campaign}/goal", {"metric": "revenue", "window_days": 14})
    assert success(web, campaign)[0]["up_front"]
    web.program("manager").told("PUT", f"/campaigns/{campaign}/goal", {"metric": "revenue", "window_days": 14})
    assert len(success(web, campaign)) == 1, "naming the same again is no new version"


def test_it_adds_no_money_of_another_currency_and_says_so(web: Web) -> None:
    campaign = mailed(web, 2)
    with web.shop.sessions.begin() as session:
        goals.name_goal(session, campaign, "revenue", 7, web.shop.now, MANAGER)
    web.shop.clock.advance(2 * DAY)
    spend(web, "g0", 1, 2_000)
    for name, currency in (("g0", "eur"), ("g1", "usd")):
        order = web.shop.order(name, "shoes", NOON + timedelta(days=1))
        order["properties"] |= {"total": 50, "currency": currency}
        web.shop.send(order)
    groups = success(web, campaign)[0]["groups"]
    told = {name: sum(group[name] for group in groups) for name in ("orders", "elsewhere", "cents")}
    assert told == {"orders": 3, "elsewhere": 1, "cents": 7_000}
    page = words(web.browser("manager").get(f"/campaigns/{campaign}/results").text)
    assert "1 order in another currency than EUR is counted, without its worth" in page


def test_it_tells_no_rate_of_a_few_people(web: Web) -> None:
    campaign = mailed(web, 12)
    with web.shop.sessions.begin() as session:
        goals.name_goal(session, campaign, "orders", 7, web.shop.now, MANAGER)
    assert {group["value"] for group in success(web, campaign)[0]["groups"]} == {None}
    assert "not enough data" in words(web.browser("manager").get(f"/campaigns/{campaign}/results").text)


def test_it_refuses_a_success_that_cannot_be_counted(web: Web) -> None:
    campaign = web.shop.campaign()
    for metric, days, field in (
        ("applause", 7, "metric"),
        ("orders", 0, "window_days"),
        ("orders", 999, "window_days"),
    ):
        with web.shop.sessions.begin() as session, pytest.raises(InvalidInput) as refused:
            goals.name_goal(session, campaign, metric, days, web.shop.now, MANAGER)
        assert refused.value.field == field
