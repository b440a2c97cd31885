"""Whose an incoming call is, among 50,000 people: the lookup alone, and the whole call until it is in effect.

Every customer has a number, an address, a phone and a street; so besides the number each has six values that name them.
Callers are known people who come without their number and spell what they state in another way (a street with its
abbreviation, a name in capitals, the last name first), and as many whom nobody knows. One at a time, as a form sends
them:

- *whose it is*: the call's identifiers normalised, found in PostgreSQL, and resolved to a person. What splink takes for
  one record against as many (p50 238 ms) is why likeness is looked at by runs and not at the door.
- *in effect*: the same call stored, folded and published, its merge included.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np

from base import db
from base.clock import monotonic
from base.vault import Vault
from benchmarks import world
from benchmarks.report import Report
from signals import belonging
from signals.identity import claims
from signals.intake import Intake, take
from signals.resolution import Resolution
from signals.signal import Arrival, read
from signals.sources import Sender, create_source
from signals.sources import sender as sender_of

PEOPLE = 50_000
BATCH = 1_000
CALLERS = 2_000
AIM_MS = 5.0
FIRST = ("Anna", "Ben", "Clara", "David", "Eva", "Felix", "Greta", "Hans", "Ida", "Jonas", "Mia", "Noah")
LAST = ("Müller", "Schmidt", "Weiß", "Fischer", "Weber", "Wagner", "Becker", "Schäfer", "Koch", "Bauer", "Groß")
STREETS = ("Hauptstraße", "Bahnhofstraße", "Gartenstraße", "Schulstraße", "Lindenallee", "Bergweg", "Kirchplatz")
Traits = dict[str, Any]


def main() -> None:
    """Run it and print the report."""
    report = Report("identity")
    with world.world(database=True) as place:
        engine = db.connect(place.settings.database_url, vault=Vault.of(place.settings))
        try:
            sessions = db.sessions(engine)
            with sessions.begin() as session:
                sender = sender_of(create_source(session, "benchmark", "server", world.now(), write_key="benchmark")[0])
            intake = Intake(sessions, place.store, place.settings.hash_key)
            people = _known(intake, sender)
            callers = _callers(people)
            found, seconds = _looked_up(sessions, sender, callers, intake.hash_key)
            _told(report, f"whose it is, of {PEOPLE:,}", seconds, AIM_MS)
            known = sum(found[::2]) / len(found[::2])
            report.add("  known callers who were found", f"{known:.1%}", met=known == 1.0, aim="all")
            strangers = sum(found[1::2])
            report.add("  strangers taken for somebody", f"{strangers}", met=strangers == 0, aim="none")
            _told(report, "in effect: stored, folded, published", _taken(intake, sender, callers), None)
        finally:
            engine.dispose()
    report.show()


def _known(intake: Intake, sender: Sender) -> list[Traits]:
    draw = random.Random(4)
    people = [_person(number, draw) for number in range(PEOPLE)]
    for first in range(0, PEOPLE, BATCH):
        bodies = [_call(f"k{n}", people[n], {"userId": f"u{n}"}) for n in range(first, first + BATCH)]
        take(intake, sender, bodies, world.now())
    return people


def _person(number: int, draw: random.Random) -> Traits:
    return {
        "firstName": draw.choice(FIRST), "lastName": draw.choice(LAST), "email": f"p{number}@example.com",
        "phone": f"+4917{10_000_000 + number}",
        "address": {
            "street": f"{draw.choice(STREETS)} {draw.randint(1, 200)}", "postalCode": f"{10_000 + number}",
            "country": "DE",
        },
    }  # fmt: skip


def _callers(people: list[Traits]) -> list[bytes]:
    """Known people and strangers by turns, each with a device of their own."""
    draw = random.Random(9)
    calls = []
    for number, person in enumerate(draw.sample(people, CALLERS // 2)):
        calls.append(_call(f"c{number}", _as_typed(person, draw), {"anonymousId": f"d{number}"}))
        calls.append(_call(f"s{number}", _person(PEOPLE + number, draw), {"anonymousId": f"e{number}"}))
    return calls


def _as_typed(person: Traits, draw: random.Random) -> Traits:
    """The same person by name and address, phone, or e-mail address, spelt in another way."""
    name = {"name": f"{person['lastName'].upper()}, {person['firstName']}"}
    address = person["address"] | {"street": person["address"]["street"].replace("straße", "str.").upper()}
    return name | draw.choice([
        {"address": address}, {"phone": person["phone"].replace("+49", "0049 ")}, {"email": person["email"].upper()},
    ])  # fmt: skip


def _call(name: str, traits: Traits, who: dict[str, str]) -> bytes:
    return msgspec.json.encode(
        {"type": "identify", "messageId": name, "timestamp": world.now().isoformat(), "traits": traits} | who
    )


def _looked_up(
    sessions: db.Sessions, sender: Sender, callers: list[bytes], hash_key: bytes
) -> tuple[list[bool], list[float]]:
    """Whether each caller is somebody known, and the seconds it took to tell; nothing is written."""
    found, seconds = [], []
    arrival = Arrival(world.now())
    for body in callers:
        began = monotonic()
        signal = read(body, arrival)
        named = claims(signal, sender)
        with sessions.begin() as session:
            known = belonging.find(session, named, hash_key, ties=True)
        resolution = Resolution(known.owners, known.ties, ahead=known.ahead)
        person = resolution.person(signal, named)
        seconds.append(monotonic() - began)
        found.append(person.root().id != 0)
    return found, seconds


def _taken(intake: Intake, sender: Sender, callers: list[bytes]) -> list[float]:
    seconds = []
    for body in callers:
        began = monotonic()
        take(intake, sender, [body], world.now())
        seconds.append(monotonic() - began)
    return seconds


def _told(report: Report, what: str, seconds: list[float], most: float | None) -> None:
    p50, p99 = (float(np.percentile(seconds, share)) * 1_000 for share in (50, 99))
    aim, met = (f"p99 ≤ {most:g} ms", p99 <= most) if most is not None else ("", None)
    report.add(what, f"p50 {p50:.2f} ms, p99 {p99:.2f} ms", aim=aim, met=met)
