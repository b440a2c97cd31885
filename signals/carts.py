"""Why a cart was left: clues that signals give while something lies in it, and the one cause they come to.

An order ends the cart and every clue with it, whatever it holds; so does emptying the cart. A cause is only told where
something speaks for it: a checkout that was begun and says nothing more leaves it open, and the answer stays neutral.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, get_args

from signals.state import CartLine, ProfileState

Clue = Literal["price", "delivery", "stock", "elsewhere"]
Cause = Literal["price", "delivery", "stock", "browsing", "bought elsewhere"]
CLUES: Final[tuple[str, ...]] = get_args(Clue)
_CLUES: Final[Mapping[str, Clue]] = {
    "coupon denied": "price",
    "price alert requested": "price",
    "stock alert requested": "stock",
    "product unavailable": "stock",
}
_STEP: Final = "checkout step viewed"
_DELIVERY_WORDS: Final = ("shipping", "delivery")
CLUE_EVENTS: Final = frozenset({*_CLUES, _STEP})
"""Calls, in lower case, that may hold a clue; the rest of the clues come from registrations and feedback."""


def clue_of(name: str, properties: Mapping[str, Any]) -> Clue | Literal[""]:
    """What a call of CLUE_EVENTS says of the cart; a checkout step says something if it is the one of delivery.

    Steps are told by a `shipping_method`, or by "shipping" or "delivery" in `step_name` or `step`.
    """
    if name != _STEP:
        return _CLUES.get(name, "")
    named = " ".join(str(properties.get(key, "")) for key in ("step_name", "step")).lower()
    is_delivery = bool(properties.get("shipping_method")) or any(word in named for word in _DELIVERY_WORDS)
    return "delivery" if is_delivery else ""


def note(state: ProfileState, clue: str, seconds: int) -> None:
    """Keep a clue about what lies in the cart; without a cart, or unknown, it is about nothing."""
    if state.cart and clue in CLUES:
        state.clues[clue] = seconds


def holds(cart: Iterable[CartLine], products: set[str], categories: set[int]) -> bool:
    """Whether one of these products or categories lies in the cart."""
    return any(line.product in products or line.category in categories for line in cart)


def cause(state: ProfileState) -> Cause | None:
    """The one cause of a cart that is left: a fact before a doubt, the newer of two doubts, browsing where no checkout
    was begun; None for an empty cart and where nothing speaks for any."""
    clues = state.clues
    if not state.cart:
        return None
    if "elsewhere" in clues:
        return "bought elsewhere"
    if "stock" in clues:
        return "stock"
    price, delivery = clues.get("price"), clues.get("delivery")
    if price is not None and (delivery is None or price > delivery):
        return "price"
    if delivery is not None:
        return "delivery"
    return "browsing" if state.checkout_s is None else None
