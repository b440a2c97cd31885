"""Events are the truth: what is derived can be dropped and made again, byte for byte; what is lost can be restored."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from base import keys
from base.errors import SettingError
from base.vault import VARIABLE, Vault, give, vault_of
from signals import folding, scores, sealingkeys
from signals.known import known_fields
from signals.livesegments import follow
from signals.membership import assign
from signals.profiles import STATE_ENCODED, TRAIT_VALUE
from signals.rebuild import restore_states
from signals.state import ProfileState, encode, issued
from tests.damage import flip
from tests.signals.sending import NOW, Desk, call, cancelled, identified, order, refunded, viewed

CATEGORIES = ("Shoes", "Hats", "Baby Gates", "Dog Food", "Socks")


def lives(people: int, seed: int) -> list[dict[str, Any]]:
    """Signals of many people over two months: orders, returns, views, traits, consent, merges."""
    chance = random.Random(seed)
    told: list[dict[str, Any]] = []
    for person in range(people):
        user = f"u{person}"
        told.append(
            identified(user, email=f"{user}@example.com", city=chance.choice(["Bonn", "Köln"]), age=20 + person)
        )
        for number in range(chance.randrange(12)):
            time = f"2026-0{chance.choice([1, 2])}-{chance.randrange(1, 28):02}T{chance.randrange(24):02}:00:00Z"
            lines = [
                (f"p{chance.randrange(9)}", chance.choice(CATEGORIES), chance.randrange(1, 90) / 4) for _ in range(3)
            ]
            told.append(order(user, f"{user}-{chance.randrange(10)}", *lines, time=time))
            if number % 4 == 0:
                told.append(refunded(user, f"{user}-{number}", lines[0][0], time=time))
            if number % 7 == 0:
                told.append(cancelled(user, f"{user}-{number}", time=time))
            told.append(viewed(chance.choice(CATEGORIES), anonymousId=f"a{person}", timestamp=time))
        told.append(
            call("track", event="Consent Changed", userId=user, properties={"purpose": "email", "granted": True})
        )
        if person % 3 == 0:
            told.append(call("alias", userId=user, previousId=f"a{person}"))
        if person % 10 == 9:
            told.append(call("alias", userId=user, previousId=f"u{person - 1}"))
    chance.shuffle(told)
    return told


@pytest.mark.feature("DE-32")
@pytest.mark.parametrize("at_once", [1, 30, folding.EVENTS_AT_ONCE])
def test_it_makes_everything_derived_again_with_the_same_bytes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("signals.folding.EVENTS_AT_ONCE", at_once)
    with desk.sessions.begin() as session:
        follow(session, {7: {"field": "orders.count", "op": ">=", "value": 3}})
    told = lives(40, seed=5)
    for start in range(0, len(told), 37):
        desk.send(*told[start : start + 37])
    scored = {desk.root("user_id", f"u{person}"): {"ltv": 12.5} for person in (0, 9, 27)}
    assert scores.assign(desk.intake, scored, NOW, 1, NOW) == 3
    before = desk.everything()
    assert len(before["valkey"]) > 60
    assert desk.rebuilt().different == 0
    assert desk.everything() == before
    roots = {desk.root("user_id", f"u{person}") for person in range(40)}
    frequent = {root for root in roots if desk.state(root).segments == (7,)}
    assert set() < frequent < roots

    desk.run("TRUNCATE profile_state, trait_lineage, consent")
    desk.run("UPDATE event SET folds = true, void = false, left_category_ids = NULL")
    desk.store.flushdb()
    report = desk.rebuilt()

    assert report.absent == len(before["valkey"])
    assert report.different == report.profiles
    assert desk.everything() == before


@pytest.mark.feature("DE-32")
def test_it_puts_right_what_is_derived_and_wrong(desk: Desk) -> None:
    numbered = order("u1", "numbered", ("p1", "Shoes", 80.0))
    desk.send(*lives(9, seed=3), numbered | {"properties": numbered["properties"] | {"order_number": "#7"}})
    before = desk.everything()
    desk.run("UPDATE trait_lineage SET name = name || '_once'")
    desk.run("UPDATE consent SET granted = NOT granted, purpose = 'sms'")
    desk.run("UPDATE event SET void = NOT void, left_category_ids = '{}', order_number = NULL WHERE order_id > ''")

    assert desk.rebuilt().different == 0
    assert desk.everything() == before
    assert desk.rows("SELECT order_id FROM event WHERE order_number = '#7'") == [("numbered",)]


def test_it_mends_a_state_that_was_lost_when_the_next_signal_comes(desk: Desk) -> None:
    desk.send(order("u1", "o1", ("p", "Shoes", 1.0)))
    desk.run("TRUNCATE profile_state")
    desk.send(order("u1", "o2", ("p", "Shoes", 1.0), time="2026-03-01T11:00:00Z"))

    assert desk.state(desk.root("user_id", "u1")).orders == 2


@pytest.mark.parametrize(
    "damaged",
    ["'\\x00'", "set_byte(encoded, 20, 255 - get_byte(encoded, 20))", "set_byte(encoded, 0, 200)", "sealed"],
    ids=["cut", "spoilt", "no key's number", "no state"],
)
def test_it_takes_a_state_that_cannot_be_read_for_lost(desk: Desk, damaged: str) -> None:
    desk.send(*lives(9, seed=3))
    before = desk.everything()
    first, last = desk.root("user_id", "u0"), desk.root("user_id", "u7")
    orders = desk.state(last).orders
    with desk.sessions.begin() as session:
        sealingkeys.note(session, NOW)
        sealed = vault_of(session).seal(b"no state", STATE_ENCODED.place)
        value = "CAST(:sealed AS bytea)" if damaged == "sealed" else damaged
        session.execute(
            text(f"UPDATE profile_state SET encoded = {value} WHERE profile_id IN (:first, :last) AND :sealed <> ''"),
            {"sealed": sealed, "first": first, "last": last},
        )

    assert restore_states(desk.intake, [first]) == 0
    desk.send(order("u7", "one more", ("p", "Shoes", 1.0), time="2026-03-01T23:00:00Z"))
    assert desk.state(last).orders == orders + 1
    assert desk.rebuilt().first == [first]
    after = desk.everything()
    assert [row for row in after["state"] if row[0] != last] == [row for row in before["state"] if row[0] != last]


@pytest.mark.parametrize("held", [b"no state" * 9, b"\xc0" * 40, b"\xcf\x00\x00\x00\x00\x00", b"", ["a list"]])
def test_a_state_takes_the_place_of_what_is_none_in_the_hot_store(desk: Desk, held: bytes | list[str]) -> None:
    desk.send(identified("u1"), identified("u2"))
    spoilt = keys.state(desk.root("user_id", "u1"))

    def spoil() -> None:
        desk.store.delete(spoilt)
        desk.store.rpush(spoilt, *held) if isinstance(held, list) else desk.store.set(spoilt, held)

    before = desk.everything()
    spoil()
    report = desk.rebuilt()
    assert (report.different, report.absent, report.ahead) == (0, 1, 0)
    assert desk.everything() == before
    spoil()
    desk.send(order("u1", "o1", ("p", "Shoes", 1.0)))
    assert desk.state(desk.root("user_id", "u1")).orders == 1


LATER = {
    "number": bytes.fromhex("cf63fc3591a0b1c2d392c2c3"),
    "array": bytes.fromhex("92c2cf6b30a1b2c3d4e5f6"),
    "tombstone": bytes.fromhex("9501cf6b30a1b2c3d4e5f600c3a178"),
    "cut": issued(10**6, encode(ProfileState(orders=20)))[:-1],
    "spoilt": issued(10**6, encode(ProfileState(traits={"city": "Bonn"})).replace(b"Bonn", b"Bo\xffn")),
}
"""What is no state and begins as a later one does."""


@pytest.mark.parametrize("held", LATER.values(), ids=LATER)
def test_a_rebuild_writes_over_what_is_no_state_however_it_begins(desk: Desk, held: bytes) -> None:
    desk.send(identified("u1"), identified("u2"))
    root = desk.root("user_id", "u1")
    before = desk.everything()
    desk.store.set(keys.state(root), held)
    desk.send(order("u1", "o1", ("p", "Shoes", 1.0)))
    assert desk.store.get(keys.state(root)) == held, "else this shows nothing"

    report = desk.rebuilt()
    assert (report.different, report.absent, report.ahead, report.erased) == (0, 1, 0, [])
    assert desk.state(root).orders == 1
    assert desk.rebuilt().absent == 0
    desk.send(order("u1", "o2", ("p", "Shoes", 1.0)))
    assert desk.state(root).orders == 2
    assert desk.everything()["valkey"][1:] == before["valkey"][1:]

    newer = desk.store.get(keys.state(root))
    assert desk.intake.publisher.set_back([(root, held, 1, encode(ProfileState()))]) == 0
    assert desk.store.get(keys.state(root)) == newer, "only what was seen is written over"


def test_it_names_the_profiles_that_come_out_different(desk: Desk) -> None:
    desk.send(order("u1", "o1", ("p", "Shoes", 1.0)), order("u2", "o1", ("p", "Shoes", 1.0)))
    spoilt, other = desk.root("user_id", "u1"), desk.root("user_id", "u2")
    desk.run(
        f"UPDATE profile_state SET encoded = (SELECT encoded FROM profile_state WHERE profile_id = {other})"
        f" WHERE profile_id = {spoilt}"
    )

    report = desk.rebuilt()
    assert (report.profiles, report.different, report.first) == (2, 1, [spoilt])
    assert desk.rebuilt().different == 0


def test_it_writes_only_what_is_stored_otherwise(desk: Desk) -> None:
    desk.send(*(identified(f"u{number}", vip=True, city="Bonn", age=40) for number in range(4)))
    before = desk.everything()
    rows = written(desk)
    assert desk.rebuilt().different == 0
    assert written(desk) == rows

    roots = [desk.root("user_id", f"u{number}") for number in range(4)]
    desk.run(f"UPDATE profile_state SET document = document - 'traits' WHERE profile_id = {roots[0]}")
    desk.run(f"UPDATE trait_lineage SET value = '\\x00' WHERE profile_id = {roots[1]} AND name = 'vip'")
    with desk.sessions.begin() as session:
        wrong = vault_of(session).seal(b"1", TRAIT_VALUE.place)  # To Python, true is 1.
        session.execute(
            text("UPDATE trait_lineage SET value = :wrong WHERE profile_id = :root AND name = 'vip'"),
            {"wrong": wrong, "root": roots[2]},
        )
    desk.run(
        "INSERT INTO trait_lineage SELECT profile_id, 'more', value, event_time, source_id, event_id FROM trait_lineage"
        f" WHERE profile_id = {roots[3]} AND name = 'vip'"
    )

    assert desk.rebuilt().different == 0
    assert desk.everything() == before
    assert {key for key, by in written(desk).items() if rows[key] != by} == {
        ("state", roots[0], ""), ("lineage", roots[1], "vip"), ("lineage", roots[2], "vip"),
    }  # fmt: skip


def written(desk: Desk) -> dict[tuple[str, int, str], str]:
    """The transaction that wrote each row of states and of origins."""
    with desk.sessions.begin() as session:
        found = session.execute(
            text(
                "SELECT 'state' AS kind, profile_id, '' AS name, CAST(xmin AS text) AS by FROM profile_state UNION ALL"
                " SELECT 'lineage', profile_id, name, CAST(xmin AS text) FROM trait_lineage"
            )
        )
        return {(row.kind, row.profile_id, row.name): row.by for row in found}


def test_it_restores_states_that_the_hot_store_lost_under_every_id(desk: Desk) -> None:
    desk.send(viewed("Shoes", anonymousId="a1"), identified("u1"))
    desk.send(call("alias", userId="u1", previousId="a1"), order("u2", "o1", ("p", "Shoes", 1.0)))
    before = desk.everything()["valkey"]
    assert len(before) == 3
    desk.store.flushdb()

    assert restore_states(desk.intake, [desk.root("user_id", "u1"), desk.root("user_id", "u2")]) == 3
    assert desk.everything()["valkey"] == before
    assert not restore_states(desk.intake, [999])


def test_it_sees_intents_where_the_evidence_agrees_and_none_where_it_conflicts(desk: Desk) -> None:
    desk.send(order("gate", "o1", ("p", "Baby Gates", 30.0)))
    desk.send(order("dog", "o1", ("p", "Baby Gates", 30.0)), order("dog", "o2", ("q", "Dog Food", 9.0)))

    assert desk.state(desk.root("user_id", "gate")).intent_top is None
    assert desk.state(desk.root("user_id", "dog")).intent_top == "puppy"


@pytest.mark.feature("DE-05")
def test_it_says_of_every_field_where_it_comes_from_and_how_old_it_is(desk: Desk) -> None:
    till = desk.source("till", "server")
    desk.feed({"id": "h1", "title": "Hat", "price": "5 EUR", "product_type": "Hats"})
    # What was told of the device before anybody was known there.
    sms = call("track", event="Consent Changed", anonymousId="a1", properties={"purpose": "sms", "granted": False})
    desk.send(sms | {"timestamp": "2026-01-31T12:00:00Z"})
    for day, pieces in ((5, 1), (12, 2), (19, 1)):
        bought = order("u1", f"o{day}", ("p", "Shoes", 10.0), time=f"2026-02-{day:02}T12:00:00Z")
        bought["properties"]["products"][0]["quantity"] = pieces
        desk.send(bought, via=till)
    desk.send(identified("u1", anonymous="a1", city="Bonn", time="2026-02-20T12:00:00Z"))
    desk.send(viewed("Hats", anonymousId="a1", timestamp="2026-02-28T12:00:00Z"), via=desk.browser)
    # Of what is told more than once the newest holds, whichever comes first.
    for day, seen, via in ((26, "Email Clicked", desk.server), (21, "Email Opened", till)):
        mail = call("track", event=seen, userId="u1", properties={"class": "person"})
        desk.send(mail | {"timestamp": f"2026-02-{day}T12:00:00Z"}, via=via)
    for day, granted, via in ((27, True, desk.server), (22, False, till)):
        said = call("track", event="Consent Changed", userId="u1", properties={"purpose": "email", "granted": granted})
        desk.send(said | {"timestamp": f"2026-02-{day}T12:00:00Z"}, via=via)
    desk.send(order("u1", "gate", ("g", "Baby Gates", 30.0), time="2026-03-01T12:00:00Z"), via=till)
    # Nor is a purchase any newer for being told again, nor what is made of it.
    desk.send(order("u1", "o19", ("p", "Shoes", 10.0), time="2026-02-23T12:00:00Z"))
    desk.send(order("u1", "gate", ("g", "Baby Gates", 30.0), time="2026-03-02T11:00:00Z"))

    desk.send(viewed("Shoes", anonymousId="a1", timestamp="2026-02-25T12:00:00Z"), via=desk.browser)
    late = call("track", event="Email Clicked", userId="u1", properties={"class": "person"})
    desk.send(late | {"timestamp": "2026-02-20T12:00:00Z"}, via=till)
    root = desk.root("user_id", "u1")
    scores.assign(desk.intake, {root: {"ltv": 12.5}}, NOW - timedelta(days=6), 1, NOW)

    with desk.sessions.begin() as session:
        fields = known_fields(session, root, NOW)
    found = {(field.group, field.name): (field.value, field.source, field.age) for field in fields}

    weekly = {"orders": 3, "cents": 4000, "interval_days": 7.0}
    assert found[("purchases", "shoes")] == (weekly, "till", timedelta(days=11))
    assert found[("browsing", "hats")] == ({"views": 1}, "site", timedelta(days=2))
    assert found[("browsing", "shoes")] == ({"views": 1}, "site", timedelta(days=5))
    assert found[("inferred", "score ltv")] == (12.5, "inferred", timedelta(days=6))
    assert found[("engagement", "mail")] == ({"opens": 1, "clicks": 2}, "shop", timedelta(days=4))
    assert found[("stated", "city")] == ("Bonn", "shop", timedelta(days=10))
    assert found[("consent", "email")] == (True, "shop", timedelta(days=3))
    assert found[("consent", "sms")] == (False, "shop", timedelta(days=30))
    assert found[("inferred", "rhythm shoes")] == (7.0, "inferred", timedelta(days=11))
    assert found[("inferred", "intent puppy")][1:] == ("inferred", timedelta(days=1))
    assert {group for group, _ in found} == {"purchases", "browsing", "engagement", "stated", "consent", "inferred"}


@pytest.mark.feature("DE-05")
def test_it_says_where_a_figure_comes_from_by_the_signals_that_count_in_it(desk: Desk) -> None:
    till = desk.source("till", "server")

    def told(event: str, day: int, **properties: Any) -> dict[str, Any]:
        time = f"2026-02-{day:02}T12:00:00.700Z"
        return call("track", event=event, userId="u1", properties=properties, timestamp=time)

    hats = [{"product_id": "p", "category": "Hats"}]
    desk.send(told("Email Delivered", 1), told("Email Opened", 2, **{"class": "scanner"}), via=till)
    with desk.sessions.begin() as session:
        assert not known_fields(session, desk.root("user_id", "u1"), NOW), "no person opened anything"
    desk.send(
        told("Viewed Product", 10, category="Hats"),
        told("Product List Viewed", 11, category="Shoes", products=hats),
        told("Completed Order", 12, order_id="o1", products=[*hats, {"product_id": "c", "category": "Coats"}]),
        told("Email Clicked", 13, **{"class": "person"}),
        told("Email Opened", 14, **{"class": "proxy"}),
    )
    desk.send(
        told("Product List Viewed", 20, category="Coats", products=hats),
        told("Product Reviewed", 20, category="Hats", rating=5),
        told("Product Added", 20, category="Shoes", product_id="s"),
        told("Order Tracked", 20, order_id="o1", products=hats),
        told("Order Completed", 20, order_id="o1", products=hats),
        told("Order Completed", 21, order_id="o2", products=hats),
        told("Order Refunded", 22, order_id="o2", products=hats),
        # At the very moment of what counts.
        told("Order Completed", 12, order_id="o3", products=hats),
        told("Order Cancelled", 22, order_id="o3"),
        told("Email Opened", 14, **{"class": "scanner"}),
        told("Email Delivered", 20),
        told("Email Opened", 21, **{"class": "scanner"}),
        told("Email Clicked", 22),
        via=till,
    )
    with desk.sessions.begin() as session:
        fields = known_fields(session, desk.root("user_id", "u1"), NOW)
    found = {f"{one.group} {one.name}": (one.source, one.since.day) for one in fields if one.group != "inferred"}
    assert found == {
        "browsing hats": ("shop", 10),
        "browsing shoes": ("shop", 11),
        "browsing coats": ("till", 20),
        "purchases hats": ("shop", 12),
        "purchases coats": ("shop", 12),
        "engagement mail": ("shop", 14),
    }


def test_it_keeps_segment_membership_through_signals_and_rebuilds(desk: Desk) -> None:
    desk.send(order("u1", "o1", ("p", "Shoes", 1.0)), order("u2", "o1", ("p", "Shoes", 1.0)))
    first, second = desk.root("user_id", "u1"), desk.root("user_id", "u2")
    assert assign(desk.intake, 7, [first, second], NOW) == 2
    assert assign(desk.intake, 3, [first], NOW) == 1
    assert assign(desk.intake, 7, [first], NOW) == 1
    desk.send(refunded("u1", "o1", "p"), order("u2", "o2", ("p", "Shoes", 1.0), time="2026-03-01T12:00:00Z"))

    assert (desk.state(first).segments, desk.state(second).segments) == ((3, 7), ())
    assert desk.rebuilt().different == 0
    assert desk.state(first).segments == (3, 7)


def test_a_damaged_signal_is_named_and_everybody_is_folded(desk: Desk) -> None:
    desk.send(*(order(f"u{n}", f"o{n}", ("p1", "Shoes", 80.0)) for n in range(7)))
    bad, good = desk.root("user_id", "u3"), desk.root("user_id", "u5")
    ((event,),) = desk.rows(f"SELECT id FROM event WHERE profile_id = {bad}")
    flip(desk.sessions, "event.body", f"id = {event}")
    desk.store.flushdb()
    desk.run(f"DELETE FROM profile_state WHERE profile_id = {good}")
    report = desk.rebuilt()
    assert (report.profiles, report.first, report.absent, report.damaged) == (7, [bad, good], 7, {bad: [event]})
    assert (desk.state(bad).orders, desk.state(good).orders) == (0, 1)

    give(desk.sessions.kw["bind"], Vault({9: b"n" * 32}))
    with pytest.raises(SettingError, match=f"{VARIABLE}: must hold key 1"):
        desk.rebuilt()
