"""Any order of arrival: the same people, states and origins, also where people are merged and taken apart meanwhile,
and where an alias comes before those whom it names."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from signals.intake import take_apart
from signals.joining import join
from signals.state import ProfileState
from tests.signals.sending import NOW, Desk, call, identified, order, refunded, viewed

USERS = ("ann", "bob")
CATEGORIES = ("Shoes", "Hats", "Socks")
NAMES = ("userId", "anonymousId", "previousId", "messageId")
CITIES = ("Bonn", "Oslo", None)


SEEN = "CASE WHEN t.type = 'email' THEN concat(t.first_seen, t.last_seen) END"
"""When an address was first and last stated. Of other identifiers it is kept when they came to be known."""


@dataclass(frozen=True)
class Said:
    """One call of a story, and whether the shop's site sent it."""

    call: dict[str, Any]
    by_browser: bool = False

    def told(self, run: str) -> dict[str, Any]:
        """The same call of the people of another run: its ids are theirs."""
        ids = {name: f"{run}-{self.call[name]}" for name in NAMES if name in self.call}
        traits = dict(self.call.get("traits", {}))
        if "email" in traits:
            traits["email"] = f"{run}.{traits['email']}"
        return self.call | ids | ({"traits": traits} if traits else {})


def story(chance: random.Random) -> list[Said]:
    """What two customers do on two devices each, in some hours of which several collide; of what they do alone on a
    device each begins before anybody is known there. Both state one address of the family, and had another number
    before; of some devices the shop tells by alias."""

    def at() -> str:
        return (NOW - timedelta(hours=chance.randint(2, 30))).isoformat()

    said: list[Said] = []
    for user in USERS:
        device = f"{user}-{chance.randint(1, 2)}"
        said += [
            Said(identified(user, anonymous=f"{user}-{n}", time=at(), email=f"{chance.choice('ab')}{user}@example.com"))
            for n in (1, 2)
        ]
        said.append(Said(identified(user, time=at(), email="family@example.com")))
        said += [Said(identified(user, time=at(), city=chance.choice(CITIES))) for _ in range(3)]
        said += [Said(viewed(chance.choice(CATEGORIES), anonymousId=device, timestamp=at()), n > 0) for n in range(3)]
        cart = {"product_id": "p1", "category": "Shoes", "price": 60}
        said.append(
            Said(call("track", event="Product Added", anonymousId=device, properties=cart, timestamp=at()), True)
        )
        traits = {"city": chance.choice(CITIES), "mood": chance.choice(("fine", "so so"))}
        said.append(Said(call("identify", anonymousId=device, traits=traits, timestamp=at()), True))
        said += [Said(order(user, f"o{n}", ("p1", "Shoes", 60.0 + n), time=at())) for n in (1, chance.randint(1, 2))]
        said.append(Said(refunded(user, "o1", "p1", time=at())))
        said += [Said(call("alias", userId=user, previousId=f"{user}-{one}", timestamp=at())) for one in ("old", "3")]
        said += [Said(order(f"{user}-old", f"o{n}", ("p2", "Hats", 20.0), time=at())) for n in (2, 3)]
        said.append(
            Said(identified(f"{user}-old", time=at(), email=f"old{user}@example.com", city=chance.choice(CITIES)))
        )
        said += [Said(viewed("Socks", anonymousId=f"{user}-3", timestamp=at())) for _ in range(2)]
        consent = {"purpose": "email", "granted": chance.random() < 0.5}
        said.append(Said(call("track", event="Consent Changed", userId=user, properties=consent, timestamp=at())))
    return said


def tell(desk: Desk, run: str, arrival: list[Said], chance: random.Random) -> None:
    """Send the calls in this order, in batches of up to four of one source."""
    while arrival:
        size = chance.randint(1, 4)
        batch = [one for one in arrival[:size] if one.by_browser == arrival[0].by_browser]
        arrival = [one for one in arrival if one not in batch]
        outcomes = desk.send(*(one.told(run) for one in batch), via=desk.browser if batch[0].by_browser else None)
        assert {one.status for one in outcomes} == {"accepted"}


@dataclass(frozen=True)
class Person:
    """What is known of somebody, whoever told of it when."""

    state: ProfileState
    identifiers: frozenset[tuple[Any, ...]]
    origins: tuple[tuple[Any, ...], ...]
    counted: tuple[tuple[Any, ...], ...]
    consent: tuple[tuple[Any, ...], ...]


