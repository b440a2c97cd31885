"""A decision in plain sentences, for support: why this offer, and for every other one what removed it.

It reads what a record keeps (offer, layer, rule, probability, value), so an old decision is explained as a fresh one
is. Sentences name offers as the manager named them and never name a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import UNSET, Struct

from render.clauses import alternatives, parts
from render.decision import LOST_TO_ANOTHER, NO_EFFECTS
from render.guard import FLAGS, SUPPRESSED, UNPROFITABLE
from render.money import money
from render.plan import LAYERS, Layer, Offer, Plan, Slot
from render.reasons import WHY
from signals.rulewords import phrase


class CandidateLike(Protocol):
    """A candidate as decided or as recorded."""

    @property
    def offer(self) -> int: ...
    @property
    def removed_by(self) -> str | None: ...
    @property
    def rule(self) -> str | None: ...
    @property
    def probability(self) -> float | None: ...
    @property
    def value(self) -> float | None: ...
    @property
    def weight(self) -> float | None: ...
    @property
    def chance(self) -> float | None: ...


class SlotLike(Protocol):
    """One slot's choice as decided or as recorded."""

    @property
    def slot(self) -> int: ...
    @property
    def offer(self) -> int: ...
    @property
    def candidates(self) -> Sequence[CandidateLike]: ...


class DecisionLike(Protocol):
    """A decision as made or as recorded. `reason` and `effects` may be absent from a record."""

    @property
    def slots(self) -> Sequence[SlotLike]: ...
    @property
    def rung(self) -> str: ...


class Other(Struct, frozen=True):
    """One offer that was not shown in a slot, and why. `cause` is the end of its sentence, without figures."""

    offer: int
    name: str
    layer: str
    sentence: str
    cause: str


class SlotExplanation(Struct, frozen=True):
    """Why a slot showed what it showed. `why` are whole sentences; `others` are in the plan's order."""

    slot: int
    name: str
    offer: int
    offer_name: str
    why: tuple[str, ...]
    others: tuple[Other, ...]

    @property
    def causes(self) -> dict[str, list[Other]]:
        """The others by what they have in common: cause -> offers, in the plan's order."""
        found: dict[str, list[Other]] = {}
        for other in self.others:
            found.setdefault(other.cause, []).append(other)
        return found


LAYER_WORDS: Final[dict[str, str]] = {
    "legal": "may have it",
    "relevant": "makes sense now",
    "beneficial": "is good for the person",
    "arbitration": "went first",
}
"""The layers as column heads: what each one asks."""

_REFUSALS: Final = {
    "no state": "What we know of this person could not be found, so nothing but the default may be shown.",
    "erased": "This person was erased at their request; only the default is shown.",
    "ended": "The campaign has ended; only the default is shown.",
    "not followed": "Opens of this campaign are not followed: everybody gets the defaults.",
    "content holdout": "This person is in the content holdout: they get the mail with its defaults, for comparison.",
    "unread": "What we know of this person could not be read in time, so nothing but the default may be shown.",
    "unagreed": "The decision could not be written down in time, so the default was shown.",
    "failed": "The decision failed for a fault of ours, so the default was shown.",
    "busy": "More mails were opened at once than could be decided on in time, so the default was shown.",
    "killed": "The campaign was switched off; only the default is shown.",
}
_PICKED: Final[dict[str, str]] = {
    "complement": "it goes with what was in the cart or was bought of late",
    "also-bought": "most buyers of something this person had also bought it",
    "popular": "most people had bought it",
    "upgrade": "it is the next better version of something the person owns",
}


def explain(decision: DecisionLike, plan: Plan) -> tuple[SlotExplanation, ...]:
    """The decision in words, a part for each slot, in the decision's order."""
    reason = getattr(decision, "reason", None)
    effects = dict(getattr(decision, "effects", ()))
    return tuple(_explain(slot, decision.rung, reason, plan, effects) for slot in decision.slots)


