"""Erasing a person: nothing of them can be read any more, and what was counted stays counted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from base import keys
from base.errors import NotFound
from base.ids import Delivery
from campaigns import audit, goals, profit, reports, sentfacts, subjects
from campaigns.opens import Fetch
from signals import likely, scores
from signals.erasure import erase
from signals.joining import join
from signals.likely import Offer
from tests.campaigns.living import Living
from tests.campaigns.mailing import COSTS, bought, mailed
from tests.campaigns.shop import Shop
from tests.campaigns.test_profit import line, told
from tests.campaigns.web import Web
from tests.campaigns.web import told as answered
from tests.promises.keeping import everything
from tests.promises.reader import fetch
from tests.promises.world import Story, World

ELSEWHERE = ("inbox", "appendonlydir")
"""The reader's own mailbox, and the file of the store that holds each key as it was until the store writes it anew."""
NUMBERED = {
    "delivery": "that a mail went out, and to which group",
    "holdout_assignment": "to which group",
    "access_log": "who looked at whom, by number",
    "profile_link": "which numbers were one person",
    "mail_report": "that a mail bounced or was complained about",
    "export_member": "until the receiver of an audience was told to forget them",
}
"""Tables that keep an erased person's number, which leads to nobody, and what they count by it."""
PARTS = (
    "state", "profiles", "identifiers", "traits", "households", "consents", "signals", "contradictions", "refused",
    "mails", "fetches", "clicks", "credited_orders", "mails_left_with", "opens", "hot_store", "looked_at",
)  # fmt: skip
"""Parts of an export that hold something of whoever lived through `live_through`."""
MARKS = {
    "user_id": "erasing-000", "email": "erasing-000@example.com", "name": "Zephyrine", "last name": "Quillfeather",
    "street": "Nightingale Row", "phone": "1511234567", "phone as it was typed": "0151 123-45-67",
    "loyalty card": "loyal-qx77", "device": "device-qx77", "order": "order-qx77", "case": "case-qx77",
    "note": "barks at postmen", "own trait": "left-handed", "reply": "no such user erasing",
    "other user id": "erasing-002", "other e-mail": "erasing-002@example.com", "other order": "order-qx78",
}  # fmt: skip


ENTERED = (
    "INSERT INTO replenish_entry (campaign_id, profile_id, category_id, last_day, occurrence, entered_at)"
    " VALUES (:campaign, :p, 1, 1, 2, now())",
    "INSERT INTO trigger_entry (campaign_id, profile_id, event_id, occurrence, entered_at)"
    " SELECT :campaign, :p, max(id), 2, now() FROM event WHERE profile_id = :p",
)
"""As campaigns write it that wait for what somebody does, or until something is due."""
RECKONED = {"profile_score", "likely_match", "replenish_entry", "trigger_entry"}
RECORDED = {"decision", "fetch", "click", "outcome", "mail_consent", "sent_facts", "subject"}


def live_through(world: World, story: Story) -> None:
    """Everything that can be known of a person happens to the first one of the story, who proves to be the third."""
    name, second = story.names[0], story.names[2]
    who = {"userId": name}
    traits = {
        "firstName": "Zephyrine", "lastName": "Quillfeather",
        "address": {"street": "Nightingale Row 7", "city": "Bonn"},
        "phone": "+49 151 123-45-67", "loyaltyId": "loyal-qx77", "hand": "left-handed",
    }  # fmt: skip
    world.tell({"type": "identify", **who, "anonymousId": "device-qx77", "traits": traits})
    mail = story.mail()
    fetch(world.render.url, mail.pictures[0])
    fetch(world.render.url, mail.clicks[0])
    world.recorded()
    order = world.buy(name)
    order["properties"]["order_id"] = "order-qx77"
    # The same of another customer, who turns out to be the same person.
    fetch(world.render.url, story.mail(second).pictures[0])
    fetch(world.render.url, story.mail(second).clicks[0])
    world.recorded()
    other_order = world.buy(second)
    other_order["properties"]["order_id"] = "order-qx78"
    world.clock.advance(timedelta(minutes=5))
    world.tell(order, other_order)
    case = {"complaint_id": "case-qx77", "text": "the gate barks at postmen"}
    world.tell({"type": "track", **who, "event": "Complaint Opened", "properties": case, "messageId": "qx77-1"})
    # The same id with other content, and two that are refused: kept apart, and they name the person too.
    world.shop.intake.reader.categories.learn(["Shoes"], create=True)
    again = {"type": "track", **who, "event": "Other Name", "properties": case, "messageId": "qx77-1"}
    refused = [
        {"type": "identify", **who, "messageId": "qx77-2", "traits": {"email": "none", "phone": "0151 123-45-67"}},
        {"type": "identify", "anonymousId": "x", "messageId": "qx77-3",
         "traits": {"email": "none", "phone": "0049/151/1234567", "note": "0151 123-45-67"}},
    ]  # fmt: skip
    assert [send_raw(world, call) for call in (again, *refused)] == ["conflict", "rejected", "rejected"]
    with world.sessions.begin() as session:
        profile, other = (world.shop.profile(one) for one in story.names[:2])
        query = "UPDATE delivery SET reply = '550 no such user erasing-000@example.com' WHERE profile_id = :p"
        session.execute(text(query), {"p": profile})
        # What is reckoned of them, and what a purchase led them into.
        likely.offer(session, [Offer(profile, other, 4.2, ("name",), world.clock.now())], 1)
        for statement in ENTERED:
            session.execute(text(statement), {"p": profile, "campaign": story.campaign})
    scores.assign(world.shop.intake, {profile: {"churn": 0.25}}, world.clock.now(), 1, world.clock.now())
    for one in (name, second):
        form = {"purpose": "advertising"}
        assert fetch(world.render.url, story.mail(one).unsubscribe, method="POST", form=form).status == 200
    world.recorded()
    world.credited()
    join(world.shop.intake, story.mail(second).token.profile, profile, world.clock.now(), by="x")


