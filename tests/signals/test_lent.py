"""Cards and phones that people lend each other: what they tie is counted, listed and undone, however calls are cut."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from signals.identity import TIES, Claim, claims
from signals.intake import take_apart
from signals.resolution import Resolution
from signals.signal import Arrival, read
from signals.sources import Sender
from tests.signals.sending import NOW, Desk, call, order, viewed

CARD = "TILL-1"
LANDLINE = "+49228123456"
ANN = {"email": "ann@example.com", "firstName": "Ann", "lastName": "Bee"}
CARL = {"email": "carl@example.com", "firstName": "Carl", "lastName": "Dove"}


def stated(device: str, **traits: Any) -> dict[str, Any]:
    """An identify of somebody without a customer number."""
    return call("identify", anonymousId=device, traits=traits)


def bought(device: str, number: str, **along: Any) -> dict[str, Any]:
    """An order of somebody without a customer number, with what the till knows of them."""
    return order("", number, ("p1", "Shoes", 60.0)) | {
        "userId": None, "anonymousId": device, "context": {"traits": along},
    }  # fmt: skip


def person(number: int) -> dict[str, Any]:
    return {"email": f"p{number}@example.com", "firstName": f"First{chr(97 + number)}", "lastName": f"Last{number}a"}


def owner(desk: Desk, number: int) -> int:
    return desk.root("email", f"p{number}@example.com")


def refused(desk: Desk) -> set[tuple[str, str]]:
    return {(row.type, row.reason) for row in desk.rows("SELECT type, reason FROM refused_tie")}


def ties_in_force(desk: Desk) -> list[str]:
    return [row.claim_type for row in desk.rows("SELECT claim_type FROM profile_link WHERE undone_at IS NULL")]


def assert_each_is_one(desk: Desk, people: int, orders: int) -> None:
    assert len({owner(desk, number) for number in range(people)}) == people
    assert [desk.state(owner(desk, number)).orders for number in range(people)] == [orders] * people
    assert desk.rebuilt().different == 0


@pytest.mark.feature("DE-10")
@pytest.mark.parametrize("batch", [1, 7, 80])
def test_it_finds_that_a_card_of_many_is_a_hub_and_gives_each_their_own(desk: Desk, batch: int) -> None:
    people = 40 if batch > 1 else 12
    calls = [
        one
        for number in range(people)
        for one in (
            stated(f"d{number}", loyaltyId=CARD, **person(number)),
            bought(f"d{number}", f"o{number}", loyaltyId=CARD, email=person(number)["email"]),
        )
    ]
    for start in range(0, len(calls), batch):
        desk.send(*calls[start : start + batch])

    assert_each_is_one(desk, people, orders=1)
    assert refused(desk) == {("loyalty_id", "hub")}
    assert ties_in_force(desk) == []


@pytest.mark.feature("DE-10")
@pytest.mark.parametrize("told", ["loyaltyId", "phone"])
def test_it_finds_a_hub_among_people_who_were_known_before(desk: Desk, told: str) -> None:
    people, value = 10, {"loyaltyId": CARD, "phone": LANDLINE}[told]
    for number in range(people):
        desk.send(stated(f"d{number}", email=person(number)["email"]))
    for number in range(people):
        desk.send(bought(f"d{number}", f"o{number}", **{told: value}))

    assert_each_is_one(desk, people, orders=1)
    assert refused(desk) == {("loyalty_id" if told == "loyaltyId" else "phone", "hub")}
    # The first one's, with which nobody else is tied.
    assert ties_in_force(desk) == ["anonymous_id"]


@pytest.mark.feature("DE-10")
@pytest.mark.parametrize("batch", [1, 9])
def test_it_finds_that_a_name_and_address_of_many_is_a_hub(desk: Desk, batch: int) -> None:
    """A reception that signs for everybody: each visit is somebody's own."""
    people, home = TIES["name_address"] + 3, {"street": "12 Main Street", "postalCode": "53111"}
    calls = [stated(f"d{number}", name="Front Desk", address=home) for number in range(people)]
    for start in range(0, people, batch):
        desk.send(*calls[start : start + batch])

    assert len({desk.root("anonymous_id", f"d{number}") for number in range(people)}) == people
    assert refused(desk) == {("name_address", "hub")}
    assert ties_in_force(desk) == []
    assert desk.rebuilt().different == 0


