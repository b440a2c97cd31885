"""What the restock campaign is about: twelve things households buy again and again, and what goes well with each.

The words are ours; slugs are those of the data's categories (workers/demo/wording.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Regular:
    """A category to restock and one that goes with it: slug and words of both, and the discount in percent."""

    category: str
    words: str
    goes_with: str
    goes_with_words: str
    percent: int = 15


REGULARS: Final = (
    Regular("soft-drinks", "soft drinks", "bag-snacks", "snacks"),
    Regular("fluid-milk-products", "milk", "cookies-cones", "cookies"),
    Regular("baked-bread-buns-rolls", "bread", "peanut-butter-jelly-jams", "peanut butter and jam"),
    Regular("cheese", "cheese", "crackers-misc-baked-food", "crackers"),
    Regular("eggs", "eggs", "bacon", "bacon"),
    Regular("beef", "beef", "potatoes", "potatoes", 10),
    Regular("cold-cereal", "cereal", "berries", "berries"),
    Regular("frozen-pizza", "frozen pizza", "ice-cream-milk-sherbets", "ice cream", 20),
    Regular("yogurt", "yogurt", "apples", "apples", 20),
    Regular("coffee", "coffee", "baked-sweet-goods", "something sweet", 10),
    Regular("bath-tissues", "bath tissue", "paper-towels", "paper towels"),
    Regular("dog-foods", "dog food", "pet-care-supplies", "treats and toys", 10),
)
UPGRADED: Final = ("coffee", "frozen-pizza", "ice-cream-milk-sherbets", "yogurt")
"""Categories in which a dearer product is offered to those who buy them often."""

SOLD_OUT: Final = "cheese"
"""In the middle of the week the product of this category's offer sells out."""

CAPPED: Final = "coffee"
CAP: Final = 40
"""The upgrade of this category is for so many showings only."""