def tells_everything(web: Web, profile: int, opened: str) -> None:
    """The export holds everything that the search finds, opened, in parts that have rows; who asks is noted."""
    path, admin = f"/customers/{profile}/export", web.program("admin")
    assert web.program("support").call("GET", path).status_code == 403
    answer = admin.call("GET", path)
    assert answer.headers["Content-Disposition"] == f"attachment; filename=customer-{profile}.json"
    told = answered(answer)
    assert [mark for mark in MARKS.values() if mark.lower() not in answer.text.lower()] == []
    assert [part for part in PARTS if not told[part]] == []
    (one,) = [one for one in told["opens"] if one["id"] == opened]
    assert one["record"]["id"] == opened
    assert "Zephyrine, 10 % off" in str(one["facts"]["fields"])
    assert one["facts"]["state"]["traits"]["hand"] == "left-handed"
    assert told["mails_left_with"][0]["state"] is not None
    assert told["state"][0]["state"]["traits"]["hand"] == "left-handed"
    assert {one["key"] for one in told["hot_store"]} >= {f"{{{profile}}}:used"}
    assert told["looked_at"][-1]["action"] == "export"
    answer.close()
    page = web.desk("admin").get(f"/customers/{profile}/export")
    assert f'"profile":{profile}' in page.text
    page.close()
    answered(admin.call("GET", "/customers/999999/export"), 404)


def send_raw(world: World, call: dict[str, Any]) -> str:
    """Take one call in; what became of it."""
    try:
        world.shop.send(call)
    except AssertionError as error:
        (outcomes,) = error.args
        return str(outcomes[0].status)
    return "accepted"


def results(world: World, story: Story) -> list[object]:
    """Everything that reports of a campaign count."""
    now = world.clock.now()
    with world.sessions.begin() as session:
        report = reports.report(session, story.campaign)
        success = [(one.groups, one.arms) for one in goals.outcomes(session, story.campaign, now)]
        earned = profit.profit(session, story.campaign, now)
    assert earned is not None
    rows = [
        world.rows(f'SELECT count(*) AS n FROM "{name}"')[0].n for name in ("decision", "fetch", "click", "outcome")
    ]
    return [report, success, earned.groups, rows]


def places(world: World, marks: Iterable[str]) -> dict[str, set[str]]:
    """Where each mark is kept: as it is, in any case, or in hexadecimal."""
    found: dict[str, set[str]] = {mark: set() for mark in marks}
    for place, kept in everything(world):
        if not any(part in ELSEWHERE for part in place.split("/")):
            lowered = kept.lower()
            for mark, there in found.items():
                word = mark.lower().encode()
                if word in lowered or word.hex().encode() in lowered or mark.encode().hex().encode() in lowered:
                    there.add(place)
    return found


