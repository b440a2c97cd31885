"""What an open would be answered with now: the one that stands, else a new one, by the functions the endpoint calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from campaigns.scenes import HELD_OUT, Scene
from render.current import holds, joins
from render.decide import decide, seed_of
from render.decision import Decision
from render.explanation import SlotExplanation, explain
from render.facts import Chosen, Lane
from render.fields import default_fields
from render.plan import Plan, Slot
from signals.moments import unix_ms

HELD: Final = "Nothing that matters has changed since their latest open, so it would show what that one did."
JOINED: Final = "The mail’s pictures were fetched within the last half minute: its other pictures belong to that open."
WAITS: Final = "It gives way as soon as the products of one of these can be had again: {}."
NO_RECORD: Final = "This person may not be followed, so the default is shown and nothing is written down."


@dataclass(frozen=True)
class Standing:
    """The answer by slot. `decision` is what would be decided anew; `kept` are the slots that an open before answers.

    `explanations` are in the plan's order.
    """

    decision: Decision
    chosen: Mapping[int, Chosen]
    kept: frozenset[int]
    explanations: tuple[SlotExplanation, ...]


def stand(scene: Scene, now: datetime, kind: str, asked: int | None = None) -> Standing:
    """What a fetch of this kind is answered with, of each slot, or of the whole as the slot that is `asked`."""
    facts, lane, now_ms = scene.facts, scene.shown.live, unix_ms(now)
    shown = scene.plan.shown_to(scene.delivery.profile)
    decision = decide(shown, facts, now, seed_of(scene.delivery, lane.open_number + 1))
    if scene.live is HELD_OUT:
        decision = msgspec.structs.replace(decision, reason="content holdout")
    explanations = {part.slot: part for part in explain(decision, shown)}
    stands = bool(lane.open_number) and not decision.no_record
    held = stands and holds(shown, scene.plan_hash, lane, facts, now, now_ms)
    # Whoever may not be decided on never joins an open: theirs is one of defaults.
    may_join = stands and decision.rung != "default" and lane.plan == scene.plan_hash
    answers: dict[int, Chosen] = {}
    kept: set[int] = set()
    told: list[SlotExplanation] = []
    for slot in scene.plan.slots:
        joined = may_join and joins(lane, slot.index if asked is None else asked, kind, now_ms)
        before = lane.in_slot(slot.index) if held or joined else None
        chosen, part = _chosen(scene.plan, slot, decision, before), explanations[slot.index]
        if before is not None:
            kept.add(slot.index)
            waits = _waits(scene.plan, slot, chosen, lane) if held else ()
            part = _as_before(part, scene.plan, chosen, HELD if held else JOINED, *waits)
        elif decision.no_record:
            part = _as_before(part, scene.plan, chosen, NO_RECORD)
        answers[slot.index] = chosen
        told.append(part)
    return Standing(decision, answers, frozenset(kept), tuple(told))


def _chosen(plan: Plan, slot: Slot, decision: Decision, kept: Chosen | None) -> Chosen:
    if kept is not None:
        return kept
    if decision.no_record:
        offer = plan.offer_by_id[slot.default]
        return Chosen(slot.index, offer.id, offer.creative, default_fields(plan, offer))
    return decision.slot(slot.index).chosen()


def _as_before(part: SlotExplanation, plan: Plan, chosen: Chosen, *why: str) -> SlotExplanation:
    offer = plan.offer_by_id[chosen.offer]
    return msgspec.structs.replace(part, offer=offer.id, offer_name=offer.name, why=why, others=())


def _waits(plan: Plan, slot: Slot, chosen: Chosen, lane: Lane) -> tuple[str, ...]:
    """What a default that is held waits for, as a sentence; none where it stands for nothing."""
    names = [plan.offer_by_id[number].name for number in slot.offers if number in lane.waits]
    return (WAITS.format(", ".join(names)),) if names and chosen.offer in plan.default_ids else ()
