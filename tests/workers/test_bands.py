"""Segments by score: edges that belong and edges that do not, in audiences and at opens, with the as-of time shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from base.clock import monotonic
from campaigns import atopens, audience
from campaigns.models import ScoreRun
from signals.scores import assign
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web
from tests.workers.opens import Opens
from tests.workers.test_paths import hero, shown
from workers import jobs
from workers.schedule import Scheduler

VALUES = {"low": 0.1999, "edge": 0.2, "inside": 0.35, "upper": 0.5, "high": 0.9}


@pytest.fixture
def web(shop: Shop) -> Iterator[Web]:
    """The pages and the API on that shop."""
    made = Web(shop)
    yield made
    made.close()


def scored(shop: Shop, values: dict[str, float]) -> None:
    """Give people these chances of leaving, computed as of an hour ago."""
    shop.people(*values)
    known = shop.known()
    as_of = shop.now - timedelta(hours=1)
    with shop.sessions.begin() as session:
        session.add(ScoreRun(asked_at=as_of, asked_by="test", as_of=as_of, began_at=as_of, ended_at=as_of, people=1))
    assign(shop.intake, {known[name]: {"churn": value} for name, value in values.items()}, as_of, 1, shop.now)


@pytest.mark.feature("CM-10")
def test_it_takes_the_lower_edge_of_a_band_and_not_the_upper_in_audiences_and_at_opens(
    opens: Opens, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = opens.shop
    scored(shop, VALUES)
    api = web.program("manager")
    band = api.told("POST", "/scores/bands", {"name": "May leave", "score": "churn", "at_least": 0.2, "below": 0.5})
    as_of = (shop.now - timedelta(hours=1)).isoformat()
    assert (band["count"], band["scores"]) == (2, {"churn": as_of})
    # Neighbouring bands share nobody and leave nobody out.
    others = [
        api.told("POST", "/scores/bands", {"name": name, "score": "churn"} | edges)["count"]
        for name, edges in (("Stays", {"below": 0.2}), ("Leaves", {"at_least": 0.5}))
    ]
    assert (others, sum(others) + band["count"]) == ([1, 2], len(VALUES))
    # The same edges at the open, by membership and by the score itself.
    member = shop.offer("replacement", relevant={"segment": band["id"]})
    scoring = shop.offer("replacement", relevant={"field": "score", "name": "churn", "op": ">=", "value": 0.5})
    mails = opens.send_campaign(slots=hero(opens, member, scoring))
    assert {name: shown(opens, mail) for name, mail in mails.items()} == {
        "low": opens.default, "edge": member, "inside": member, "upper": scoring, "high": scoring,
    }  # fmt: skip
    mailed = shop.campaign(audience={"segment": band["id"]})
    with shop.sessions.begin() as session:
        assert audience.count(session, mailed, shop.now, shop.settings.hash_key).sendable == 2
    # A new computation, by a process that has not yet heard of the segment: the loop writes who is in now.
    monkeypatch.setattr(shop.intake.segments, "_held", (monotonic() + 60, {}))
    known = shop.known()
    assign(shop.intake, {known["high"]: {"churn": 0.3}, known["edge"]: {"churn": 0.1}}, shop.now, 2, shop.now)
    with shop.sessions.begin() as session:
        assert atopens.named(session) == [band["id"]]
    assert sum(atopens.going_through(shop.intake, [band["id"]], shop.clock.now)) == 2
    assert shown(opens, mails["high"]) == member
    assert shown(opens, mails["edge"]) == opens.default


@pytest.mark.feature("CM-10")
def test_it_shows_the_as_of_time_wherever_a_score_decides(opens: Opens, web: Web) -> None:
    shop = opens.shop
    scored(shop, VALUES)
    browser = web.browser("manager")
    page = browser.get("/scores/").text
    assert "as of 2 Mar 2026, 11:00" in page
    made = browser.post("/scores/bands", name="Likely gone", score="churn", at_least="50", below="")
    assert made.status_code == 302
    page = browser.get("/scores/").text
    assert "chance of leaving at least 50%" in page
    assert page.count("2 Mar 2026, 11:00") >= 3
    number = shop.campaign(audience={"all": [{"field": "score", "name": "churn", "op": ">=", "value": 0.5}]})
    assert "Scores are as of 2 Mar 2026, 11:00" in browser.get(f"/campaigns/{number}/audience/count").text
    assert 'value="50"' in browser.get(f"/campaigns/{number}/audience").text
    wrong = browser.post("/scores/bands", name="Nobody", score="churn", at_least="50", below="50")
    assert (wrong.status_code, "must be greater than" in wrong.text) == (400, True)


def test_it_computes_what_was_asked_for_and_then_every_day(
    shop: Shop, web: Web, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("workers.schedule.enqueue_scores", lambda queues: asked.append("run"))
    scheduler.tick()
    assert asked == [], "an installation that nobody asked computes nothing"
    api = web.program("manager")
    for _ in range(2):
        api.told("POST", "/scores/runs")
    assert api.told("GET", "/scores")["pending"]
    for _ in range(5):
        scheduler.tick()
    assert asked == ["run"]
    with shop.sessions.begin() as session:
        [run] = session.query(ScoreRun).all()
        run.began_at = run.ended_at = run.as_of = shop.now
    shop.clock.advance(timedelta(hours=23))
    for _ in range(5):
        scheduler.tick()
    shop.clock.advance(timedelta(hours=1))
    for _ in range(5):
        scheduler.tick()
    assert asked == ["run", "run"]


def test_it_puts_one_job_on_the_queue_however_often_it_is_asked(shop: Shop) -> None:
    assert [jobs.enqueue_scores(shop.queues) for _ in range(3)] == [True, False, False]
