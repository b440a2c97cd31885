"""The decision of an open: pure, deterministic, without any I/O, so preview, audit and replay call this very function.

`decide(plan, facts, now, seed)` goes through these steps; docs/decisions.md tells them with an example.

1. Whoever may not be decided on (no state, erased, refused consent, campaign ended) gets the default everywhere.
2. Every candidate of every slot passes the three layers once; the first thing that removes it is kept as its reason.
3. What survives is scored: in slots of mode "model" by calibrated probability x value - cost, all in one prediction.
4. One greedy pass gives slots their offers, no offer twice: mandatory ones, then those the last open showed, then the
   best first. Rules slots go by priority and the manager's order, model slots by value; the seed settles what is left.
5. A slot nobody won shows its default. So a slot is never empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from base.ids import Delivery
from render.decision import Candidate, Decision, Reason, RemovedBy, Rung, SlotDecision
from render.eligibility import Situation, admissible, may_record, refused
from render.facts import Facts
from render.fields import default_fields, offer_fields
from render.plan import Offer, Plan, Slot
from render.scoring import Scores, score

__all__ = ["Candidate", "Decision", "Reason", "SlotDecision", "admissible", "decide", "seed_of"]

_MASK: Final = (1 << 64) - 1


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
    reasons = _reasons(plan, at)
    scores = score(at, _to_score(plan, reasons))
    entries = sorted(entry for slot in plan.slots for entry in _entries(at, slot, reasons, scores, seed))
    winners = _assign(entries)
    slots = tuple(_slot(at, slot, winners, reasons, scores) for slot in plan.slots)
    wants_model = any(slot.mode == "model" for slot in plan.slots)
    rung: Rung = "model" if wants_model and facts.model is not None else "rules"
    return Decision(
        slots=slots,
        seed=seed,
        rung=rung,
        reason="no model" if wants_model and facts.model is None else None,
        model_hash=facts.model.hash if rung == "model" and facts.model is not None else None,
        lost=tuple(sorted(at.lost)),
        features=scores.digest,
        no_record=not may_record(facts.state),
    )


def _defaults(plan: Plan, facts: Facts, seed: int, reason: str) -> Decision:
    slots = tuple(
        SlotDecision(slot.index, offer.id, offer.creative, default_fields(plan, offer))
        for slot in plan.slots
        for offer in (plan.offer_by_id[slot.default],)
    )
    lost = ("state",) if facts.state is None else ()
    return Decision(
        slots=slots, seed=seed, rung="default", reason=reason, lost=lost, no_record=not may_record(facts.state)
    )


def _reasons(plan: Plan, at: Situation) -> dict[int, Reason | None]:
    """Every candidate of every slot, once: what removes it, or None."""
    reasons: dict[int, Reason | None] = {}
    for slot in plan.slots:
        for offer in slot.offers:
            if offer not in reasons:
                reasons[offer] = at.reason(plan.offer_by_id[offer])
    return reasons


def _to_score(plan: Plan, reasons: dict[int, Reason | None]) -> list[Offer]:
    wanted = {
        offer: None
        for slot in plan.slots
        if slot.mode == "model"
        for offer in slot.offers
        if reasons[offer] is None
    }  # fmt: skip
    return [plan.offer_by_id[offer] for offer in wanted]


class _Entry(NamedTuple):
    """A surviving candidate of a slot; entries sort best first. The rank's parts are worked out in `_entries`."""

    tier: int
    by_value: bool
    rank: tuple[float, ...]
    slot: int
    offer: int


def _entries(
    at: Situation, slot: Slot, reasons: dict[int, Reason | None], scores: Scores, seed: int
) -> Sequence[_Entry]:
    entries = []
    by_value = slot.mode == "model" and scores.is_scored
    for position, number in enumerate(slot.offers):
        if reasons[number] is not None:
            continue
        offer = at.plan.offer_by_id[number]
        tier = 0 if _skips_arbitration(at, offer) else 1 if _is_kept(at, slot, offer) else 2
        if by_value:
            value = scores.value(number)
            if value < 0 and tier:
                continue
            # The slot comes after the tie-break, so that a draw between two offers falls the same way in every slot.
            rank: tuple[float, ...] = (-value, -offer.priority, _draw(seed, number))
        else:
            rank = (slot.index, -offer.priority, position)
        entries.append(_Entry(tier, by_value, rank, slot.index, number))
    return entries


