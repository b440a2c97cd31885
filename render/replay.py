"""A recorded open decided again: the same under the same facts, another without the cause of a removal.

Nothing is read or written, no cap is used, nothing is learnt: it is `decide` on the facts the record kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from base.errors import UNREADABLE, InvalidInput
from render.clauses import parts
from render.decide import decide
from render.decision import GAINS_TOO_LITTLE, Decision
from render.explanation import CandidateLike
from render.facts import Facts, LaneName, Used, decode_last, decode_used, locale_of
from render.guard import SUPPRESSED, UNPROFITABLE
from render.model import Model
from render.picking import UNPICKED
from render.plan import LAYERS, LayeredRules, Live, Offer, Plan
from render.record import DecisionRecord
from render.relations import Relations
from signals.moments import ORIGIN, ORIGIN_MS
from signals.productfacts import ProductFacts
from signals.state import decode

_LANES: Final[Mapping[str, LaneName]] = {"live": "live", "machine": "machine", "test": "test", "staff": "test"}
_LIVE_STATES: Final = ("live", "ended", "killed")
_product: Final = msgspec.msgpack.Decoder(ProductFacts).decode
World = tuple[Plan, Facts]


def facts_of(record: DecisionRecord, model: Model | None, relations: Relations | None = None) -> Facts:
    """The facts a recorded open was decided on. `model` and `relations` must be those the record names, if it does.

    Raises InvalidInput naming the part of the record that cannot be read, or what is missing of the two.
    """
    if record.relations != (relations.hash if relations is not None else None):
        raise InvalidInput("relations", f"must be {record.relations or 'none'}, which this open was decided with")
    if record.model != (model.hash if model is not None else None):
        raise InvalidInput("model", f"must be {record.model or 'none'}, which this open was decided with")
    if record.lane not in _LANES or record.live_state not in _LIVE_STATES:
        raise InvalidInput("record", f"names the lane {record.lane!r} and the state {record.live_state!r}")
    kept = record.personal
    try:
        state = decode(kept.state) if kept.state is not None else None
        return Facts(
            state=state,
            sent_at_ms=record.sent_ms,
            used=decode_used(kept.used) if kept.used else Used(),
            products={name: _product(data) for name, data in record.products.items()},
            caps=dict(record.caps),
            model=model,
            last=decode_last(kept.last) if kept.last else None,
            lane=_LANES[record.lane],
            undecided=record.undecided,
            live=Live(state=cast(Literal["live", "ended", "killed"], record.live_state), withdrawn=record.withdrawn),
            locale=locale_of(state),
            neutral=record.neutral,
            refused=frozenset(record.refused),
            relations=relations,
        )
    except UNREADABLE as error:
        raise InvalidInput("record", f"holds facts that cannot be read: {error}") from error


def moment(at_ms: int) -> datetime:
    """The instant of a record's Unix milliseconds, exactly."""
    return ORIGIN + timedelta(milliseconds=at_ms - ORIGIN_MS)


def replay(
    record: DecisionRecord, plan: Plan, model: Model | None, relations: Relations | None = None, **changes: Any
) -> Decision:
    """Decide a recorded open again. `changes` replace facts by name, to ask "what had it been had that not been so".

    `plan` must be the one the record names. Without changes the outcome is the recorded one (`same_outcome`).
    """
    facts = facts_of(record, model, relations)
    shown = plan.shown_to(record.profile)
    return decide(shown, replace(facts, **changes) if changes else facts, moment(record.at_ms), record.seed)


def same_outcome(decision: Decision, record: DecisionRecord) -> bool:
    """Whether a decision shows the recorded offers and texts, with the same fate of every candidate, to the bit."""
    pairs = zip(decision.slots, record.slots, strict=False)
    return (
        len(decision.slots) == len(record.slots)
        and decision.features == record.features
        and decision.effects == record.effects
        and tuple(one.fields for one in decision.slots) == record.personal.fields
        and all(
            (one.slot, one.offer, one.creative) == (kept.slot, kept.offer, kept.creative)
            and _fates(one.candidates) == _fates(kept.candidates)
            for one, kept in pairs
        )
    )


def _fates(candidates: Sequence[CandidateLike]) -> list[tuple[object, ...]]:
    return [
        (one.offer, one.removed_by, one.rule, one.probability, one.value, one.weight, one.chance) for one in candidates
    ]


def without_cause(plan: Plan, facts: Facts, slot: int, decision: Decision, offer: int) -> World:
    """The plan and facts with the one thing taken away that removed an offer from a slot; decide on them again.

    Raises InvalidInput if the offer was not a removed candidate of that slot.
    """
    chosen = decision.slot(slot)
    candidate = next((one for one in chosen.candidates if one.offer == offer), None)
    if candidate is None or candidate.rule is None:
        raise InvalidInput("offer", f"{offer} is no candidate that was removed from slot {slot}")
    rule = candidate.rule
    if candidate.removed_by == "arbitration" and rule not in _CONDITIONS:
        return _alone(plan, offer, slot), facts
    if rule.startswith("rule "):
        layer = next(layer for layer in LAYERS if layer == candidate.removed_by)
        return _changed(plan, offer, rules=_without_clause(plan.offer_by_id[offer], layer, rule)), facts
    if rule.startswith("no consent: "):
        wanted = plan.offer_by_id[offer].requires_consent
        return _changed(
            plan, offer, requires_consent=tuple(one for one in wanted if f"no consent: {one}" != rule)
        ), facts
    if rule.startswith(SUPPRESSED):
        return replace(plan, suppress=UNSET), facts
    if rule.startswith(UNPROFITABLE):
        return replace(plan, guarded=UNSET), facts
    if rule == GAINS_TOO_LITTLE and plan.arbitration is not UNSET:
        by_chance = replace(plan, arbitration=replace(plan.arbitration, effect=False))
        return _changed(by_chance, offer, **_CONDITIONS[rule]), facts
    if rule in _CONDITIONS:
        return _changed(plan, offer, **_CONDITIONS[rule]), facts
    if rule == "sensitive signals":
        return replace(plan, sensitive=()), facts
    return plan, _FACTS[rule](plan.offer_by_id[offer], facts)


