"""Where a manager and support look when mails do not leave: the reason stands there in the mail server's words."""

from __future__ import annotations

import csv
import re
from datetime import timedelta

import pytest
from sqlalchemy import update

from base.ids import TEST_BIT
from campaigns import audience, deliveries, leftaside, segments, transitions, troubles
from campaigns.deliveries import RELAY_AWAY
from campaigns.models import Campaign, Delivery
from campaigns.troubles import PATIENCE
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.test_pages import Form
from tests.campaigns.web import Web

WORDS = "550 5.7.1 we do not relay <b>you</b>"
SHOWN = "550 5.7.1 we do not relay &lt;b&gt;you&lt;/b&gt;"


@pytest.fixture
def campaign(web: Web) -> int:
    """A campaign that is sending, and its two mails are put off."""
    return put_off(web.shop, "ann", "bob")


def put_off(shop: Shop, *names: str) -> int:
    """A campaign to these people that is sending, all of whose mails are put off."""
    shop.people(*names)
    number = shop.campaign()
    shop.schedule(number)
    with shop.sessions.begin() as session:
        audience.freeze(session, number, 1, shop.now, shop.settings.hash_key)
        transitions.begin(session, number, shop.now)
        session.execute(
            update(Delivery).values(
                state="deferred", reason=RELAY_AWAY, reply=WORDS, not_before=shop.now + timedelta(seconds=30)
            )
        )
    return number


def test_it_shows_the_relays_words_on_the_progress_the_ledger_the_timeline_and_by_api(web: Web, campaign: int) -> None:
    shop = web.shop
    manager, support = web.desk("manager"), web.desk("support")
    for path in (f"/campaigns/{campaign}/progress", f"/campaigns/{campaign}/schedule"):
        page = manager.get(path).text
        assert "2 mails put off: our mail server could not be reached" in page
        assert SHOWN in page
    assert SHOWN in support.get(f"/campaigns/{campaign}/ledger").text
    assert SHOWN in support.get(f"/customers/{shop.profile('ann')}").text
    assert WORDS in manager.get(f"/campaigns/{campaign}/ledger.csv").text
    found = web.program("manager").told("GET", f"/campaigns/{campaign}/deliveries")
    assert {row["reply"] for row in found["deliveries"]} == {WORDS}


def test_what_failed_here_is_said_to_be_not_sent_and_not_refused_wherever_it_is_told(web: Web, campaign: int) -> None:
    shop, manager = web.shop, web.desk("manager")
    reasons = {"ann": deliveries.ADDRESS_DAMAGED, "bob": f"{deliveries.NOT_BUILT}: TypeError"}
    failed = update(Delivery).values(state="failed", reply=None, not_before=None, settled_at=shop.now)
    with shop.sessions.begin() as session:
        for name, reason in reasons.items():
            session.execute(failed.where(Delivery.profile_id == shop.profile(name)).values(reason=reason))

    def told() -> tuple[dict[str, str], str]:
        """The lines of the progress, and what of the last day's mails home says."""
        page = manager.get(f"/campaigns/{campaign}/progress").text
        lines = dict(re.findall(r"<dt[^>]*>(?:<a[^>]*>)?([^<]+)(?:</a>)?</dt><dd[^>]*>([^<]+)", page))
        (home,) = re.findall(r"accepted by the mail server; ([^<]+?)\s*<", manager.get("/").text)
        handed = re.search(r"\d+ of \d+ handed over", page)
        return lines | {"handed": handed[0] if handed else ""}, home

    lines, home = told()
    assert lines == {
        "Accepted by the mail server": "0", "Not sent, failed here": "2", "The audience": "2",
        "handed": "0 of 0 handed over",
    }  # fmt: skip
    assert home == "0 refused; 2 not sent, failed here"
    for state in ("", "?state=failed"):
        page = manager.get(f"/campaigns/{campaign}/ledger{state}").text
        assert page.count('<td data-label="What became of it">Not sent</td>') == 2
        assert "Refused" not in page
    for reason in reasons.values():
        assert f"Not sent: {reason}</span>" in page
    for name, reason in reasons.items():
        assert f"not sent: {reason}" in web.desk("support").get(f"/customers/{shop.profile(name)}").text
    found = web.program("manager").told("GET", "/overview")
    assert (found["failed_day"], found["unsent_day"]) == (2, 2)

    with shop.sessions.begin() as session:
        session.execute(failed.where(Delivery.profile_id == shop.profile("bob")).values(reason="refused"))
    lines, home = told()
    assert lines == {
        "Accepted by the mail server": "0", "Refused": "1", "Not sent, failed here": "1", "The audience": "2",
        "handed": "1 of 1 handed over",
    }  # fmt: skip
    assert home == "1 refused; 1 not sent, failed here"
    assert (
        "Refused by the mail server: refused</span>" in manager.get(f"/campaigns/{campaign}/ledger?state=failed").text
    )


