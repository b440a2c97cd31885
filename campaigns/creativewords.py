"""The words of the creative editor: what each field of a layer or item is called, and what texts may say."""

from __future__ import annotations

from typing import Final

PARTS: Final = {
    "background": "Background", "art": "Drawn art", "picture": "Product picture", "panel": "Panel", "badge": "Badge",
    "column": "Column of texts", "text": "Text", "price": "Price", "button": "Button", "pill": "Label",
    "grid": "Products side by side", "rating": "Stars", "countdown": "Countdown", "coupon": "Coupon code",
}  # fmt: skip
LABELS: Final = {
    "align": "Across", "amount": "Price, in cents", "box.h": "Height", "box.w": "Width", "box.x": "From the left",
    "box.y": "From the top", "colour": "Colour", "count": "How many rated", "fill": "Ground", "fit": "Fit",
    "focus_x": "Focus from the left, 0 to 1", "focus_y": "Focus from the top, 0 to 1", "form": "Form",
    "gap": "Space above", "countdown.label": "Colour of the units", "coupon.label": "Size of the text",
    "grid.gap": "Space between",
    "until": "Counts down to",
    "max_lines": "Lines at most", "min_size": "Smallest size", "optional": "Leaves first when room is short",
    "padding": "Space inside", "picture_height": "Height of the pictures, at least",
    "pictogram": "Sign for", "picture": "Picture", "radius": "Rounded by", "seed": "Colours for",
    "shade": "Darkened by, 0 to 0.9", "shade_to": "Dark as far as, 0 to 1", "shape": "Shape",
    "size": "Size", "source": "Picture",
    "struck": "Former price, in cents", "style": "Pattern", "text": "Text", "to": "Gradient to",
    "valign": "Up and down", "value": "Stars, 0 to 5", "vertical": "Gradient from top to bottom",
    "weight": "Weight, 100 to 900",
}  # fmt: skip
ROLES: Final = {
    "surface": "Ground", "plate": "Second ground", "ink": "Text", "muted": "Quiet text", "accent": "Accent",
    "on_accent": "On the accent", "badge": "Badge", "on_badge": "On the badge", "line": "Line",
}  # fmt: skip
PICTURES: Final = frozenset({"picture", "source"})
"""Fields that name a picture: chosen from the library."""
COLOURS: Final = frozenset({"colour", "fill", "to"})
"""Fields that name a colour."""
VARIABLES: Final = (
    ("offer.headline", "the offer’s headline; so too eyebrow, body, badge, button"),
    ("offer.price", "what is paid, as people write money; offer.price_cents in cents"),
    ("offer.was", "the former price; offer.saving what is saved"),
    ("offer.ends_ms|local_time", "when the offer ends, in the reader’s zone; offer.coupon is its code"),
    ("product.name", "the product’s name; so too brand, category, price, rating, rating_count"),
    ("product.picture", "the product’s picture"),
    ("profile.first_name", "the first name; the picture is then kept for this person alone"),
    ("brand.name", "the brand"),
)
"""What texts may say, and what it is. docs/creatives.md has the whole table."""


def label(kind: str, name: str) -> str:
    """What a field of a layer or item is called. Raises KeyError for one that has no words yet."""
    return LABELS.get(f"{kind}.{name}") or LABELS[name]
