"""Scenario tests of a campaign: asked by `decide` of every version, and nothing that fails one goes out."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from campaigns import campaigns, scenarios
from campaigns.models import Scenario
from tests.campaigns.mailing import words
from tests.campaigns.test_exploring import Explorer
from tests.campaigns.web import Web


class Tried(Explorer):
    """The explorer's campaign, and what scenarios of it are written with."""

    def __init__(self, web: Web) -> None:
        super().__init__(web)
        self.at = f"/campaigns/{self.campaign}"
        with self.shop.sessions.begin() as session:
            self.shoes = session.scalar(text("SELECT id FROM category WHERE slug = 'shoes'"))
            self.offers = {row.name: row.id for row in session.execute(text("SELECT name, id FROM offer"))}

    def thanks(self, **changes: Any) -> dict[str, Any]:
        """Bought shoes → thank-you."""
        facts = {"bought": [self.shoes]}
        return {"name": "Bought shoes", "changes": facts, "expected": [{"slot": 0, "kind": "thank-you"}]} | changes

    def add(self, **changes: Any) -> Any:
        return self.program.told("POST", f"{self.at}/scenarios", self.thanks(**changes))

    def without_thanks(self) -> None:
        """An edit: the thank-you is not shown any more."""
        written = self.program.told("GET", self.at)
        kept = {name: written[name] for name in campaigns.CampaignIn.__struct_fields__}
        kept["slots"][0]["offers"].remove(self.offers["Thanks"])
        self.program.told("PUT", self.at, kept)

    def schedule(self) -> Any:
        return self.program.call("POST", f"{self.at}/schedule", {"due_at": self.shop.now.isoformat()})


@pytest.mark.feature("CM-25")
def test_it_schedules_nothing_that_fails_a_scenario_and_says_so_on_each_edit(web: Web) -> None:
    tried = Tried(web)
    made = tried.add()
    assert (made["passed"], made["told"]) == (True, [])
    tried.add(name="Bought nothing", changes={}, expected=[{"slot": 0, "offer": tried.offers["Shoes"]}])
    tried.program.told("POST", f"{tried.at}/publish")
    assert tried.program.told("GET", tried.at)["missing"] == []

    tried.without_thanks()
    fails = "The scenario “Bought shoes” fails: Hero shows “Tights” (cross-sell), not an offer of kind thank-you."
    assert fails in tried.program.told("GET", tried.at)["missing"]
    manager = web.browser("manager")
    assert fails in words(manager.get(f"{tried.at}/offers").text)
    tried.program.told("POST", f"{tried.at}/publish")
    refused = tried.schedule()
    assert (refused.status_code, (refused.json or {})["detail"]) == (409, fails)
    page = words(manager.get(f"{tried.at}/checks/").text)
    assert "fails Bought shoes Hero shows “Tights”" in page
    assert "passes Bought nothing" in page

    # A scenario that says what is so now lets it go; one that is written later holds it again.
    now = tried.thanks(expected=[{"slot": 0, "kind": "cross-sell"}])
    tried.program.told("PUT", f"{tried.at}/scenarios/{made['id']}", now)
    assert tried.schedule().status_code == 200
    tried.program.told("POST", f"{tried.at}/unschedule")
    wrong = tried.add(name="Wrong", expected=[{"slot": 1, "kind": "service"}])
    assert tried.schedule().status_code == 409
    tried.program.told("DELETE", f"{tried.at}/scenarios/{wrong['id']}")
    assert tried.schedule().status_code == 200
    # What is scheduled must not be published into something that fails.
    tried.add(name="Wrong again", expected=[{"slot": 1, "kind": "service"}])
    assert "Wrong again" in tried.program.call("POST", f"{tried.at}/publish").text


def test_it_asks_for_customers_and_for_somebody_made_up_with_what_they_had_bought(web: Web) -> None:
    tried = Tried(web)
    before = [{"category": tried.shoes, "days": 5}]
    made = tried.add(name="Has shoes", before=before, changes={}, expected=[{"slot": 0, "kind": "replacement"}])
    assert made["passed"], made["told"]
    late = tried.add(name="Late", after_days=3, changes={}, expected=[{"slot": 0, "offer": tried.offers["Default"]}])
    assert late["passed"], late["told"]
    assert tried.add(name="Ann", profile=tried.person)["passed"]
    tried.shop.send(tried.shop.order("ann", "shoes", tried.shop.now))
    assert tried.add(name="Ann has shoes", profile=tried.person, changes={})["passed"]
    gone = tried.add(name="Gone", profile=10**9)
    assert gone["told"] == ["It cannot be asked: profile: names a customer of whom nothing is known"]


WRONG = (
    ({"expected": [{"slot": 0}]}, "expected[0].offer"),
    ({"expected": [{"slot": 0, "kind": "neutral", "offer": 1}]}, "expected[0].offer"),
    ({"expected": [{"slot": 9, "kind": "neutral"}]}, "expected[0].slot"),
    ({"expected": [{"slot": 0, "offer": 10**6}]}, "expected[0].offer"),
    ({"expected": [{"slot": 0, "kind": "neutral"}, {"slot": 0, "kind": "service"}]}, "expected"),
    ({"name": " "}, "name"),
    ({"profile": 1, "before": [{"category": 1, "days": 1}]}, "before"),
    ({"after_days": 1, "changes": {"at": "2026-12-01T00:00:00Z"}}, "after_days"),
    ({"changes": {"at": "9999-12-31T23:59:59-14:00"}}, "changes.at"),
)  # fmt: skip


def test_it_names_what_is_wrong_with_a_scenario(web: Web) -> None:
    tried = Tried(web)
    for changes, field in WRONG:
        answer = tried.program.call("POST", f"{tried.at}/scenarios", tried.thanks(**changes))
        assert (answer.status_code, (answer.json or {})["field"]) == (400, field), changes
    tried.add()
    assert tried.program.call("POST", f"{tried.at}/scenarios", tried.thanks()).status_code == 409


def test_it_is_written_on_a_page_and_shown_there_as_it_was_written(web: Web) -> None:
    tried = Tried(web)
    manager = web.browser("manager")
    manager.get(f"{tried.at}/scenarios/new")
    nothing = manager.post(f"{tried.at}/scenarios/new", name="Empty", bought="shoes")
    assert (nothing.status_code, "say what at least one place must show" in nothing.text) == (400, True)
    form = {"name": "Runs", "before-0": "shoes", "days-0": "30", "after_days": "2", "bought": "shoes",
            "shows-0": "kind:thank-you", "shows-1": f"offer:{tried.offers['Default']}"}  # fmt: skip
    assert manager.post(f"{tried.at}/scenarios/new", **form).status_code == 302
    with web.shop.sessions.begin() as session:
        (kept,) = scenarios.scenarios(session, tried.campaign)
        content, number = scenarios.content(kept), kept.id
    assert [(one.category, one.days) for one in content.before] == [(tried.shoes, 30)]
    assert (content.after_days, content.changes.bought) == (2, (tried.shoes,))
    page = manager.get(f"{tried.at}/scenarios/{number}").text
    assert 'value="kind:thank-you" selected' in page
    assert f'value="offer:{tried.offers["Default"]}" selected' in page
    assert "passes Runs" in words(manager.get(f"{tried.at}/checks/").text)
    assert manager.post(f"{tried.at}/scenarios/{number}/remove").status_code == 302
    with web.shop.sessions.begin() as session:
        assert session.get(Scenario, number) is None