@pytest.mark.feature("DE-03", "DE-10")
@pytest.mark.parametrize("people", [3, TIES["loyalty_id"] + 4])
@pytest.mark.parametrize("seed", range(3))
def test_it_knows_the_same_people_of_one_card_whatever_comes_first(desk: Desk, people: int, seed: int) -> None:
    """Few are one customer until a person takes them apart, many are their own; each keeps what is theirs."""
    chance = random.Random(seed)
    calls = [
        one
        for number in range(people)
        for one in (
            viewed("Hats", anonymousId=f"d{number}"),
            stated(f"d{number}", loyaltyId=CARD, **person(number)),
            bought(f"d{number}", f"o{number}", loyaltyId=CARD, email=person(number)["email"]),
            bought(f"d{number}", f"q{number}", email=person(number)["email"]),
        )
    ]
    chance.shuffle(calls)
    while calls:
        size = chance.randint(1, 5)
        desk.send(*calls[:size])
        calls = calls[size:]

    if people <= TIES["loyalty_id"]:
        assert len({owner(desk, number) for number in range(people)}) == 1
        assert desk.state(owner(desk, 0)).orders == 2 * people
        assert desk.rebuilt().different == 0
        # An address that was known before the card began a profile ties the two by itself.
        assert sorted(set(ties_in_force(desk)) - {"email"}) == ["loyalty_id"]
        by_card = "SELECT id FROM profile_link WHERE undone_at IS NULL AND claim_type = 'loyalty_id'"
        links = desk.rows(by_card)
        assert len(links) == people - 1
        for row in links:
            assert take_apart(desk.intake, row.id, NOW, apart=True, by="x") is not None
    assert_each_is_one(desk, people, orders=2)
    hats = desk.category("hats")
    assert [desk.state(owner(desk, number)).views[hats].n for number in range(people)] == [1] * people


@pytest.mark.feature("DE-10")
def test_it_leaves_who_was_taken_apart_their_own_orders_with_the_card(desk: Desk) -> None:
    for number in (0, 1):
        desk.send(stated(f"d{number}", loyaltyId=CARD, email=person(number)["email"]))
    ((link, kind),) = desk.rows("SELECT id, claim_type FROM profile_link")
    assert kind == "loyalty_id"
    assert take_apart(desk.intake, link, NOW, apart=True, by="x") is not None

    for number in (0, 1):
        desk.send(bought(f"e{number}", f"o{number}", loyaltyId=CARD, email=person(number)["email"]))

    assert_each_is_one(desk, 2, orders=1)
    assert refused(desk) == {("loyalty_id", "apart")}


def test_it_gives_an_order_with_a_card_of_two_customer_numbers_to_who_stated_both_card_and_address(desk: Desk) -> None:
    for number in (0, 1):
        desk.send(stated(f"d{number}", loyaltyId=CARD, email=person(number)["email"]) | {"userId": f"u{number}"})
    for number in (0, 1):
        desk.send(bought("till", f"o{number}", loyaltyId=CARD, email=person(number)["email"]))

    assert_each_is_one(desk, 2, orders=1)
    assert ("loyalty_id", "shared") in refused(desk)
    assert ties_in_force(desk) == []


def test_it_gives_the_first_address_to_who_had_but_a_card(desk: Desk) -> None:
    desk.send(stated("d1", loyaltyId=CARD))
    desk.send(stated("d2", loyaltyId=CARD, email="p0@example.com"))

    assert desk.rows("SELECT count(*) FROM profile") == [(1,)]
    assert desk.root("loyalty_id", CARD) == owner(desk, 0)


