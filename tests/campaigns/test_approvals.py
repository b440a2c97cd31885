"""Approval: a second person's word on this exact version, the lock, and what the switch changes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, text

from campaigns import approvals, messages, segments, transitions
from campaigns.campaigns import CampaignIn
from campaigns.models import AdminEntry, Approval, Offer
from tests.campaigns.mailing import words
from tests.campaigns.shop import MANAGER
from tests.campaigns.test_scenarios import Tried
from tests.campaigns.web import Browser, Program, Web
from workers.schedule import Scheduler


class Office:
    """A shop in which a second person approves: a writer, an approver, and an admin who wrote nothing."""

    def __init__(self, web: Web) -> None:
        self.web, self.shop = web, web.shop
        self.admin: Program = web.program("admin")
        self.admin.told("PUT", "/system/approval", {"required": True})
        self.writer: Browser = web.browser("manager")
        self.approver: Browser = web.browser("approver")
        self.shop.people("ann")
        self.campaign = self.shop.campaign(published=False)
        self.at = f"/campaigns/{self.campaign}"
        self.due = self.shop.now + timedelta(days=1)

    def ask(self, **form: Any) -> int:
        """Have the writer ask for approval; the approval's number."""
        self.writer.get(f"{self.at}/checks/")
        answer = self.writer.post(f"{self.at}/checks/ask", **{"note": "So short on purpose", **form})
        assert answer.status_code == 302, words(answer.text)
        return self.told()[0]["id"]  # type: ignore[no-any-return]

    def told(self) -> Any:
        return self.admin.told("GET", f"{self.at}/approvals")["approvals"]

    def approve(self, number: int, who: Browser | None = None) -> Any:
        browser = who or self.approver
        browser.get(f"{self.at}/checks/")
        return browser.post(f"{self.at}/checks/approve/{number}", note="Fine")

    def moment(self) -> str:
        return self.due.strftime("%Y-%m-%dT%H:%M:%S")

    def scheduled(self) -> Any:
        return self.admin.call("POST", f"{self.at}/schedule", {"due_at": self.due.isoformat()})

    def edit(self, word: str = "Another word") -> None:
        """Change a word of the mail."""
        with self.shop.sessions.begin() as session:
            (number,) = session.execute(
                text("SELECT message_id FROM campaign WHERE id = :c"), {"c": self.campaign}
            ).one()
            written = messages.content(messages.message(session, number))
            changed = msgspec.structs.replace(written, preheader=word)
            messages.update_message(session, number, changed, self.shop.now, MANAGER)


@pytest.mark.feature("CM-18")
def test_it_goes_out_only_as_a_second_person_approved_it(web: Web) -> None:
    office = Office(web)
    office.admin.told("POST", f"{office.at}/publish")
    assert "second person" in office.scheduled().text
    number = office.ask(due_at=office.moment(), note="Spring mail")
    assert office.writer.post(f"{office.at}/checks/approve/{number}").status_code == 403

    # Whoever asked cannot approve, not even with the role; nor by a key of their own.
    with office.shop.sessions.begin() as session:
        asked_id = session.get_one(Approval, number).asked_id
        session.execute(text("UPDATE user_account SET roles = '{manager,approver}' WHERE id = :u"), {"u": asked_id})
        keyed = web.program("approver")
        session.execute(text("UPDATE api_key SET created_by = :u WHERE roles = '{approver}'"), {"u": asked_id})
    own = office.approve(number, office.writer)
    assert (own.status_code, "a second person has to approve it" in own.text) == (403, True)
    assert keyed.call("POST", f"/approvals/{number}/approve", {}).status_code == 403
    with office.shop.sessions.begin() as session:
        session.execute(text("UPDATE api_key SET created_by = NULL WHERE roles = '{approver}'"))
    assert "belongs to nobody" in keyed.call("POST", f"/approvals/{number}/approve", {}).text
    assert office.shop.state(office.campaign) == "draft"

    waits = words(office.approver.get("/").text)
    assert "waits" in waits
    assert "Spring mail" in waits
    assert office.approve(number).status_code == 302
    assert office.shop.state(office.campaign) == "scheduled"
    page = words(office.writer.get(f"{office.at}/checks/").text)
    assert "by A Person" in page
    assert "“Fine”" in page
    (told,) = office.told()
    assert (told["state"], told["stands"], told["content"]["audience"]) == ("approved", True, {"always": True})
    with office.shop.sessions.begin() as session:
        logged = session.scalars(select(AdminEntry).where(AdminEntry.action == "approve")).one()
        assert (logged.object_id, (logged.after or {})["version"]) == (str(office.campaign), told["version"])
        assert logged.user_id == session.get_one(Approval, number).settled_id != asked_id


