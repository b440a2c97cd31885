"""Intents: what a person may be up to, as probabilities that compete, with silence where the evidence conflicts.

Intents of one group exclude each other and "none of them". Each begins with its prior; every piece of evidence that is
there multiplies it by its likelihood ratio (how many times likelier the evidence is with the intent than without); the
products, with what the priors leave for "none", are scaled to sum to one. A baby gate alone speaks as much for a baby
as for a puppy, 0.4 each: nobody stands out, and `intent_top` stays missing. Dog food beside it settles the matter.

Evidence is read from the folded state, so returned and gift purchases say nothing, and "within" counts back from the
state's newest signal, so that a rebuild gives the same figures. Give `read_intents` the categories without the
sensitive ones: no intent may rest on those.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import prod
from typing import Annotated, Any, Final, Literal

import msgspec

from base.errors import InvalidInput
from signals.foldevent import trait_name
from signals.moments import DAY_S, seconds_of
from signals.state import ProfileState, Trait

MAX_INTENTS: Final = 32
MAX_EVIDENCE: Final = 64
DECIMALS: Final = 4
_Ratio = Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]
_Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Signal = Literal["bought", "viewed", "in_cart"]


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that makes an intent likelier (likelihood above 1) or less likely (below).

    Either a `category` (its slug) that was bought, viewed or put in the cart, in the last `within_days`, or a `trait`
    that equals a value or is a number of at least `at_least`.
    """

    likelihood: _Ratio
    category: str | None = None
    signal: Signal = "bought"
    within_days: Annotated[int, msgspec.Meta(ge=0, le=3660)] = 365
    trait: str | None = None
    equals: Trait | None = None
    at_least: float | None = None


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An intent as a shop writes it. It stands out at `threshold` and `margin` above the next of its group."""

    prior: _Share
    evidence: Annotated[tuple[Evidence, ...], msgspec.Meta(min_length=1, max_length=MAX_EVIDENCE)]
    threshold: _Share = 0.6
    margin: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.2
    group: str = ""


class Intent(msgspec.Struct, frozen=True):
    """A definition with its categories resolved; evidence about categories the shop does not have is left out."""

    name: str
    definition: Definition
    evidence: tuple[tuple[Evidence, int], ...]


def read_intents(raw: Mapping[str, Any], categories: Mapping[str, int]) -> tuple[Intent, ...]:
    """The intents from their names and JSON definitions, in order of name.

    Raises InvalidInput naming the intent and the field; also when the priors of a group leave nothing for "none".
    """
    if len(raw) > MAX_INTENTS:
        raise InvalidInput("intents", f"there may be at most {MAX_INTENTS}")
    intents = tuple(_read(name, raw[name], categories) for name in sorted(raw))
    for group in {intent.definition.group for intent in intents}:
        if sum(intent.definition.prior for intent in intents if intent.definition.group == group) >= 1:
            raise InvalidInput(f"intents.{group}", "the priors of a group must sum to less than 1")
    return intents


def assess(state: ProfileState, intents: Iterable[Intent]) -> ProfileState:
    """The state with the probabilities of its intents, to four decimals, and the one that stands out, if any.

    A group without any evidence leaves nothing behind. The given state is not changed; a tombstone stays one.
    """
    if state.erased:
        return state
    groups: dict[str, list[Intent]] = {}
    for intent in intents:
        groups.setdefault(intent.definition.group, []).append(intent)
    beliefs: dict[str, float] = {}
    tops: list[tuple[float, str]] = []
    for group in groups.values():
        believed = _beliefs(state, group)
        beliefs |= believed
        if (top := _stands_out(group, believed)) is not None:
            tops.append((-believed[top], top))
    assessed = copy.copy(state)
    assessed.intents = beliefs
    assessed.intent_top = min(tops)[1] if tops else None
    return assessed


def _read(name: str, raw: Any, categories: Mapping[str, int]) -> Intent:
    path = f"intents.{name}"
    try:
        definition = msgspec.convert(raw, Definition)
    except msgspec.ValidationError as error:
        raise InvalidInput(path, str(error)) from None
    for index, evidence in enumerate(definition.evidence):
        is_test = evidence.equals is not None or evidence.at_least is not None
        if (evidence.category is None) == (evidence.trait is None) or is_test != (evidence.trait is not None):
            where = f"{path}.evidence[{index}]"
            raise InvalidInput(where, "needs a category, or a trait with equals or at_least")
    resolved = tuple(
        (evidence, categories.get(evidence.category, 0) if evidence.category is not None else 0)
        for evidence in definition.evidence
        if evidence.category is None or evidence.category in categories
    )
    return Intent(name, definition, resolved)


def _beliefs(state: ProfileState, group: list[Intent]) -> dict[str, float]:
    found = {
        intent.name: [
            evidence.likelihood for evidence, category in intent.evidence if _is_there(state, evidence, category)
        ]
        for intent in group
    }
    if not any(found.values()):
        return {}
    weights = {intent.name: intent.definition.prior * prod(found[intent.name]) for intent in group}
    total = sum(weights.values()) + 1 - sum(intent.definition.prior for intent in group)
    return {name: round(weight / total, DECIMALS) for name, weight in weights.items()}


def _stands_out(group: list[Intent], beliefs: Mapping[str, float]) -> str | None:
    ranked = sorted(beliefs.items(), key=lambda belief: (-belief[1], belief[0]))
    if not ranked:
        return None
    name, probability = ranked[0]
    following = ranked[1][1] if len(ranked) > 1 else 0.0
    definition = next(intent.definition for intent in group if intent.name == name)
    clear = probability >= definition.threshold and round(probability - following, DECIMALS) >= definition.margin
    return name if clear else None


def _is_there(state: ProfileState, evidence: Evidence, category: int) -> bool:
    if evidence.trait is not None:
        return bool(state.traits) and _trait_holds(state.traits.get(_spelt(evidence.trait)), evidence)
    if evidence.signal == "in_cart":
        return any(line.category == category for line in state.cart)
    entry = state.categories.get(category) if evidence.signal == "bought" else state.views.get(category)
    return entry is not None and seconds_of(state.last_ms) // DAY_S - entry.last_s // DAY_S <= evidence.within_days


_spelt = lru_cache(MAX_INTENTS * MAX_EVIDENCE)(trait_name)
"""The spelling of the traits that definitions name; there are no more of them in force."""


def _trait_holds(found: Trait | None, evidence: Evidence) -> bool:
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if evidence.at_least is not None:
        return is_number and found >= evidence.at_least  # type: ignore[operator]
    if is_number and not isinstance(evidence.equals, bool):
        return found == evidence.equals
    return type(found) is type(evidence.equals) and found == evidence.equals


_GATE: Final = {"category": "baby-gates", "likelihood": 96.0}


def _retired(likelihood: float) -> list[dict[str, Any]]:
    return [
        {"trait": "retired", "equals": True, "likelihood": likelihood},
        {"trait": "age", "at_least": 65, "likelihood": likelihood},
        {"trait": "age", "equals": "65+", "likelihood": likelihood},
    ]


DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "baby": {
        "group": "new in the home",
        "prior": 0.02,
        "evidence": [
            _GATE,
            {"category": "diapers", "likelihood": 200.0},
            {"category": "baby-food", "likelihood": 100.0},
            {"category": "strollers", "likelihood": 150.0},
            *_retired(0.02),
        ],
    },
    "puppy": {
        "group": "new in the home",
        "prior": 0.02,
        "evidence": [
            _GATE,
            {"category": "dog-food", "likelihood": 20.0},
            {"category": "puppy-food", "likelihood": 200.0},
            {"category": "dog-beds", "likelihood": 60.0},
            {"category": "dog-toys", "likelihood": 30.0},
            # The gate of the retired is as likely for visiting grandchildren as for a dog.
            *_retired(0.5),
        ],
    },
}
"""What is shipped. 96 is the ratio at which a gate lifts two priors of 0.02 to 0.4 each; the rest are rough judgements
of ours, to be replaced by a shop's own counts."""
