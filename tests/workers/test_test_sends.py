"""A test mail: live in every block as somebody real or made up, and it leaves no trace in what is counted."""

from __future__ import annotations

from typing import Any

import pytest

from base import keys
from base.queues import QueueName
from base.tokens import TokenKeys
from campaigns import audience, recipients, scenarios
from campaigns.campaigns import campaign
from campaigns.exploring import Changes
from campaigns.reports import report
from campaigns.scenarios import Expected, ScenarioIn
from campaigns.transitions import send_test
from render.agree import balance
from signals.rebuild import rebuild
from tests.campaigns.shop import MANAGER
from tests.promises.reader import Mail, read_mail
from tests.workers.opens import Opens
from workers import jobs

TESTER = "tester@example.com"


def counted(opens: Opens) -> dict[str, Any]:
    """All that caps, models and reports go by."""
    shop = opens.shop
    with shop.sessions.begin() as session:
        told = report(session, opens.campaign)
        audience_now = audience.count(session, opens.campaign, shop.now, shop.settings.hash_key)
    return {
        "report": told,
        "audience": audience_now,
        "live": opens.rows("SELECT count(*) AS n FROM decision WHERE lane = 'live'"),
        "outcomes": opens.rows("SELECT * FROM outcome"),
        "left": balance(shop.store, opens.discount),
        "used": shop.store.get(keys.used(shop.profile("ann"))),
    }


def sent_as(opens: Opens, *whom: int) -> list[Mail]:
    """Send tests as these people; their mails, in that order."""
    shop, before = opens.shop, len(opens.relay.mails)
    with shop.sessions.begin() as session:
        send_test(session, opens.campaign, whom, TESTER, shop.now, MANAGER)
    opens.scheduler.tick()
    jobs.work(QueueName.SEND, shop.queues, burst=True)
    sent = opens.relay.mails[before:]
    assert [to for to, _ in sent] == [TESTER] * len(whom)
    opens.read_mails()
    tokens = TokenKeys.from_settings(shop.settings)
    return sorted((read_mail(content, tokens) for _, content in sent), key=lambda mail: mail.token.profile)


@pytest.mark.feature("CM-22")
def test_it_sends_a_test_as_somebody_real_or_made_up_that_uses_teaches_and_counts_nothing(opens: Opens) -> None:
    mails = opens.send("ann", "ben", discount={"cap_total": 2})
    shop = opens.shop
    discount = opens.look(mails["ann"])
    opens.record()
    (shoes,) = (row.id for row in opens.rows("SELECT id FROM category WHERE slug = 'shoes'"))
    with shop.sessions.begin() as session:
        row = campaign(session, opens.campaign)
        expected = (Expected(slot=0, kind="thank-you"),)
        facts = Changes(bought=(shoes,))
        kept = scenarios.add(
            session, row, ScenarioIn(name="Bought shoes", changes=facts, expected=expected), shop.now, MANAGER
        )
        made_up = recipients.of_scenario(session, shop.intake, shop.blobs, row.id, kept.id, shop.now)
    before = counted(opens)
    ledger = opens.rows("SELECT count(*) AS n FROM delivery WHERE occurrence < :test", test=2**31)

    as_ann, as_nobody = sent_as(opens, shop.profile("ann"), made_up)
    assert opens.look(as_ann) == discount, "what the customer's own mail shows"
    assert opens.look(as_nobody)
    assert opens.look(as_nobody, 1)
    for mail in (as_ann, as_nobody):
        assert opens.get(mail.clicks[0]).status_code == 302
    opens.record()
    opens.following.idle()

    fetched = opens.rows('SELECT profile_id, fetch_class, lane, slot FROM "fetch" WHERE occurrence >= :t', t=2**31)
    assert {(row.fetch_class, row.lane) for row in fetched} == {("test", "test")}
    assert sorted((row.profile_id, row.slot) for row in fetched) == [
        (shop.profile("ann"), 0), (made_up, 0), (made_up, 1),
    ]  # fmt: skip
    decided = opens.rows("SELECT slots FROM decision WHERE lane = 'test' ORDER BY profile_id")
    assert [row.slots["0"] for row in decided] == [opens.discount, opens.thanks], "they have bought, ann has not"
    clicked = opens.rows("SELECT fetch_class, offer_id FROM click ORDER BY profile_id")
    assert [(row.fetch_class, row.offer_id) for row in clicked] == [("test", opens.discount), ("test", opens.thanks)]
    assert counted(opens) == before
    assert opens.rows("SELECT count(*) AS n FROM delivery WHERE occurrence < :test", test=2**31) == ledger

    # A rebuild of everybody leaves who was made up as they were made.
    state = shop.store.get(keys.state(made_up))
    rebuild(shop.intake, shop.now)
    assert state is not None
    assert shop.store.get(keys.state(made_up)) == state