@pytest.mark.feature("SU-13")
def test_it_leaves_no_trace_of_an_erased_person_and_every_total(life: Living) -> None:
    world, web = life.world, life.web
    story = world.story("erasing", people=3, discount={"fields": {"headline": "{{ profile.first_name }}, 10 % off"}})
    manager = web.program("manager")
    manager.told("PUT", f"/campaigns/{story.campaign}/goal", {"metric": "revenue", "window_days": 7})
    manager.told("PUT", f"/campaigns/{story.campaign}/costs", COSTS)
    live_through(world, story)
    token = story.mail().token
    profile, key, blobs = token.profile, world.settings.subject_key, world.shop.blobs
    (row,) = world.rows("SELECT id FROM decision WHERE profile_id = :p", p=profile)
    with world.sessions.begin() as session:
        assert audit.opening(session, blobs, key, row.id, [profile]).facts is not None
        assert sentfacts.read(session, blobs, Delivery(profile, story.campaign, token.occurrence), key) is not None
    # The search finds what is there, else it would prove nothing.
    assert [mark for mark, there in places(world, MARKS.values()).items() if not there] == []
    other = story.mail(story.names[2]).token.profile
    assert naming(world, profile) >= RECKONED | RECORDED
    assert naming(world, other) >= RECORDED
    before = results(world, story)
    tells_everything(web, profile, row.id)
    assert web.program("support").call("POST", f"/customers/{profile}/erase").status_code == 403

    admin = web.program("admin")
    assert admin.told("GET", f"/customers/{profile}")["erased_at"] is None
    for _ in range(2):
        assert admin.told("POST", f"/customers/{profile}/erase") == {"done": True, "state": "erased"}
        assert {mark: there for mark, there in places(world, MARKS.values()).items() if there} == {}
        assert results(world, story) == before
        with world.sessions.begin() as session:
            with pytest.raises(NotFound):
                audit.opening(session, blobs, key, row.id, [profile])
            seen = session.scalars(select(Fetch.sha256).where(Fetch.campaign_id == story.campaign)).all()
            for sha256 in filter(None, seen):
                with pytest.raises(NotFound):
                    audit.picture(session, blobs, key, row.id, sha256.hex(), [profile])
            assert sentfacts.read(session, blobs, Delivery(profile, story.campaign, token.occurrence), key) is None
    for one in (profile, other):
        assert naming(world, one) <= NUMBERED.keys()
        assert list(world.store.scan_iter(match=f"{{{one}}}:*")) == [keys.state(one).encode()]
    theirs = "SELECT kept FROM profile_link WHERE child_end IN (:one, :other) OR parent_end IN (:one, :other)"
    assert [link.kept for link in world.rows(theirs, one=profile, other=other)] == [None]

    # What stands in their place is a tombstone: on the page, in the log, and who looks is noted all the same.
    tombstone = admin.told("GET", f"/customers/{profile}")
    assert tombstone["erased"] is True
    (stored,) = world.rows("SELECT erased_at FROM profile WHERE id = :p", p=profile)
    assert datetime.fromisoformat(tombstone["erased_at"]) == stored.erased_at
    page = web.desk("support").get(f"/customers/{profile}").text
    assert "This customer was erased on" in page
    assert "nothing that names" in page
    assert len(world.rows("SELECT 1 FROM admin_log WHERE action = 'erase' AND object_id = :p", p=str(profile))) == 1
    answered(admin.call("POST", "/customers/999999/erase"), 404)


def naming(world: World, profile: int) -> set[str]:
    """The tables in which some column for a profile's number holds this one."""
    columns = world.rows(
        "SELECT c.table_name, c.column_name"
        " FROM information_schema.columns c JOIN pg_class t ON t.relname = c.table_name"
        " WHERE c.table_schema = 'public' AND t.relkind IN ('r', 'p')"
        " AND (c.column_name LIKE '%profile%' OR c.column_name IN ('one_id', 'other_id'))"
        " AND c.data_type IN ('bigint', 'integer') AND NOT t.relispartition"
    )
    assert len(columns) > 10
    return {
        one.table_name
        for one in columns
        if world.rows(f'SELECT 1 FROM "{one.table_name}" WHERE "{one.column_name}" = :p LIMIT 1', p=profile)
    }


@pytest.mark.feature("SU-13")
def test_it_keeps_what_an_erased_person_came_to_in_each_group(web: Web) -> None:
    shop, program = web.shop, web.program("manager")
    campaign = mailed(web, 12, content_holdout=0.5)
    program.told("PUT", f"/campaigns/{campaign}/goal", {"metric": "orders", "window_days": 7})
    program.told("PUT", f"/campaigns/{campaign}/goal", {"metric": "revenue", "window_days": 3})
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    shop.clock.advance(timedelta(days=1))
    for number in range(12):
        shop.send(shop.order(f"g{number}", "shoes", shop.now - timedelta(days=9 * number + 2)))
        shop.send(bought(web, f"g{number}", 100 + number, products=[line(cost=90 + number)], discount=number))
        if number % 3 == 0:
            shop.send(told(f"g{number}", "Order Refunded", order_id=f"of-g{number}"))
            shop.send(told(f"g{number}", "Complaint Opened", complaint_id=f"c{number}"))

    def figures() -> Any:
        with shop.sessions.begin() as session:
            earned = profit.profit(session, campaign, shop.now)
            assert earned is not None
            return [(one.groups, one.arms) for one in goals.outcomes(session, campaign, shop.now)], earned.groups

    before = figures()
    assert any(group.returns and group.service for group in before[1])
    admin = web.program("admin")
    for number in range(0, 12, 2):
        admin.told("POST", f"/customers/{shop.profile(f'g{number}')}/erase")
        assert figures() == before
    (left,) = [
        row
        for row in program.told("GET", f"/campaigns/{campaign}/success")["definitions"]
        if row["goal"]["version"] == 1
    ]
    assert sum(group["orders"] for group in left["groups"]) == 12


def test_it_gives_no_key_to_the_erased_nor_to_who_never_was(shop: Shop) -> None:
    ann, bob = shop.people("ann", "bob")
    assert erase(shop.intake, ann, shop.now)
    with shop.sessions.begin() as session:
        assert subjects.subject_keys(session, [ann, bob, 999_999], shop.settings.subject_key, shop.now).keys() == {bob}
