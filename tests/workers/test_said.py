"""What people say to the offer of a call, after it was recorded: credited, restored, and no click."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

from base import keys
from base.tokens import TokenKeys
from campaigns.reports import report
from render.access import KeyFacts, encode_key
from render.contact import mint_profile
from render.facts import decode_used
from signals import journal
from tests.workers.opens import Opens
from workers import outcomes
from workers.repair import Repairs


def say(opens: Opens, person: int, request: str, **said: Any) -> Any:
    """A call about the campaign's hero: the decision, or with `said` what the person said to it."""
    opens.shop.store.set(keys.api_key("desk"), encode_key(KeyFacts("server", hashlib.sha256(b"secret").digest())))
    contact = {
        "campaign": opens.campaign,
        "channel": "call",
        "placement": "hero",
        "profile": mint_profile(TokenKeys.from_settings(opens.shop.settings), person),
        "request": request,
    }
    path = "/v1/outcome" if said else "/v1/decide"
    answer = opens.client.post(path, json=contact | said, headers={"Authorization": "Bearer desk.secret"})
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def test_it_credits_and_restores_what_was_said_in_calls_and_counts_no_click(opens: Opens) -> None:
    person = opens.send("ann", discount={"cap_person": 5, "group_name": "shoes"})["ann"].token.profile
    shop = opens.shop
    for request, outcome in (("call-1", "taken"), ("call-2", "refused")):
        decided = say(opens, person, request)
        assert decided["slots"][0]["offer"] == opens.discount
        shop.clock.advance(timedelta(minutes=1))
        assert say(opens, person, request, slot=0, outcome=outcome)["decision"] == decided["decision"]
        shop.clock.advance(timedelta(minutes=1))
    opens.record()

    told = opens.rows("SELECT c.id, c.outcome, c.offer_id, c.decision_id, d.contact FROM click c JOIN decision d ON"
                      " d.id = c.decision_id AND d.at = c.decision_at ORDER BY c.at")  # fmt: skip
    assert [(row.outcome, row.contact) for row in told] == [
        ("taken", "call/hero/call-1"), ("refused", "call/hero/call-2"),
    ]  # fmt: skip
    with shop.sessions.begin() as session:
        assert report(session, opens.campaign).clicks == 0

    # The order that follows is the taken offer's, though another call came after it.
    shop.send(shop.order("ann", "shoes", shop.now))
    with shop.sessions.begin() as session:
        outcomes.credit(session, shop.intake.categories, journal.newest(session), shop.now)
    (credited,) = opens.rows("SELECT decision_id, click_id, offer_id FROM outcome")
    assert (credited.decision_id, credited.click_id) == (told[0].decision_id, told[0].id)

    before: Any = shop.store.get(keys.used(person))
    answers = decode_used(before).answers[opens.discount]
    assert (len(answers.taken), len(answers.refused)) == (1, 1)
    shop.store.delete(keys.used(person))
    Repairs(shop.sessions, shop.store, shop.blobs, shop.intake, shop.settings.subject_key).restore_person(person)
    assert shop.store.get(keys.used(person)) == before