def _other(candidate: CandidateLike, layer: str, plan: Plan, effect: float | None) -> Other:
    """Why a candidate was not shown. `effect`: what showing it changes of its chance, if known."""
    offer = plan.offer_by_id.get(candidate.offer)
    if offer is None:
        sentence = f"The offer {candidate.offer} is not in this plan."
        return Other(candidate.offer, str(candidate.offer), layer, sentence, "it is not in this plan")
    cause = because(candidate, offer, plan)
    sentence = f"“{offer.name}” was not shown: {cause}{_figures(candidate, plan, effect)}."
    return Other(offer.id, offer.name, layer, sentence, cause)


def because(candidate: CandidateLike, offer: Offer, plan: Plan) -> str:
    """Why a candidate was not shown, as the end of a sentence, without figures."""
    rule = candidate.rule or ""
    if rule in WHY:
        return WHY[rule](offer, plan)
    if rule.startswith("no consent: "):
        return f"the person has not agreed to {_purpose(rule)}"
    if rule.startswith(SUPPRESSED):
        return f"the campaign sells nothing to whom its suppression rule means{_suppressed(rule, plan)}"
    if rule.startswith(UNPROFITABLE):
        return f"the profit guard keeps offers that widen what people buy from those who {flag_words(rule)}"
    return _unmet(offer, candidate.removed_by, rule, plan)


def _explain(
    slot: SlotLike, rung: str, reason: str | None, plan: Plan, effects: Mapping[int, float]
) -> SlotExplanation:
    planned = plan.slot_by_index.get(slot.slot)
    shown = plan.offer_by_id.get(slot.offer)
    return SlotExplanation(
        slot=slot.slot,
        name=planned.name if planned is not None else str(slot.slot),
        offer=slot.offer,
        offer_name=shown.name if shown is not None else str(slot.offer),
        why=tuple(_why(slot, planned, shown, rung, reason, plan, effects.get(slot.offer))),
        others=tuple(
            _other(candidate, candidate.removed_by, plan, effects.get(candidate.offer))
            for candidate in slot.candidates
            if candidate.removed_by is not None
        ),
    )  # fmt: skip


def _why(
    slot: SlotLike,
    planned: Slot | None,
    shown: Offer | None,
    rung: str,
    reason: str | None,
    plan: Plan,
    effect: float | None,
) -> list[str]:
    name = shown.name if shown is not None else str(slot.offer)
    winner = next((one for one in slot.candidates if one.offer == slot.offer and one.removed_by is None), None)
    if winner is None:
        if rung == "default":
            return [_refusal(reason), f"“{name}” is the default of this place."]
        removed = len(slot.candidates)
        none = "No offer is set for this place" if not removed else f"None of the {removed} offers could be shown"
        return [f"{none}, so the default “{name}” was."]
    sentences = []
    if getattr(slot, "held", False):
        sentences.append(f"“{name}” was kept from the last time this mail was opened, and may still be shown.")
    elif shown is not None and shown.mandatory:
        sentences.append(f"“{name}” was shown because it is mandatory and nothing forbade it.")
    elif winner.probability is None:
        sentences.append(f"“{name}” was shown because it came first in the order of the offers that remained.")
    elif getattr(slot, "policy", None) is not None:
        sentences.append(
            f"“{name}” was drawn with a chance of {100 * (winner.chance or 0.0):.1f} %, "
            "so that it is learnt how offers do."
        )
    elif effect is not None:
        sentences.append(f"“{name}” was shown because showing it is expected to add the most here.")
    else:
        sentences.append(f"“{name}” was shown because it is expected to earn the most here.")
    product = getattr(slot, "product", None)
    if shown is not None and shown.pick is not None and product is not None:
        sentences.append(f"Its product {product} was picked at this open: {_PICKED[shown.pick.how]}.")
    if winner.probability is not None and winner.value is not None:
        sentences.append(_earning(winner.probability, winner.value, plan, effect))
        if winner.weight is not None:
            sentences.append(f"Contexts and levers multiplied that by {winner.weight:g}.")
        sentences += _margin(slot, winner, plan)
    if planned is not None and planned.mode == "model" and winner.probability is None:
        sentences.append("No model was there to score the offers, so their order decided.")
    if reason == NO_EFFECTS and planned is not None and planned.mode == "model":
        sentences.append("The model has not learnt what showing an offer changes, so chances of success decided.")
    return sentences