@pytest.mark.feature("CM-18")
def test_it_is_void_once_anything_of_it_is_changed(web: Web) -> None:
    office, shop = Office(web), web.shop
    scheduler = Scheduler(shop.settings, shop.sessions, shop.store, shop.queues, shop.blobs, shop.clock)
    office.approve(office.ask(due_at=office.moment()))
    # Another time is another version, and so is another audience or word.
    moved = office.admin.call(
        "POST", f"{office.at}/schedule", {"due_at": (office.due + timedelta(hours=1)).isoformat()}
    )
    assert (moved.status_code, "another time" in moved.text) == (409, True)
    assert office.told()[0]["stands"]
    office.edit()
    assert not office.told()[0]["stands"]
    assert "void A Person approved another version" in words(office.writer.get(f"{office.at}/checks/").text)
    office.shop.clock.advance(timedelta(days=2))
    scheduler.tick()
    assert (office.shop.state(office.campaign), office.shop.ledger(office.campaign)) == ("paused", [])
    assert "changed since it was approved" in office.admin.told("GET", office.at)["trouble"]

    # Approved anew, and resumed, it goes.
    office.approve(office.ask())
    with office.shop.sessions.begin() as session:
        transitions.resume(session, office.campaign, office.shop.now, MANAGER)
    scheduler.tick()
    assert [row.state for row in office.shop.ledger(office.campaign)] == ["queued"]
    # What is under way is not changed by one person either.
    office.edit("A third word")
    assert office.admin.call("POST", f"{office.at}/publish").status_code == 409
    assert office.approve(office.ask()).status_code == 302
    assert office.admin.told("GET", office.at)["missing"] == []


def test_it_is_void_once_a_segment_that_an_offer_asks_for_is_another(web: Web) -> None:
    office, shop = Office(web), web.shop
    gold = {"field": "trait", "name": "card", "op": "=", "value": "gold"}
    with shop.sessions.begin() as session:
        inner = segments.create_segment(session, "Gold", gold, shop.now, MANAGER).id
        outer = segments.create_segment(session, "Not gold", {"not": {"segment": inner}}, shop.now, MANAGER).id
        slots = session.scalars(text("SELECT slots FROM campaign WHERE id = :c"), {"c": office.campaign}).one()
        offer = session.get_one(Offer, slots[0]["offers"][0])
        offer.relevant = {"segment": outer}
    office.approve(office.ask(due_at=office.moment()))
    assert office.told()[0]["stands"]
    with shop.sessions.begin() as session:
        segments.update_segment(session, inner, "Gold", gold | {"value": "silver"}, shop.now, MANAGER)
    assert not office.told()[0]["stands"]


