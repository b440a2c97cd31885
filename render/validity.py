"""Whether a creative may be published. What passes cannot make an open fail, only look plain where data is missing."""

from typing import Final

from msgspec.structs import fields as struct_fields

from base.errors import InvalidInput
from render.creative import (
    MAX_ITEMS,
    MAX_LAYERS,
    MAX_SIDE,
    Art,
    Background,
    Badge,
    Box,
    Button,
    Column,
    Countdown,
    Coupon,
    Creative,
    Grid,
    Item,
    Layer,
    Palette,
    Picture,
    Pill,
    Price,
    Rating,
    Text,
    is_colour,
)
from render.template import compile_template

_TEMPLATED: Final[dict[type, tuple[str, ...]]] = {
    Background: ("picture",),
    Art: ("seed", "pictogram"),
    Picture: ("source", "seed", "pictogram"),
    Badge: ("text",),
    Text: ("text",),
    Price: ("amount", "struck"),
    Button: ("text",),
    Pill: ("text",),
    Rating: ("value", "count"),
    Countdown: ("until",),
    Coupon: ("text",),
}


TEXT_FIELDS: Final = {
    "brand": ("name", "free_delivery"),
    "product": (
        "name", "category", "picture", "price", "price_cents", "currency", "buyers", "also_bought", "stretch_name",
        "stretch_price", "stretch_more", "entry_name", "entry_price",
    ),
    "profile": ("first_name", "timezone", "cart", "to_free_delivery", "has_free_delivery"),
}  # fmt: skip
"""What an offer's own text may read, by root: all that an open binds (`render.fields`, `.tactics`, `.saying`).

Another text of the offer it may not read, for all are bound at once.
"""


def check_text(field: str, source: str) -> None:
    """Refuse an offer's text that cannot be bound, or names what nothing fills in. Raises InvalidInput for the field.

    Only what is written is held to it: an offer that is stored goes on as it is.
    """
    try:
        read = compile_template(source)[1]
    except ValueError as error:
        raise InvalidInput(field, str(error)) from error
    wrong = sorted((root, name) for root, name in read if name not in TEXT_FIELDS.get(root, ()))
    roots = dict.fromkeys(root for root, _ in wrong)
    named = " and ".join(f"{root}.{name}" for root, name in wrong)
    if not TEXT_FIELDS.keys() >= roots.keys():
        raise InvalidInput(field, f"reads {named}; an offer's text may read {', '.join(TEXT_FIELDS)}")
    if wrong:
        known = ", ".join(f"{root}.{one}" for root in roots for one in TEXT_FIELDS[root])
        raise InvalidInput(field, f"reads {named}, which nothing fills in; there are {known}")


def check(creative: Creative) -> tuple[str, ...]:
    """Return the fields a creative reads, as `root.name`, sorted; raises InvalidInput naming the part at fault."""
    for side in ("width", "height"):
        if not 20 <= getattr(creative, side) <= MAX_SIDE:
            raise InvalidInput(f"creative.{side}", f"must be from 20 to {MAX_SIDE} pixels")
    if not 1 <= len(creative.layers) <= MAX_LAYERS:
        raise InvalidInput("creative.layers", f"must hold 1 to {MAX_LAYERS} layers")
    if len(creative.over) > MAX_LAYERS:
        raise InvalidInput("creative.over", f"may hold at most {MAX_LAYERS} layers")
    _check_countdowns(creative)
    for which in ("palette_light", "palette_dark"):
        palette: Palette = getattr(creative, which)
        for role in struct_fields(palette):
            colour = getattr(palette, role.name)
            if not is_colour(colour) or not colour.startswith(("#", "@")):
                raise InvalidInput(
                    f"creative.{which}.{role.name}", f"{colour!r} is neither #rrggbb nor a scheme colour"
                )
    read: set[str] = set()
    named = [(f"creative.layers[{number}]", layer) for number, layer in enumerate(creative.layers)]
    named += [(f"creative.over[{number}]", layer) for number, layer in enumerate(creative.over)]
    for where, layer in named:
        read |= _check_part(where, layer, creative)
        if isinstance(layer, Column | Grid):
            if not 1 <= len(layer.items) <= MAX_ITEMS:
                raise InvalidInput(f"{where}.items", f"must hold 1 to {MAX_ITEMS} items")
            for index, item in enumerate(layer.items):
                fields = _check_part(f"{where}.items[{index}]", item, creative)
                read |= _of_cells(fields) if isinstance(layer, Grid) else fields
        if isinstance(layer, Grid):
            _check_grid(where, layer)
            read |= _of_cells({"product.picture", "product.name", "product.category", "product.currency"})
    return tuple(sorted(read))


