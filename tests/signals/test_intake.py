"""Taking signals in: once, whole, in any order, and answered only when an open can see them."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from base import keys
from signals.events import REJECTED_KEPT
from signals.intake import Intake, stored_states, take
from signals.membership import assign
from signals.moments import day_of
from signals.profiles import STATE_ENCODED
from signals.state import ProfileState, encode
from tests.databases import VAULT
from tests.signals.sending import NOW, Desk, call, cancelled, identified, order, refunded, viewed


def test_it_folds_an_order_and_publishes_the_state(desk: Desk) -> None:
    assert desk.statuses(order("u1", "o1", ("p1", "Shoes", 80.0))) == ["accepted"]

    state = desk.state(desk.root("user_id", "u1"))
    shoes = desk.category("shoes")
    assert (state.orders, state.order_cents, state.categories[shoes].n) == (1, 8000, 1)
    assert state.version == desk.rows("SELECT max(id) FROM event")[0][0]


def test_it_counts_a_repeated_message_once_and_repairs_a_lost_state(desk: Desk) -> None:
    event = order("u1", "o1", ("p1", "Shoes", 80.0))
    desk.send(event)
    profile = desk.root("user_id", "u1")
    before = desk.state(profile)
    desk.store.flushdb()

    assert desk.statuses(event, event) == ["duplicate", "duplicate"]
    assert desk.state(profile) == before
    assert desk.rows("SELECT count(*) FROM event") == [(1,)]


@pytest.mark.feature("DE-02")
def test_it_gives_the_same_state_after_a_storm_of_duplicates_as_after_one_of_each(desk: Desk) -> None:
    stream = [order("u1", f"o{n}", ("p", "Shoes", 10.0), time=f"2026-02-{n:02}T10:00:00Z") for n in range(1, 8)]
    once = [event | {"userId": "u2", "messageId": f"{event['messageId']}-2"} for event in stream]
    desk.send(*once)
    storm = stream * 6
    random.Random(7).shuffle(storm)
    for start in range(0, len(storm), 5):
        desk.send(*storm[start : start + 5])

    stormy, calm = desk.state(desk.root("user_id", "u1")), desk.state(desk.root("user_id", "u2"))
    assert _without_version(stormy) == _without_version(calm)
    assert desk.rows("SELECT count(*) FROM event") == [(14,)]


@pytest.mark.feature("DE-02")
def test_it_keeps_the_same_id_with_other_content_apart_and_lists_it_once(desk: Desk) -> None:
    event = order("u1", "o1", ("p1", "Shoes", 80.0))
    other = order("u1", "o2", ("p1", "Shoes", 99.0)) | {"messageId": event["messageId"]}
    desk.send(event)
    before = desk.state(desk.root("user_id", "u1"))

    assert desk.statuses(other, other, event) == ["conflict", "conflict", "duplicate"]
    assert desk.state(desk.root("user_id", "u1")) == before
    ((name, body),) = desk.rows("SELECT message_id, body FROM event_conflict")
    assert (name, body["properties"]["order_id"]) == (event["messageId"], "o2")


SAYING: dict[str, dict[str, Any]] = {
    "identify": {"userId": "u1", "anonymousId": "a1", "traits": {"city": "Bonn"}},
    "track": {"userId": "u1", "event": "Product Viewed", "properties": {"category": "Shoes"}},
    "page": {"userId": "u1", "name": "Home", "properties": {"path": "/"}},
    "group": {"userId": "u1", "groupId": "g1", "traits": {"plan": "gold"}},
    "alias": {"userId": "u1", "previousId": "p1"},
}
"""A call of each type, with all that it says."""


@pytest.mark.feature("DE-02")
def test_it_takes_a_call_for_another_by_whatever_it_says_otherwise(desk: Desk) -> None:
    contradicting = 0
    for type_, said in SAYING.items():
        first = call(type_, **said)
        others = [first | {"timestamp": "2026-03-01T10:00:01.000Z"}]
        for name, value in said.items():
            other = {key: f"{one} too" for key, one in value.items()} if isinstance(value, dict) else f"{value} too"
            others.append(first | {name: other})
        assert desk.statuses(first, *others, first) == ["accepted", *["conflict"] * len(others), "duplicate"], type_
        contradicting += len(others)
    assert desk.rows("SELECT count(*) FROM event") == [(len(SAYING),)]
    assert desk.rows("SELECT count(*) FROM event_conflict") == [(contradicting,)]


@pytest.mark.feature("DE-02")
def test_it_tells_sources_apart_that_use_the_same_message_ids(desk: Desk) -> None:
    event = viewed("Shoes", userId="u1")

    assert desk.statuses(event, via=desk.source("till", "server")) == ["accepted"]
    assert desk.statuses(event) == ["accepted"]


def told_twice(user: str) -> list[dict[str, Any]]:
    """Signals of which the newer of two holds, or the later ends what the earlier began, on days that follow."""
    told: list[tuple[str, dict[str, Any]]] = [
        ("Survey Answered", {"survey_id": "nps", "score": 3}),
        ("Survey Answered", {"survey_id": "nps", "score": 9}),
        ("Product Reviewed", {"category": "Hats", "rating": 1}),
        ("Product Reviewed", {"category": "Hats", "rating": 5}),
        ("Complaint Opened", {"complaint_id": "c1"}),
        ("Complaint Closed", {"complaint_id": "c1"}),
        ("Complaint Opened", {"complaint_id": "c1"}),
        ("Consent Changed", {"purpose": "email", "granted": True}),
        ("Consent Changed", {"purpose": "email", "granted": False}),
        ("Offer Feedback", {"category": "Socks", "feedback": "gift"}),
        ("Offer Feedback", {"category": "Socks", "feedback": "not for me"}),
        ("Product Registered", {"product_id": "p1", "category": "Shoes"}),
        ("Product Registered", {"product_id": "p1", "category": "Shoes"}),
        ("Product Added", {"product_id": "p3", "category": "Hats", "price": 20}),
        ("Coupon Denied", {}),
        ("Product Removed", {"product_id": "p3", "category": "Hats", "price": 20}),
        ("Checkout Started", {"products": [{"product_id": "p1", "category": "Shoes", "price": 70}]}),
        ("Product Unavailable", {}),
        ("Cart Viewed", {"products": [{"product_id": "p4", "category": "Socks", "price": 5}]}),
        ("Product Added", {"product_id": "p6", "category": "Hats", "price": 9}),
    ]
    return [
        call("track", event=name, userId=user, properties=said, timestamp=f"2026-02-{day:02}T12:00:00Z")
        for day, (name, said) in enumerate(told, 9)
    ]


@pytest.mark.feature("DE-03")
def test_it_reaches_the_same_state_in_any_order_of_arrival(desk: Desk) -> None:
    stream: list[dict[str, Any]] = [
        identified("u1", first_name="Ann", city="Bonn", time="2026-02-01T08:00:00Z"),
        order("u1", "o1", ("p1", "Shoes", 80.0), ("p2", "Socks", 5.0), time="2026-02-02T10:00:00Z"),
        viewed("Hats", userId="u1", timestamp="2026-02-03T10:00:00Z"),
        refunded("u1", "o1", "p1", time="2026-02-04T10:00:00Z"),
        order("u1", "o2", ("p3", "Hats", 20.0), time="2026-02-05T10:00:00Z"),
        order("u1", "o2", ("p3", "Hats", 20.0), time="2026-02-06T10:00:00Z"),
        identified("u1", city="Köln", time="2026-02-07T10:00:00Z"),
        cancelled("u1", "o2", time="2026-02-08T10:00:00Z"),
        order("u1", "o3", ("p1", "Shoes", 70.0), time="2026-02-09T10:00:00Z"),
        # Of what is told twice the first counts, whichever of the two arrives first.
        order("u1", "o3", ("p1", "Shoes", 75.0), time="2026-02-09T11:00:00Z"),
        *told_twice("u1"),
    ]
    # What comes last decides how all is folded, so each comes last once.
    arrivals = [([*(other for other in stream if other is not one), one], len(stream) - 1) for one in stream]
    arrivals += [(shuffle, 1 + number % 3) for number, shuffle in enumerate(_permutations(stream, 6))]
    states, lineages = [], []
    for number, (arrival, size) in enumerate(arrivals):
        person = f"person-{number}"
        told = [event | {"userId": person, "messageId": f"{event['messageId']}-{number}"} for event in arrival]
        for start in range(0, len(told), size):
            desk.send(*told[start : start + size])
        root = desk.root("user_id", person)
        states.append(_without_version(desk.state(root)))
        lineages.append(
            desk.rows("SELECT name, value, event_time FROM trait_lineage WHERE profile_id = :id ORDER BY 1", id=root)
        )

    assert all(state == states[0] for state in states)
    assert all(lineage == lineages[0] for lineage in lineages)
    one, hats = states[0], desk.category("hats")
    assert (one.orders, one.order_cents, one.traits["city"], one.consent) == (2, 7500, "Köln", {"email": False})
    assert (one.surveys["nps"].score, one.reviews[hats].sentiment, list(one.complaints)) == (9, "positive", ["c1"])
    assert ([mark.word for mark in one.marks], [line.product for line in one.cart]) == (["not_for_me"], ["p4", "p6"])
    assert (one.checkout_s is not None, list(one.clues)) == (True, ["stock"])


@pytest.mark.feature("DE-02")
def test_it_counts_an_order_once_when_the_repeat_comes_earlier_late_or_from_another_source(desk: Desk) -> None:
    till = desk.source("till", "server")
    desk.send(order("u1", "o1", ("p", "Shoes", 10.0), time="2026-02-10T10:00:00Z"))
    desk.send(order("u1", "o1", ("p", "Shoes", 10.0), time="2026-02-09T10:00:00Z"), via=till)
    desk.send(order("u1", "o1", ("p", "Shoes", 10.0), time="2026-02-11T10:00:00Z"), via=till)

    state = desk.state(desk.root("user_id", "u1"))
    assert (state.orders, state.order_cents) == (1, 1000)
    assert state.last_order_s is not None
    assert day_of(state.last_order_s) == desk.day("2026-02-09")
    assert desk.rows("SELECT event_time::date::text, folds FROM event ORDER BY event_time") == [
        ("2026-02-09", True),
        ("2026-02-10", False),
        ("2026-02-11", False),
    ]


def test_it_counts_an_order_once_that_is_repeated_after_very_many_others(desk: Desk) -> None:
    days = [f"2026-01-{n:02}T10:00:00Z" for n in range(1, 26)]
    desk.send(*(order("u1", f"o{n}", ("p", "Shoes", 1.0), time=day) for n, day in enumerate(days)))
    desk.send(order("u1", "o0", ("p", "Shoes", 1.0), time="2026-02-20T10:00:00Z"))

    assert desk.state(desk.root("user_id", "u1")).orders == 25


@pytest.mark.feature("DE-03")
def test_it_keeps_event_time_and_arrival_time(desk: Desk) -> None:
    desk.send(viewed("Shoes", userId="u1", timestamp="2026-01-05T10:00:00Z"))

    assert desk.rows("SELECT event_time::date::text, received_at FROM event") == [("2026-01-05", NOW)]


def test_it_takes_the_category_of_a_product_from_the_catalogue_and_keeps_it_in_the_event(desk: Desk) -> None:
    desk.feed({"id": "p7", "title": "Runner", "product_type": "Running Shoes", "price": "80 EUR"})
    bare = call(
        "track", event="Order Completed", userId="u1", properties={"order_id": "o", "products": [{"product_id": "p7"}]}
    )
    desk.send(bare)
    desk.send(call("track", event="Product Viewed", userId="u1", properties={"product_id": "p7"}))
    desk.feed(
        {"id": "p7", "title": "Runner", "product_type": "Sandals", "price": "80 EUR"}, now=NOW + timedelta(hours=1)
    )

    state = desk.state(desk.root("user_id", "u1"))
    running = desk.category("running-shoes")
    assert (list(state.categories), list(state.views)) == ([running], [running])
    assert desk.rebuilt().different == 0


@pytest.mark.parametrize("name", ["product_id", "productId", "sku", "id"])
def test_it_knows_a_product_of_the_catalogue_by_any_name_of_its_id(desk: Desk, name: str) -> None:
    desk.feed({"id": "p7", "title": "Runner", "product_type": "Running Shoes", "price": "80 EUR"})
    desk.send(call("track", event="Product Viewed", userId="u1", properties={name: "p7"}))
    assert list(desk.state(desk.root("user_id", "u1")).views) == [desk.category("running-shoes")]
    assert desk.rebuilt().different == 0


def test_it_takes_parallel_batches_about_the_same_people_without_losing_any(desk: Desk) -> None:
    batches = [
        [order(f"u{n}", f"o{worker}-{n}-{round_}", ("p", "Shoes", 1.0)) for n in range(5)]
        for worker, round_ in itertools.product(range(4), range(5))
    ]
    random.Random(3).shuffle(batches)
    with ThreadPoolExecutor(4) as pool:
        for outcomes in pool.map(lambda batch: desk.send(*batch), batches):
            assert {outcome.status for outcome in outcomes} == {"accepted"}

    assert [desk.state(desk.root("user_id", f"u{n}")).orders for n in range(5)] == [20] * 5
    assert desk.rebuilt().different == 0


@pytest.mark.feature("DE-02")
def test_it_takes_the_same_message_sent_in_parallel_once(desk: Desk) -> None:
    event = order("u1", "o1", ("p", "Shoes", 1.0))
    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(status for found in pool.map(lambda _: desk.statuses(event), range(8)) for status in found)

    assert statuses == ["accepted"] + ["duplicate"] * 7
    assert desk.state(desk.root("user_id", "u1")).orders == 1


@pytest.mark.feature("DE-02")
def test_it_takes_the_same_message_about_a_known_person_in_parallel_once(desk: Desk) -> None:
    desk.send(identified("u1"))
    for number in range(6):
        event = order("u1", f"o{number}", ("p", "Shoes", 1.0))
        with ThreadPoolExecutor(4) as pool:
            found = sorted(
                status for some in pool.map(lambda _, event=event: desk.statuses(event), range(4)) for status in some
            )
        assert found == ["accepted", "duplicate", "duplicate", "duplicate"]

    assert desk.state(desk.root("user_id", "u1")).orders == 6


def on_its_way(desk: Desk, profile: int) -> list[tuple[int, int, bytes]]:
    """What a writer that has just read this profile is about to write to the hot store."""
    with desk.sessions.begin() as session:
        return stored_states(session, [profile])


def test_it_never_overwrites_a_newer_state(desk: Desk) -> None:
    desk.send(order("u1", "o1", ("p", "Shoes", 1.0), time="2026-02-01T00:00:00Z"))
    profile = desk.root("user_id", "u1")
    older = on_its_way(desk, profile)
    desk.send(order("u1", "o2", ("p", "Shoes", 1.0), time="2026-02-02T00:00:00Z"))

    assert desk.intake.publisher.write_states(older) == 0
    assert desk.state(profile).orders == 2


@pytest.mark.parametrize("what", ["a click", "a segment", "a rebuild", "a merge"])
def test_it_never_overwrites_a_newer_state_of_the_same_version(desk: Desk, what: str) -> None:
    desk.send(identified("u1"), viewed("Shoes", anonymousId="a1"))
    profile, other = desk.root("user_id", "u1"), desk.root("anonymous_id", "a1")
    if what == "a rebuild":
        wrong = VAULT.seal(encode(structs.replace(desk.read(profile), notes=5)), STATE_ENCODED.place).hex()
        desk.run(f"UPDATE profile_state SET encoded = '\\x{wrong}' WHERE profile_id = {profile}")
    older = [*on_its_way(desk, profile), *on_its_way(desk, other)]
    version = desk.read(other if what == "a merge" else profile).version
    clicked = call("track", event="Email Clicked", userId="u1", properties={"class": "person"})
    if what == "a click":
        desk.send(clicked)
    elif what == "a segment":
        assign(desk.intake, 7, [profile], NOW)
    elif what == "a rebuild":
        assert desk.rebuilt().different > 0
    else:
        desk.send(clicked | {"anonymousId": "a1"})
        assert desk.root("anonymous_id", "a1") == desk.root("user_id", "u1")
    newer = desk.everything()["valkey"]

    # A writer that had read before, and was slow, comes last.
    desk.intake.publisher.write_states(older)
    assert desk.everything()["valkey"] == newer
    assert desk.state(profile).version == version


def test_it_goes_on_from_a_state_that_an_earlier_release_wrote(desk: Desk) -> None:
    desk.send(order("u1", "o1", ("p", "Shoes", 1.0), time="2026-02-01T00:00:00Z"))
    profile = desk.root("user_id", "u1")
    desk.run("UPDATE profile_state SET edition = 0")
    ((_, edition, encoded),) = on_its_way(desk, profile)
    desk.store.set(keys.state(profile), encoded)
    assert desk.intake.publisher.write_states([(profile, edition - 1, encoded)]) == 0
    assert desk.read(profile).orders == 1

    desk.send(order("u1", "o2", ("p", "Shoes", 1.0), time="2026-02-02T00:00:00Z"))
    assert desk.state(profile).orders == 2


def test_it_folds_categories_that_another_process_was_told_of(desk: Desk) -> None:
    told, other = "2026-02-01T00:00:00Z", Intake(desk.sessions, desk.store, b"k" * 32)
    other.categories.learn((), create=False)
    desk.send(order("u1", "o1", ("p", "Capes", 1.0), time=told), order("dog", "o2", ("p", "Dog Food", 9.0), time=told))
    desk.send(order("dog", "o3", ("p", "Baby Gates", 9.0), time="2026-02-02T00:00:00Z"))
    profile, dog = desk.root("user_id", "u1"), desk.root("user_id", "dog")
    assert desk.read(dog).intent_top == "puppy"

    # A late event makes the other process fold everything again; a new one makes it assess what it finds.
    late = call("track", event="Note Added", userId="u1", timestamp="2026-01-15T00:00:00Z")
    new = call("track", event="Note Added", userId="dog", timestamp="2026-02-15T00:00:00Z")
    take(other, desk.server, [json.dumps(one).encode() for one in (late, new)], NOW)
    assert desk.state(profile).categories[desk.category("capes")].n == 1
    assert desk.state(dog).intent_top == "puppy"
    assert desk.rebuilt().different == 0


def test_it_keeps_the_newest_refused_events_only(desk: Desk) -> None:
    bad = {"type": "track", "event": "nobody's"}
    desk.send(bad, bad)
    desk.rows("SELECT setval('rejected_event_id_seq', :kept)", kept=REJECTED_KEPT)
    desk.send(bad)
    assert desk.rows("SELECT id FROM rejected_event ORDER BY id") == [(2,), (REJECTED_KEPT + 1,)]

    desk.send(bad)
    assert desk.rows("SELECT id FROM rejected_event ORDER BY id") == [(REJECTED_KEPT + 1,), (REJECTED_KEPT + 2,)]


def _without_version(state: ProfileState) -> ProfileState:
    state.version = 0
    return state


def _permutations(stream: Sequence[dict[str, Any]], count: int) -> list[list[dict[str, Any]]]:
    shuffler = random.Random(11)
    made = [list(stream), list(reversed(stream))]
    while len(made) < count:
        made.append(shuffler.sample(list(stream), len(stream)))
    return made
