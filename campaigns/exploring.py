"""The decision explorer: the ranking of a campaign's offers for a person, beside the one that changed facts would give.

It is `decide` on facts in memory, twice: nothing is read but what an open reads, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.clock import check_year
from base.errors import InvalidInput
from base.stores import Store
from campaigns.campaigns import Moment
from campaigns.models import Campaign
from campaigns.previewing import WhatIf, supposed
from campaigns.scenes import HELD_OUT, written_scene
from render.decide import decide, seed_of
from render.decision import Candidate, Decision
from render.explanation import LAYER_WORDS, because
from render.facts import Facts
from render.plan import Plan
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.state import ProfileState

JUST_BEFORE: Final = timedelta(seconds=1)
MAX_BOUGHT: Final = 20
SHOWN: Final = "shown"
_LAYERS: Final = ("arbitration", "beneficial", "relevant", "legal")
"""What went before the end of the way comes first."""

Number = Annotated[int, Meta(ge=0, le=10**9)]
Short = Annotated[str, Meta(min_length=1, max_length=200)]


class Changes(Struct, frozen=True, forbid_unknown_fields=True):
    """Facts as they might be: at another time, with more bought (categories by number), a complaint, another stock or
    price (cents) of a product, a segment joined, a trait of another value."""

    at: Moment | None = None
    bought: Annotated[tuple[Number, ...], Meta(max_length=MAX_BOUGHT)] = ()
    complained: bool = False
    product: Short | None = None
    stock: Number | None = None
    price_cents: Number | None = None
    segment: Number | None = None
    trait: Short | None = None
    value: Annotated[str, Meta(max_length=200)] = ""


class Fate(Struct, frozen=True):
    """What becomes of an offer in a place. `removed_by` names the layer, "shown" for the winner.

    `probability` (0 to 1), `value` (cents) and `weight` (contexts and levers) are null where nothing scored it;
    `effect` (what showing it changes of its chance, -1 to 1) is null where offers are not ranked by it.
    """

    removed_by: str
    rule: str | None
    why: str
    rank: int
    probability: float | None
    value: float | None
    weight: float | None
    effect: float | None = None


class Line(Struct, frozen=True):
    """An offer of a place, as it is and as it would be. Ranks count from 1, the shown first."""

    offer: int
    name: str
    before: Fate
    after: Fate

    @property
    def moved(self) -> bool:
        """Whether its fate differs, beyond the figures."""
        return (self.before.removed_by, self.before.rule, self.before.rank) != (
            self.after.removed_by, self.after.rule, self.after.rank,
        )  # fmt: skip


class Place(Struct, frozen=True):
    """A place: what it shows and would show by name, and its offers in the order they would have."""

    slot: int
    name: str
    before: str
    after: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Explored:
    """Every place that has offers, in the plan's order; `at` and `changed_at` are the two instants."""

    plan: Plan
    at: datetime
    changed_at: datetime
    places: tuple[Place, ...]


def explore(
    session: Session,
    store: Store,
    blobs: FolderBlobs,
    row: Campaign,
    profile: int | None,
    now: datetime,
    changes: Changes,
) -> Explored:
    """The campaign as it is written now, for a person or somebody unknown, at `now` and under changed facts.

    Raises InvalidInput naming what keeps the campaign from being compiled, or the fact that cannot be changed.
    """
    if changes.at is not None:
        check_year(changes.at, "at")
    later = changes.at or now
    scene = written_scene(session, store, blobs, row, profile, min(row.due_at or now, now, later) - JUST_BEFORE)
    plan = scene.plan.shown_to(scene.delivery.profile)
    facts = scene.facts
    # A look begins an open of its own, so that what the last one kept shown does not hide what would be chosen.
    facts = replace(facts, last=None)
    after_changes = changed(plan, facts, changes, later)
    seed = seed_of(scene.delivery, scene.shown.live.open_number + 1)
    before, after = decide(plan, facts, now, seed), decide(plan, after_changes, later, seed)
    if scene.live is HELD_OUT:
        raise InvalidInput("profile", "is in the content holdout: they get the neutral content whatever changes")
    return Explored(plan, now, later, tuple(_places(plan, before, after)))


