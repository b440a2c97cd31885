"""Segments on their pages: built from rows with a count beside them, named in audiences, counted day by day."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlencode

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from base.errors import Unavailable
from campaigns import audience, ruleform, segments
from campaigns.models import Campaign, Segment
from signals import scores
from signals.rules import parse
from signals.rulewords import phrase
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.test_pages import Form
from tests.campaigns.web import Browser, Web
from workers.reckoner import Reckoner


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """A shop with three customers, two of whom bought shoes."""
    shop.intake.categories.learn(["Shoes", "Hats"], create=True)
    shop.people("ann", "bob", "cleo")
    shop.send(*(shop.order(name, "shoes", shop.now - timedelta(days=3)) for name in ("ann", "bob")))
    return shop


def bought(number: int = 0, category: str = "shoes", **more: str) -> dict[str, str]:
    """The row of who bought a category once or more."""
    row = {"condition": "bought", "category": category, "comparison": ">=", "value": "1"} | more
    return {f"{name}-{number}": value for name, value in row.items()}


def made(browser: Browser, name: str = "Runners", **rows: str) -> int:
    """A segment made on its page; its number."""
    browser.get("/segments/new")
    answer = browser.post("/segments/new", name=name, **(rows or bought()))
    assert answer.status_code == 302, answer.text
    return int(answer.location.rsplit("/", 1)[1])


def kept(shop: Shop, number: int) -> Segment:
    with shop.sessions.begin() as session:
        return segments.segment(session, number)


def rule(shop: Shop, name: str, what: dict[str, Any]) -> int:
    """A segment made without the page."""
    with shop.sessions.begin() as session:
        return segments.create_segment(session, name, what, shop.now, MANAGER).id


def test_it_makes_a_segment_of_rows_shows_them_again_and_changes_it(shop: Shop, web: Web) -> None:
    browser = web.browser("manager")
    assert "No segments yet" in browser.get("/segments/").text
    number = made(browser)
    assert (kept(shop, number).count, kept(shop, number).rule) == (
        2, {"all": [{"field": "purchases.count", "category": "shoes", "op": ">=", "value": 1}]},
    )  # fmt: skip
    page = browser.get(f"/segments/{number}").text
    assert 'value="bought" data-needs="category comparison value" selected' in page
    assert "Nothing names it." in page
    assert "times they bought Shoes at least 1" in browser.get("/segments/").text
    assert browser.post(f"/segments/{number}", name="Buyers", **bought(category="hats")).status_code == 302
    assert (kept(shop, number).name, kept(shop, number).count) == ("Buyers", 0)


def test_it_counts_while_editing_what_saving_counts_then(shop: Shop, web: Web) -> None:
    browser = web.browser("manager")
    counted = browser.get("/segments/would-be?" + "&".join(f"{name}={value}" for name, value in bought().items()))
    assert ">2</strong>" in counted.text
    assert "of 3 customers" in counted.text
    assert kept(shop, made(browser)).count == 2
    assert "needs a category" in browser.get("/segments/would-be?condition-0=bought").text
    assert web.browser("support").get("/segments/would-be").status_code == 403


def test_it_gives_a_count_up_that_takes_too_long(shop: Shop, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "EDIT_SECONDS", 0.05)
    monkeypatch.setattr(segments, "_counted", lambda session, *_: session.execute(text("SELECT pg_sleep(20)")))
    browser = web.browser("manager")
    answer = browser.get("/segments/would-be")
    assert (answer.status_code, "save to have them counted" in answer.text) == (200, True)
    number = made(browser)
    assert (kept(shop, number).count, kept(shop, number).counted_at) == (None, None)
    assert "counted within a minute" in browser.get(f"/segments/{number}").text
    with shop.sessions.begin() as session:
        assert segments.due(session, shop.now) == [number]


def test_it_names_a_segment_in_an_audience_and_in_another_segment(shop: Shop, web: Web) -> None:
    browser, campaign = web.browser("manager"), shop.campaign(published=False)
    inner = made(browser)
    outer = made(browser, "Others", **{"condition-0": f"out-{inner}"})
    assert (kept(shop, outer).count, kept(shop, outer).rule) == (1, {"all": [{"not": {"segment": inner}}]})
    browser.get(f"/campaigns/{campaign}/audience")
    browser.post(
        f"/campaigns/{campaign}/audience", **{"condition-0": f"in-{inner}"}, send_holdout="0", content_holdout="0"
    )
    with shop.sessions.begin() as session:
        assert session.get_one(Campaign, campaign).audience == {"all": [{"segment": inner}]}
        assert audience.count(session, campaign, shop.now, shop.settings.hash_key).total == 2
    assert f'<option value="in-{inner}" selected>' in browser.get(f"/campaigns/{campaign}/audience").text
    page = browser.get(f"/segments/{inner}").text
    assert f"/campaigns/{campaign}/audience" in page
    assert f"/segments/{outer}" in page
    assert f'value="in-{inner}"' not in page, "a segment is not offered to itself"
    assert '>1 campaign,</span> <span class="text-nowrap">1 segment</span>' in browser.get("/segments/").text


def test_it_keeps_what_is_named_and_says_by_what(shop: Shop, web: Web) -> None:
    browser = web.browser("manager")
    by_offer, by_campaign, free = made(browser, "Offered"), made(browser, "Suppressed"), made(browser, "Free")
    shop.offer(name="Half price", relevant={"segment": by_offer})
    shop.campaign(published=False, name="Spring", suppress={"segment": by_campaign})
    for number, holder in ((by_offer, "The offer Half price"), (by_campaign, "The campaign Spring")):
        answer = browser.post(f"/segments/{number}/delete")
        assert (answer.status_code, f"{holder} still names this segment" in answer.text) == (409, True)
    assert browser.post(f"/segments/{free}/delete").status_code == 302
    assert browser.get(f"/segments/{free}").status_code == 404


def test_it_shows_a_fault_beside_what_was_typed_and_keeps_the_segment(shop: Shop, web: Web) -> None:
    browser = web.browser("manager")
    number = made(browser)
    for form, words in (
        ({"name": ""} | bought(), "must have 1 to 120 characters"),
        ({"name": "Runners"} | bought(value="few"), "needs a number"),
        ({"name": "Runners", "condition-0": f"in-{number}"}, "segment"),
        ({"name": "Runners", "condition-0": "in-999"}, "segment"),
        ({"name": "Runners", "condition-0": "in-x"}, "not known"),
        ({"name": "Runners", "condition-0": "trait", "value-0": "x"}, "needs the name of a trait"),
        ({"name": "Runners", "condition-0": "trait", "name-0": "city", "comparison-0": "="}, "needs a value"),
        ({"name": "Runners", "condition-0": "trait", "name-0": "city", "value-0": "Bonn"}, "needs a number"),
        ({"name": "Runners", "condition-0": "intent", "comparison-0": "<", "value-0": "a"}, "asks for a word"),
        ({"name": "Runners", "condition-0": "agreed_email", "value-0": "maybe"}, "needs yes or no"),
        *(
            (
                {"name": "Runners", "condition-0": "stage", "comparison-0": "=", "value-0": value},
                "needs one of prospect, new, active, at risk, lapsed",
            )
            for value in ("gone", "")
        ),
        (
            {"name": "Runners", "condition-0": "trait", "name-0": "surname", "comparison-0": "=", "value-0": "Lee"},
            "its value is kept sealed",
        ),
        (
            {"name": "Runners", "condition-0": "trait", "name-0": "Phone", "comparison-0": "missing"},
            "asks for phone, which is not kept with what is known of a person",
        ),
    ):
        answer = browser.post(f"/segments/{number}", **form)
        marked = any(said in answer.text for said in ('role="alert"', 'aria-invalid="true"'))
        assert (answer.status_code, marked, words in answer.text) == (400, True, True), form
    assert 'value="few"' in browser.post("/segments/new", name="Walkers", **bought(value="few")).text
    assert "Another segment has this name" in browser.post("/segments/new", name="Runners", **bought()).text
    assert kept(shop, number).count == 2


def test_it_keeps_a_rule_that_rows_cannot_show(shop: Shop, web: Web) -> None:
    deep = {"any": [{"all": [{"any": [{"field": "trait", "name": "city", "op": "=", "value": "Bonn"}]}]}]}
    number, browser = rule(shop, "Deep", deep), web.browser("manager")
    assert 'rows cannot show: <span class="wrap-any">city is Bonn</span>.' in browser.get(f"/segments/{number}").text
    assert ">city is Bonn</td>" in browser.get("/segments/").text
    assert browser.post(f"/segments/{number}", name="Deeper", keep_rule="1").status_code == 302
    assert (kept(shop, number).name, kept(shop, number).rule) == ("Deeper", deep)


def test_a_condition_alone_has_a_row_and_stays_as_it_was_written_until_it_is_changed(shop: Shop, web: Web) -> None:
    alone = {"field": "purchases.count", "category": "shoes", "op": ">=", "value": 1}
    number, browser = rule(shop, "Alone", alone), web.browser("manager")
    assert "times they bought Shoes at least 1" in browser.get("/segments/").text
    form = Form(browser.get(f"/segments/{number}").text).fields
    assert browser.post(f"/segments/{number}", **(form | {"name": "Buyers"})).status_code == 302
    assert (kept(shop, number).name, kept(shop, number).rule) == ("Buyers", alone)
    form = Form(browser.get(f"/segments/{number}").text).fields
    assert browser.post(f"/segments/{number}", **(form | {"value-0": "2"})).status_code == 302
    assert kept(shop, number).rule == {"all": [alone | {"value": 2}]}
    campaign = shop.campaign(published=False, audience=alone)
    form = Form(browser.get(f"/campaigns/{campaign}/audience").text).fields
    for changes, audience_now in (({"priority": "3"}, alone), ({"category-0": "hats"}, alone | {"category": "hats"})):
        assert browser.post(f"/campaigns/{campaign}/audience", **(form | {"edition": ""} | changes)).status_code == 302
        with shop.sessions.begin() as session:
            said = session.get_one(Campaign, campaign).audience
            assert said == (alone if audience_now is alone else {"all": [audience_now]})


def two_of_three() -> dict[str, str]:
    """Two rows tied together, and one of its own."""
    return {
        "condition-0": "agreed_email", "value-0": "yes", "condition-1": "agreed_push", "value-1": "No", "tie-1": "1",
        "condition-2": "in-7", "tie-0": "1",
    }  # fmt: skip


@pytest.mark.parametrize("join", ["all", "any"])
def test_it_shows_every_rule_that_rows_can_say_as_it_was_typed(join: str) -> None:
    form = {
        "join": join, "condition-0": "trait", "name-0": "age", "comparison-0": "=", "value-0": "30",
        "condition-1": "trait", "name-1": "vip", "comparison-1": "not", "value-1": "yes", "tie-1": "1",
        "condition-3": "spent_all", "comparison-3": ">", "value-3": "12.5",
        "condition-5": "intent", "comparison-5": "=", "value-5": "puppy", "tie-5": "1",
        "condition-6": "out-4", "tie-6": "1", "condition-7": "stage", "comparison-7": "not", "value-7": "at risk",
    }  # fmt: skip
    rule = ruleform.read(form)
    parse(rule, {})
    shown = ruleform.rows(rule)
    assert shown is not None
    again = {f"{name}-{number}": value for number, row in enumerate(shown) for name, value in row.items() if value}
    assert ruleform.read(again | {"join": join}) == rule
    assert [row["tie"] for row in shown] == ["", "1", "", "1", "1", ""]
    assert [row["value"] for row in shown] == ["30", "yes", "12.5", "puppy", "", "at risk"]


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [("trait", "tier", ""), ("trait", "tier", " gold "), ("trait", "tier", "1,000"),
     ("score", "churn", 0.123456789), ("score", "churn", 1.5)],
)  # fmt: skip
def test_it_shows_no_row_that_would_be_refused_or_say_something_else(field: str, name: str, value: str | float) -> None:
    rule = {"field": field, "name": name, "op": ">=" if field == "score" else "=", "value": value}
    assert ruleform.rows(rule) is None
    assert ruleform.rows({"all": [{"not": rule | {"op": "="}}]}) is None
    good: dict[str, str | float] = {"trait": "gold", "score": 0.125}
    assert ruleform.rows(rule | {"value": good[field]}) is not None


def test_it_finds_a_trait_whatever_sort_its_value_is_of(shop: Shop, web: Web) -> None:
    shop.people("ann", age=30, vip=True)
    shop.people("bob", age="30", vip="yes")
    shop.people("cleo", age=31, vip=False)
    shop.people("dora", email_opt_in=True)
    browser = web.browser("manager")
    for name, comparison, value, people in (
        ("age", "=", "30", 2), ("age", ">=", "30", 2), ("age", "not", "30", 2), ("Vip", "=", "yes", 2),
        ("vip", "=", "no", 1), ("vip", "missing", "", 1), ("vip", "present", "", 3), ("email_opt_in", "=", "yes", 1),
        ("email_opt_in", "not", "yes", 3), ("email_opt_in", "=", "no", 0), ("email_opt_in", "present", "", 1),
    ):  # fmt: skip
        form = {"condition-0": "trait", "name-0": name, "comparison-0": comparison, "value-0": value}
        found = browser.get(f"/segments/would-be?{urlencode(form)}").text
        assert f'<strong class="number">{people}</strong>' in found, (form, found)
    page = browser.get("/segments/new").text
    assert '<option value="vip">' in page, "names that are known are suggested"


def test_it_says_rules_in_a_line() -> None:
    for row, words in (
        (bought(), "times they bought Shoes at least 1"),
        (bought(condition="bought_within", days="30"), "times they bought Shoes in the last 30 days at least 1"),
        ({"condition-0": "complaint", "value-0": "1"}, "has an open complaint"),
        ({"condition-0": "complaint", "value-0": "0"}, "not: has an open complaint"),
        ({"condition-0": "churn", "value-0": "20"}, "chance of leaving at least 20%"),
        ({"condition-0": "in-7", "condition-1": "out-8", "join": "any"}, "in “Runners” or not in “no. 8”"),
        ({"condition-0": "trait", "name-0": "firstName", "comparison-0": "present"}, "first_name is known"),
        ({"condition-0": "trait", "name-0": "city", "comparison-0": "not", "value-0": "Bonn"}, "city is not Bonn"),
        (
            {"condition-0": "since", "category-0": "shoes", "comparison-0": "missing"},
            "days since they last bought Shoes is not known",
        ),
        (
            {"condition-0": "stage", "comparison-0": "=", "value-0": "At risk"},
            "where they stand as a customer is at risk",
        ),
        (two_of_three() | {"join": "any"}, "(agreed to mails and said no to push messages) or in “Runners”"),
        (two_of_three() | {"join": "all"}, "(agreed to mails or said no to push messages) and in “Runners”"),
        ({}, "everybody"),
    ):
        assert phrase(ruleform.read(row), {"shoes": "Shoes"}, {7: "Runners"}) == words


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"field": "flag", "name": "discount", "op": "=", "value": True}, "flagged by the profit guard for “discount”"),
        ({"field": "consent.email", "op": "=", "value": False}, "said no to mails"),
        ({"field": "consent.email", "op": "missing"}, "neither agreed to mails nor said no to mails"),
        ({"field": "household.adults", "op": ">=", "value": 2}, "grown-ups in their household at least 2"),
        ({"field": "notes.count", "op": ">=", "value": 1}, "call notes at least 1"),
        ({"field": "trait", "name": "city", "op": "in", "value": ["Bonn", "Graz"]}, "city is one of Bonn, Graz"),
        (
            {"event": "Pricing", "category": "shoes", "from": {"days_ago": 30}},
            "“Pricing” of Shoes at least once since 30 days ago",
        ),
    ],
)
def test_every_page_says_a_rule_in_the_same_words(shop: Shop, web: Web, asked: dict[str, Any], words: str) -> None:
    number, browser, campaign = rule(shop, "Told", asked), web.browser("manager"), shop.campaign(published=False)
    with shop.sessions.begin() as session:
        row = session.get_one(Campaign, campaign)
        row.audience = row.suppress = {"all": [asked, {"segment": number}]}
    assert f">{words}</td>" in browser.get("/segments/").text
    page = browser.get(f"/segments/{number}").text
    assert "rows cannot show" not in page or f">{words}</span>." in page
    page = browser.get(f"/campaigns/{campaign}/audience").text
    both = f'cannot show: <span class="wrap-any">{words} and in “Told”</span>.'
    assert page.count(both) == page.count("cannot show") > 0


def test_it_counts_every_segment_once_a_day_and_shows_its_sizes(shop: Shop, web: Web) -> None:
    browser, program = web.browser("manager"), web.program("manager")
    number = rule(shop, "Runners", {"field": "purchases.count", "category": "shoes", "op": ">=", "value": 1})
    broken = rule(shop, "Broken", {"segment": number})
    with shop.sessions.begin() as session:
        session.get_one(Segment, broken).rule = {"field": "no such thing", "op": "present"}
    reckoner = Reckoner(shop.sessions, shop.blobs, shop.clock)
    first = shop.now.date()
    assert "counted within a minute" in browser.get(f"/segments/{number}").text
    for bought_today, people in (((), 2), (("cleo",), 3)):
        shop.send(*(shop.order(name, "shoes", shop.now) for name in bought_today))
        reckoner.run()
        with shop.sessions.begin() as session:
            assert segments.due(session, shop.now) == []
        assert (kept(shop, number).count, kept(shop, broken).count) == (people, None)
        shop.clock.advance(timedelta(days=1))
    sizes = [{"day": (first + timedelta(days=day)).isoformat(), "people": 2 + day} for day in (0, 1)]
    assert program.told("GET", f"/segments/{number}/sizes") == {"sizes": sizes}
    page = browser.get(f"/segments/{number}").text
    assert f"{first:%-d %b %Y}: 2" in page
    assert "does not hold any more" in browser.get(f"/segments/{broken}").text
    shop.clock.advance(timedelta(days=segments.SIZE_DAYS - 1))
    reckoner.run()
    assert [size["people"] for size in program.told("GET", f"/segments/{number}/sizes")["sizes"]] == [3, 3]
    assert program.call("GET", "/segments/999/sizes").status_code == 404


def test_it_counts_the_others_whatever_the_error_of_one_is(
    shop: Shop, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, broken, last = (rule(shop, name, {"always": True}) for name in ("First", "Broken", "Last"))
    with shop.sessions.begin() as session:
        session.execute(update(Segment).values(counted_at=None, count=None))
    count = segments.count

    def fails(session: Session, number: int, now: datetime) -> int:
        if number == broken:
            raise OverflowError("date value out of range")
        return count(session, number, now)

    reckoner = Reckoner(shop.sessions, shop.blobs, shop.clock)
    with monkeypatch.context() as failing:
        failing.setattr(segments, "count", fails)
        reckoner.run()
    assert [kept(shop, number).count for number in (first, broken, last)] == [3, None, 3]
    manager = web.browser("manager")
    assert "does not hold any more, or fails. It is tried again tomorrow" in manager.get(f"/segments/{broken}").text
    assert "it could not be counted" in manager.get("/segments/").text
    with shop.sessions.begin() as session:
        assert segments.due(session, shop.now) == [], "it is not counted again and again"
    shop.clock.advance(timedelta(days=1))
    reckoner.run()
    assert kept(shop, broken).count == 3
    with monkeypatch.context() as without:
        without.setattr(segments, "count", Mock(side_effect=Unavailable("The database")))
        shop.clock.advance(timedelta(days=1))
        with pytest.raises(Unavailable):
            reckoner.run()
    assert kept(shop, broken).count == 3, "while a server is away nothing is said of a segment"


def test_segments_by_score_are_told_in_the_same_words_as_segments(web: Web) -> None:
    desk = web.desk("manager")
    desk.get("/scores/")
    assert desk.post("/scores/bands", name="Curious", score="cross_buy", at_least="1", below="").status_code == 302
    said = "chance of trying something new at least 1%"
    assert said in desk.get("/segments/").text
    page = desk.get("/scores/").text.partition('id="bands"')[2]
    assert said in page
    assert "cross_buy at least" not in page


def test_the_count_says_which_scores_nobody_has_yet(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    manager = web.desk("manager")
    row = {"condition-0": "churn", "comparison-0": ">=", "value-0": "0"}
    asked = f"/segments/would-be?{urlencode(row)}"
    assert "Nobody has a score of <em>Leaving</em> yet" in manager.get(asked).text
    assert "score" not in manager.get(f"/segments/would-be?{urlencode(row | {'condition-0': 'orders'})}").text
    scores.assign(shop.intake, {ann: {"churn": 0.25}}, shop.now, 1, shop.now)
    counted = manager.get(asked).text
    assert ">1</strong>" in counted
    assert "Nobody has" not in counted