def test_each_number_of_failed_mails_leads_to_exactly_its_rows_and_sends_those_again(web: Web) -> None:
    shop, manager, program = web.shop, web.desk("manager"), web.program("manager")
    reasons = {
        "ann": "refused", "bob": deliveries.ADDRESS_DAMAGED, "cleo": f"{deliveries.NOT_BUILT}: TypeError",
        "dora": "gave up after 8 tries", "emil": deliveries.UNSIGNABLE,
    }  # fmt: skip
    unsent, campaign = {"bob", "cleo", "emil"}, put_off(shop, *reasons)
    failed = update(Delivery).values(state="failed", reply=None, not_before=None, settled_at=shop.now)
    with shop.sessions.begin() as session:
        for name, reason in reasons.items():
            session.execute(failed.where(Delivery.profile_id == shop.profile(name)).values(reason=reason))
        session.get_one(Campaign, campaign).state = "finished"

    def listed(part: str) -> tuple[int, list[str], str]:
        """What the progress says of a part, the people whom its link lists, and what its button would do."""
        found = re.search(rf'href="([^"]*state={part})">[^<]*</a></dt><dd[^>]*>(\d+)', progress)
        assert found, part
        page = manager.get(found[1]).text
        assert f'nav-link active" href="{found[1]}' in page
        people = [int(number) for number in re.findall(r'data-label="Customer">Customer (\d+)', page)]
        (button,) = re.findall(r"Send to [^<]* again", page)
        return int(found[2]), sorted(known[profile] for profile in people), button

    known = {shop.profile(name): name for name in reasons}
    progress = manager.get(f"/campaigns/{campaign}/progress").text
    assert listed("refused") == (2, ["ann", "dora"], "Send to these 2 again")
    assert listed("unsent") == (3, sorted(unsent), "Send to these 3 again")
    for part, there in (("refused", {"ann", "dora"}), ("unsent", unsent), ("failed", set(reasons))):
        told = program.told("GET", f"/campaigns/{campaign}/deliveries?state={part}")
        assert {known[one["profile"]] for one in told["deliveries"]} == there, part
        assert (told["account"]["failed"], told["unsent"]) == (5, 3)
        lines = csv.DictReader(manager.get(f"/campaigns/{campaign}/ledger.csv?state={part}").text.splitlines())
        mine = [(known[int(line["profile"])], line["unsent"]) for line in lines]
        assert dict(mine) == {name: "true" if name in unsent else "false" for name in there}, part
        assert [one["unsent"] for one in told["deliveries"]] == [answer == "true" for _, answer in mine]

    page = manager.get(f"/campaigns/{campaign}/ledger?state=unsent").text
    assert manager.post(f"/campaigns/{campaign}/ledger", **Form(page).fields).status_code == 302
    assert {known[one.profile_id]: one.state for one in shop.ledger(campaign)} == {
        name: "queued" if name in unsent else "failed" for name in reasons
    }
    assert program.told("POST", f"/campaigns/{campaign}/send-again", {"state": "unsent"})["mails"] == 0
    assert program.told("POST", f"/campaigns/{campaign}/send-again", {"state": "refused"})["mails"] == 2


