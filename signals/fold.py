"""Folding signals into a profile state: pure, exact, and the same whatever order the signals arrived in.

The state is by definition `fold_all` of a profile's events in the canonical order (event time, message id, source).
`advance` reaches the same bytes from the state before when it can: when every new event is newer than all folded ones,
or only adds to a count, and none changes what an earlier one meant. Otherwise it says so and the caller folds all
stored events again.

An order counts once, by its order id, if it is repeated within the next sixteen orders. Refunds, cancellations and gift
marks act on the order they name whenever they are said to have happened; a mark without an order id on all purchases of
that product or category up to its time. A mark that its source withdrew says nothing, whenever that was said.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from signals import measures
from signals.behaviour import STEPS, viewed
from signals.foldevent import CORRECTIONS, MAIL_KINDS, FoldEvent
from signals.gaps import longer
from signals.moments import seconds_of
from signals.orders import AS_TOLD, NOTHING, OVERFLOW, Left, Placement, knows_order, order_key, resolve
from signals.state import (
    MAX_CATEGORIES,
    MAX_GAPS,
    MAX_ORDER_GAPS,
    MAX_ORDER_KEYS,
    MAX_RECENT,
    MAX_VIEWS,
    ORDER_KEY,
    CategoryStats,
    ProfileState,
    Purchase,
    Score,
)

NO_SCORES: Final[Mapping[str, Score]] = MappingProxyType({})

_MAPS = ("categories", "views", "traits", "consent", "complaints", "reviews", "registered", "surveys", "clues")


def canonical(events: Iterable[FoldEvent]) -> list[FoldEvent]:
    """The events in canonical order, each once (the same message id from the same source is the same event)."""
    events = list(events)
    if len(events) < 2:
        return events
    seen: set[tuple[str, int]] = set()
    ordered = []
    for event in sorted(events, key=lambda event: (event.key, event.arrival)):
        name = (event.message_id, event.source)
        if name not in seen:
            seen.add(name)
            ordered.append(event)
    return ordered


def fold_all(
    events: Iterable[FoldEvent], *, segments: tuple[int, ...] = (), scores: Mapping[str, Score] = NO_SCORES
) -> ProfileState:
    """The state after all of a profile's events, given in any order. Intents are not set: signals/intent.py does that.

    `segments` and `scores` are carried into the state: both are computed elsewhere.
    """
    return fold_history(events, segments=segments, scores=scores)[0]


def fold_history(
    events: Iterable[FoldEvent], *, segments: tuple[int, ...] = (), scores: Mapping[str, Score] = NO_SCORES
) -> tuple[ProfileState, dict[int, Left]]:
    """`fold_all`, and what is left of the orders, by arrival number, that are not AS_TOLD; of updates that begin no
    order of their own it is NOTHING."""
    ordered = _without_withdrawn(canonical(events))
    resolution = resolve(ordered)
    state = ProfileState(segments=segments, scores=dict(scores))
    for index, event in enumerate(ordered):
        _apply(state, event, resolution.placements.get(index))
    state.unmatched = resolution.unmatched
    left = {event.arrival: NOTHING for event in ordered if event.kind == "order_update"}
    left |= {ordered[index].arrival: order.left(ordered[index]) for index, order in resolution.placements.items()}
    return state, {arrival: what for arrival, what in left.items() if what != AS_TOLD}


def _without_withdrawn(ordered: list[FoldEvent]) -> list[FoldEvent]:
    """The events with marks that their own source took back, before or after, made to say nothing."""
    withdrawn = {(event.source, event.withdraws) for event in ordered if event.withdraws}
    if not withdrawn:
        return ordered
    return [
        msgspec.structs.replace(event, kind="other")
        if event.kind == "mark" and (event.source, event.message_id) in withdrawn
        else event
        for event in ordered
    ]


COUNTED: Final = MAIL_KINDS | {"other", "note"}
"""Signals that only add to a count and move its newest time: they come to the same at any place in the order."""


def folds_on(state: ProfileState, event: FoldEvent) -> bool:
    """Whether `fold(state, event)` gives what folding everything again would give."""
    return _folds_on(state, event, state.last_ms)


def _folds_on(state: ProfileState, event: FoldEvent, last_ms: int) -> bool:
    """`folds_on`, where what was folded before this batch ends at `last_ms`."""
    if state.erased:
        return True
    if event.kind in CORRECTIONS:
        return False
    if event.time_ms <= last_ms and state.since_s is not None and not _counts_anywhere(state, event):
        return False
    if event.kind == "order" and event.order_id and state.unmatched:
        return state.unmatched != OVERFLOW and not knows_order(state.unmatched, order_key(event.order_id))
    return True


def _counts_anywhere(state: ProfileState, event: FoldEvent) -> bool:
    """Whether an event comes to the same wherever it stands among those folded."""
    if event.kind in ("view", "list_view"):
        # While there is room left no category has ever made room for another.
        return len(state.views.keys() | viewed(event)) < MAX_VIEWS
    return event.kind in COUNTED or (event.kind == "traits" and not event.traits)


def fold(state: ProfileState, event: FoldEvent) -> ProfileState:
    """The state after one more event. The given state is not changed; a tombstone stays one.

    Raises ValueError when the event does not fold on (`folds_on`): the profile must be folded again.
    """
    advanced = advance(state, (event,))
    if advanced is None:
        raise ValueError("the event is older than the state or corrects what it holds; fold all stored events again")
    return advanced


def advance(state: ProfileState, events: Sequence[FoldEvent]) -> ProfileState | None:
    """The state after these new events, given in any order, or None when all stored events must be folded again.

    An event with the time of another new one is fine; one not newer than the state only if it adds to a count. The
    given state is not changed. No event may be among those already folded.
    """
    if state.erased or not events:
        return state
    working = _working_copy(state)
    for event in canonical(events):
        if not _folds_on(working, event, state.last_ms):
            return None
        _apply(working, event, _new_order(working, event))
    return working


def _working_copy(state: ProfileState) -> ProfileState:
    working = copy.copy(state)
    for name in _MAPS:
        setattr(working, name, dict(getattr(state, name)))
    return working


def _new_order(state: ProfileState, event: FoldEvent) -> Placement | None:
    if event.kind != "order" or (event.order_id and knows_order(state.order_keys, order_key(event.order_id))):
        return None
    return Placement(event)


def _apply(state: ProfileState, event: FoldEvent, order: Placement | None) -> None:
    """Fold one event in place; `order` is what an order call comes to, None for a repeated one and for other kinds."""
    seconds = seconds_of(event.time_ms)
    state.since_s = seconds if state.since_s is None else min(state.since_s, seconds)
    state.last_ms = max(state.last_ms, event.time_ms)
    if event.kind not in MAIL_KINDS:
        state.version = max(state.version, event.arrival)
    if order is not None:
        _place(state, event, order, seconds)
    elif (step := STEPS.get(event.kind)) is not None:
        step(state, event, seconds)


def _place(state: ProfileState, event: FoldEvent, order: Placement, seconds: int) -> None:
    if event.order_id:
        state.order_keys = (state.order_keys + order_key(event.order_id))[-MAX_ORDER_KEYS * ORDER_KEY :]
    state.cart, state.cart_s, state.checkout_s, state.clues = (), None, None, {}
    if order.void:
        return
    state.orders += 1
    state.order_cents += order.worth(order.amount)
    state.mail_orders += event.by_mail
    state.order_gaps = longer(state.order_gaps, state.last_order_s, seconds, MAX_ORDER_GAPS)
    state.last_order_s = seconds
    own = [line for line in order.lines if not line.gift]
    state.coupon_orders += any(line.coupon for line in own)
    spent: dict[int, int] = {}
    for line in own:
        if line.category:
            spent[line.category] = spent.get(line.category, 0) + measures.worth(line)
    by_coupon = {line.category for line in own if line.coupon}
    for category, cents in spent.items():
        _buy(state.categories, category, order.worth(cents), seconds, category in by_coupon)
    if own:
        bought = tuple(
            Purchase(line.product, line.category, event.time_ms, line.quantity, order.worth(line.cents or 0))
            for line in own[-MAX_RECENT:]
        )
        state.recent = (state.recent + bought)[-MAX_RECENT:]


def _buy(categories: dict[int, CategoryStats], category: int, cents: int, seconds: int, coupon: bool) -> None:
    stats = categories.get(category)
    if stats is None:
        categories[category] = CategoryStats(1, cents, seconds, coupons=int(coupon))
        if len(categories) > MAX_CATEGORIES:
            del categories[min(categories, key=lambda other: (categories[other].last_s, other))]
        return
    gaps = longer(stats.gaps, stats.last_s, seconds, MAX_GAPS)
    categories[category] = CategoryStats(stats.n + 1, stats.cents + cents, seconds, gaps, stats.coupons + coupon)