_UNCOSTED: Final = {"cost_cents": 0, "incentive_cents": 0, "aftercare_cents": 0}
_UNCAPPED: Final = {"cap_total": None, "cap_person": None, "period_days": None}
_CONDITIONS: Final[dict[str, dict[str, Any]]] = {
    "machine fetch: capped": _UNCAPPED,
    "machine fetch: bound to the clock": {"clock_bound": False},
    "machine fetch: ends soon": {"ends_ms": None},
    "machine fetch: stock or price may change": {
        "needs_stock": False,
        "shows_price": False,
        "products": (),
        "versions": (),
        "incentive": None,
    },
    "undecided fetch: bound to the clock": {"clock_bound": False},
    "undecided fetch: capped": _UNCAPPED,
    "not yet valid": {"starts_ms": None},
    "ended": {"ends_ms": None},
    "sensitive category": {"after_category": None},
    "purpose met": {"purpose_category": None},
    "nothing bought yet": {"after_category": None},
    "product unknown": {"needs_stock": False, "shows_price": False},
    "feed stale": {"needs_stock": False, "shows_price": False},
    "stock unknown": {"needs_stock": False},
    "out of stock": {"needs_stock": False},
    "no product in stock": {"product": None, "products": (), "needs_stock": False, "shows_price": False},
    "cap unknown": {"cap_total": None},
    "total cap": {"cap_total": None},
    "personal cap": {"cap_person": None, "period_days": None},
    "no repeat": {"no_repeat_days": None},
    "anonymous: limited": _UNCAPPED | {"no_repeat_days": None, "fatigue": ()},
    **dict.fromkeys(("costs more than it earns", GAINS_TOO_LITTLE), _UNCOSTED),
    "resting: shown": {"fatigue": ()},
    "resting: ignored": {"fatigue": ()},
    "resting: taken": {"fatigue": ()},
    "resting: refused": {"fatigue": ()},
    "not on promotion": {"incentive": None},
    "needs no incentive": {"incentive": None},
    "need unknown": {"incentive": None},
    "nothing to replace": {"when_due": False},
    "interval unknown": {"when_due": False},
    "bought too recently": {"when_due": False},
    "no purchase to add to": {"window_hours": None},
    "upsell window over": {"window_hours": None},
    "quantity unknown": {"units": None},
    "too many at once": {"units": None},
    **{code: {"pick": None, "needs_stock": False, "shows_price": False} for code in UNPICKED},
}


def _not_withdrawn(offer: Offer, facts: Facts) -> Facts:
    kept = tuple(one for one in facts.live.withdrawn if one != offer.id)
    return replace(facts, live=replace(facts.live, withdrawn=kept))


def _no_complaint(offer: Offer, facts: Facts) -> Facts:
    return _state(facts, complaints={})


def _not_owned(offer: Offer, facts: Facts) -> Facts:
    if facts.state is None:
        return facts
    recent = tuple(line for line in facts.state.recent if line.product not in offer.all_products)
    targets = {f"product:{name}" for name in offer.all_products}
    marks = tuple(mark for mark in facts.state.marks if mark.target not in targets)
    return _state(facts, recent=recent, marks=marks)


def _still_sold(offer: Offer, facts: Facts) -> Facts:
    """The facts with the offer's product in the catalogue and in stock."""
    known = facts.products.get(offer.product or "")
    if known is None:
        return facts
    return replace(facts, products={**facts.products, known.id: replace(known, gone=False, stock=1)})


def _not_refused(offer: Offer, facts: Facts) -> Facts:
    return replace(facts, refused=facts.refused - {offer.id})


def _no_mark(offer: Offer, facts: Facts) -> Facts:
    if facts.state is None:
        return facts
    return _state(facts, marks=tuple(mark for mark in facts.state.marks if mark.word != "not_for_me"))


def _state(facts: Facts, **changes: Any) -> Facts:
    return replace(facts, state=replace(facts.state, **changes)) if facts.state is not None else facts


_FACTS: Final[dict[str, Callable[[Offer, Facts], Facts]]] = {
    "withdrawn": _not_withdrawn,
    "complaint open": _no_complaint,
    "already bought": _not_owned,
    "no longer sold": _still_sold,
    "cap refused": _not_refused,
    "not for me": _no_mark,
}


def _changed(plan: Plan, offer: int, **changes: Any) -> Plan:
    offers = tuple(replace(one, **changes) if one.id == offer else one for one in plan.offers)
    return replace(plan, offers=offers)


def _without_clause(offer: Offer, layer: str, rule: str) -> LayeredRules:
    whole = getattr(offer.rules, layer)
    number = int(rule.removeprefix("rule "))
    kept = [clause for at, clause in enumerate(parts(whole), start=1) if at != number]
    return replace(offer.rules, **{layer: {"all": kept} if kept else None})


def _alone(plan: Plan, offer: int, slot: int) -> Plan:
    """The plan in which an offer has a slot to itself: nothing else can be drawn, and nothing goes before it."""
    offers = {one.index: (offer,) if one.index == slot else () for one in plan.slots}
    return replace(plan, slots=tuple(replace(one, offers=offers[one.index]) for one in plan.slots))