def test_it_says_how_many_mails_wait_for_a_sender_that_stopped_and_until_when(web: Web, campaign: int) -> None:
    shop, manager = web.shop, web.desk("manager")
    with shop.sessions.begin() as session:
        session.execute(update(Delivery).values(state="queued", reason=None, not_before=None))
        ids = [row.id for row in shop.ledger(campaign)]
        (first, _) = deliveries.claim(session, ids, "stopped", shop.now)
        deliveries.hand_over(session, [first], "stopped", shop.now)
    path = f"/campaigns/{campaign}/progress"
    assert "sender that stopped" not in manager.get(path).text
    shop.clock.advance(timedelta(seconds=50))
    page = manager.get(path).text
    assert "2 mails wait for a sender that stopped; next try at 2 Mar 2026, 12:01:30." in page
    assert "1 mail of them may have left already" in page


def test_it_says_on_every_page_of_the_campaign_and_on_the_first_what_the_relay_refuses(web: Web, campaign: int) -> None:
    shop, manager = web.shop, web.desk("manager")
    with shop.sessions.begin() as session:
        troubles.note(session, campaign, WORDS, shop.now)
    for path in ("/", f"/campaigns/{campaign}/audience", f"/campaigns/{campaign}/schedule"):
        assert SHOWN in manager.get(path).text, path
    told = web.program("manager")
    assert WORDS in told.told("GET", f"/campaigns/{campaign}")["trouble"]
    assert [one["id"] for one in told.told("GET", "/overview")["troubled"]] == [campaign]
    with shop.sessions.begin() as session:
        troubles.note(session, campaign, WORDS, shop.now + PATIENCE)
    assert shop.state(campaign) == "paused"
    assert "That is why it was paused" in manager.get(f"/campaigns/{campaign}/schedule").text
    with shop.sessions.begin() as session:
        transitions.resume(session, campaign, shop.now, MANAGER)
    assert SHOWN not in manager.get("/").text


def test_it_says_on_the_first_page_which_segment_is_left_aside_until_its_rule_is_another(web: Web) -> None:
    shop, manager, program = web.shop, web.desk("manager"), web.program("manager")
    with shop.sessions.begin() as session:
        number, unasked = (
            segments.create_segment(session, name, {"always": True}, shop.now, MANAGER).id for name in ("<b>", "Other")
        )
        for one in (number, unasked):
            leftaside.note(session, one, "it failed: OverflowError", shop.now)
    assert program.told("GET", "/overview")["aside"] == [], "no open asks for them"
    shop.offer(relevant={"segment": number})
    said = {"segment": number, "name": "<b>", "why": "it failed: OverflowError", "since": shop.now.isoformat()}
    assert program.told("GET", "/overview")["aside"] == [said]
    page = manager.get("/").text
    assert "The segment “&lt;b&gt;” is left aside, and opens go by who was in it before: it failed: Overflow" in page
    assert f'href="/segments/{number}"' in page
    shop.clock.advance(timedelta(minutes=1))
    with shop.sessions.begin() as session:
        segments.update_segment(session, number, "<b>", {"always": False}, shop.now, MANAGER)
    assert program.told("GET", "/overview")["aside"] == []
    assert "is left aside" not in manager.get("/").text


def test_it_counts_the_mails_of_the_last_day_and_no_tests(web: Web, campaign: int) -> None:
    shop = web.shop
    profile = shop.profile("ann")
    with shop.sessions.begin() as session:
        old = shop.now - timedelta(days=2)
        session.execute(update(Delivery).where(Delivery.profile_id == profile).values(state="accepted", settled_at=old))
        session.execute(
            update(Delivery)
            .where(Delivery.profile_id != profile)
            .values(state="accepted", settled_at=shop.now - timedelta(hours=1))
        )
        plan = session.get_one(Campaign, campaign).plan_hash
        for state, number in (("accepted", 1), ("failed", 2), ("unknown", 3)):
            session.add(
                Delivery(
                    campaign_id=campaign, occurrence=TEST_BIT + number, profile_id=profile, state=state,
                    plan_hash=plan, created_at=shop.now, settled_at=shop.now, test_address="tester@example.org",
                )
            )  # fmt: skip
    found = web.program("manager").told("GET", "/overview")
    assert (found["mails_day"], found["failed_day"], found["unsettled"]) == (1, 0, [])