def known(desk: Desk, run: str, user: str) -> Person:
    """Of a customer of a run. Whose an address is that both state is decided by who came first, so it is left out; so
    is that a number which an alias named ahead might have been a device's."""
    root = desk.root("user_id", f"{run}-{user}")

    def rows(sql: str) -> list[tuple[Any, ...]]:
        found = desk.rows(
            f"{sql} JOIN profile p ON p.id = t.profile_id WHERE p.root_id = :root ORDER BY 1, 2", root=root
        )
        return [tuple(str(value).removeprefix(f"{run}-").removeprefix(f"{run}.") for value in row) for row in found]

    return Person(
        structs.replace(desk.state(root), version=0),
        frozenset(
            row
            for row in rows(f"SELECT t.type, t.value, {SEEN} FROM identifier t")
            if row[:2] != ("anonymous_id", f"{user}-old") and row[:2] != ("user_id", f"{user}-3")
        ),
        tuple(rows("SELECT t.name, t.value, t.event_time, t.source_id FROM trait_lineage t")),
        tuple(rows("SELECT t.message_id, t.event_time, t.folds, t.void, t.left_category_ids FROM event t")),
        tuple(rows("SELECT t.purpose, t.granted, t.at FROM consent t")),
    )


def everybody(desk: Desk, run: str) -> list[Person]:
    return [known(desk, run, user) for user in USERS]


def assert_states_are_of_persons(desk: Desk) -> None:
    persons = "SELECT id FROM profile WHERE root_id = id AND erased_at IS NULL ORDER BY id"
    assert desk.rows("SELECT profile_id FROM profile_state ORDER BY profile_id") == desk.rows(persons)


def assert_as_after_a_rebuild(desk: Desk) -> None:
    assert_states_are_of_persons(desk)
    before = desk.everything()
    assert desk.rebuilt().different == 0
    assert desk.everything() == before


@pytest.mark.feature("DE-03", "DE-09", "SU-14")
@pytest.mark.parametrize("seed", range(3))
def test_it_knows_the_same_people_whatever_comes_first_and_whoever_was_one_meanwhile(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    said = story(chance)
    desk.send(order("somebody", "o1", *((name, name, 1.0) for name in CATEGORIES)))  # A browser adds no category.
    in_order = sorted(said, key=lambda one: one.call["timestamp"])
    tell(desk, "told", in_order, chance)
    expected = everybody(desk, "told")

    for run in ("shuffled", "reversed", "joined", "rejoined"):
        arrival = in_order[::-1] if run == "reversed" else chance.sample(said, len(said))
        cuts = sorted(chance.sample(range(len(arrival)), 2))
        if run in ("joined", "rejoined"):
            # Both must be there to be taken for one.
            first = [next(one for one in arrival if one.call.get("userId") == user) for user in USERS]
            arrival = first + [one for one in arrival if one not in first]
            cuts = [max(2, cut) for cut in cuts]
        pieces = [arrival[: cuts[0]], arrival[cuts[0] : cuts[1]], arrival[cuts[1] :]]
        tell(desk, run, pieces[0], chance)
        merges = []
        if run in ("joined", "rejoined"):
            ann, bob = (desk.root("user_id", f"{run}-{user}") for user in USERS)
            if run == "rejoined":
                first_merge = join(desk.intake, ann, bob, NOW, by="x")
                assert take_apart(desk.intake, first_merge, NOW, apart=True, by="x")
            merges.append(join(desk.intake, bob, ann, NOW, by="x"))
        tell(desk, run, pieces[1], chance)
        assert_states_are_of_persons(desk)
        for merge in merges:
            assert desk.root("user_id", f"{run}-ann") == desk.root("user_id", f"{run}-bob")
            assert take_apart(desk.intake, merge, NOW, apart=True, by="x")
        tell(desk, run, pieces[2], chance)
        for found, wanted in zip(everybody(desk, run), expected, strict=True):
            for part in fields(Person):
                assert getattr(found, part.name) == getattr(wanted, part.name), (run, part.name)
    assert_as_after_a_rebuild(desk)


@pytest.mark.feature("DE-11")
@pytest.mark.parametrize("seed", range(3))
def test_it_gives_what_is_done_on_a_shared_device_to_whoever_was_there_first(desk: Desk, seed: int) -> None:
    """What a call says of a customer by number is theirs in any order; what the device alone says is the owner's, and
    that is whose call with it arrived first."""
    chance = random.Random(seed)
    said = [
        *(Said(identified(user, anonymous="tablet", time=(NOW - timedelta(hours=9)).isoformat())) for user in USERS),
        *(
            Said(viewed("Shoes", anonymousId="tablet", timestamp=(NOW - timedelta(hours=n)).isoformat()))
            for n in (8, 7)
        ),
        *(Said(order(user, f"o-{user}", ("p1", "Hats", 20.0))) for user in USERS),
    ]
    for run in ("one", "two", "three", "four"):
        arrival = chance.sample(said, len(said))
        tell(desk, run, arrival, chance)
        first = next(one.call["userId"] for one in arrival if {"userId", "anonymousId"} <= one.call.keys())
        states = {user: desk.state(desk.root("user_id", f"{run}-{user}")) for user in USERS}
        assert {user: state.orders for user, state in states.items()} == dict.fromkeys(USERS, 1)
        looks = {user: sum(seen.n for seen in state.views.values()) for user, state in states.items()}
        assert looks == dict.fromkeys(USERS, 0) | {first: 2}, [one.call.get("userId") for one in arrival]
        assert desk.root("anonymous_id", f"{run}-tablet") == desk.root("user_id", f"{run}-{first}")
    assert_as_after_a_rebuild(desk)