def test_it_ties_cards_by_the_address_that_they_share_and_leaves_each_its_own(desk: Desk) -> None:
    people = 6
    for number in range(people):
        desk.send(stated(f"d{number}", loyaltyId=f"L{number}"))
    for number in range(people):
        desk.send(bought(f"d{number}", f"o{number}", loyaltyId=f"L{number}", email="till@example.com"))

    assert ties_in_force(desk) == ["email"] * (people - 1)
    for row in desk.rows("SELECT id FROM profile_link"):
        assert take_apart(desk.intake, row.id, NOW, apart=True, by="x") is not None
    roots = [desk.root("loyalty_id", f"L{number}") for number in range(people)]
    assert len(set(roots)) == people
    assert [desk.state(root).orders for root in roots] == [1] * people


@pytest.mark.feature("DE-07")
@pytest.mark.parametrize("by", ["identify", "order"])
def test_it_merges_nobody_by_a_phone_told_alone_whose_people_have_different_names(desk: Desk, by: str) -> None:
    desk.send(stated("a", **ANN), stated("c", **CARL))
    for device in ("a", "c"):
        if by == "identify":
            desk.send(stated(device, phone=LANDLINE))
        else:
            desk.send(bought(device, f"o-{device}", phone=LANDLINE))

    ann, carl = desk.root("email", "ann@example.com"), desk.root("email", "carl@example.com")
    assert ann == desk.root("phone", LANDLINE) != carl
    assert refused(desk) == {("phone", "names")}
    if by == "order":
        assert [desk.state(one).orders for one in (ann, carl)] == [1, 1]
    # Noted for both, so a mail or a look-up finds either.
    assert desk.rows("SELECT count(DISTINCT profile_id) FROM identifier WHERE type = 'phone'") == [(2,)]


@pytest.mark.feature("DE-07")
def test_it_asks_for_names_also_where_a_phone_says_whose_a_signal_of_anothers_device_is(desk: Desk) -> None:
    """Carl has a phone of his own, so his device may as well be what the two share."""
    desk.send(stated("a", **ANN, phone=LANDLINE), stated("c", **CARL, phone="+4915112345"))
    desk.send(bought("c", "o1", phone=LANDLINE))

    ann, carl = desk.root("email", "ann@example.com"), desk.root("email", "carl@example.com")
    assert ann != carl
    assert refused(desk) == {("phone", "names")}
    assert [desk.state(one).orders for one in (ann, carl)] == [1, 0]


@pytest.mark.feature("DE-10")
def test_it_lets_a_tablet_of_many_phones_be_the_hub_and_the_phones_their_peoples(desk: Desk) -> None:
    people = TIES["anonymous_id"] + 4
    for number in range(people):
        desk.send(stated(f"d{number}", email=person(number)["email"], phone=f"+492280000{number:02}"))
    for number in range(people):
        desk.send(bought("tablet", f"o{number}", phone=f"+492280000{number:02}"))

    assert_each_is_one(desk, people, orders=1)
    assert refused(desk) == {("anonymous_id", "hub")}


def test_it_knows_somebody_on_further_devices_by_their_phone(desk: Desk) -> None:
    """More of them than a phone may tie: of a device nobody is known, so it is theirs who come up on it."""
    desk.send(stated("d0", **ANN, phone=LANDLINE))
    for number in range(1, TIES["phone"] + 4):
        desk.send(viewed("Hats", anonymousId=f"d{number}"))
        desk.send(stated(f"d{number}", phone=LANDLINE))

    ann = desk.root("email", "ann@example.com")
    assert {desk.root("anonymous_id", f"d{number}") for number in range(TIES["phone"] + 4)} == {ann}
    assert refused(desk) == set()


