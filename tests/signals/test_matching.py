"""Who is one person by what is stated: the table of rules, spellings that meet, and how good it is on noisy people."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from signals.identity import MATCHES, Claim, Person, claims, merge
from signals.matching import e164, plain_address, plain_name
from signals.resolution import Resolution
from signals.signal import Arrival, read
from signals.sources import Sender
from tests.signals.sending import Desk, identified

ANN = {"firstName": "Ann", "lastName": "Lee"}
BOB = {"firstName": "Bob", "lastName": "Lee"}
HOME = {"address": {"street": "12 Main Street", "postalCode": "53111", "city": "Bonn"}}
AWAY = {"address": {"street": "7 High Street", "postalCode": "10115", "city": "Berlin"}}
TOWN = {"address": {"street": "12 Main Street", "city": "Bonn"}}
FLAT = {"address": {"street": "12 Main Street, Flat 4", "postalCode": "53111"}}
STREET = {"address": {"street": "Main Street", "postalCode": "53111", "city": "Bonn"}}
MAIL, OTHER = {"email": "lee@example.com"}, {"email": "other@example.com"}
PHONE, SECOND = {"phone": "+49 228 123456"}, {"phone": "+49 30 654321"}
DIALLED = {"phone": "0228 123456", "address": {"country": "DE"}}

RULES: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("name and address", ANN | HOME, ANN | HOME, True),
    ("name and e-mail", ANN | MAIL, ANN | MAIL, True),
    ("name and phone", ANN | PHONE, ANN | PHONE, True),
    ("name alone", ANN, ANN, False),
    ("name, another address", ANN | HOME, ANN | AWAY, False),
    (
        "name, another flat",
        ANN | FLAT,
        ANN | {"address": FLAT["address"] | {"street": "12 Main Street, Flat 5"}},
        False,
    ),
    ("name, another e-mail", ANN | MAIL, ANN | OTHER, False),
    ("name, another phone", ANN | PHONE, ANN | SECOND, False),
    ("address, another name", ANN | HOME, BOB | HOME, False),
    ("e-mail, another name", ANN | MAIL, BOB | MAIL, False),
    ("phone, another name", ANN | PHONE, BOB | PHONE, False),
    ("address alone", HOME, HOME, False),
    ("first name and e-mail", {"firstName": "Ann"} | MAIL, {"firstName": "Ann"} | MAIL, False),
    ("first name and address", {"name": "Ann"} | HOME, {"name": "Ann"} | HOME, False),
    ("name, street and city", ANN | TOWN, ANN | TOWN, True),
    ("name and street in two cities", ANN | TOWN, ANN | {"address": TOWN["address"] | {"city": "Ulm"}}, False),
    ("street without a number", ANN | STREET, ANN | STREET, False),
    ("city is no address", ANN | {"address": {"city": "Bonn"}}, ANN | {"address": {"city": "Bonn"}}, False),
    ("everything but the name", BOB | HOME | MAIL | PHONE, ANN | HOME | MAIL | PHONE, False),
    ("name and phone, dialled at home", ANN | DIALLED, ANN | PHONE, True),
    ("name and phone, all else new", ANN | HOME | MAIL | PHONE, ANN | AWAY | OTHER | PHONE, True),
    ("name in one field, other case", ANN | MAIL, {"name": "LEE, ann"} | MAIL, True),
]


def unnumbered(anonymous: str, **traits: Any) -> dict[str, Any]:
    """An identify of somebody without a customer number."""
    return identified("", anonymous=anonymous, **traits) | {"userId": None}


@pytest.mark.feature("DE-07")
def test_it_matches_by_the_stated_rules_and_by_no_name_alone(desk: Desk) -> None:
    """Each pair are a customer with a number and a record without one, in a world of their own."""
    for number, (what, one, other, expected) in enumerate(RULES):
        desk.run("TRUNCATE identifier, profile_link, refused_tie")
        desk.send(identified(f"a{number}", **one))
        desk.send(unnumbered(f"b{number}", **other))
        same = desk.root("user_id", f"a{number}") == desk.root("anonymous_id", f"b{number}")
        # Where no second number stands against it, an e-mail address ties as the identifier that it is.
        assert same == (expected or one.get("email") == other.get("email") is not None), what


@pytest.mark.feature("DE-07")
def test_it_only_suggests_that_two_customer_numbers_are_one(desk: Desk) -> None:
    """Anybody may state a stranger's name and address: that merges no account with theirs."""
    for number, (what, one, other, expected) in enumerate(RULES):
        desk.run("TRUNCATE identifier, profile_link, refused_tie")
        desk.send(identified(f"a{number}", **one))
        desk.send(identified(f"b{number}", **other))
        ann, bob = desk.root("user_id", f"a{number}"), desk.root("user_id", f"b{number}")
        assert ann != bob, what
        keys = desk.rows("SELECT DISTINCT type FROM refused_tie WHERE type LIKE 'name%' AND reason = 'shared'")
        assert bool(keys) == expected, what


