"""How offers that survived the layers compete for a slot: factors, contexts, exploration, and fatigue.

These are the parts of a plan that say so; `render.scoring` and `render.choice` go by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from msgspec import Struct

MAX_SCORED: Final = 256
"""Candidates that one decision scores; `render.decide` says which are left out of more."""
MAX_CONTEXTS: Final = 16
MAX_FATIGUE: Final = 4
MAX_TOP: Final = 20
MAX_WEIGHT: Final = 100.0
Outcome = Literal["shown", "ignored", "taken", "refused"]
PolicyKind = Literal["greedy", "epsilon", "softmax", "thompson"]


class Context(Struct, frozen=True):
    """A situation that lifts or lowers kinds of offers: while its rule holds, values are multiplied by the weights.

    weights: offer kind -> factor, from 0 to MAX_WEIGHT; kinds that are not named keep their value. The rule is one of
    the language of `signals.rules`, as an eligibility rule is.
    """

    name: str
    rule: dict[str, Any]
    weights: dict[str, float]


class Arbitration(Struct, frozen=True, omit_defaults=True):
    """The factors of an offer's rank in model slots: probability x value x context x lever, each of which can be off.

    Without `probability` every offer counts as certain to succeed; without `value` a success counts as one unit and
    costs nothing, so that the likeliest goes first; without `context` or `lever` those weights are 1. With `effect`
    what showing an offer changes of its chance takes the chance's place, where the model has learnt that.
    """

    probability: bool = True
    value: bool = True
    context: bool = True
    lever: bool = True
    contexts: tuple[Context, ...] = ()
    effect: bool = False


class Policy(Struct, frozen=True, omit_defaults=True):
    """How a slot of mode "model" draws among its best `top` offers, by rank; what is left out is never drawn.

    greedy: the best. epsilon: the best, but with probability `epsilon` any of them, evenly. softmax: in proportion to
    exp(rank / temperature_cents). thompson: the best in the eyes of one of the model's bags, each as likely. `floor` is
    the least probability of each of them (greedy and epsilon have none of their own).
    """

    kind: PolicyKind = "greedy"
    epsilon: float = 0.05
    temperature_cents: float = 10.0
    floor: float = 0.0
    top: int = 5


class Fatigue(Struct, frozen=True, omit_defaults=True):
    """After `times` of something within `within_days`, an offer rests for `off_days`; then counting begins anew.

    after: "shown", "ignored" (shown and not taken since), "taken" (clicked, or accepted in a call) or "refused" (said
    no to). of: the offer's own, or of all offers of its group.
    """

    after: Outcome
    times: int
    within_days: int
    off_days: int
    of: Literal["offer", "group"] = "offer"


def arbitration_faults(at: str, arbitration: Arbitration, kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What is wrong with a plan's factors: pairs of field and message."""
    if len(arbitration.contexts) > MAX_CONTEXTS:
        yield f"{at}.contexts", f"are {len(arbitration.contexts)}; there may be at most {MAX_CONTEXTS}"
    for position, context in enumerate(arbitration.contexts):
        for kind, weight in context.weights.items():
            if kind not in kinds:
                yield f"{at}.contexts[{position}].weights", f"name {kind!r}, which is no kind of offer"
            if not 0 <= weight <= MAX_WEIGHT:
                yield f"{at}.contexts[{position}].weights", f"must be from 0 to {MAX_WEIGHT:g}"


def effect_faults(at: str, arbitration: Arbitration, policies: Iterable[Policy]) -> Iterator[tuple[str, str]]:
    """What is wrong with ranking by effect beside these policies of the slots: pairs of field and message."""
    if arbitration.effect and any(policy.kind == "thompson" for policy in policies):
        yield f"{at}.effect", "cannot be with a slot that draws by thompson: a model's bags know chances, no effects"


def policy_faults(at: str, policy: Policy) -> Iterator[tuple[str, str]]:
    """What is wrong with a slot's policy: pairs of field and message."""
    if not 0 <= policy.epsilon <= 1:
        yield f"{at}.epsilon", "must be a probability from 0 to 1"
    if not policy.temperature_cents > 0:
        yield f"{at}.temperature_cents", "must be above 0"
    if not 1 <= policy.top <= MAX_TOP:
        yield f"{at}.top", f"must be from 1 to {MAX_TOP}"
    elif not 0 <= policy.floor * policy.top <= 1:
        yield f"{at}.floor", f"must be from 0 to {1 / policy.top:g}: {policy.top} offers share a probability of 1"


def fatigue_faults(at: str, fatigue: tuple[Fatigue, ...], group: str | None) -> Iterator[tuple[str, str]]:
    """What is wrong with an offer's fatigue: pairs of field and message."""
    if len(fatigue) > MAX_FATIGUE:
        yield at, f"has {len(fatigue)} entries; at most {MAX_FATIGUE} are kept"
    for position, rest in enumerate(fatigue):
        for name in ("times", "within_days", "off_days"):
            if getattr(rest, name) < 1:
                yield f"{at}[{position}].{name}", "must be at least 1"
        if rest.of == "group" and group is None:
            yield f"{at}[{position}].of", "names the offer's group, and it has none"