def _check_countdowns(creative: Creative) -> None:
    """Check that a design counts down once at most, and knows what to show when it has."""
    wheres = [
        [
            f"creative.{name}[{number}].items[{index}]"
            for number, layer in enumerate(layers)
            if isinstance(layer, Column)
            for index, item in enumerate(layer.items)
            if isinstance(item, Countdown)
        ]
        for name, layers in (("layers", creative.layers), ("over", creative.over))
    ]
    running, afterwards = wheres
    if len(running) > 1:
        raise InvalidInput(running[1], "is a second countdown; a design holds one")
    if afterwards:
        raise InvalidInput(afterwards[0], "counts down in what is shown when the countdown has run out")
    if running and not creative.over:
        raise InvalidInput("creative.over", "must hold what is shown once the countdown has run out")
    if creative.over and not running:
        raise InvalidInput("creative.over", "is for designs with a countdown")


def _of_cells(fields: set[str]) -> set[str]:
    """The fields that a grid's cells read: of every product, and of the one where there is no other."""
    return fields | {f"products.{field.partition('.')[2]}" for field in fields if field.startswith("product.")}


def _check_grid(where: str, grid: Grid) -> None:
    if not 0 <= grid.picture_height <= grid.box.h:
        raise InvalidInput(f"{where}.picture_height", "must be from 0 to the height of the box")
    if any(isinstance(item, Countdown) for item in grid.items):
        raise InvalidInput(f"{where}.items", "may not count down; put the countdown into a column")


def _check_part(where: str, part: Layer | Item, creative: Creative) -> set[str]:
    """Check one layer or item: its templates, its colours, its box inside the design, its numbers."""
    read: set[str] = set()
    for name in _TEMPLATED.get(type(part), ()):
        try:
            read.update(".".join(path) for path in compile_template(getattr(part, name))[1])
        except ValueError as error:
            raise InvalidInput(f"{where}.{name}", str(error)) from error
    for name in ("colour", "fill", "to", "label"):
        colour = getattr(part, name, "")
        if isinstance(colour, str) and colour and not is_colour(colour):
            raise InvalidInput(f"{where}.{name}", f"{colour!r} is not a colour: write #rrggbb or a palette role")
    box = getattr(part, "box", None)
    if isinstance(box, Box):
        inside = box.x >= 0 and box.y >= 0 and box.w >= 1 and box.h >= 1
        if not inside or box.x + box.w > creative.width or box.y + box.h > creative.height:
            raise InvalidInput(f"{where}.box", f"must lie within {creative.width} by {creative.height}")
    limits = {
        "size": (8, 200), "min_size": (8, 200), "max_lines": (1, 12), "weight": (100, 900), "gap": (0, 200),
        "label": (8, 40), "padding": (0, 60), "radius": (0, 600), "focus_x": (0, 1), "focus_y": (0, 1),
        "shade": (0, 0.9), "shade_to": (0, 1),
    }  # fmt: skip
    for name, (low, high) in limits.items():
        value = getattr(part, name, None)
        if isinstance(value, int | float) and not low <= value <= high:
            raise InvalidInput(f"{where}.{name}", f"must be from {low} to {high}")
    return read