@pytest.mark.feature("DE-07")
def test_it_keeps_the_evidence_and_undoes_a_match_like_any_merge(desk: Desk) -> None:
    known: dict[str, Any] = ANN | HOME
    desk.send(identified("till-7", **known), unnumbered("shop-3", **known))
    rows = desk.rows("SELECT reason, claim_type, claim_hash = value_hash AS same, message_id IS NOT NULL AS told"
                     " FROM profile_link JOIN identifier ON owns AND type = claim_type")  # fmt: skip
    assert rows == [("identify", "name_address", True, True)]
    assert desk.rebuilt().different == 0


@pytest.mark.feature("DE-07")
def test_it_merges_nobody_by_a_phone_whose_people_have_different_names(desk: Desk) -> None:
    """Also where none of them has a customer number."""
    for traits in (ANN | {"email": "ann@example.com"} | PHONE, BOB | {"email": "bob@example.com"} | PHONE):
        desk.send(unnumbered(f"d-{traits['firstName']}", **traits))
    assert desk.root("email", "ann@example.com") != desk.root("email", "bob@example.com")
    assert desk.rows("SELECT type, reason FROM refused_tie") == [("phone", "names")]


@pytest.mark.feature("DE-07")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jürgen Müller", "MUELLER, Juergen"),
        ("Jürgen Müller", "Jurgen Muller"),
        ("Dr. Zoë O'Neil", "zoe o\u2019neil"),
        ("Łukasz Żółć", "Lukasz Zolc"),
        ("Søren Åberg", "Soren Aberg"),
        ("Ольга Иванова", "Olga Ivanova"),
        ("Νίκος Παππάς", "Nikos Pappas"),
        ("Ann M. Lee", "Lee Ann"),
    ],
)
def test_it_spells_a_name_in_one_way(one: str, other: str) -> None:
    assert plain_name({"name": one}) == plain_name({"name": other}) != ""


@pytest.mark.feature("DE-07")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hauptstraße 5", "Hauptstr. 5"),
        ("Hauptstrasse 5", "Haupt Str 5"),
        ("12 Main Street, Apt. 4", "12 MAIN ST APARTMENT 4"),
        ("5th Avenue 20", "20 5th Ave."),
        ("Rue de la Paix 3", "3, rue de la paix"),
    ],
)
def test_it_spells_an_address_in_one_way(one: str, other: str) -> None:
    first, second = ({"address": {"street": street, "postalCode": "53 111"}} for street in (one, other))
    assert plain_address(first) == plain_address(second) != ""
    assert plain_address(first) != plain_address({"address": {"street": other, "postalCode": "53112"}})
    assert plain_address({"address": {"street": "Main Street", "postalCode": "53111"}}) == ""


@pytest.mark.feature("DE-07")
def test_it_knows_a_phone_number_with_and_without_its_country() -> None:
    assert e164("0228123456", "DE") == e164("+49228123456", None) == "+49228123456"
    assert e164("4155550132", "US") == "+14155550132"
    assert e164("0228123456", None) == "0228123456"


# --- Noisy people.

FIRST = [
    "Anna", "Ben", "Clara", "David", "Eva", "Felix", "Greta", "Hans", "Ida", "Jonas", "Klara", "Leo", "Mia", "Noah",
    "Olga", "Paul", "Rosa", "Tom", "Jürgen", "Zoë",
]  # fmt: skip
LAST = [
    "Müller", "Schmidt", "Weiß", "Fischer", "Weber", "Wagner", "Becker", "Schäfer", "Koch", "Bauer", "Lange",
    "Krüger", "Hoffmann", "Groß", "Köhler",
]  # fmt: skip
STREETS = [
    "Hauptstraße", "Bahnhofstraße", "Gartenstraße", "Schulstraße", "Lindenallee", "Bergweg", "Ringstraße",
    "Kirchplatz",
]  # fmt: skip
SERVER = Sender(1, "shop", "server", 100)
AT = Arrival(datetime(2026, 3, 2, tzinfo=UTC))