def _skips_arbitration(at: Situation, offer: Offer) -> bool:
    """Mandatory offers do, and service offers while a complaint is open."""
    return offer.mandatory or (offer.kind == "service" and at.complaint)


def _is_kept(at: Situation, slot: Slot, offer: Offer) -> bool:
    """Whether this delivery's last open showed the offer in this slot and the offer sticks."""
    last = at.facts.last
    return offer.sticky and last is not None and last.offers.get(slot.index) == offer.id and offer.id != slot.default


def _draw(seed: int, offer: int) -> int:
    """A number that looks random and is the same wherever seed and offer are (SplitMix64's finaliser)."""
    mixed = (seed + offer * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def _assign(entries: Sequence[_Entry]) -> dict[int, _Entry]:
    """Slot -> what it shows: best entry first, each slot once, each offer once."""
    winners: dict[int, _Entry] = {}
    taken: set[int] = set()
    for entry in entries:
        if entry.slot not in winners and entry.offer not in taken:
            winners[entry.slot] = entry
            taken.add(entry.offer)
    return winners


def _slot(
    at: Situation,
    slot: Slot,
    winners: dict[int, _Entry],
    reasons: dict[int, Reason | None],
    scores: Scores,
) -> SlotDecision:
    winner = winners.get(slot.index)
    elsewhere = {entry.offer for index, entry in winners.items() if index != slot.index}
    candidates = tuple(
        _candidate(number, winner, number in elsewhere, reasons[number], slot, scores) for number in slot.offers
    )
    if winner is None:
        default = at.plan.offer_by_id[slot.default]
        return SlotDecision(slot.index, default.id, default.creative, default_fields(at.plan, default), candidates)
    offer = at.plan.offer_by_id[winner.offer]
    product = at.facts.products.get(offer.product) if offer.product is not None else None
    fresh = product is not None and at.is_fresh(product)
    fields = offer_fields(at.plan, offer, product, at.plain, at.facts.locale or at.plan.locale, fresh)
    return SlotDecision(
        slot=slot.index,
        offer=offer.id,
        creative=offer.creative,
        fields=default_fields(at.plan, offer) if offer.id in at.plan.default_ids else fields,
        candidates=candidates,
        margin=_margin(offer.id, candidates) if winner.by_value else None,
        held=winner.tier == 1,
        product=offer.product,
    )


def _candidate(
    number: int, winner: _Entry | None, elsewhere: bool, reason: Reason | None, slot: Slot, scores: Scores
) -> Candidate:
    if reason is not None:
        return Candidate(number, reason.layer, reason.rule)
    scored = slot.mode == "model" and scores.is_scored
    probability = scores.probability(number) if scored else None
    value = scores.value(number) if scored else None
    if winner is not None and winner.offer == number:
        return Candidate(number, None, None, probability, value)
    removed_by: RemovedBy = "arbitration"
    if elsewhere:
        rule = "shown in another slot"
    elif value is not None and value < 0:
        rule = "costs more than it earns"
    else:
        rule = "another went first"
    return Candidate(number, removed_by, rule, probability, value)


def _margin(winner: int, candidates: Sequence[Candidate]) -> float | None:
    """Expected cents ahead of the best candidate that could have taken the slot instead; None if there was none."""
    own = next((candidate.value for candidate in candidates if candidate.offer == winner), None)
    others = [
        candidate.value
        for candidate in candidates
        if candidate.offer != winner and candidate.value is not None and candidate.rule == "another went first"
    ]
    return own - max(others) if own is not None and others else None
