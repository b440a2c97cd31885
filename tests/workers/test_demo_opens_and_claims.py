"""The story's claims."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from tests.campaigns.shop import Shop
from workers.demo import proof
from workers.demo.claims import ClaimFailed, Claims

MAILED = """
    INSERT INTO delivery (campaign_id, occurrence, profile_id, state, holdout, created_at)
    VALUES (:campaign, 1, :profile, 'accepted', 'none', :at)
"""
DECIDED = """
    INSERT INTO decision (id, at, profile_id, campaign_id, occurrence, lane, open_number, plan_hash, seed, rung, lost,
                          slots, public, public_sha256)
    VALUES (:id, :at, :profile, :campaign, 1, 'live', 1, '', '1', :rung, false, CAST(:slots AS jsonb), :public, '')
"""
FETCHED = """
    INSERT INTO "fetch" (id, at, profile_id, campaign_id, occurrence, decision_id, decision_at, slot, kind, lane,
                       fetch_class, size, content_type, personal, rung, public, public_sha256, ms)
    VALUES ('f', :at, :profile, :campaign, 1, 'seen', :at, 0, 'picture', 'live', 'person', 1, 'image/jpeg', false,
            :drawn, '', '', 1)
"""
CLICKED = """
    INSERT INTO click (id, at, profile_id, campaign_id, occurrence, slot, fetch_class, decision_id, decision_at,
                       offer_id, unseen, unresolved, outcome, landing, public, public_sha256)
    SELECT :id, :at, :profile, :campaign, 1, 0, :fetch_class, CASE WHEN known THEN 'seen' END,
           CASE WHEN known THEN CAST(:at AS timestamptz) END, CASE WHEN known THEN CAST(:offer AS int) END,
           :outcome = 'unseen', :outcome = 'unresolved', :outcome, 'https://shop.example.com/', '', ''
    FROM (SELECT :outcome = 'redirect' AS known) AS it
"""
THANKS, AGAIN, DEFAULT = 1, 2, 3


def test_it_names_every_claim_that_failed_and_goes_on_checking() -> None:
    told: list[str] = []
    claims = Claims(told.append)
    assert claims.check("one holds", True, "1 of 1")
    assert not claims.check("two fails", False)
    assert not claims.check("three fails", False)
    with pytest.raises(ClaimFailed, match="two fails; three fails") as caught:
        claims.settle()
    assert caught.value.names == ["two fails", "three fails"]
    assert told[0] == "  ✓ one holds — 1 of 1"
    assert "NOT SO" in told[1]


def test_it_is_content_when_all_hold() -> None:
    claims = Claims(lambda line: None)
    claims.check("one holds", True)
    claims.settle()


def test_it_does_not_take_silence_for_success() -> None:
    with pytest.raises(ClaimFailed):
        Claims(lambda line: None).settle()


def test_it_refuses_to_make_a_claim_twice() -> None:
    claims = Claims(lambda line: None)
    claims.check("one", True)
    with pytest.raises(ValueError, match="before"):
        claims.check("one", False)


@pytest.mark.parametrize(
    ("opens", "holds", "words"),
    [
        ([("model", THANKS), ("default", DEFAULT)], True, "1 of 1 opens after buying (of 2); 1 more"),
        ([("model", THANKS), ("rules", AGAIN)], False, "1 of 2 opens after buying (of 2); 0 more"),
        ([("model", THANKS), ("rules", DEFAULT)], False, "1 of 2 opens after buying (of 2); 0 more"),
        ([("default", DEFAULT)], False, "0 of 0 opens after buying (of 1); 1 more"),
    ],
)
def test_it_speaks_of_thanks_where_something_could_be_decided(
    opens: list[tuple[str, int]], holds: bool, words: str, shop: Shop
) -> None:
    (ann,) = shop.people("ann")
    shop.send(*(shop.order("ann", "milk", shop.now - timedelta(hours=hours)) for hours in (480, 240, 1)))
    sent = {"sent_ms": int((shop.now - timedelta(hours=2)).timestamp() * 1000)}
    given: dict[str, Any] = {"campaign": shop.campaign(), "profile": ann, "at": shop.now + timedelta(minutes=1)}
    with shop.sessions.begin() as session:
        session.execute(text(MAILED), given)
        for number, (rung, offer) in enumerate(opens):
            decided = {"id": str(number), "rung": rung, "slots": json.dumps({"0": offer})}
            session.execute(text(DECIDED), given | decided | {"public": json.dumps(sent).encode()})
    told: list[str] = []
    claims = Claims(told.append)
    stage: Any = SimpleNamespace(sessions=shop.sessions)
    restock: Any = SimpleNamespace(campaign=given["campaign"], restock={AGAIN: "milk"}, thanks={THANKS: "milk"})
    proof._swapped(stage, restock, claims)
    assert ("✓" in told[0], words in told[0]) == (holds, True), told


@pytest.mark.parametrize(
    ("clicks", "drawn", "offer", "holds", "words"),
    [
        (["redirect", "unresolved"], "model", THANKS, True, "1 of 1 clicks, 0 without a sight before; 1 more led"),
        (["redirect", "unseen"], "model", THANKS, True, "1 of 2 clicks, 1 without a sight before; 0 more led"),
        (["redirect", "default"], "model", THANKS, False, "1 of 2 clicks, 0 without a sight before; 0 more led"),
        (["unresolved"], "model", THANKS, False, "0 of 0 clicks, 0 without a sight before; 1 more led"),
        # Where the picture came too late the default was seen, whatever had been decided.
        (["redirect"], "default", DEFAULT, True, "1 of 1 clicks, 0 without a sight before; 0 more led"),
        (["redirect"], "default", THANKS, False, "0 of 1 clicks, 0 without a sight before; 0 more led"),
    ],
)
def test_it_speaks_of_clicks_of_which_something_could_be_told(
    clicks: list[str], drawn: str, offer: int, holds: bool, words: str, shop: Shop
) -> None:
    (ann,) = shop.people("ann")
    given: dict[str, Any] = {"campaign": shop.campaign(), "profile": ann, "at": shop.now, "rung": "model"}
    given |= {"offer": offer, "fetch_class": "person", "drawn": drawn}
    with shop.sessions.begin() as session:
        seen = {"id": "seen", "slots": json.dumps({"0": THANKS}), "public": b"{}"}
        session.execute(text(DECIDED), given | seen)
        session.execute(text(FETCHED), given)
        for number, outcome in enumerate(clicks):
            session.execute(text(CLICKED), given | {"id": str(number), "outcome": outcome})
        session.execute(text(CLICKED), given | {"id": "scan", "outcome": "unseen", "fetch_class": "scanner"})
    told: list[str] = []
    answers = [SimpleNamespace(status=302, location="https://shop.example.com/")] * len(clicks)
    stage: Any = SimpleNamespace(sessions=shop.sessions, calendar=SimpleNamespace(story=shop.now))
    tally: Any = SimpleNamespace(clicks=answers)
    proof._clicks(stage, {"campaign": given["campaign"]}, tally, (DEFAULT,), Claims(told.append))
    assert ("✓" in told[0], words in told[0]) == (holds, True), told
