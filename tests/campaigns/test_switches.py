"""The switches of a campaign while its state changes under an open page: they follow it, what somebody typed stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from playwright.sync_api import Browser, Page, expect

from campaigns import transitions
from tests.campaigns.shop import Shop
from tests.campaigns.web import PASSWORD, Web


def scheduled(shop: Shop) -> int:
    """A published campaign that is to go out in an hour."""
    number = shop.campaign()
    shop.schedule(number, timedelta(hours=1))
    return number


def begin(shop: Shop, campaign: int) -> None:
    with shop.sessions.begin() as session:
        assert transitions.begin(session, campaign, shop.now)


def switches(page: str) -> list[str]:
    """The switches on the page or in a part of it, by what they do."""
    known = ("now", "publish", "unschedule", "pause", "resume", "cancel")
    return [
        name for name in known if f'name="do" value="{name}"' in page.split('id="switches"', 1)[-1].split("</div>")[0]
    ]


def test_what_is_scheduled_can_be_paused_and_goes_on(shop: Shop, web: Web) -> None:
    path, manager = f"/campaigns/{scheduled(shop)}/schedule", web.desk("manager")
    assert switches(manager.get(path).text) == ["now", "publish", "unschedule", "pause"]
    assert manager.post(path, do="pause").status_code == 302
    assert switches(manager.get(path).text) == ["resume", "cancel"]
    assert manager.post(path, do="resume").status_code == 302
    assert "pause" in switches(manager.get(path).text)


def test_progress_brings_the_switches_once_the_state_is_another_than_the_page_shows(shop: Shop, web: Web) -> None:
    campaign, manager = scheduled(shop), web.desk("manager")
    asked = f"/campaigns/{campaign}/progress?state=scheduled"
    assert f"{asked}" in manager.get(f"/campaigns/{campaign}/schedule").text
    same = manager.get(asked)
    assert ("HX-Trigger" in same.headers, 'id="switches"' in same.text) == (False, False)
    begin(shop, campaign)
    other = manager.get(asked)
    assert other.headers["HX-Trigger"] == "campaign-moved"
    assert switches(other.text) == ["pause", "cancel"]
    assert "progress?state=sending" in other.text, "from then on it is asked with the new state"
    refused = manager.post(f"/campaigns/{campaign}/schedule", do="unschedule")
    assert refused.status_code == 409
    assert "The campaign is sending; it can be made a draft again only while it is scheduled." in refused.text


def open_page(served: Any, chromium: Browser, web: Web, path: str, *, role: str = "manager") -> Page:
    """The page, in the browser of a manager or of who has another role."""
    page = chromium.new_context().new_page()
    page.goto(f"{served.url}/sign-in")
    page.fill("input[name=email]", web.person(role))
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_load_state("networkidle")
    page.goto(f"{served.url}{path}")
    return page


def test_an_open_page_gets_its_pause_button_and_keeps_what_is_typed(
    shop: Shop, web: Web, serve: Any, chromium: Browser
) -> None:
    served = serve("campaigns", replace(shop.settings))
    campaign = scheduled(shop)
    path = f"/campaigns/{campaign}/schedule"
    idle, typing = (open_page(served, chromium, web, path) for _ in range(2))
    typing.fill("#return_cost", "4.50")
    begin(shop, campaign)
    for page in (idle, typing):
        expect(page.locator("#state")).to_have_text("sending", timeout=20_000)
        expect(page.locator("button[value=pause]")).to_be_visible()
    expect(idle.locator("button[value=schedule]")).to_have_count(0, timeout=20_000)
    assert typing.input_value("#return_cost") == "4.50"
    typing.click("button[value=pause]")
    expect(typing.locator("#state")).to_have_text("paused", timeout=20_000)
    assert not typing.locator(".alert-danger").count()