def changed(plan: Plan, facts: Facts, changes: Changes, at: datetime) -> Facts:
    """The facts of an open at that moment, changed. Raises InvalidInput naming the fact that cannot be."""
    state = facts.state
    if state is not None:
        state = changed_person(state, changes, at)
    elif changes.bought or changes.complained or changes.segment is not None or changes.trait is not None:
        raise InvalidInput("profile", "has lost what was known of them: nothing of theirs can be changed")
    return replace(facts, state=state, products=_products(facts, changes, at))


def changed_person(state: ProfileState, changes: Changes, at: datetime) -> ProfileState:
    """What is known of the person by that moment, changed; changes of products are not theirs."""
    if changes.bought or changes.complained:
        state = supposed(state, WhatIf(changes.bought, changes.complained), at)
    if changes.segment is not None:
        state = replace(state, segments=tuple(sorted({*state.segments, changes.segment})))
    if changes.trait is not None:
        kept = {name: value for name, value in state.traits.items() if name != changes.trait}
        state = replace(state, traits=kept | {changes.trait: changes.value} if changes.value else kept)
    return state


def _products(facts: Facts, changes: Changes, at: datetime) -> dict[str, ProductFacts]:
    """The products, one as the feed might tell of it at that moment."""
    products = dict(facts.products)
    if changes.product is None:
        if changes.stock is not None or changes.price_cents is not None:
            raise InvalidInput("product", "is missing: of which product?")
        return products
    known = products.get(changes.product)
    if known is None:
        raise InvalidInput("product", "is none that this campaign's offers show and the feed tells of")
    products[changes.product] = replace(
        known,
        stock=known.stock if changes.stock is None else changes.stock,
        price_cents=known.price_cents if changes.price_cents is None else changes.price_cents,
        sale_cents=known.sale_cents if changes.price_cents is None else None,
        feed_ms=unix_ms(at),
    )
    return products


def _places(plan: Plan, before: Decision, after: Decision) -> Iterator[Place]:
    for slot in plan.slots:
        if not slot.offers:
            continue
        was, becomes = _fates(plan, before, slot.index), _fates(plan, after, slot.index)
        lines = [Line(number, plan.offer_by_id[number].name, was[number], becomes[number]) for number in slot.offers]
        was_shown, shown = (plan.offer_by_id[made.slot(slot.index).offer].name for made in (before, after))
        yield Place(slot.index, slot.name, was_shown, shown, tuple(sorted(lines, key=lambda line: line.after.rank)))


def _fates(plan: Plan, decision: Decision, slot: int) -> dict[int, Fate]:
    """Every offer's fate by its number; where the person may be offered nothing, that is the fate of all."""
    candidates = decision.slot(slot).candidates
    if not candidates:
        why = "Nobody may be offered anything here now: the default is shown."
        offers = plan.slot_by_index[slot].offers
        return {
            number: Fate("refused", decision.reason, why, rank, None, None, None)
            for rank, number in enumerate(offers, start=1)
        }
    effects = dict(decision.effects)
    ordered = sorted(enumerate(candidates), key=lambda one: _order(one[1], one[0]))
    return {one.offer: _fate(plan, one, rank, effects.get(one.offer)) for rank, (_, one) in enumerate(ordered, start=1)}


def _order(one: Candidate, position: int) -> tuple[int, float, int]:
    """The shown first, then who went furthest: by what they would earn, then in the manager's order."""
    step = 0 if one.removed_by is None else 1 + _LAYERS.index(one.removed_by)
    return step, -((one.value or 0.0) * (1.0 if one.weight is None else one.weight)), position


def _fate(plan: Plan, one: Candidate, rank: int, effect: float | None) -> Fate:
    layer = SHOWN if one.removed_by is None else LAYER_WORDS[one.removed_by]
    why = "It is what this place shows." if one.removed_by is None else _because(plan, one)
    return Fate(layer, one.rule, why, rank, one.probability, one.value, one.weight, effect)


def _because(plan: Plan, one: Candidate) -> str:
    words = because(one, plan.offer_by_id[one.offer], plan)
    return f"{words[:1].upper()}{words[1:]}."
