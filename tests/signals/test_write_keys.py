"""A write key that calls carry within: it is kept with none of them, and changes nothing of what they are."""

from __future__ import annotations

from typing import Any

import pytest

from signals.quarantine import replay
from signals.sources import Source, sender
from tests.signals.sending import NOW, Desk, call, viewed

KEY = "shop-secret_KEY-77"
SHAPES: tuple[tuple[str, bytes], ...] = (
    ("a call", b'{"type": "track", "writeKey": "%s", "userId": "u"}'),
    ("a call, its name spelt with escapes", b'{"type": "track", "write\\u004bey": "%s", "userId": "u"}'),
    ("a batch at the address of a call", b'{"batch": [{"type": "track", "writeKey": "%s"}], "writeKey": "%s"}'),
    ("a list of calls", b'[{"type": "track", "writeKey": "%s"}]'),
    ("JSON within a text", b'"{\\"type\\": \\"track\\", \\"writeKey\\": \\"%s\\"}"'),
    ("broken JSON", b'{"type": "track", "writeKey": "%s", "userId": }'),
    ("cut short", b'{"type": "track", "writeKey": "%s'),
    ("half a pair", b'{"type": "track", "event": "\\ud800", "writeKey": "%s", "userId": "u"}'),
    ("no UTF-8", b'{"type": "track", "event": "\xff", "writeKey": "%s", "userId": "u"}'),
    ("names without quotes", b"{type: 'track', writeKey: '%s'}"),
    ("a form", b"type=track&writeKey=%s&userId=u"),
    ("JSON in a form", b"data=%7B%22type%22%3A%22track%22%2C%22writeKey%22%3A%22%s%22%7D"),
    ("a form, all of it with escapes", b"type%3Dtrack%26write%5Fkey%3D%s%26userId%3Du"),
    ("a batch in a batch", b'{"batch": [{"batch": [{"type": "track", "writeKey": "%s"}]}]}'),
    ("a list in a list", b'[[{"type": "track", "writeKey": "%s"}]]'),
)


def bodies(desk: Desk, table: str) -> list[Any]:
    return [body for (body,) in desk.rows(f"SELECT body FROM {table} ORDER BY id")]


def test_what_is_stored_and_what_contradicts_it_hold_no_key(desk: Desk) -> None:
    told = viewed("Shoes", userId="u1", messageId="m1")
    assert desk.statuses(told | {"writeKey": KEY}, told | {"writeKey": KEY, "messageId": "m2"}) == ["accepted"] * 2
    assert desk.statuses(viewed("Hats", userId="u1", messageId="m1", writeKey=KEY)) == ["conflict"]

    kept = bodies(desk, "event") + bodies(desk, "event_conflict")
    assert [one["messageId"] for one in kept] == ["m1", "m2", "m1"]
    assert all("writeKey" not in one for one in kept)
    assert kept[0] == told


@pytest.mark.parametrize(("name", "body"), SHAPES, ids=[name for name, _ in SHAPES])
def test_what_is_refused_is_set_aside_without_its_key(desk: Desk, name: str, body: bytes) -> None:
    assert desk.statuses(body.replace(b"%s", KEY.encode())) == ["rejected"], name

    (kept,) = bodies(desk, "rejected_event")
    assert "track" in str(kept)
    assert KEY not in str(kept)


def test_a_call_is_the_same_with_its_key_without_it_and_as_it_was_stored_before(desk: Desk) -> None:
    named, bare = viewed("Shoes", userId="u1"), viewed("Hats", userId="u1")
    del bare["messageId"]
    for told in (named, bare):
        assert desk.statuses(told | {"writeKey": KEY}, told, told | {"writeKey": "other"}) == [
            "accepted", "duplicate", "duplicate",
        ]  # fmt: skip
    for told in (viewed("Coats", userId="u1"), bare | {"timestamp": "2026-03-01T11:00:00.000Z"}):
        assert desk.statuses(told, told | {"writeKey": KEY}) == ["accepted", "duplicate"]


def test_what_was_refused_with_a_key_is_taken_again_and_is_then_a_repeat(desk: Desk) -> None:
    told = call("identify", userId="u1", anonymousId="a1", traits={"city": "Bonn"}, writeKey=KEY)
    assert desk.statuses(told, via=desk.browser) == ["rejected"]
    desk.run("UPDATE source SET kind = 'server' WHERE name = 'site'")
    ((number,),) = desk.rows("SELECT id FROM rejected_event")

    assert replay(desk.intake, number, NOW) == "accepted"
    (kept,) = bodies(desk, "event")
    assert KEY not in str(kept)
    assert desk.statuses(told, via=desk.source("again", "server")) == ["accepted"]
    with desk.sessions.begin() as session:
        site = sender(session.get_one(Source, desk.browser.id))
    assert desk.statuses(told, via=site) == ["duplicate"]
