"""Consent withdrawn at a moment: from then on nothing purposeful happens at the intake, at the send or at an open."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from campaigns import customers, permissions
from signals.intake import take
from tests.workers.opens import Opens
from tests.workers.test_sending import due
from workers.sending import Sender


def told(opens: Opens, *calls: dict[str, Any]) -> list[str]:
    """What the intake says to these calls, each a little later than the one before."""
    shop = opens.shop
    bodies = []
    for number, call in enumerate(calls):
        shop.clock.advance(timedelta(seconds=1))
        bodies.append(msgspec.json.encode({"messageId": f"m-{number}", "timestamp": shop.now.isoformat()} | call))
    return [outcome.status for outcome in take(shop.intake, shop.source, bodies, shop.now)]


def viewed(name: str, **more: Any) -> dict[str, Any]:
    properties = {"product_id": "boots-1", "category": "Boots"}
    return {"type": "track", "userId": name, "event": "Product Viewed", "properties": properties} | more


def views(opens: Opens, profile: int) -> Any:
    with opens.shop.sessions.begin() as session:
        return (customers.document(session, profile) or {}).get("views")


def chosen(opens: Opens) -> list[tuple[int, int]]:
    """Who was shown which offer in the first place, in the order of the opens."""
    rows = opens.rows("SELECT profile_id, slots FROM decision ORDER BY at, id")
    return [(row.profile_id, row.slots["0"]) for row in rows]


@pytest.mark.feature("DE-29")
def test_it_does_nothing_purposeful_after_a_withdrawal_on_any_path(opens: Opens, sender: Sender) -> None:
    shop = opens.shop
    ann, bob = shop.people("ann", "bob")
    shop.send(*(shop.consent(name, True, "profiling") for name in ("ann", "bob")))
    mails = opens.send("ann", "bob", needs_consent=["profiling"])
    assert told(opens, viewed("ann")) == ["accepted"]
    seen = views(opens, ann)
    assert seen
    opens.look(mails["ann"])
    opens.record()
    assert chosen(opens) == [(ann, opens.discount)]
    frozen = due(shop, opens.scheduler, shop.campaign(needs_consent=["profiling"]))
    assert len(frozen) == 2

    shop.clock.advance(timedelta(hours=2))
    leave = mails["ann"].unsubscribe
    assert opens.get(leave).status_code == 200
    assert opens.record() == 0
    since = shop.now
    assert opens.client.post(leave, data={"choices": "1", "purpose": "profiling"}).status_code == 200
    assert opens.record() == 1

    # At the intake: what they do unasked is not kept; what a contract needs is.
    page = {"type": "page", "userId": "ann", "name": "Boots"}
    order = shop.order("ann", "Socks", shop.now)
    assert told(opens, viewed("ann", messageId="v-2"), page, order) == ["withheld", "withheld", "accepted"]
    assert views(opens, ann) == seen
    assert opens.rows("SELECT count(*) AS n FROM event WHERE message_id IN ('v-2', 'm-1')")[0].n == 0
    assert told(opens, viewed("bob", messageId="v-3")) == ["accepted"]
    # At the send: also of a run whose audience was fixed before.
    sender.send(frozen)
    states = {row.profile_id: (row.state, row.reason) for row in shop.ledger(opens.campaign + 1)}
    assert states == {ann: ("skipped", "no_consent_since"), bob: ("accepted", None)}
    # At the open of a mail that was in the mailbox before.
    opens.forget()
    opens.look(mails["ann"])
    opens.look(mails["bob"])
    opens.record()
    assert sorted(chosen(opens)[1:]) == [(ann, opens.default), (bob, opens.discount)]
    with shop.sessions.begin() as session:
        history = permissions.statements(session, ann)
    assert [(one.purpose, one.granted, one.via, one.at) for one in history][:1] == [("profiling", False, "page", since)]
    assert history[1].until in (None, since)


def test_it_goes_by_the_order_of_what_was_said_within_one_request(opens: Opens) -> None:
    shop = opens.shop
    shop.people("ann")
    refusal = shop.consent("ann", False, "tracking")
    first, last = viewed("ann", messageId="v-1"), viewed("ann", messageId="v-2")
    assert told(opens, first, refusal, last) == ["accepted", "accepted", "withheld"]
    agreed = shop.consent("ann", True, "tracking") | {"messageId": "c-2"}
    assert told(opens, agreed, viewed("ann", messageId="v-3")) == ["accepted", "withheld"]
    assert told(opens, viewed("ann", messageId="v-4")) == ["accepted"]


@pytest.mark.feature("EC-23")
def test_an_open_is_neutral_once_profiling_is_refused_though_the_campaign_needs_no_consent(opens: Opens) -> None:
    mails = opens.send("ann", "bob")
    ann, bob = (mails[name].token.profile for name in ("ann", "bob"))
    for refused in (False, True):
        if refused:
            form = {"choices": "1", "purpose": "profiling"}
            assert opens.client.post(mails["ann"].unsubscribe, data=form).status_code == 200
            assert opens.record() == 1
        opens.shop.clock.advance(timedelta(hours=2))
        opens.forget()
        for mail in mails.values():
            opens.look(mail)
        opens.record()
        shown = opens.default if refused else opens.discount
        assert sorted(chosen(opens)[-2:]) == [(ann, shown), (bob, opens.discount)]
