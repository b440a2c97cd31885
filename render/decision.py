"""What a decision says: per slot the offer, and of every candidate what removed it or how it scored.

The same structs go into the record, so their fields are plain values. Ranks and reasons are codes; `render.explanation`
puts them into words.
"""

from __future__ import annotations

from math import prod
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from render.facts import Chosen
from render.plan import Layer

RemovedBy = Layer | Literal["arbitration"]
"""The three layers, or arbitration: the candidate was allowed and another was better (or it had a slot already)."""
Rung = Literal["model", "rules", "default"]
"""The step of the ladder of degradation a decision was made on."""
LOST_TO_ANOTHER: Final = ("another went first", "another was drawn")
"""The rules of candidates that could have taken the slot, had not another."""
NO_MODEL: Final = "no model"
"""The reason of a decision by rules although a slot is of mode "model"."""
NO_EFFECTS: Final = "no effects"
"""The reason of a decision by chances although the campaign ranks by effect: its model has not learnt any."""
GAINS_TOO_LITTLE: Final = "gains too little"
"""The rule of a candidate that, ranked by effect, is not expected to add what showing it costs."""


class Reason(NamedTuple):
    """Why an offer may not be shown: the layer and a stable code, such as `("relevant", "purpose met")`.

    A rule's code is `rule <n>`: the number, from 1, of the clause of the layer's rule that was not met.
    """

    layer: Layer
    rule: str


class Candidate(Struct, frozen=True, array_like=True, gc=False):
    """One offer that a slot could have shown. removed_by is None for the winner alone.

    probability: calibrated, 0 to 1, where a model scored it. value: expected cents, as `render.scoring` has them.
    weight: what contexts and levers multiplied its value by, None for 1. chance: that of being shown, where the slot
    drew.
    """

    offer: int
    removed_by: RemovedBy | None = None
    rule: str | None = None
    probability: float | None = None
    value: float | None = None
    weight: float | None = None
    chance: float | None = None


class SlotDecision(Struct, frozen=True, array_like=True):
    """One slot's choice. candidates are in the plan's order; the default is among them only if the plan lists it.

    propensity: the chance that this choice had, 1.0 for a greedy one. margin: expected cents ahead of the best other
    candidate that survived the layers, where both were scored. held: kept from the delivery's last open (stickiness).
    products: those of a grid, in the order shown. policy: the kind of policy that drew it, None where nothing was
    drawn: a choice that could not have been another tells nothing about others (`held`, mandatory, greedy).
    """

    slot: int
    offer: int
    creative: int
    fields: dict[str, str | int]
    candidates: tuple[Candidate, ...] = ()
    propensity: float = 1.0
    margin: float | None = None
    held: bool = False
    product: str | None = None
    products: tuple[str, ...] = ()
    policy: str | None = None

    def chosen(self) -> Chosen:
        """The part that the delivery's lane keeps."""
        return Chosen(self.slot, self.offer, self.creative, self.fields, self.product, self.products)


class Decision(Struct, frozen=True, kw_only=True):
    """What one open shows. It has every slot of the plan, once, in the plan's order.

    rung "default" with a reason (no state, erased, consent withdrawn, killed, ended): the default everywhere. lost
    names the keys that should have been there (`state`, `product:<id>`, `cap:<offer>`). features: SHA-256 hex of the
    feature matrix that was scored, so that a recomputed one can be compared bit for bit. no_record: the person may not
    be recorded (erased, withdrawn, tracking level none); only a counter may go up. effects: pairs of a scored offer and
    what showing it changes of its chance, -1 to 1, where offers were ranked by that.
    """

    slots: tuple[SlotDecision, ...]
    seed: int
    rung: Rung
    reason: str | None = None
    model_hash: str | None = None
    lost: tuple[str, ...] = ()
    features: str | None = None
    no_record: bool = False
    effects: tuple[tuple[int, float], ...] = ()

    def slot(self, index: int) -> SlotDecision:
        """The decision of one slot. Raises KeyError if the plan has no such slot."""
        for decision in self.slots:
            if decision.slot == index:
                return decision
        raise KeyError(index)

    @property
    def propensity(self) -> float:
        """The chance of all slots' choices together: each slot's is that given the slots drawn before it."""
        return prod(slot.propensity for slot in self.slots)

    @property
    def offers(self) -> tuple[int, ...]:
        """The offers shown, in slot order."""
        return tuple(decision.offer for decision in self.slots)
