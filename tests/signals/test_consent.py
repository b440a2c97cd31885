"""Consent as facts with a history, said by servers and by ourselves; addresses that get no mail; erasure."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from base import keys
from base.errors import InvalidInput, NotFound
from signals import refusals
from signals.consent import consents, set_consent
from signals.erasure import erase
from signals.identity import address_hash
from signals.known import known_fields
from signals.rebuild import restore_states
from signals.suppression import changes, lift, suppress
from tests.opening import opened
from tests.signals.sending import NOW, Desk, call, identified, order, viewed


def granted(user: str, purpose: str, value: bool, time: str) -> dict[str, object]:
    """A Consent Changed."""
    properties = {"purpose": purpose, "granted": value, "wording": f"I {'agree' if value else 'object'}"}
    return call("track", event="Consent Changed", userId=user, properties=properties, timestamp=time)


def test_of_two_words_at_one_moment_one_holds_everywhere(desk: Desk) -> None:
    """The state, what is withheld, and the history go by one order, however they came in."""
    for user, first, second in (("u1", "b", "a"), ("u2", "a", "b")):
        no, yes = (granted(user, "tracking", said, "2026-02-01T00:00:00Z") for said in (False, True))
        desk.send(no | {"messageId": f"{user}-{first}"})
        desk.send(yes | {"messageId": f"{user}-{second}"})
    refuses, agrees = desk.root("user_id", "u1"), desk.root("user_id", "u2")
    assert [desk.state(one).consent for one in (refuses, agrees)] == [{"tracking": False}, {"tracking": True}]
    with desk.sessions.begin() as session:
        assert [consents(session, one)[0].granted for one in (refuses, agrees)] == [False, True]
        fields = known_fields(session, refuses, NOW)
    assert [one.value for one in fields if one.group == "consent"] == [False]
    desk.run("DELETE FROM profile_state")
    looks = [viewed("shoes", userId=user) for user in ("u1", "u2")]
    assert desk.statuses(*looks) == ["withheld", "accepted"]


def test_it_keeps_every_statement_of_consent_with_its_words_and_source(desk: Desk) -> None:
    desk.send(
        granted("u1", "email", True, "2026-02-01T00:00:00Z"),
        granted("u1", "email", False, "2026-02-03T00:00:00Z"),
        granted("u1", "profiling", True, "2026-02-02T00:00:00Z"),
    )
    desk.send(granted("u1", "email", True, "2026-02-02T06:00:00Z"))

    profile = desk.root("user_id", "u1")
    assert desk.state(profile).consent == {"email": False, "profiling": True}
    with desk.sessions.begin() as session:
        history = [(fact.purpose, fact.granted, fact.at.day, fact.wording) for fact in consents(session, profile)]
    assert history == [
        ("email", False, 3, "I object"),
        ("email", True, 2, "I agree"),
        ("profiling", True, 2, "I agree"),
        ("email", True, 1, "I agree"),
    ]


def test_it_takes_a_withdrawal_from_a_mail_at_once_and_once(desk: Desk) -> None:
    desk.send(granted("u1", "email", True, "2026-02-01T00:00:00Z"))
    profile = desk.root("user_id", "u1")
    for _ in range(2):
        assert set_consent(desk.intake, profile, "email", False, at=NOW, now=NOW, via="mail", message_id="u:1")

    assert desk.state(profile).consent == {"email": False}
    assert desk.rows("SELECT count(*) FROM consent") == [(2,)]
    assert desk.rebuilt().different == 0
    assert not set_consent(desk.intake, 999, "email", False, at=NOW, now=NOW, via="mail", message_id="u:2")
    with pytest.raises(InvalidInput, match="purpose"):
        set_consent(desk.intake, profile, "cake", False, at=NOW, now=NOW, via="mail", message_id="u:3")


def test_it_takes_a_withdrawal_for_a_profile_that_was_merged_away(desk: Desk) -> None:
    desk.send(viewed("Shoes", anonymousId="a1"))
    child = desk.root("anonymous_id", "a1")
    desk.send(identified("u1"), call("alias", userId="u1", previousId="a1"))
    set_consent(desk.intake, child, "email", False, at=NOW, now=NOW, via="mail", message_id="u:1")

    assert desk.state(desk.root("user_id", "u1")).consent == desk.state(child).consent == {"email": False}


def test_it_suppresses_an_address_without_keeping_it(desk: Desk) -> None:
    key = desk.intake.hash_key
    with desk.sessions.begin() as session:
        suppress(session, key, "Ann@example.com", "bounced", NOW)
        suppress(session, key, "ann@example.com", "complained", NOW)
    assert desk.is_suppressed("ANN@example.com")
    assert not desk.is_suppressed("bob@example.com")
    with desk.sessions.begin() as session:
        hashed = address_hash(key, "ann@example.com")
        with pytest.raises(InvalidInput, match="why"):
            lift(session, hashed, NOW, by="user 1", why="  ")
        assert lift(session, hashed, NOW, by="user 1", why="She moved back") == "bounced"
        with pytest.raises(NotFound):
            lift(session, hashed, NOW, by="user 1", why="Once more")
        told = [(one.listed, one.reason, one.via, one.by, one.evidence) for one in changes(session, [hashed])]
        assert told == [
            (False, "bounced", "person", "user 1", "She moved back"), (True, "bounced", "person", None, None),
        ]  # fmt: skip
    assert desk.rows("SELECT count(*) FROM suppression") == [(0,)]


def test_it_erases_a_person_and_leaves_a_tombstone_that_survives_everything(desk: Desk) -> None:
    desk.send(viewed("Shoes", anonymousId="a1"), identified("u1", email="ann@example.com", first_name="Annabel"))
    child = desk.root("anonymous_id", "a1")
    desk.send(call("alias", userId="u1", previousId="a1"), order("u1", "o1", ("p", "Shoes", 1.0)))
    profile = desk.root("user_id", "u1")
    desk.store.set(keys.shown(child, "1.1"), b"shown")
    desk.store.set(keys.used(profile), b"used")
    desk.send(order("u2", "o1", ("p", "Shoes", 1.0)))
    bystander = desk.root("user_id", "u2")
    for name, address in (("u1", "Ann@example.com"), ("u2", "bob@example.com")):
        wrong = {"order_id": "o9", "total": "dear"}
        desk.send(call("track", event="Order Completed", userId=name, properties=wrong, context={"email": address}))
    desk.send(
        call("track", event="Order Completed", properties={"order_id": "o9"}, context={"email": "ANN@example.com"})
    )
    assert desk.rows("SELECT count(*) FROM rejected_event") == [(3,)]

    assert erase(desk.intake, child, NOW)
    assert erase(desk.intake, profile, NOW)

    for member in (profile, child):
        assert _tombstoned(desk, member)
    assert not list(desk.store.scan_iter(match="*shown*"))
    assert not desk.store.exists(keys.used(profile))
    for table in ("event", "identifier", "trait_lineage", "profile_state"):
        assert "Annabel" not in str(desk.rows(f"SELECT * FROM {table}"))
        assert "ann@" not in str(desk.rows(f"SELECT * FROM {table}"))
    assert [body for (body,) in desk.rows("SELECT body FROM rejected_event") if "bob@" not in body] == []
    assert desk.rows("SELECT count(*) FROM rejected_event") == [(1,)]
    assert desk.state(bystander).orders == 1

    desk.store.flushdb()
    assert desk.rebuilt().different == 0
    assert _tombstoned(desk, child)
    desk.store.flushdb()
    assert restore_states(desk.intake, [child])
    assert _tombstoned(desk, child)
    assert not set_consent(desk.intake, profile, "email", True, at=NOW, now=NOW, via="mail", message_id="u:1")
    assert not erase(desk.intake, 999, NOW)


def test_it_knows_whom_a_refused_call_names(desk: Desk) -> None:
    named = {"phone": "+49 151 123-45-67", "loyaltyId": "loyal-1"}
    desk.send(identified("7", anonymous="traits", email="ann@example.com", **named))
    person = desk.root("user_id", "7")
    wrong = {"order_id": "o9", "total": "dear", "quantity": "7"}
    theirs: list[dict[str, Any]] = [
        {"anonymousId": "traits"}, {"userId": "7"}, {"context": {"traits": {"loyaltyId": "loyal-1"}}},
        {"context": {"note": "write to ANN@example.com."}}, {"context": {"note": "call 0151/1234567 or 2"}},
        {"context": {"traits": {"phone": "0049 (0)151 1234567"}}}, {"context": {"phone": 491511234567}},
        {"context": {"note": "\u00e9: ann\u0040example.com"}},
    ]  # fmt: skip
    others: list[dict[str, Any]] = [
        {"userId": "8", "context": {"traits": {"firstName": "Bo"}}}, {"userId": "77"}, {"anonymousId": "trait"},
        {"context": {"email": "joann@example.com"}}, {"context": {"email": "ann@example.com.au"}},
        {"context": {"phone": "+43 151 1234567"}}, {"context": {"phone": "1511234567890"}},
        {"context": {"a": "loyal-1"}},
    ]  # fmt: skip
    calls = [call("track", event="Order Completed", properties=wrong, **fields) for fields in (*theirs, *others)]
    bodies = [json.dumps(one).encode() for one in calls]
    cut = [b'{"anonymousId": "traits", "userId": "7", ', b'{"userId": "8", "note": "ann@example.com']
    assert set(desk.statuses(*bodies, *cut)) == {"rejected"}
    with desk.sessions.begin() as session:
        names = refusals.naming(session, [person])
        kept = {
            row.id: row.body for row in opened(session.execute(text("SELECT id, body FROM rejected_event ORDER BY id")))
        }
    assert [kept[name] for name in names] == [one.decode() for one in (*bodies[: len(theirs)], *cut)]
    assert erase(desk.intake, person, NOW)
    assert desk.rows("SELECT count(*) FROM rejected_event") == [(len(others),)]


def test_it_takes_a_person_who_comes_back_after_erasure_for_a_new_one(desk: Desk) -> None:
    desk.send(order("u1", "o1", ("p", "Shoes", 1.0)))
    erased = desk.root("user_id", "u1")
    erase(desk.intake, erased, NOW)
    desk.send(order("u1", "o2", ("p", "Shoes", 1.0)), now=NOW + timedelta(days=1))

    assert desk.root("user_id", "u1") != erased
    assert desk.state(desk.root("user_id", "u1")).orders == 1
    assert _tombstoned(desk, erased)


def _tombstoned(desk: Desk, profile: int) -> bool:
    return desk.read(profile).erased
