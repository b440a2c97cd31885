"""How an offer looks: a layered design, declared once in design pixels and drawn at any size.

A `Creative` is part of the immutable plan, so everything here is frozen and serialises to JSON. Its texts are
templates (`{{ product.name }}`); `render.binding.resolve` turns a creative and the fields of one decision into a
`Resolved`, the same layers with plain strings, and `render.draw.draw` turns that into bytes. Lengths are design pixels
(1x); colours are either `#rrggbb`, the name of a role of the palette, or `@tint @soft @mid @deep @spark`, a colour of
the scheme that belongs to the picture's seed.
"""

import re
from typing import Literal

import msgspec
from msgspec import Struct

MAX_SIDE = 1200
"""Longest declared side of a picture in 1x pixels. A mail column is 600 to 700 wide; Outlook clips above 1728 high."""
MAX_TEMPLATE = 600
MAX_LAYERS = 24
MAX_ITEMS = 12
MAX_CELLS = 4
COUNTED_SECONDS = 60
"""How long an animated countdown runs before it stands still: a frame a second."""

Align = Literal["start", "center", "end"]
ArtStyle = Literal["tiles", "confetti", "steps", "rings", "hills", "plain"]
_COLOUR = re.compile(r"#[0-9a-f]{6}\Z")
SCHEME_COLOURS = ("@tint", "@soft", "@mid", "@deep", "@spark")
ROLES = ("surface", "plate", "ink", "muted", "accent", "on_accent", "badge", "on_badge", "line")


class Box(Struct, frozen=True, array_like=True):
    """A rectangle in design pixels. `x` counts from the left, or from the right in a mirrored design."""

    x: int
    y: int
    w: int
    h: int


class Palette(Struct, frozen=True):
    """The colours of the roles. Text must reach a contrast of 4.5:1 on its ground (WCAG 2.2, 1.4.3)."""

    surface: str = "#ffffff"
    plate: str = "#f4f2ee"
    ink: str = "#1c1b1a"
    muted: str = "#57534e"
    accent: str = "@deep"
    on_accent: str = "#ffffff"
    badge: str = "@spark"
    on_badge: str = "#1c1b1a"
    line: str = "#e0dcd5"


class Text(Struct, frozen=True, tag="text", omit_defaults=True):
    """A paragraph, set at `size`, shrunk towards `min_size` until `max_lines` hold it, then cut with an ellipsis."""

    text: str
    size: int = 16
    min_size: int = 12
    max_lines: int = 2
    weight: int = 400
    colour: str = "ink"
    gap: int = 8
    optional: bool = False


class Price(Struct, frozen=True, tag="price", omit_defaults=True):
    """A price and, only where it is higher, the former price struck through. Both are whole minor units (cents)."""

    amount: str
    struck: str = ""
    size: int = 28
    min_size: int = 16
    weight: int = 700
    colour: str = "ink"
    gap: int = 8
    optional: bool = False


class Button(Struct, frozen=True, tag="button", omit_defaults=True):
    """What looks clickable; the whole picture is the link."""

    text: str
    size: int = 16
    min_size: int = 12
    weight: int = 600
    fill: str = "accent"
    colour: str = "on_accent"
    radius: int = 22
    gap: int = 16
    optional: bool = False


class Pill(Struct, frozen=True, tag="pill", omit_defaults=True):
    """A short label on a coloured ground."""

    text: str
    size: int = 13
    min_size: int = 11
    weight: int = 600
    fill: str = "@tint"
    colour: str = "ink"
    gap: int = 10
    optional: bool = False


class Rating(Struct, frozen=True, tag="rating", omit_defaults=True):
    """Stars from 0 to 5 and how many rated; drawn only where both are known and the count is above 0."""

    value: str
    count: str
    size: int = 16
    colour: str = "muted"
    fill: str = "accent"
    gap: int = 8
    optional: bool = True


class Countdown(Struct, frozen=True, tag="countdown", omit_defaults=True):
    """Days, hours, minutes and seconds left until an instant (Unix ms, or ISO 8601 with an offset).

    A design holds at most one, and says in `Creative.over` what is shown once it has run out. In a resolved design
    `until` is the whole seconds that are left.
    """

    until: str = "{{ offer.ends_ms }}"
    size: int = 30
    min_size: int = 14
    weight: int = 700
    fill: str = "accent"
    colour: str = "on_accent"
    label: str = "muted"
    gap: int = 14
    optional: bool = False


class Coupon(Struct, frozen=True, tag="coupon", omit_defaults=True):
    """A code for scanners, a QR code or a Code 128, black on white also in dark, and as text beneath.

    `size` is the side of the QR code or the height of the bars. What no scanner code can hold is shown as text alone.
    """

    text: str = "{{ offer.coupon }}"
    form: Literal["qr", "bars"] = "bars"
    size: int = 56
    label: int = 15
    gap: int = 14
    optional: bool = False


Item = Text | Price | Button | Pill | Rating | Countdown | Coupon


class Background(Struct, frozen=True, tag="background", omit_defaults=True):
    """Fills all: a colour, a gradient towards `to`, or a picture (blob hash) around its focus, darkened by `shade`.

    The shade is whole as far as the part `shade_to` of the width, from where one begins to read, and fades after it.
    """

    colour: str = "surface"
    to: str = ""
    vertical: bool = False
    picture: str = ""
    focus_x: float = 0.5
    focus_y: float = 0.5
    shade: float = 0.0
    shade_to: float = 1.0


