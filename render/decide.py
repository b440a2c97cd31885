"""The decision of an open: pure, deterministic, without any I/O, so preview, audit and replay call this very function.

`decide(plan, facts, now, seed)` goes through these steps; docs/decisions.md tells them with an example.

1. Whoever may not be decided on (no state, erased, refused consent, campaign ended) gets the default everywhere.
2. Every candidate of every slot passes the three layers once; the first thing that removes it is kept as its reason.
3. What survives is scored: in slots of mode "model" by calibrated probability x value - cost, all in one prediction;
   of more than MAX_SCORED the ones that a plain estimate puts first.
4. Slots get their offers, no offer twice: mandatory ones, then those the last open showed, then what slots that explore
   draw, then the best first. Rules slots go by priority and the manager's order, model slots by value times the weights
   of contexts and levers; the seed settles what is left. `render.choice` has the draws and their chances.
5. A slot nobody won shows its default. So a slot is never empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice

from msgspec import UNSET

from base.ids import Delivery
from render.alike import estimated, groups
from render.arbitration import MAX_SCORED
from render.choice import Choice, Entry, choose, mixed
from render.decision import (
    GAINS_TOO_LITTLE,
    LOST_TO_ANOTHER,
    NO_EFFECTS,
    NO_MODEL,
    Candidate,
    Decision,
    Reason,
    Rung,
    SlotDecision,
)
from render.eligibility import Situation, admissible
from render.facts import Facts
from render.fields import default_fields
from render.model import Model
from render.permission import may_record, refused
from render.plan import Offer, Plan, Slot
from render.saying import fields_at
from render.scoring import Scores, score
from signals.productfacts import ProductFacts

_UNSEEN: tuple[None, None] = (None, None)
__all__ = ["Candidate", "Decision", "Reason", "SlotDecision", "admissible", "decide", "seed_of"]


def seed_of(delivery: Delivery, open_number: int) -> int:
    """The seed of an open, 0 to 2^63 - 1: the same in every process and every replay."""
    text = f"seed\0{delivery.profile}\0{delivery.name}\0{open_number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def decide(plan: Plan, facts: Facts, now: datetime, seed: int) -> Decision:
    """What one open shows: every slot of the plan, each with an offer.

    `now` is aware and counts to the millisecond, as records keep it; `seed` comes from `seed_of`.

    The plan must have passed `validate`; then nothing raises. The model in `facts` reads this release's features, which
    `Model.load` has seen to.
    """
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    refusal = refused(plan, facts)
    if refusal is not None:
        return _defaults(plan, facts, seed, refusal)
    at = Situation(plan, facts, now)
    reasons, to_score = prefilter(at)
    scores = score(at, to_score)
    draws = _draws(seed, scores)
    entries = sorted(entry for slot in plan.slots for entry in _entries(at, slot, reasons, scores, draws))
    choice = choose(plan, entries, scores, seed, explores=facts.lane != "machine")
    slots = tuple(_slot(at, slot, choice, reasons, scores) for slot in plan.slots)
    wants_model = any(slot.mode == "model" for slot in plan.slots)
    rung: Rung = "model" if wants_model and facts.model is not None else "rules"
    return Decision(
        slots=slots,
        seed=seed,
        rung=rung,
        reason=_degraded(plan, facts.model) if wants_model else None,
        model_hash=facts.model.hash if rung == "model" and facts.model is not None else None,
        lost=tuple(sorted(at.lost)),
        features=scores.digest,
        no_record=not may_record(facts.state, plan),
        effects=tuple(scores.effects.items()),
    )


def prefilter(at: Situation) -> tuple[Mapping[int, Reason | None], list[Offer]]:
    """What removes each candidate, or None; and the survivors that the model is to score, at most MAX_SCORED."""
    reasons = _reasons(at.plan, at)
    return reasons, _to_score(at, reasons)


def _degraded(plan: Plan, model: Model | None) -> str | None:
    """Why slots of mode "model" go by less than the plan asks for; None where they do not."""
    if model is None:
        return NO_MODEL
    by_effect = plan.arbitration is not UNSET and plan.arbitration.effect
    return NO_EFFECTS if by_effect and model.uplift is None else None


def _defaults(plan: Plan, facts: Facts, seed: int, reason: str) -> Decision:
    slots = tuple(
        SlotDecision(slot.index, offer.id, offer.creative, default_fields(plan, offer))
        for slot in plan.slots
        for offer in (plan.offer_by_id[slot.default],)
    )
    lost = ("state",) if facts.state is None else ()
    return Decision(
        slots=slots, seed=seed, rung="default", reason=reason, lost=lost, no_record=not may_record(facts.state, plan)
    )


def _reasons(plan: Plan, at: Situation) -> Mapping[int, Reason | None]:
    """Every candidate of every slot, once: what removes it, or None."""
    reasons: dict[int, Reason | None] = {}
    for alike in groups(plan):
        reasons |= dict.fromkeys(alike, at.reason(at.offer(alike[0])))
    for number in at.facts.live.withdrawn:
        if number in reasons:
            reasons[number] = at.reason(at.offer(number))
    return reasons


def _to_score(at: Situation, reasons: Mapping[int, Reason | None]) -> list[Offer]:
    wanted = {
        offer: None
        for slot in at.plan.slots
        if slot.mode == "model"
        for offer in slot.offers
        if reasons[offer] is None
    }  # fmt: skip
    if len(wanted) > MAX_SCORED and at.facts.model is not None:
        wanted = _first(at, at.facts.model, wanted)
    return [at.offer(offer) for offer in wanted]


def _first(at: Situation, model: Model, wanted: Mapping[int, None]) -> dict[int, None]:
    """The MAX_SCORED of these that go to the model: what skips arbitration or was shown last, then by estimate."""
    kept = set(at.facts.last.offers.values()) if at.facts.last is not None else set()
    certain = [number for number in wanted if number in kept or _skips_arbitration(at, at.plan.offer_by_id[number])]
    ordered = (number for number in estimated(at.plan, model) if number in wanted)
    return dict.fromkeys(islice(dict.fromkeys(chain(certain, ordered)), MAX_SCORED))


def _entries(
    at: Situation, slot: Slot, reasons: Mapping[int, Reason | None], scores: Scores, draws: dict[int, int]
) -> Iterator[Entry]:
    by_value = slot.mode == "model" and scores.is_scored
    last = at.facts.last
    kept = last.offers.get(slot.index) if last is not None else None
    for position, number in enumerate(slot.offers):
        if reasons[number] is not None:
            continue
        offer = at.plan.offer_by_id[number]
        if _skips_arbitration(at, offer):
            tier = 0
        else:
            tier = 1 if number == kept and offer.sticky and number != slot.default else 2
        if not by_value:
            yield tier, False, (slot.index, -offer.priority, position), slot.index, number
            continue
        if number not in scores.by_offer:
            continue
        rank = scores.rank(number)
        if rank >= 0 or not tier:
            # The slot comes after the draw, so that a draw between two offers falls the same way in every slot.
            yield tier, True, (-rank, -offer.priority, draws[number]), slot.index, number


def _skips_arbitration(at: Situation, offer: Offer) -> bool:
    """Mandatory offers do, and service offers while a complaint is open or the suppression rule holds."""
    return offer.mandatory or (offer.kind == "service" and at.is_troubled)


def _draws(seed: int, scores: Scores) -> dict[int, int]:
    """What settles between offers of one rank: a number for each, or 0 for all where no two have the same."""
    if len({scores.rank(offer) for offer in scores.by_offer}) == len(scores.by_offer):
        return dict.fromkeys(scores.by_offer, 0)
    return {offer: mixed(seed, offer) for offer in scores.by_offer}


def _slot(
    at: Situation,
    slot: Slot,
    choice: Choice,
    reasons: Mapping[int, Reason | None],
    scores: Scores,
) -> SlotDecision:
    plan, winner = at.plan, choice.winners.get(slot.index)
    elsewhere = {entry[4] for entry in choice.winners.values() if entry is not winner}
    won = None if winner is None else winner[4]
    chances = choice.chances.get(slot.index)
    candidates = _candidates(slot, won, elsewhere, reasons, scores, chances)
    if winner is None:
        default = plan.offer_by_id[slot.default]
        return SlotDecision(slot.index, default.id, default.creative, default_fields(plan, default), candidates)
    tier, by_value, _, _, number = winner
    offer = at.offer(number)
    shown: tuple[ProductFacts, ...] = ()
    if number in plan.default_ids:
        fields = default_fields(plan, offer)
    else:
        shown = at.shown_products(offer)
        fields = fields_at(at, offer, shown)
    return SlotDecision(
        slot=slot.index,
        offer=number,
        creative=offer.creative,
        fields=fields,
        candidates=candidates,
        propensity=1.0 if chances is None else chances[number],
        margin=_margin(number, candidates) if by_value else None,
        held=tier == 1,
        product=offer.product,
        products=tuple(facts.id for facts in shown),
        policy=slot.policy.kind if chances is not None and slot.policy is not UNSET else None,
    )


def _candidates(
    slot: Slot,
    won: int | None,
    elsewhere: set[int],
    reasons: Mapping[int, Reason | None],
    scores: Scores,
    chances: Mapping[int, float] | None,
) -> tuple[Candidate, ...]:
    """Every candidate of a slot with its fate, in the plan's order."""
    scored = slot.mode == "model" and scores.is_scored
    weights = scores.weights
    made = []
    for number in slot.offers:
        reason = reasons[number]
        if reason is not None:
            made.append(Candidate(number, reason.layer, reason.rule))
            continue
        probability, value = scores.by_offer.get(number, _UNSEEN) if scored else _UNSEEN
        weight = weights.get(number) if scored and weights else None
        chance = None if chances is None else chances.get(number, 0.0)
        if number == won:
            made.append(Candidate(number, None, None, probability, value, weight, chance))
            continue
        if number in elsewhere:
            rule = "shown in another slot"
        elif scored and value is None:
            rule = "not among the first"
        elif scored and scores.rank(number) < 0:
            rule = GAINS_TOO_LITTLE if scores.effects else "costs more than it earns"
        elif chances:
            rule = "another was drawn"
        else:
            rule = "another went first"
        made.append(Candidate(number, "arbitration", rule, probability, value, weight, chance))
    return tuple(made)


def _margin(winner: int, candidates: Sequence[Candidate]) -> float | None:
    """Expected cents ahead of the best candidate that could have taken the slot instead; None if there was none."""
    own = next((candidate.value for candidate in candidates if candidate.offer == winner), None)
    others = [
        candidate.value
        for candidate in candidates
        if candidate.offer != winner and candidate.value is not None and candidate.rule in LOST_TO_ANOTHER
    ]
    return own - max(others) if own is not None and others else None
