"""How the offers of a campaign compete, as a form: what each place draws by, the factors, and ready-made contexts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from base.errors import InvalidInput
from campaigns import ranking
from campaigns.ranking import ArbitrationIn, ContextIn, PolicyIn
from campaigns.views import forms
from render.arbitration import MAX_WEIGHT, Arbitration

POLICIES: Final = (
    ("greedy", "The best"),
    ("epsilon", "The best, and now and then another at random"),
    ("softmax", "The better, the more often"),
    ("thompson", "The best, as far as the model is sure of it"),
)
FACTORS: Final = (
    ("probability", "How likely a success is"),
    ("value", "What it earns and costs"),
    ("context", "What is going on with the person"),
    ("lever", "The offer’s own lever"),
)
RANKS: Final = (
    ("chance", "How likely a person takes it"),
    ("effect", "What showing it changes of that, by comparison with neutral content"),
)
CONTEXTS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "complaint": ("a complaint is open", {"field": "complaint.open", "op": "=", "value": True}),
    "cancelling": (
        "a cancellation is under way (the trait “cancelling” is true)",
        {"field": "trait", "name": "cancelling", "op": "=", "value": True},
    ),
}
"""The contexts that the form can show: name -> words and rule. Each lifts service offers."""


def policy(form: Mapping[str, str], slot: int) -> PolicyIn | None:
    """How a place draws among its best; None for the best. Raises InvalidInput naming the field."""
    kind = form.get(f"policy-{slot}", "greedy")
    if kind not in dict(POLICIES) or kind == "greedy":
        return None
    content: dict[str, Any] = {"kind": kind}
    if form.get(f"epsilon-{slot}", "").strip():
        content["epsilon"] = forms.share(form, f"epsilon-{slot}")
    if form.get(f"floor-{slot}", "").strip():
        content["floor"] = forms.share(form, f"floor-{slot}")
    if form.get(f"temperature-{slot}", "").strip():
        content["temperature_cents"] = float(forms.cents(form, f"temperature-{slot}"))
    top = forms.whole(form, f"top-{slot}")
    if top is not None:
        content["top"] = top
    return msgspec.convert(content, PolicyIn)


def shown(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the form shows of a campaign's arbitration: a yes or no a factor and for `effect`, a weight a context.

    None for contexts that the form cannot show: they are kept as they are.
    """
    arbitration = msgspec.convert(stored or {}, Arbitration)
    values: dict[str, Any] = {name: getattr(arbitration, name) for name in ("effect", *dict(FACTORS))}
    for context in arbitration.contexts:
        known = CONTEXTS.get(context.name)
        if known is None or known[1] != context.rule or set(context.weights) != {"service"}:
            return None
        values[f"lift-{context.name}"] = f"{context.weights['service']:g}"
    return values


def arbitration(form: Mapping[str, str], stored: Mapping[str, Any] | None) -> ArbitrationIn | None:
    """The factors and contexts of a form; None where all is as usual. Raises InvalidInput naming the field."""
    factors = {name: forms.on(form, f"factor-{name}") for name, _ in FACTORS}
    if "keep_contexts" in form:
        contexts = msgspec.convert(ranking.known(stored or {}, Arbitration), ArbitrationIn).contexts
    else:
        contexts = tuple(
            ContextIn(name, rule, {"service": weight})
            for name, (_, rule) in CONTEXTS.items()
            if (weight := _weight(form, f"lift-{name}")) is not None
        )
    made = ArbitrationIn(**factors, contexts=contexts, effect=form.get("ranks") == "effect")
    return None if made == ArbitrationIn() else made


def _weight(form: Mapping[str, str], name: str) -> float | None:
    weight = forms.number(form, name, "must be a number such as 3 or 1.5")
    if weight is not None and not 0 <= weight <= MAX_WEIGHT:
        raise InvalidInput(name, f"must be from 0 to {MAX_WEIGHT:g}")
    return weight