def test_it_says_no_to_what_was_changed_while_it_waited_and_can_be_sent_back(web: Web) -> None:
    office = Office(web)
    number = office.ask(due_at=office.moment())
    office.edit()
    assert "changed since it was asked for" in office.approve(number).text
    again = office.ask(due_at=office.moment())
    assert {one["id"]: one["state"] for one in office.told()} == {number: "void", again: "asked"}
    silent = office.approver.post(f"{office.at}/checks/refuse/{again}")
    assert "must say what is to be put right" in silent.text
    assert office.approver.post(f"{office.at}/checks/refuse/{again}", note="No price in the subject").status_code == 302
    assert office.told()[0]["settled_note"] == "No price in the subject"
    assert "already" in office.approve(again).text
    third = office.ask(due_at=office.moment())
    office.shop.clock.advance(timedelta(days=2))
    assert "Its time is over" in office.approve(third).text


def test_it_asks_for_nobody_where_it_is_not_switched_on(web: Web) -> None:
    office = Office(web)
    with office.shop.sessions.begin() as session:
        assert approvals.is_required(session, "Any")
    rules = office.admin.told("PUT", "/system/approval", {"brand": "Shoes", "required": False})["rules"]
    assert rules == [{"brand": "", "required": True}, {"brand": "Shoes", "required": False}]
    with office.shop.sessions.begin() as session:
        assert not approvals.is_required(session, "Shoes")
    office.admin.told("PUT", "/system/approval", {"required": None})
    office.admin.told("POST", f"{office.at}/publish")
    assert office.scheduled().status_code == 200


@pytest.mark.feature("CM-25")
def test_it_approves_nothing_that_fails_a_scenario(web: Web) -> None:
    tried = Tried(web)
    admin = web.program("admin")
    admin.told("PUT", "/system/approval", {"required": True})
    tried.add()
    number = tried.program.told("POST", f"{tried.at}/approvals", {"note": "So short on purpose"})["id"]
    tried.without_thanks()
    for refused in (
        tried.program.call("POST", f"{tried.at}/approvals", {}),
        web.program("approver").call("POST", f"/approvals/{number}/approve", {}),
    ):
        assert refused.status_code in (403, 409), refused.text
    browser = web.browser("approver")
    browser.get(f"{tried.at}/checks/")
    answer = browser.post(f"{tried.at}/checks/approve/{number}")
    assert (answer.status_code, "The scenario “Bought shoes” fails" in words(answer.text)) == (400, True)
    assert web.shop.state(tried.campaign) == "draft"


@pytest.mark.feature("CM-19")
def test_it_refuses_every_edit_while_it_is_locked(web: Web) -> None:
    office = Office(web)
    office.admin.told("PUT", "/system/approval", {"required": None})
    office.admin.told("POST", f"{office.at}/publish")
    written = office.admin.told("GET", office.at)
    names = [name for name in written if name in CampaignIn.__struct_fields__]
    office.writer.get(f"{office.at}/checks/")
    assert office.writer.post(f"{office.at}/checks/lock").status_code == 302
    message = office.admin.told("GET", f"/messages/{written['message_id']}")
    edits = (
        ("PUT", office.at, {name: written[name] for name in names}),
        ("PUT", f"/messages/{message.pop('id')}", message),
        ("POST", f"{office.at}/scenarios", {"name": "S", "expected": [{"slot": 0, "kind": "neutral"}]}),
        ("POST", f"{office.at}/lock", None),
    )
    for method, path, body in edits:
        refused = office.admin.call(method, path, body)
        assert (refused.status_code, "is locked by A Person" in refused.text) == (409, True), (path, refused.text)
    assert "locked" in words(office.writer.get(f"{office.at}/audience").text)
    assert office.writer.post(f"{office.at}/audience", keep_rule="1").status_code == 409
    # What is published may go out, be paused and be switched off.
    office.admin.told("POST", f"{office.at}/publish")
    assert office.scheduled().status_code == 200
    office.admin.told("POST", f"{office.at}/pause")
    office.admin.told("POST", f"{office.at}/kill")
    office.admin.told("POST", f"{office.at}/unlock")
    assert office.admin.call("POST", f"{office.at}/unlock").status_code == 409
    office.admin.told("PUT", office.at, {name: written[name] for name in names})
