"""A plan's eligibility rules as functions, clause by clause, so that a decision can name the one that failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from base.errors import InvalidInput
from render.plan import LAYERS, Layer, Plan, Rule
from signals.rules import RuleFacts, compile_python, parse

Holds = Callable[[RuleFacts], bool]
Clauses = dict[int, dict[Layer, tuple[Holds, ...]]]
"""Offer id -> layer -> its clauses; offers and layers without a rule are absent."""
_CLAUSES: Final = "clauses"


def clauses(plan: Plan) -> Clauses:
    """The plan's rules as functions, per offer and layer; an `all` is a function a clause. Made once a plan.

    Raises InvalidInput naming the offer, the layer and the part of the rule for a plan that `validate_rules` refuses.
    """
    made: Clauses | None = vars(plan).get(_CLAUSES)
    if made is None:
        made = {}
        for position, offer in enumerate(plan.offers):
            for layer in LAYERS:
                rule = offer.rules.of(layer)
                if rule is not None:
                    functions = _functions(rule, plan.categories, f"offers[{position}].rules.{layer}")
                    made.setdefault(offer.id, {})[layer] = functions
        # A plan never changes, so what is made of it may be kept with it, as its cached properties are.
        vars(plan)[_CLAUSES] = made
    return made


def validate_rules(plan: Plan) -> list[str]:
    """What keeps a plan's rules from being published, a sentence a rule, each beginning with the field."""
    faults = []
    for position, offer in enumerate(plan.offers):
        for layer in LAYERS:
            rule = offer.rules.of(layer)
            if rule is not None:
                try:
                    _functions(rule, plan.categories, f"offers[{position}].rules.{layer}")
                except InvalidInput as error:
                    faults.append(str(error))
    return faults


def _functions(rule: Rule, categories: Mapping[str, int], at: str) -> tuple[Holds, ...]:
    parts = rule["all"] if set(rule) == {"all"} and isinstance(rule["all"], list) else [rule]
    numbered = len(parts) > 1
    return tuple(
        _function(part, categories, f"{at}.all[{number}]" if numbered else at) for number, part in enumerate(parts)
    )


def _function(part: Any, categories: Mapping[str, int], at: str) -> Holds:
    try:
        return compile_python(parse(part, categories, where="eligibility"))
    except InvalidInput as error:
        raise InvalidInput(f"{at}.{error.field}" if error.field else at, error.message) from error