@pytest.mark.parametrize("alone", range(5))
def test_it_counts_a_phone_that_both_of_two_people_stated_once_however_calls_are_cut(desk: Desk, alone: int) -> None:
    """Whose a signal is goes by who has more cards or phones: it must not matter when the two became one."""

    def sent(run: str, size: int) -> list[list[int]]:
        phone, two = f"+4922800{run}", f"l-{run}"
        elk = {"firstName": "Cleo", "lastName": "Elk"}
        calls = [
            stated(f"d1-{run}", loyaltyId=two, phone=phone, firstName="Ann", lastName="Bee"),
            call("track", event="X", anonymousId=f"d1-{run}", context={"traits": elk | {"phone": phone}}),
            stated(f"d2-{run}", loyaltyId=f"k-{run}", email=f"two{run}@example.com"),
            call("track", event="X", anonymousId=f"d2-{run}", context={"traits": {"email": f"one{run}@example.com"}}),
            stated(f"d2-{run}", loyaltyId=two),
        ]
        for one in calls[:size]:
            desk.send(one)
        desk.send(*calls[size:])
        names = [one["messageId"] for one in calls]
        rows = desk.rows("SELECT profile_id, message_id FROM event WHERE message_id = ANY(:names)", names=names)
        whose: dict[int, list[int]] = {}
        for row in rows:
            whose.setdefault(row.profile_id, []).append(names.index(row.message_id))
        return sorted(sorted(own) for own in whose.values())

    assert sent("111", alone) == sent("222", 4)


@pytest.mark.feature("DE-03")
def test_it_knows_by_cards_addresses_phones_and_devices_who_is_one_in_any_order() -> None:
    """Below the bounds, those are one who are tied by any chain of calls, however few or many values a call names."""
    sender, at = Sender(1, "shop", "server", 100), Arrival(datetime(2026, 3, 2, tzinfo=UTC))
    merged = 0
    for seed in range(300):
        chance = random.Random(seed)
        signals = []
        for _ in range(chance.randint(2, 7)):
            told = {
                "loyaltyId": f"L{chance.randint(0, 2)}",
                "email": f"p{chance.randint(0, 3)}@example.com",
                "phone": f"+492280000{chance.randint(0, 2)}",
            }
            traits = {name: value for name, value in told.items() if chance.random() < 0.6}
            said = stated(f"d{chance.randint(0, 4)}", **traits)
            signals.append(read(json.dumps(said).encode(), at))
        expected: list[set[Claim]] = []
        for signal in signals:
            together = set(claims(signal, sender))
            for other in [one for one in expected if one & together]:
                expected.remove(other)
                together |= other
            expected.append(together)
        for _ in range(3):
            chance.shuffle(signals)
            resolution = Resolution({}, {})
            for signal in signals:
                resolution.person(signal, claims(signal, sender))
            found: dict[int, set[Claim]] = {}
            for new in resolution.identifiers:
                found.setdefault(id(new.person.root()), set()).add(new.claim)
            assert sorted(map(sorted, found.values())) == sorted(map(sorted, expected)), seed
            merged += len(resolution.links)
    assert merged > 300


def test_the_receipts_of_a_till_that_knows_only_the_card_count_for_the_cards_customer(desk: Desk) -> None:
    """As the docs have a till tell them: with the card as a device of its own, beside the loyalty number."""
    desk.send(call("identify", userId="u1", traits={"loyaltyId": "4711"}))
    assert desk.statuses(bought("", "o0", loyaltyId="4711")) == ["rejected"]
    receipts = [bought(f"card-{card}", f"o{n}", loyaltyId=card) for n, card in enumerate(["4711", "8", "4711"], 1)]
    assert desk.statuses(*receipts) == ["accepted"] * 3
    assert desk.state(desk.root("user_id", "u1")).orders == 2
    assert desk.root("loyalty_id", "8") != desk.root("loyalty_id", "4711")
