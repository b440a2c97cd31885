"""Who was sent a campaign and who was not, both lists whole; and the mail again for those whose mail failed."""

from __future__ import annotations

import csv
import random
from collections import Counter
from html import escape
from typing import Any
from urllib.parse import quote_plus

import pytest
from alembic import command
from sqlalchemy import text, update

from base.errors import Conflict
from campaigns import accounting, settling, transitions
from campaigns.erasure import erase_person
from campaigns.models import Delivery
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Program, Web
from tests.workers.relay import Relay
from workers import migration
from workers.schedule import Scheduler
from workers.sending import Sender

FULL = "552 5.2.2 mailbox full"


def whole(program: Program, campaign: int, state: str) -> list[dict[str, Any]]:
    """A list of the ledger, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["id"] if found else 0
        page = program.told("GET", f"/campaigns/{campaign}/deliveries?state={state}&limit=50&after={after}")
        if not page["deliveries"]:
            return found
        found += page["deliveries"]


@pytest.mark.feature("CM-17", "SU-07")
def test_it_sends_again_to_exactly_those_whose_mail_failed(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    names = [f"p{number:03d}" for number in range(120)]
    shop.people(*names)
    shop.people("deaf", "mute", consent=False)
    shop.send(shop.consent("deaf", False), shop.consent("mute", False))
    failing = set(random.Random(37).sample(names, 37))
    relay.at_rcpt = lambda recipient: FULL if recipient.partition("@")[0] in failing else ""
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ids = [row.id for row in shop.ledger(campaign)]
    for start in range(0, len(ids), 50):
        sender.send(ids[start : start + 50])
    scheduler.tick()
    assert shop.state(campaign) == "finished"
    web, known = Web(shop), {profile: name for name, profile in shop.known().items()}
    program, manager = web.program("manager"), web.desk("manager")

    def listed(state: str) -> list[str]:
        return [known[row["profile"]] for row in whole(program, campaign, state)]

    assert sorted(listed("failed")) == sorted(failing)
    sent, not_sent = listed("accepted"), listed("not_sent")
    assert sorted(sent) == sorted(set(names) - failing)
    assert sorted(not_sent) == sorted(failing | {"deaf", "mute"})
    told = program.told("GET", f"/campaigns/{campaign}/deliveries")
    assert sum(told["account"].values()) == len(sent) + len(not_sent) == 122
    assert told["reasons"] == {"failed": {"refused": 37}, "skipped": {"unsubscribed": 2}}
    page = manager.get(f"/campaigns/{campaign}/ledger?state=failed").text
    assert "Send to these 37 again" in page
    assert FULL in page
    lines = manager.get(f"/campaigns/{campaign}/ledger.csv?state=not_sent").text.splitlines()
    assert Counter(line["state"] for line in csv.DictReader(lines)) == {"failed": 37, "skipped": 2}

    relay.at_rcpt = lambda _recipient: ""
    assert manager.post(f"/campaigns/{campaign}/ledger").status_code == 302
    assert shop.state(campaign) == "sending"
    assert program.told("POST", f"/campaigns/{campaign}/send-again", {})["mails"] == 0, "none failed any more"
    before = len(relay.mails)
    sender.send(ids)
    scheduler.tick()
    assert len(relay.mails) - before == 37
    assert relay.received() == Counter(f"{name}@example.com" for name in names)
    assert shop.state(campaign) == "finished"
    assert (len(listed("accepted")), len(listed("not_sent"))) == (120, 2)
    with shop.sessions.begin() as session:
        again = next(row.id for row in shop.ledger(campaign) if known[row.profile_id] in failing)
        (kept,) = settling.retries(session, again)
    assert (kept.reason, kept.reply, kept.attempts, kept.by) == ("refused", FULL, 1, "user")
    web.close()


@pytest.mark.feature("CM-17")
def test_each_number_of_the_ledger_leads_to_exactly_its_mails(shop: Shop, scheduler: Scheduler) -> None:
    shop.people(*(f"p{number}" for number in range(9)))
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    ids = [row.id for row in shop.ledger(campaign)]
    with shop.sessions.begin() as session:
        for some, state, reason in (
            (ids[:3], "queued", "relay unreachable"), (ids[5:7], "failed", "refused"), (ids[7:], "failed", None),
        ):  # fmt: skip
            change = update(Delivery).where(Delivery.id.in_(some)).values(state=state, reason=reason)
            session.execute(change)
    web = Web(shop)
    desk, program = web.desk("manager"), web.program("manager")
    page = f"/campaigns/{campaign}/ledger"
    for state, numbers in (("queued", {"": 2, "relay unreachable": 3}), ("failed", {"": 2, "refused": 2})):
        whole = desk.get(f"{page}?state={state}").text
        for reason, number in numbers.items():
            query = f"state={state}&reason={quote_plus(reason)}"
            assert f'href="{escape(f"{page}?{query}")}"' in whole
            listed = desk.get(f"{page}?{query}").text
            assert listed.count('data-label="Customer"') == number
            assert len(desk.get(f"{page}.csv?{query}").text.splitlines()) == 1 + number
            assert len(program.told("GET", f"/campaigns/{campaign}/deliveries?{query}")["deliveries"]) == number
            assert ("Send to these 2 again" in listed) == (state == "failed")
        assert len(program.told("GET", f"/campaigns/{campaign}/deliveries?state={state}")["deliveries"]) == sum(
            numbers.values()
        )
    assert desk.post(page, state="failed", reason="").status_code == 302
    states = {row.id: row.state for row in shop.ledger(campaign)}
    assert [states[number] for number in ids[5:]] == ["failed", "failed", "queued", "queued"]
    web.close()


def test_it_sends_again_a_bounded_number_at_a_time(
    shop: Shop, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "MAX_AGAIN", 2)
    shop.people("ann", "bob", "cleo")
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE delivery SET state = 'failed', reason = 'refused'"))
    for left in (2, 1, 0):
        with shop.sessions.begin() as session:
            assert settling.send_again(session, campaign, shop.now, MANAGER) == left


def test_it_sends_again_of_one_reason_and_never_what_was_or_may_have_been_taken(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob", "cleo", "dora")
    campaign = shop.campaign()
    with shop.sessions.begin() as session, pytest.raises(Conflict, match="is draft"):
        settling.send_again(session, campaign, shop.now, MANAGER)
    relay.at_rcpt = lambda name: FULL if name.startswith(("bob", "cleo")) else ""
    relay.at_dot = lambda name: "drop" if name.startswith("dora") else ""
    shop.schedule(campaign)
    scheduler.tick()
    ids = [row.id for row in shop.ledger(campaign)]
    sender.send(ids)
    with shop.sessions.begin() as session:
        other = accounting.listing(session, campaign, state="failed")[0]
        other.reason = "gave up after 8 tries"
    with shop.sessions.begin() as session:
        assert settling.send_again(session, campaign, shop.now, MANAGER, reason="refused") == 1
        transitions.pause(session, campaign, shop.now, MANAGER)
    sender.send(ids)
    with shop.sessions.begin() as session:
        assert settling.send_again(session, campaign, shop.now, MANAGER) == 1
        account = accounting.account(session, campaign)
        assert {state: n for state, n in account.items() if n} == {"accepted": 1, "queued": 2, "unknown": 1}
    assert shop.state(campaign) == "paused"
    assert len(relay.mails) == 2
    with shop.sessions.begin() as session:
        transitions.cancel(session, campaign, shop.now, MANAGER)
    with shop.sessions.begin() as session, pytest.raises(Conflict, match="is cancelled"):
        settling.send_again(session, campaign, shop.now, MANAGER)


@pytest.mark.feature("SU-13")
def test_it_keeps_no_words_of_an_earlier_try_of_whoever_was_erased(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob", "cleo")
    words = "552 5.2.2 mailbox of Ms Quillfeather is full"
    relay.at_rcpt = lambda name: "" if name.startswith("cleo") else words
    relay.at_dot = lambda name: "drop" if name.startswith("cleo") else ""
    campaign = shop.campaign()
    shop.schedule(campaign)
    scheduler.tick()
    sender.send([row.id for row in shop.ledger(campaign)])
    by_profile = {row.profile_id: row.id for row in shop.ledger(campaign)}
    ann, bob, cleo = (by_profile[shop.profile(name)] for name in ("ann", "bob", "cleo"))
    with shop.sessions.begin() as session:
        assert settling.send_again(session, campaign, shop.now, MANAGER) == 2
        settling.resolve(session, cleo, "queued", shop.now, MANAGER)
        # A server that breaks off says nothing: these are the words of one that does.
        session.execute(text("UPDATE delivery_retry SET reply = :words WHERE delivery_id = :id"),
                        {"words": words, "id": cleo})  # fmt: skip
    told = {}
    for erased in ("", "ann", "cleo"):
        if erased:
            erase_person(shop.intake, shop.blobs, shop.profile(erased), shop.now, MANAGER)
        with shop.sessions.begin() as session:
            told[erased] = [one.reply for row in (ann, bob, cleo) for one in settling.retries(session, row)]
    assert told == {"": [words] * 3, "ann": [None, words, words], "cleo": [None, words, None]}

    # Its upgrade does so for those who were erased before.
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE delivery_retry SET reply = :words"), {"words": words})
        session.execute(text("UPDATE delivery SET reply = :words, address_hash = int4send(id::int)"), {"words": words})
    config = migration._config(shop.settings.database_url)
    command.downgrade(config, "0061")
    command.upgrade(config, "head")
    kept = {row.id: (row.reply, row.address_hash is not None) for row in shop.ledger(campaign)}
    assert kept == {ann: (None, False), bob: (words, True), cleo: (None, False)}
    with shop.sessions.begin() as session:
        assert [one.reply for row in (ann, bob, cleo) for one in settling.retries(session, row)] == [None, words, None]
