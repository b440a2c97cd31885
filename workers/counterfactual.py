"""How likely another model would show what a recorded open showed, all slots together, under the policy of the plan.

Slots that draw do so one after the other, each from what the others left. So the chance of the whole is that of the
first slot's choice, times that of the second's given the first's, and so on; each is read from a replay in which the
slots before it can only show what was shown. Slots that do not draw come last and are certain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from render.decision import Decision
from render.explanation import CandidateLike
from render.model import Model
from render.plan import Plan
from render.record import DecisionRecord
from render.replay import replay


class Retold(NamedTuple):
    """`decision`: what the model would have drawn with the open's own seed. `chance`: 0 to 1, that of what was shown.

    `unsupported`: 0 to 1, how likely the model shows what had no chance at the open, so that no log can tell of it.
    """

    decision: Decision
    chance: float
    unsupported: float


def retold(record: DecisionRecord, plan: Plan, model: Model) -> Retold:
    """A recorded open in the eyes of another model. Raises InvalidInput for a record that cannot be read."""
    seen = replace(record, model=model.hash)
    decision = replay(seen, plan, model)
    shown = {slot.slot: slot.offer for slot in record.slots}
    logged = {slot.slot: _chances(slot.offer, slot.candidates) for slot in record.slots}
    drawing = sorted(
        {slot.slot for slot in record.slots if slot.policy is not None}
        | {slot.slot for slot in decision.slots if slot.policy is not None}
    )
    chance = supported = 1.0
    fixed: dict[int, int] = {}
    for index in drawing:
        slot = (replay(seen, _fixed(plan, fixed), model) if fixed else decision).slot(index)
        shares = _chances(slot.offer, slot.candidates)
        chance *= shares.get(shown[index], 0.0)
        supported *= sum(share for offer, share in shares.items() if logged[index].get(offer))
        fixed[index] = shown[index]
    rest = replay(seen, _fixed(plan, fixed), model) if fixed else decision
    if any(slot.offer != shown[slot.slot] for slot in rest.slots if slot.slot not in fixed):
        # What does not draw had one way to come out, and this model's is another.
        chance = supported = 0.0
    return Retold(decision, chance, 1.0 - min(1.0, supported))


def _chances(offer: int, candidates: Sequence[CandidateLike]) -> Mapping[int, float]:
    """Offer -> its chance in a slot; certain where nothing was drawn."""
    drawn = {one.offer: one.chance for one in candidates if one.chance is not None}
    return drawn or {offer: 1.0}


def _fixed(plan: Plan, shown: Mapping[int, int]) -> Plan:
    """The plan in which these slots can only show these offers, and no other slot can."""
    taken = set(shown.values()) - plan.default_ids
    slots = tuple(
        replace(slot, offers=tuple(one for one in slot.offers if one == shown[slot.index]))
        if slot.index in shown
        else replace(slot, offers=tuple(one for one in slot.offers if one not in taken))
        for slot in plan.slots
    )
    return replace(plan, slots=slots)
