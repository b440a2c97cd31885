"""Rules over signals of all channels, against an oracle that knows only how the people were made."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from signals import rules_sql
from signals.importing import import_events
from signals.profiles import ProfileStateRow
from signals.readings import RuleFacts
from signals.rules import compile_python, parse
from tests.signals.sending import NOW, Desk, call


@dataclass
class Made:
    """A made-up person: for each channel the days ago at which it spoke, newest first."""

    user: str
    orders: list[int]
    web: list[int]
    till: list[int]
    registered: list[int]
    survey: tuple[int, int] | None
    notes: list[int]
    review: tuple[int, int] | None


def make(user: str, shape: tuple[bool, ...], chance: random.Random) -> Made:
    """A person in whose life each channel speaks or not, as `shape` says; when and how often is chance."""

    def days(speaks: bool) -> list[int]:
        return sorted(chance.sample((2, 9, 20, 45, 70, 100), chance.randint(1, 3))) if speaks else []

    orders, web, till, registered, survey, notes, review = shape
    return Made(
        user,
        days(orders),
        days(web),
        days(till),
        days(registered)[:1],
        (chance.choice((3, 50)), chance.choice((2, 7, 9, 10))) if survey else None,
        days(notes),
        (chance.choice((3, 50)), chance.choice((1, 3, 5))) if review else None,
    )


def signals(person: Made) -> list[tuple[str, dict[str, Any]]]:
    """What the channels send of a person: the source and the call."""

    def told(source: str, event: str, ago: int, **properties: Any) -> tuple[str, dict[str, Any]]:
        moment = (NOW - timedelta(days=ago)).isoformat()
        return source, call("track", event=event, userId=person.user, timestamp=moment, properties=properties)

    def sold(source: str, ago: int, category: str) -> tuple[str, dict[str, Any]]:
        products = [{"product_id": category, "category": category, "price": 20, "quantity": 1}]
        order_id = f"{person.user}-{source}-{ago}"
        return told(source, "Order Completed", ago, order_id=order_id, total=20, products=products)

    calls = [sold("shop", ago, "shoes") for ago in person.orders]
    calls += [sold("till", ago, "attire") for ago in person.till]
    calls += [told("shop", "Product Viewed", ago, product_id="s", category="shoes") for ago in person.web]
    calls += [told("shop", "Product Registered", ago, product_id="w", category="watches") for ago in person.registered]
    calls += [told("centre", "Call Note Added", ago, note="called") for ago in person.notes]
    if person.survey:
        calls.append(told("centre", "Survey Answered", person.survey[0], survey_id="nps", score=person.survey[1]))
    if person.review:
        calls.append(told("shop", "Product Reviewed", person.review[0], category="shoes", rating=person.review[1]))
    return calls


Oracle = Callable[[Made], bool]
ATOMS: list[tuple[dict[str, Any], Oracle]] = [
    ({"field": "purchases.count", "category": "shoes", "op": ">=", "value": 2}, lambda one: len(one.orders) >= 2),
    (
        {"field": "purchases.count", "category": "attire", "within_days": 30, "op": ">=", "value": 1},
        lambda one: any(ago <= 30 for ago in one.till),
    ),
    ({"field": "orders.count", "op": "=", "value": 0}, lambda one: not one.orders and not one.till),
    (
        {"field": "views.days_since", "category": "shoes", "op": "<=", "value": 20},
        lambda one: any(ago <= 20 for ago in one.web),
    ),
    (
        {"field": "registrations.days_since", "category": "watches", "op": ">", "value": 9},
        lambda one: bool(one.registered) and one.registered[0] > 9,
    ),
    (
        {"field": "survey.score", "name": "nps", "op": ">=", "value": 9},
        lambda one: one.survey is not None and one.survey[1] >= 9,
    ),
    (
        {"field": "survey.days_since", "name": "nps", "op": "<", "value": 30},
        lambda one: one.survey is not None and one.survey[0] < 30,
    ),
    ({"field": "notes.count", "op": ">=", "value": 2}, lambda one: len(one.notes) >= 2),
    ({"field": "notes.days_since", "op": "missing"}, lambda one: not one.notes),
    (
        {"field": "review.sentiment", "category": "shoes", "op": "=", "value": "positive"},
        lambda one: one.review is not None and one.review[1] >= 4,
    ),
    (
        {"field": "review.sentiment", "category": "shoes", "op": "!=", "value": "negative"},
        lambda one: one.review is not None and one.review[1] > 2,
    ),
    # Both sides of a day, of what happened 20 days ago.
    (
        {"field": "views.days_since", "category": "shoes", "op": "<=", "value": 19},
        lambda one: any(ago <= 19 for ago in one.web),
    ),
    *(
        (
            {"field": "purchases.count", "category": "attire", "within_days": days, "op": ">=", "value": 1},
            lambda one, days=days: any(ago <= days for ago in one.till),
        )
        for days in (19, 20)
    ),
    *(
        (
            {"field": "orders.count", "within_days": days, "op": ">=", "value": 1},
            lambda one, days=days: any(ago <= days for ago in one.orders + one.till),
        )
        for days in (19, 20)
    ),
]
WINDOWS: list[tuple[dict[str, Any], Oracle]] = [
    (
        {"event": "Product Viewed", "category": "shoes", "from": {"days_ago": 80}, "to": {"days_ago": 30}},
        lambda one: any(ago in (45, 70) for ago in one.web),
    ),
    (
        {"event": "Call Note Added", "from": {"days_ago": 80}, "min_count": 2},
        lambda one: sum(ago <= 80 for ago in one.notes) >= 2,
    ),
    (
        {"event": "Call Note Added", "from": {"days_ago": 80}, "min_count": 0, "max_count": 1},
        lambda one: sum(ago <= 80 for ago in one.notes) <= 1,
    ),
    (
        {"event": "Order Completed", "from": {"days_ago": 110}, "max_count": 0},
        lambda one: not one.orders and not one.till,
    ),
]


def composed(chance: random.Random, atoms: list[tuple[dict[str, Any], Oracle]], depth: int) -> tuple[Any, Oracle]:
    """A random AND/OR/NOT over atoms, and what it means in plain Python."""
    if depth == 0 or chance.random() < 0.2:
        return chance.choice(atoms)
    shape = chance.choice(("all", "any", "not"))
    parts = [composed(chance, atoms, depth - 1) for _ in range(1 if shape == "not" else chance.randint(2, 3))]
    rules, oracles = [part[0] for part in parts], [part[1] for part in parts]
    if shape == "not":
        return {"not": rules[0]}, lambda one: not oracles[0](one)
    decide = all if shape == "all" else any
    return {shape: rules}, lambda one: decide(oracle(one) for oracle in oracles)


@pytest.mark.feature("CM-02")
def test_it_finds_exactly_those_whom_the_oracle_means(desk: Desk) -> None:
    chance = random.Random(20)
    shapes = itertools.product((False, True), repeat=7)
    people = [make(f"u{number}", shape, chance) for number, shape in enumerate(2 * list(shapes))]
    told = [one for person in people for one in signals(person)]
    # Somebody must be known even when no channel of the table speaks of them.
    told += [("shop", call("identify", userId=person.user, traits={"city": "Bonn"})) for person in people]
    # A page by the name of what the rules ask for is no such event.
    seen: dict[str, Any] = {"name": "Product Viewed", "timestamp": (NOW - timedelta(days=50)).isoformat()}
    told += [("shop", call("page", userId=person.user, properties={"category": "shoes"}, **seen)) for person in people]
    senders = {"shop": desk.server, "till": desk.source("till", "server"), "centre": desk.source("centre", "server")}
    for name, sender in senders.items():
        lines = [json.dumps(one).encode() for source, one in told if source == name]
        assert import_events(desk.intake, sender, lines, NOW).accepted == len(lines)
    categories = {name: desk.category(name) for name in ("shoes", "attire", "watches")}
    profiles = {desk.root("user_id", person.user): person for person in people}
    states = {profile: desk.state(profile) for profile in profiles}

    promoters = {"all": [ATOMS[5][0], ATOMS[6][0], ATOMS[9][0], {"not": ATOMS[2][0]}]}
    active: Oracle = lambda one: all(ATOMS[at][1](one) for at in (5, 6, 9)) and not ATOMS[2][1](one)  # noqa: E731
    asked = [*ATOMS, *WINDOWS, (promoters, active)]
    asked += [composed(chance, ATOMS + WINDOWS, 3) for _ in range(150)]
    asked += [composed(chance, ATOMS, 3) for _ in range(150)]
    answers = set()
    with desk.sessions.begin() as session:
        for rule, oracle in asked:
            read = parse(rule, categories)
            found = set(session.scalars(select(ProfileStateRow.profile_id).where(rules_sql.where(read, NOW))))
            expected = {profile for profile, person in profiles.items() if oracle(person)}
            assert found == expected, rule
            answers.add(frozenset(found))
            if "event" not in json.dumps(rule):
                holds = compile_python(read)
                assert {profile for profile in profiles if holds(RuleFacts(states[profile], NOW))} == expected, rule
    assert len(answers) > 150
