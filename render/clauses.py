"""A plan's eligibility rules as functions, clause by clause, so that a decision can name the one that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import UNSET

from base.errors import InvalidInput
from render.plan import LAYERS, Layer, Plan, Rule
from signals.rules import RuleFacts, compile_python, parse

Holds = Callable[[RuleFacts], bool]
Clauses = dict[int, dict[Layer, tuple[Holds, ...]]]
"""Offer id -> layer -> its clauses; offers and layers without a rule are absent."""
_CLAUSES: Final = "clauses"
_RULES: Final = "rules"
_SUPPRESSION: Final = "suppression"


def clauses(plan: Plan) -> Clauses:
    """The plan's rules as functions; a rule that is an `all` is one function a clause. Made once a plan.

    Publishing refuses a rule that cannot be read. Should an old plan hold one that this release cannot read any more,
    it holds for nobody: the offer is off and the mail still opens.
    """
    made: Clauses | None = vars(plan).get(_CLAUSES)
    if made is None:
        made = {}
        for offer in plan.offers:
            for layer in LAYERS:
                rule = offer.rules.of(layer)
                if rule is not None:
                    made.setdefault(offer.id, {})[layer] = tuple(_function(part, plan, _never) for part in parts(rule))
        # A plan never changes, so what is made of it may be kept with it, as its cached properties are.
        vars(plan)[_CLAUSES] = made
    return made


def rule_of(plan: Plan, rule: Rule) -> Holds:
    """A rule of the plan's own as a function. Made once a plan; one that cannot be read holds for nobody."""
    made: dict[int, Holds] = vars(plan).setdefault(_RULES, {})
    # The plan keeps the rule, so no other can come to have its identity.
    found = made.get(id(rule))
    if found is None:
        found = made[id(rule)] = _function(rule, plan, _never)
    return found


def suppression(plan: Plan) -> tuple[Holds, ...]:
    """The plan's suppression rule as functions, one a part of its `any`; empty where it has none. Made once a plan.

    A part that this release cannot read holds for everybody: nothing is sold to whom it may mean.
    """
    made: tuple[Holds, ...] | None = vars(plan).get(_SUPPRESSION)
    if made is None:
        rule = plan.suppress
        made = () if rule is UNSET else tuple(_function(part, plan, _always) for part in alternatives(rule))
        vars(plan)[_SUPPRESSION] = made
    return made


def alternatives(rule: Rule) -> list[Any]:
    """The parts of a suppression rule in the order a decision numbers them, from 1."""
    if set(rule) == {"any"} and isinstance(rule["any"], list) and rule["any"]:
        return list(rule["any"])
    return [rule]


def parts(rule: Rule) -> list[Any]:
    """The clauses of a rule in the order a decision numbers them, from 1."""
    if set(rule) == {"all"} and isinstance(rule["all"], list) and rule["all"]:
        return list(rule["all"])
    return [rule]


def _function(part: Any, plan: Plan, unreadable: Holds) -> Holds:
    try:
        return compile_python(parse(part, plan.categories, where="eligibility", published=True))
    except InvalidInput:
        return unreadable


def _never(facts: RuleFacts) -> bool:
    return False


def _always(facts: RuleFacts) -> bool:
    return True
