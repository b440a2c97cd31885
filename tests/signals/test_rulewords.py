"""Rules in words: each feature has a name, and a rule of any shape is said without its JSON."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import pytest

from signals.features import CATALOGUE, Feature
from signals.rules import parse
from signals.rulewords import phrase

CATEGORIES = {"eggs": "Eggs \\1 & more"}
VALUES: dict[str, Any] = {"whole": 2, "number": 1.5, "yes/no": True, "text": "x", "any": "x"}
PARAMS: dict[str, Any] = {"category": "eggs", "within_days": 30, "name": "churn"}


def asked(feature: Feature) -> list[dict[str, Any]]:
    """A comparison of the feature for each set of parameters that it may be given."""
    some = chain.from_iterable(combinations(feature.takes, number) for number in range(len(feature.takes) + 1))
    return [
        {"field": feature.name, "op": "=", "value": (*feature.values, VALUES[feature.type])[0]}
        | {name: PARAMS[name] for name in (*feature.needs, *more)}
        for more in some
    ]


@pytest.mark.parametrize("name", CATALOGUE)
def test_it_has_words_for_whatever_a_rule_may_ask(name: str) -> None:
    for rule in asked(CATALOGUE[name]):
        parse(rule, {"eggs": 1}, where="eligibility")
        said = phrase(rule, CATEGORIES)
        assert not said.startswith(f"{name} "), said
        assert "…" not in said
        assert "the category" not in said
        assert (CATEGORIES["eggs"] in said) == ("category" in rule), said
        assert ("30 days" in said) == ("within_days" in rule), said


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"field": "orders.amount", "op": ">=", "value": 5990}, "spent in all at least 59.90"),
        ({"field": "score", "name": "churn", "op": ">", "value": 0.2}, "chance of leaving more than 20%"),
        ({"field": "trait", "name": "city", "op": "in", "value": ["Bonn", "Köln"]}, "city is one of Bonn, Köln"),
        ({"field": "trait", "name": "age", "op": "in", "value": ["7", 7]}, "age is 7"),
        (
            {"not": {"field": "trait", "name": "city", "op": "in", "value": ["Bonn", "Köln"]}},
            "city is none of Bonn, Köln",
        ),
        ({"not": {"field": "orders.count", "op": ">=", "value": 3}}, "not: orders in all at least 3"),
        ({"field": "complaint.open", "op": "!=", "value": True}, "not: has an open complaint"),
        ({"not": {"field": "complaint.open", "op": "=", "value": True}}, "not: has an open complaint"),
        ({"field": "orders.days_since", "op": "missing"}, "days since the last order is not known"),
        (
            {"all": [{"segment": 7}, {"any": [{"not": {"segment": 8}}, {"not": {"all": [{"always": False}]}}]}]},
            "in “Runners” and (not in “no. 8” or not: nobody)",
        ),
        ({"field": "moon.phase", "name": "full", "op": "=", "value": True}, "moon.phase full is yes"),
    ],
)
def test_it_says_a_rule_in_a_line(rule: dict[str, Any], words: str) -> None:
    assert phrase(rule, {}, {7: "Runners"}) == words


@pytest.mark.parametrize("purpose", ["email", "sms", "push", "tracking", "profiling", "advertising"])
def test_who_said_no_is_told_from_who_was_never_asked(purpose: str) -> None:
    def said(op: str, *value: bool) -> str:
        return phrase({"field": f"consent.{purpose}", "op": op} | ({"value": value[0]} if value else {}), {})

    agreed = said("=", True)
    to = agreed.removeprefix("agreed to ")
    assert to != agreed
    assert said("!=", False) == agreed
    assert said("=", False) == said("!=", True) == f"said no to {to}"
    assert said("missing") == f"neither agreed to {to} nor said no to {to}"
    assert said("present") == f"(agreed to {to} or said no to {to})"
    assert phrase({"not": {"field": f"consent.{purpose}", "op": "=", "value": True}}, {}) == f"not: agreed to {to}"


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({}, "at least once"),
        ({"min_count": 1}, "at least once"),
        ({"min_count": 1500, "zone": "Europe/Berlin"}, "at least 1,500 times"),
        ({"max_count": 0}, "never"),
        ({"min_count": 0}, "any number of times"),
        ({"min_count": 0, "max_count": 1}, "at most once"),
        ({"max_count": 1}, "exactly once"),
        ({"max_count": 3}, "1 to 3 times"),
        ({"category": "eggs", "from": {"days_ago": 30}}, "of Eggs \\1 & more at least once since 30 days ago"),
        ({"category": "hats", "to": {"date": "2024-02-29"}}, "of hats at least once before 2024-02-29"),
        (
            {"from": {"month_start": 12}, "to": {"month_start": 1}, "zone": "Europe/Berlin"},
            "at least once from the first of the month 12 months ago to before the first of last month (Europe/Berlin)",
        ),
        ({"from": {"month_start": 0}}, "at least once since the first of this month"),
        (
            {"from": {"months_ago": 12}, "to": {"months_ago": 1}},
            "at least once from 12 months ago to before a month ago",
        ),
        ({"from": {"days_ago": 1}, "to": {"days_ago": 0}}, "at least once from yesterday to before today"),
    ],
)
def test_it_says_how_often_something_happened_and_when(window: dict[str, Any], words: str) -> None:
    asked = {"event": "Pricing"} | window
    parse(asked, {"eggs": 1, "hats": 2})
    assert phrase(asked, CATEGORIES) == f"“Pricing” {words}"
    assert phrase({"all": [{"not": asked}, {"segment": 7}]}, CATEGORIES) == f"not: “Pricing” {words} and in “no. 7”"


def test_a_window_of_one_day_is_the_last_day() -> None:
    rule = {"field": "orders.count", "op": ">=", "value": 2, "within_days": 1}
    assert phrase(rule, {}) == "orders in the last day at least 2"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"field": "orders.count", "op": ">", "value": 10**9}, "orders in all more than 1,000,000,000"),
        ({"field": "orders.amount", "op": ">=", "value": 123_456}, "spent in all at least 1,234.56"),
        ({"field": "orders.amount", "op": ">=", "value": 250_000}, "spent in all at least 2,500"),
        ({"field": "trait", "name": "born", "op": "=", "value": 1987}, "born is 1987"),
        ({"field": "trait", "name": "till", "op": "=", "value": "12345"}, "till is 12345"),
        ({"field": "trait", "name": "till", "op": "!=", "value": "a"}, "till is other than a"),
        ({"not": {"field": "trait", "name": "till", "op": "=", "value": "a"}}, "till is not a"),
        (
            {"field": "household.has_children", "op": "=", "value": False},
            "is known to have no children in the household",
        ),
    ],
)
def test_numbers_are_grouped_and_those_that_may_be_names_or_years_are_not(rule: dict[str, Any], words: str) -> None:
    assert phrase(rule, {}) == words
