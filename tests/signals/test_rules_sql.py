"""A rule means the same to PostgreSQL over stored documents as to Python over states."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import Engine, insert, select
from sqlalchemy.orm import Session

from base import db
from base.embedded import PostgresServer
from base.errors import InvalidInput
from signals import rules_sql
from signals.features import CATALOGUE, Feature
from signals.fold import fold_all
from signals.foldevent import FoldEvent, fold_event
from signals.household import Household
from signals.identifying import hidden
from signals.intent import DEFAULTS, assess, read_intents
from signals.profiles import ProfileStateRow
from signals.readings import RuleFacts
from signals.rules import Where, compile_python, parse
from signals.stages import LAPSE_GAPS, LAPSE_LEAST_DAYS, NO_RHYTHM_DAYS, RISK_GAPS, RISK_LEAST_DAYS, STAGES
from signals.state import ProfileState, Score, Trait, document, encode, queried
from tests.databases import VAULT, Databases
from tests.signals.stories import CATEGORIES, MORNING, bought_on, histories

STORED = sorted(name for name, feature in CATALOGUE.items() if not feature.at_open)
INTENTS = read_intents(DEFAULTS, CATEGORIES)
SCORES = {"churn": Score(0.5, 190_000_000), "ltv": Score(2500.0, 190_200_000), "flag.returns": Score(0.6, 190_000_000)}
NAMES = {
    "trait": ["age", "vip", "height", "city", "no such"], "intent": ["baby", "puppy", "none"],
    "score": ["churn", "ltv"], "score.days_since": ["churn", "ltv"], "flag": ["returns", "service"],
}  # fmt: skip
SURVEYS = ["nps", "quality", "speed"]
NUMBERS = st.one_of(
    st.integers(-2, 15), st.sampled_from([0.5, 2.5, 7.0, 0.3333, 100, 1000, 1999, 2500, -1.5, 199.999, 2**53])
)
TEXTS = st.sampled_from(
    [
        "",
        "5",
        "Ann",
        "Zoë",
        "Zoe",
        "é",
        "true",
        "negative",
        "price",
        "browsing",
        "bought elsewhere",
        "offer",
        "service",
        "neutral",
        "positive",
        "gift",
        "not_for_me",
        "puppy",
        "adult",
        "child",
        "z" * 128,
    ]
)
ORDERED = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
VALUES = {"whole": NUMBERS, "number": NUMBERS, "text": TEXTS, "yes/no": st.booleans()}
MEMBERSHIPS = st.sets(st.integers(1, 3)).map(sorted).map(tuple)
Life = tuple[list[FoldEvent], tuple[int, ...], Household | None]
ANYTHING = st.one_of(NUMBERS, TEXTS, st.booleans())


@st.composite
def comparisons(draw: st.DrawFn, feature: Feature) -> dict[str, Any]:
    """A comparison of one feature."""
    rule: dict[str, Any] = {"field": feature.name}
    for name in (*feature.needs, *feature.takes):
        if name not in feature.needs and draw(st.booleans()):
            continue
        choices: dict[str, st.SearchStrategy[Any]] = {
            "category": st.sampled_from(sorted(CATEGORIES)),
            "within_days": st.sampled_from([0, 1, 7, 30, 365, 3660]),
            "name": st.sampled_from(NAMES.get(feature.name, SURVEYS)),
        }
        rule[name] = draw(choices[name])
    values = st.sampled_from(feature.values) if feature.values else VALUES.get(feature.type, ANYTHING)
    match draw(st.sampled_from(["missing", "present", "in", "compare", "compare", "compare"])):
        case "compare":
            value = draw(values)
            op = draw(st.sampled_from(["=", "!="]) if isinstance(value, bool) else ORDERED)
            return rule | {"op": op, "value": value}
        case "in":
            return rule | {"op": "in", "value": draw(st.lists(values, min_size=1, max_size=3))}
        case op:
            return rule | {"op": op}


_years = st.one_of(st.just(0), st.integers(MORNING.year - 24, MORNING.year + 1))


def _own_year(household: Household) -> Household:
    """Who came as a child is one of the children."""
    born = household.children[len(household.children) // 2] if household.role == "child" and household.children else 0
    return replace(household, born=born)


households = st.none() | st.builds(
    Household,
    adults=st.integers(0, 4),
    children=st.lists(_years, max_size=4).map(sorted).map(tuple),
    grown=st.integers(0, 2),
    oldest=st.one_of(st.just(0), st.integers(1930, 2008)),
    size=st.integers(0, 6),
    whole=st.booleans(),
    role=st.sampled_from(["adult", "partner", "child"]),
    sure=st.sampled_from([60, 80, 100]),
).map(_own_year)

leaves = st.one_of(
    st.sampled_from(STORED).flatmap(lambda name: comparisons(CATALOGUE[name])),
    st.sampled_from(STORED).flatmap(lambda name: comparisons(CATALOGUE[name])),
    st.builds(lambda number: {"segment": number}, st.integers(1, 3)),
    st.builds(lambda yes: {"always": yes}, st.booleans()),
)
rules = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"all": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def people() -> dict[int, ProfileState]:
    """Eighty lives, the same in every run, each in one segment."""
    lives: list[tuple[list[FoldEvent], Household | None]] = []

    @settings(max_examples=80, derandomize=True, database=None)
    @given(histories(most=60), households)
    def collect(events: list[FoldEvent], household: Household | None) -> None:
        lives.append((events, household))

    collect()
    return {number: known(events, (1,), household) for number, (events, household) in enumerate(lives, 1)}


def known(events: list[FoldEvent], segments: tuple[int, ...], household: Household | None = None) -> ProfileState:
    """What intake stores."""
    scores = SCORES if 1 in segments else {}
    state = assess(fold_all(events, segments=segments, scores=scores), INTENTS)
    state.household = household
    return state


def store(session: Session, states: dict[int, ProfileState], now: datetime) -> None:
    """Write states as rows of profile_state, every other one whole, as early versions did; the database shortens it."""
    rows = [
        {"profile_id": number, "version": 1, "document": hidden((queried if number % 2 else document)(state)),
         "encoded": encode(state), "updated_at": now}
        for number, state in states.items()
    ]  # fmt: skip
    session.execute(insert(ProfileStateRow), rows)


@pytest.fixture(scope="module")
def stored(postgres: PostgresServer, databases: Databases, people: dict[int, ProfileState]) -> Iterator[Session]:
    """Those lives as rows that all tests of features read; nobody else sees them."""
    name = databases.take()
    engine = db.connect(postgres.url.rsplit("/", 1)[0] + f"/{name}", vault=VAULT)
    with engine.connect() as connection, Session(connection) as session:
        store(session, people, MORNING)
        yield session
    engine.dispose()
    databases.give_back(name)


def found(session: Session, rule: dict[str, Any], now: datetime) -> set[int]:
    """Whom PostgreSQL finds."""
    condition = rules_sql.where(parse(rule, CATEGORIES), now)
    return set(session.scalars(select(ProfileStateRow.profile_id).where(condition)))


def meant(states: dict[int, ProfileState], rule: dict[str, Any], now: datetime) -> set[int]:
    """Whom Python means."""
    holds = compile_python(parse(rule, CATEGORIES))
    return {number for number, state in states.items() if holds(RuleFacts(state, now))}


def test_it_asks_of_a_sealed_trait_only_whether_it_is_there(engine: Engine) -> None:
    told: list[dict[str, Trait]] = [{"first_name": "Ann"}, {"first_name": ""}, {"city": "Ulm"}, {"address.city": "Ulm"}]
    states = {number: ProfileState(traits=traits) for number, traits in enumerate(told, 1)}
    with engine.connect() as connection, Session(connection) as session:
        store(session, states, MORNING)
        for op, people in (("present", {1, 2}), ("missing", {3, 4})):
            rule = {"field": "trait", "name": "firstName", "op": op}
            assert found(session, rule, MORNING) == meant(states, rule, MORNING) == people
        rule = {"field": "trait", "name": "address.city", "op": "=", "value": "Ulm"}
        assert found(session, rule, MORNING) == meant(states, rule, MORNING) == {4}
        stored = session.scalars(select(ProfileStateRow.document).order_by(ProfileStateRow.profile_id)).all()
        assert "Ann" not in str(stored)
    for name in (
        "firstName",
        "last_name",
        "contact_email",
        "address.line1",
        "birthday",
        "delivery note",
        "loyaltyId",
    ):
        for op, value in (("=", "Ann"), ("in", ["Ann"]), ("<", "Ann")):
            compared = {"any": [{"field": "trait", "name": name, "op": op, "value": value}]}
            with pytest.raises(InvalidInput, match=r"any\[0\].op: .* is kept sealed"):
                parse(compared, CATEGORIES)
            assert parse(compared, CATEGORIES, where="eligibility")


@pytest.mark.parametrize("name", ["email", "Phone", "address.street", "username", "avatar"])
def test_it_refuses_to_ask_for_what_no_state_keeps_and_reads_it_of_plans_as_before(name: str) -> None:
    identify = {"type": "identify", "traits": {"email": "e", "phone": "p", "address": {"street": "s"},
                                               "username": "u", "avatar": "a", "city": "Ulm"}}  # fmt: skip
    assert fold_event(identify, lambda said: None, time_ms=0).traits == {"city": "Ulm"}
    for asked in ({"op": "present"}, {"op": "missing"}, {"op": "=", "value": True}, {"op": "=", "value": "x"}):
        rule = {"not": {"field": "trait", "name": name} | asked}
        wheres: tuple[Where, ...] = ("audience", "eligibility")
        for where in wheres:
            with pytest.raises(InvalidInput, match=r"is not kept with what is known of a person") as refused:
                parse(rule, CATEGORIES, where=where)
            assert refused.value.field == "not.name"
        assert parse(rule, CATEGORIES, where="eligibility", published=True)


def test_it_asks_of_any_trait_whether_it_is_yes_or_no(engine: Engine) -> None:
    told: list[dict[str, Trait]] = [{"email_opt_in": True}, {"email_opt_in": False}, {"email_opt_in": "yes"}, {}]
    states = {number: ProfileState(traits=traits) for number, traits in enumerate(told, 1)}
    with engine.connect() as connection, Session(connection) as session:
        store(session, states, MORNING)
        for asked, people in (
            ({"op": "=", "value": True}, {1}), ({"op": "!=", "value": True}, {2}),
            ({"op": "in", "value": [True, False]}, {1, 2}), ({"op": "present"}, {1, 2, 3}), ({"op": "missing"}, {4}),
        ):  # fmt: skip
            rule = {"field": "trait", "name": "emailOptIn"} | asked
            assert found(session, rule, MORNING) == meant(states, rule, MORNING) == people


@pytest.mark.parametrize("name", ["height", 'say"ah"', "back\\slash", "$.age", "größe_🎈", "a.b[0]", "tab\t\x07", "@"])
def test_it_compares_a_trait_of_any_name_in_its_own_sort(name: str, engine: Engine) -> None:
    told: list[Trait] = [18, 18.5, True, "18", 2**53 - 1, float(2**53), -0.5, "", False, "Ulm"]
    states = {number: ProfileState(traits={name: value}) for number, value in enumerate(told, 1)}
    states[99] = ProfileState(traits={"another": 18})
    with engine.connect() as connection, Session(connection) as session:
        store(session, states, MORNING)
        for value in told:
            ops = ("=", "!=") if isinstance(value, bool) else ("=", "!=", "<", "<=", ">", ">=")
            for op in ops:
                rule = {"field": "trait", "name": name, "op": op, "value": value}
                assert found(session, rule, MORNING) == meant(states, rule, MORNING), rule
        field: dict[str, Any] = {"field": "trait", "name": name}
        assert found(session, field | {"op": "in", "value": told}, MORNING) == set(range(1, len(told) + 1))
        assert found(session, field | {"op": ">=", "value": 18}, MORNING) == {1, 2, 5, 6}
        for asked in ({"op": "present"}, {"op": "missing"}, {"op": "=", "value": "Ulm"}, {"op": "<", "value": 18}):
            beside = {"field": "trait", "name": "another", "op": "=", "value": 18}
            rules: list[dict[str, Any]] = [{"any": [field | asked, beside]}, {"all": [field | asked, {"not": beside}]},
                                           {"all": [field | asked, field | {"op": "present"}]}]  # fmt: skip
            for rule in rules:
                assert found(session, rule, MORNING) == meant(states, rule, MORNING), rule


ODD: list[Trait] = [18, -0.5, True, False, "18", "", 'say "ah"', "back\\slash", "größe", "tab\tline\n\x07", "$wanted"]
NAMED = ["age", "vip", 'say"ah"', "a.b[0]", "back\\slash", "$.age_@", "größe_🎈", "tab\t\x07"]
HIDDEN = ["first_name", "email_opt_in"]
trait_tests = st.one_of(
    st.builds(
        lambda name, asked: {"field": "trait", "name": name} | asked,
        st.sampled_from(NAMED),
        st.one_of(
            st.builds(lambda value: {"op": "=", "value": value}, st.sampled_from(ODD)),
            st.builds(lambda value: {"op": "!=", "value": value}, st.sampled_from(ODD)),
            st.builds(lambda values: {"op": "in", "value": values}, st.lists(st.sampled_from(ODD), min_size=1)),
            st.builds(
                lambda op, value: {"op": op, "value": value}, st.sampled_from(["<", "<=", ">", ">="]),
                st.sampled_from([one for one in ODD if not isinstance(one, bool)]),
            ),
            st.sampled_from([{"op": "present"}, {"op": "missing"}]),
        ),
    ),
    st.builds(
        lambda name, asked: {"field": "trait", "name": name} | asked,
        st.sampled_from(HIDDEN),
        st.sampled_from([{"op": "present"}, {"op": "missing"}, {"op": "=", "value": True}, {"op": "!=", "value": True},
                         {"op": "in", "value": [True, False]}]),
    ),
)  # fmt: skip
trait_rules = st.recursive(
    trait_tests,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"all": parts}, st.lists(inner, min_size=1, max_size=4)),
        st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=4)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=8,
)  # fmt: skip


def test_groups_of_traits_mean_the_same_in_sql_whatever_their_sorts(engine: Engine) -> None:
    dice = random.Random(6)
    states = {
        number: ProfileState(traits={name: dice.choice(ODD) for name in [*NAMED, *HIDDEN] if dice.random() < 0.7})
        for number in range(1, 61)
    }
    with engine.connect() as connection, Session(connection) as session:
        store(session, states, MORNING)

        @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
        @given(trait_rules)
        def agree(rule: dict[str, Any]) -> None:
            assert found(session, rule, MORNING) == meant(states, rule, MORNING), rule

        agree()


def test_the_stage_is_the_same_in_sql_on_each_side_of_every_threshold(engine: Engine) -> None:
    lives = [(), (0,), (0, 0), (-10, 0), (-10, -10, 0, 0), (-40, -20, 0), (-40, -20, 0, 0), (-6, -4, -2, 0),
             (-730, -365, 0)]  # fmt: skip
    states = {number: bought_on(*days) for number, days in enumerate(lives, 1)}
    edges = {0, *(gaps * usual for gaps in (RISK_GAPS, LAPSE_GAPS) for usual in (2, 20, NO_RHYTHM_DAYS, 365)),
             RISK_LEAST_DAYS, LAPSE_LEAST_DAYS}  # fmt: skip
    seen = set()
    with engine.connect() as connection, Session(connection) as session:
        store(session, states, MORNING)
        for silent in sorted({edge + beside for edge in edges for beside in (-1, 0, 1)}):
            now = MORNING + timedelta(days=silent)
            for stage in STAGES:
                rule = {"field": "lifecycle.stage", "op": "=", "value": stage}
                people = meant(states, rule, now)
                assert found(session, rule, now) == people, (stage, silent)
                seen |= {stage} if people else set()
    assert seen == set(STAGES)


def test_it_means_the_same_in_sql_and_in_python(engine: Engine) -> None:
    with engine.connect() as connection, Session(connection) as session:

        @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
        @given(
            st.lists(st.tuples(histories(), MEMBERSHIPS, households), min_size=1, max_size=4),
            st.lists(rules, min_size=1, max_size=8),
            st.integers(-300, 900),
        )
        def agree(lives: list[Life], asked: list[Any], hours: int) -> None:
            now = MORNING + timedelta(hours=hours)
            states = {number: known(*person) for number, person in enumerate(lives, 1)}
            store(session, states, now)
            for rule in asked:
                assert found(session, rule, now) == meant(states, rule, now), rule
            session.rollback()

        agree()


@pytest.mark.parametrize("name", STORED)
def test_it_agrees_on_each_feature_of_the_catalogue(
    name: str, stored: Session, people: dict[int, ProfileState]
) -> None:
    @settings(max_examples=25)
    @given(comparisons(CATALOGUE[name]))
    def agree(rule: dict[str, Any]) -> None:
        assert found(stored, rule, MORNING) == meant(people, rule, MORNING)

    agree()


def test_it_has_a_column_for_every_stored_feature_that_somebody_has(stored: Session) -> None:
    parameters: dict[str, Any] = {
        "category": sorted(CATEGORIES),
        "name": [name for names in NAMES.values() for name in names] + SURVEYS,
    }
    for name in STORED:
        needs = CATALOGUE[name].needs
        asked: dict[str, Any] = {"field": name, "op": "present"}
        options = [asked | {str(needs[0]): choice} for choice in parameters[needs[0]]] if needs else [asked]
        present = [found(stored, option, MORNING) for option in options]
        assert set().union(*present), name
