"""What signals other than orders do to a state: views, cart, complaints, reviews, surveys, traits, consent, mail.

Each step changes the working state in place and is given the event and its moment in seconds since 2020. Events come in
canonical order, so the newest word wins by coming last; what only counts may also come late (`fold.advance`). Every
list and map has its bound; who leaves is said where it happens and depends on nothing but the events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from signals import carts, measures
from signals.foldevent import FoldEvent, Line
from signals.moments import day_of
from signals.state import (
    MAX_CART,
    MAX_COMPLAINTS,
    MAX_CONSENTS,
    MAX_MARKS,
    MAX_REGISTERED,
    MAX_REVIEWS,
    MAX_SURVEYS,
    MAX_TRAITS,
    MAX_VIEWS,
    Answer,
    CartLine,
    Mark,
    ProfileState,
    Review,
    Views,
)

_Name = TypeVar("_Name", int, str)
_Entry = TypeVar("_Entry")
KEPT_TRAITS = frozenset({"first_name", "last_name", "locale", "timezone", "currency", "country", "language", "age"})
"""Traits the product itself reads: they find room when the forty are full, by taking the place of another."""


def viewed(event: FoldEvent) -> set[int]:
    """What a look counts for: the category of a product page, and that which a list page lists, else its products'."""
    if event.kind == "list_view" and event.category:
        return {event.category}
    return {line.category for line in event.lines} - {0}