def household(rng: random.Random, number: int) -> list[tuple[int, dict[str, Any]]]:
    """One to four people of a household, each with one to three records: who it is, and what was stated of them."""
    last, first = rng.choice(LAST), rng.sample(FIRST, 4)
    street, place = f"{rng.choice(STREETS)} {rng.randint(1, 120)}", f"{rng.randint(10000, 99999)}"
    shared = f"+4922{rng.randint(1000000, 9999999)}"
    told: list[tuple[int, dict[str, Any]]] = []
    for person in range(rng.choice([1, 1, 2, 2, 3, 4])):
        email = f"{number}.{person if rng.random() < 0.8 else 0}@example.com"
        phone = shared if rng.random() < 0.4 else f"+4917{rng.randint(10000000, 99999999)}"
        facts = {"first": first[person], "last": last, "street": street, "place": place, "email": email, "phone": phone}
        told += [(number * 4 + person, noisy(rng, facts)) for _ in range(rng.randint(1, 3))]
    return told


def noisy(rng: random.Random, facts: dict[str, str]) -> dict[str, Any]:
    """A record as forms and tills have it: spelt otherwise, mistyped, moved, half empty."""
    first, last, street = facts["first"], facts["last"], facts["street"]
    if rng.random() < 0.3:
        last = last.replace("ü", "ue").replace("ä", "ae").replace("ö", "oe").replace("ß", "ss")
    if rng.random() < 0.3:
        street = street.replace("straße", rng.choice(["str.", "strasse", " Str."]))
    if rng.random() < 0.05:
        cut = rng.randrange(1, len(last))
        last = last[:cut] + last[cut + 1 :]  # Mistyped.
    place = facts["place"] if rng.random() < 0.95 else f"{rng.randint(10000, 99999)}"
    traits: dict[str, Any] = {"address": {"street": street, "postalCode": place, "country": "DE"}}
    traits |= {"name": f"{last.upper()}, {first}"} if rng.random() < 0.2 else {"firstName": first, "lastName": last}
    if rng.random() < 0.8:
        traits["email"] = facts["email"] if rng.random() < 0.9 else f"new{rng.random()}@example.com"
    if rng.random() < 0.7:
        traits["phone"] = facts["phone"] if rng.random() < 0.7 else facts["phone"].replace("+49", "0")
    return traits


@pytest.mark.feature("DE-07")
def test_it_finds_most_of_noisy_people_and_takes_hardly_anybody_for_somebody_else() -> None:
    """Over pairs of records, each under a number of its own, if a person merged all that is suggested: a household's
    people share a surname, mostly an address, often a phone."""
    rng = random.Random(7)
    records = [record for number in range(400) for record in household(rng, number)]
    rng.shuffle(records)
    resolution, found = Resolution({}, {}), []
    for number, (_, traits) in enumerate(records):
        said = identified(f"u{number}", **traits) | {"anonymousId": None}
        signal = read(json.dumps(said).encode(), AT)
        found.append(resolution.person(signal, claims(signal, SERVER)))
    assert not resolution.links
    by_key: dict[Claim, Person] = {}
    for new in resolution.identifiers:
        if new.claim[0] in MATCHES and by_key.setdefault(new.claim, new.person).root() is not new.person.root():
            merge(by_key[new.claim], new.person, "suggested")
    true, ours, both = Counter[Any](), Counter[Any](), Counter[Any]()
    for (who, _), person in zip(records, found, strict=True):
        true[who] += 1
        ours[id(person.root())] += 1
        both[who, id(person.root())] += 1
    pairs = [sum(n * (n - 1) // 2 for n in counted.values()) for counted in (true, ours, both)]
    precision, recall = pairs[2] / pairs[1], pairs[2] / pairs[0]
    assert len(records) > 1500
    # What is missed is mistyped names and records that share nothing: nobody is guessed at.
    assert precision >= 0.995, precision
    assert recall >= 0.85, recall