class Art(Struct, frozen=True, tag="art", omit_defaults=True):
    """Geometry in the colours of the seed; a sign for the text `pictogram`, say a category's name, in its middle."""

    box: Box
    seed: str = "{{ product.category }}"
    style: ArtStyle = "tiles"
    pictogram: str = ""


class Picture(Struct, frozen=True, tag="picture", omit_defaults=True):
    """A product picture by blob hash. Where it is missing, the art of `seed` takes its place."""

    box: Box
    source: str = "{{ product.picture }}"
    fit: Literal["contain", "cover"] = "contain"
    focus_x: float = 0.5
    focus_y: float = 0.5
    radius: int = 0
    seed: str = "{{ product.category }}"
    style: ArtStyle = "tiles"
    pictogram: str = ""


class Panel(Struct, frozen=True, tag="panel", omit_defaults=True):
    """A plain rounded rectangle behind other layers."""

    box: Box
    colour: str = "plate"
    radius: int = 0


class Badge(Struct, frozen=True, tag="badge", omit_defaults=True):
    """One short claim in a shape of its own, such as `20% off`; absent when its text is empty."""

    box: Box
    text: str
    shape: Literal["disc", "burst", "pill"] = "disc"
    weight: int = 800
    fill: str = "badge"
    colour: str = "on_badge"


class Column(Struct, frozen=True, tag="column", omit_defaults=True):
    """Items stacked without overlapping; what does not fit shrinks, then optional items leave, last first."""

    box: Box
    items: tuple[Item, ...]
    align: Align = "start"
    valign: Align = "center"


class Grid(Struct, frozen=True, tag="grid", omit_defaults=True):
    """Up to MAX_CELLS products side by side, equally wide and high: each its picture above the items.

    The items are written once; in each cell `product.*` is that cell's product. Pictures are at least `picture_height`
    high and take the room that the items leave; 0 leaves them out.
    """

    box: Box
    items: tuple[Item, ...]
    picture_height: int = 100
    fit: Literal["contain", "cover"] = "contain"
    gap: int = 12
    padding: int = 10
    radius: int = 12
    colour: str = "plate"
    align: Align = "start"


Layer = Background | Art | Picture | Panel | Badge | Column | Grid


class Cell(Struct, frozen=True, tag="cell"):
    """One product of a resolved grid: its picture by blob hash, what art takes its place, and its final items."""

    source: str
    seed: str
    pictogram: str
    items: tuple[Item, ...]


class Cells(Struct, frozen=True, tag="cells"):
    """A resolved grid: how its cells look, and what is in each."""

    grid: Grid
    cells: tuple[Cell, ...]


Bound = Layer | Cells
"""A layer of a resolved design."""


class Creative(Struct, frozen=True):
    """One design. `width` and `height` are the design size in 1x pixels; other sizes scale it."""

    id: int
    name: str
    width: int
    height: int
    layers: tuple[Layer, ...]
    palette_light: Palette = Palette()
    palette_dark: Palette = Palette(
        surface="#17181c",
        plate="#22242a",
        ink="#f4f3f0",
        muted="#b9b7b1",
        on_accent="#17181c",
        badge="@spark",
        on_badge="#17181c",
        line="#34373f",
    )
    family: str = ""
    """What it is for: discount, thank-you, cross-sell, upgrade, neutral or service. Shown in galleries, never drawn."""
    over: tuple[Layer, ...] = ()
    """The layers shown instead once its countdown has run out; only designs that count down have them."""


class Resolved(Struct, frozen=True):
    """A creative whose texts are final. `personal` says that a `profile.*` field with a value was bound into it.

    `over` is what an animated countdown ends with, where it gets there within its frames.
    """

    width: int
    height: int
    layers: tuple[Bound, ...]
    palette_light: Palette
    palette_dark: Palette
    seed: str = ""
    rtl: bool = False
    locale: str = "en"
    personal: bool = False
    over: tuple[Bound, ...] = ()


_canonical = msgspec.json.Encoder(order="deterministic")


def canonical(resolved: Resolved) -> bytes:
    """Return the one byte form of a resolved design, without the `personal` mark: that changes no pixel."""
    return _canonical.encode(msgspec.structs.replace(resolved, personal=False))


def asset_hashes(resolved: Resolved) -> tuple[str, ...]:
    """Return the blob hashes a resolved design wants, without repeats, in drawing order."""
    wanted: dict[str, None] = {}
    for layer in (*resolved.layers, *resolved.over):
        if isinstance(layer, Background) and layer.picture:
            wanted[layer.picture] = None
        elif isinstance(layer, Picture) and layer.source:
            wanted[layer.source] = None
        elif isinstance(layer, Cells):
            wanted |= {cell.source: None for cell in layer.cells if cell.source}
    return tuple(wanted)


def countdown_of(layers: tuple[Bound, ...]) -> Countdown | None:
    """Return the countdown of a design, if it has one."""
    items = (item for layer in layers if isinstance(layer, Column) for item in layer.items)
    return next((item for item in items if isinstance(item, Countdown)), None)


def is_colour(name: str) -> bool:
    """Tell whether a colour may be written so in a layer."""
    return name in ROLES or name in SCHEME_COLOURS or _COLOUR.match(name) is not None