def _view(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    for category in sorted(viewed(event)):
        seen = state.views.get(category)
        state.views[category] = Views(seen.n + 1, max(seen.last_s, seconds)) if seen else Views(1, seconds)
    _leave(state.views, MAX_VIEWS, lambda seen: seen.last_s)


def _cart_add(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    """Lines join the cart; the one that has lain there longest leaves when it is full."""
    cart = list(state.cart)
    for line in event.lines:
        at = _place_in(cart, line)
        if at is None:
            cart.append(_in_cart(line))
        else:
            together = min(measures.exact(cart[at]) + measures.exact(line), measures.MOST)
            cart[at] = _of(together, replace(cart[at], category=line.category, cents=line.cents or cart[at].cents))
    state.cart, state.cart_s = tuple(cart[-MAX_CART:]), seconds


def _cart_remove(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    cart = list(state.cart)
    for line in event.lines:
        at = _place_in(cart, line)
        if at is not None and (left := measures.exact(cart[at]) - measures.exact(line)) > 0:
            cart[at] = _of(left, cart[at])
        elif at is not None:
            del cart[at]
    state.cart, state.cart_s = tuple(cart), seconds if cart else None
    if not cart:
        state.clues.clear()


def _cart(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    """`Cart Viewed` tells the whole cart; without products it only says that the cart was looked at."""
    if event.lines:
        state.cart = tuple(_in_cart(line) for line in event.lines)[-MAX_CART:]
        state.cart_s = seconds


def _checkout(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    _cart(state, event, seconds)
    state.checkout_s = seconds


def _review(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    """Ratings are taken on a scale to five: up to two is negative, four and more positive."""
    category = event.category or next((line.category for line in event.lines), 0)
    if event.score is None or not category:
        return
    sentiment = "negative" if event.score <= 2 else "positive" if event.score >= 4 else "neutral"
    state.reviews[category] = Review(sentiment, day_of(seconds))
    _leave(state.reviews, MAX_REVIEWS, lambda review: review.day)


def _complaint(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    """A complaint stays open until it is closed by its id, or all are by a close without one."""
    state.complaints.setdefault(event.subject, event.time_ms)
    _leave(state.complaints, MAX_COMPLAINTS, lambda opened_ms: opened_ms)


def _complaint_closed(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    if event.subject:
        state.complaints.pop(event.subject, None)
    else:
        state.complaints.clear()


def _note(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    state.notes += 1
    state.last_note_s = _newer(state.last_note_s, seconds)


def _survey(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    if event.score is None:
        return
    state.surveys[event.subject] = Answer(event.score, day_of(seconds))
    _leave(state.surveys, MAX_SURVEYS, lambda answer: answer.day)


def _registered(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    for line in event.lines:
        if line.category:
            state.registered[line.category] = day_of(seconds)
    _leave(state.registered, MAX_REGISTERED, lambda day: day)
    if carts.holds(state.cart, {line.product for line in event.lines} - {""}, _categories(event)):
        carts.note(state, "elsewhere", seconds)


def _clue(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    carts.note(state, event.word, seconds)


def _mark(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    """The newest word on each thing; the oldest words leave. What a gift does to purchases is told in orders.py."""
    products = [f"product:{line.product}" for line in event.lines if line.product]
    targets = products or ([f"category:{event.category}"] if event.category else [])
    if not targets and event.order_id:
        targets = [f"order:{event.order_id}"]
    if event.word:
        kept = [mark for mark in state.marks if mark.target not in targets]
        marks = [*kept, *(Mark(target, event.word, day_of(seconds)) for target in dict.fromkeys(targets))]
        state.marks = tuple(marks[-MAX_MARKS:])
    named = {line.product for line in event.lines} - {""}
    if event.word == "already_own" and carts.holds(state.cart, named, set() if named else _categories(event)):
        carts.note(state, "elsewhere", seconds)


def _consent(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    """Purposes keep their place once given; new ones find none when eight are known."""
    for purpose, granted in event.consent.items():
        if purpose in state.consent or len(state.consent) < MAX_CONSENTS:
            state.consent[purpose] = granted


def _traits(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    """The newest value wins; a trait of None goes; when forty are known a new one finds no room (but `KEPT_TRAITS`)."""
    traits = state.traits
    for name, value in event.traits.items():
        if value is None:
            traits.pop(name, None)
        elif name in traits or len(traits) < MAX_TRAITS:
            traits[name] = value
        elif name in KEPT_TRAITS:
            del traits[max(other for other in traits if other not in KEPT_TRAITS)]
            traits[name] = value


def _mail_open(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    if event.seen:
        state.opens += 1
        state.last_open_s = _newer(state.last_open_s, seconds)


def _mail_click(state: ProfileState, event: FoldEvent, seconds: int) -> None:
    if event.seen:
        state.clicks += 1
        state.last_click_s = _newer(state.last_click_s, seconds)


STEPS: dict[str, Callable[[ProfileState, FoldEvent, int], None]] = {
    "view": _view,
    "list_view": _view,
    "cart_add": _cart_add,
    "cart_remove": _cart_remove,
    "cart": _cart,
    "checkout": _checkout,
    "review": _review,
    "complaint": _complaint,
    "complaint_closed": _complaint_closed,
    "note": _note,
    "survey": _survey,
    "registered": _registered,
    "mark": _mark,
    "consent": _consent,
    "traits": _traits,
    "mail_open": _mail_open,
    "mail_click": _mail_click,
    "clue": _clue,
}


def _newer(known: int | None, seconds: int) -> int:
    return seconds if known is None else max(known, seconds)


def _categories(event: FoldEvent) -> set[int]:
    return ({line.category for line in event.lines} | {event.category}) - {0}


def _in_cart(line: Line) -> CartLine:
    return CartLine(line.product, line.category, line.quantity, line.cents, line.millionths)


def _of(millionths: int, line: CartLine) -> CartLine:
    quantity, kept = measures.pieces(millionths)
    return replace(line, quantity=quantity, millionths=kept)


def _place_in(cart: list[CartLine], line: Line) -> int | None:
    """Where the cart holds this product; a product that is not told is known by its category."""
    for at, own in enumerate(cart):
        if own.product == line.product and (line.product or own.category == line.category):
            return at
    return None


def _leave(entries: dict[_Name, _Entry], bound: int, age: Callable[[_Entry], int]) -> None:
    """Let the oldest entries go, the lowest key first among equals, until `bound` are left."""
    while len(entries) > bound:
        del entries[min(entries, key=lambda name: (age(entries[name]), name))]