def _earning(probability: float, value: float, plan: Plan, effect: float | None) -> str:
    if effect is not None:
        return (
            f"Its chance of success was put at {100 * probability:.1f} %, of which showing it makes "
            f"{points(effect)}: that adds {_money(value, plan)} a showing after its cost."
        )
    return (
        f"Its chance of success was put at {100 * probability:.1f} %, "
        f"worth {_money(value, plan)} a showing after its cost."
    )


def _margin(slot: SlotLike, winner: CandidateLike, plan: Plan) -> list[str]:
    others = [one for one in slot.candidates if one.value is not None and one.rule in LOST_TO_ANOTHER]
    if not others:
        return ["No other offer that could be scored remained."]
    second = max(others, key=lambda one: one.value or 0.0)
    lead = (winner.value or 0.0) - (second.value or 0.0)
    if lead < 0:
        return [f"By value alone “{_name(second.offer, plan)}” was {_money(-lead, plan)} ahead."]
    return [f"The next, “{_name(second.offer, plan)}”, was {_money(lead, plan)} behind."]


def _refusal(reason: str | None) -> str:
    if reason is not None and reason.startswith("no consent: "):
        return f"This person has not agreed to {_purpose(reason)}; only the default is shown."
    return _REFUSALS.get(reason or "", "Only the default could be shown.")


def _unmet(offer: Offer, layer: str | None, rule: str, plan: Plan) -> str:
    """A rule that did not hold, in words."""
    asked = next((one for one in LAYERS if one == layer), None)
    if asked is None or not rule.startswith("rule "):
        return rule or "no reason was kept"
    clause = clause_of(offer, asked, rule)
    asks = f"its rule for “{LAYER_WORDS[asked]}” was not met"
    return f"{asks}: {phrase(clause, plan.category_names)}" if clause is not None else asks


def clause_of(offer: Offer, layer: Layer, rule: str) -> Any:
    """The clause that a code such as `rule 2` means; None if the offer has no such clause."""
    whole = offer.rules.of(layer)
    if whole is None:
        return None
    clauses = parts(whole)
    number = int(rule.removeprefix("rule "))
    return clauses[number - 1] if 0 < number <= len(clauses) else None


def _suppressed(rule: str, plan: Plan) -> str:
    """The part of the suppression rule that a code such as `suppressed: 2` means, in words."""
    asked = alternatives(plan.suppress) if plan.suppress is not UNSET else []
    number = int(rule.removeprefix(SUPPRESSED))
    return f": {phrase(asked[number - 1], plan.category_names)}" if 0 < number <= len(asked) else ""


def flag_words(rule: str) -> str:
    """What the people of a flag do, of a code such as `unprofitable: returns`."""
    return FLAGS.get(rule.removeprefix(UNPROFITABLE), "cost more than they bring")


def _figures(candidate: CandidateLike, plan: Plan, effect: float | None) -> str:
    if candidate.probability is None or candidate.value is None:
        return ""
    moved = "" if effect is None else f", of which showing it makes {points(effect)}"
    return f" (chance {100 * candidate.probability:.1f} %{moved}, worth {_money(candidate.value, plan)})"


def points(effect: float) -> str:
    """An effect on a chance in words, such as “+1.2 points”."""
    return f"{100 * effect:+.1f} points".replace("-", "\N{MINUS SIGN}")


def _name(offer: int, plan: Plan) -> str:
    found = plan.offer_by_id.get(offer)
    return found.name if found is not None else str(offer)


def _money(cents: float, plan: Plan) -> str:
    return money(round(cents), plan.currency, plan.locale)


def _purpose(code: str) -> str:
    purpose = code.removeprefix("no consent: ")
    return {"email": "getting mail", "tracking": "tracking", "profiling": "profiling"}.get(purpose, purpose)
