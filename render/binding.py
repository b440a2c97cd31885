"""Bind the fields of one decision into a creative, which gives the design its final texts."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from jinja2 import TemplateError
from msgspec.structs import replace

from render.creative import (
    COUNTED_SECONDS,
    MAX_CELLS,
    Art,
    Background,
    Badge,
    Bound,
    Cell,
    Cells,
    Column,
    Countdown,
    Coupon,
    Creative,
    Grid,
    Item,
    Layer,
    Picture,
    Price,
    Rating,
    Resolved,
    countdown_of,
)
from render.money import grouped, money
from render.template import LOCALE, ROOTS, compile_template, number, whole_number
from signals.moments import unix_ms

Value = str | int | float | bool | None
Fields = Mapping[str, Any]
"""What a creative reads: `{"product.name": "Milk"}` or `{"product": {"name": "Milk"}}` or both; plain values only."""

MAX_TEXT: Final = 300
"""Characters of one resolved text; a picture of 600 pixels cannot hold more in a readable size."""
MAX_MARKS: Final = 4
"""Combining marks kept on one letter; no living orthography stacks more."""
BOUND: Final = "profile.bound"
"""The field that names, with spaces between, the offer's texts into which something of the person's was bound."""
RTL_LANGUAGES: Final = frozenset({"ar", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"})
_BIDI_CONTROLS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_KEPT_FORMATS: Final = frozenset("\u200c\u200d")
_PERCENT: Final = re.compile(r"(?<=\d) (?=[%‰％])")
_HASH: Final = re.compile(r"[0-9a-f]{16,128}\Z")


def resolve(
    creative: Creative, fields: Fields, locale: str = "en", currency: str = "USD", at_ms: int | None = None
) -> Resolved:
    """Bind fields into a creative. Pure; a missing field is empty, an empty item leaves the design, and nothing raises.

    `currency` is the ISO code for prices whose product names none (`product.currency`). `at_ms` is the instant the
    picture is asked for, Unix ms: a design that counts down shows what is left from then on. Where its time is over,
    or where nobody knows, it shows what it has for afterwards.
    """
    context = _context(fields)
    binder = _Binder(context, fields, locale, str(context["product"].get("currency") or currency))
    countdown = countdown_of(creative.layers)
    binder.left = binder.seconds_left(countdown, at_ms) if countdown is not None else 0
    is_over = countdown is not None and not binder.left
    layers = binder.layers(creative.over if is_over else creative.layers)
    ends = binder.layers(creative.over) if 0 < binder.left <= COUNTED_SECONDS else ()
    language = re.split(r"[-_]", locale)[0].lower()
    return Resolved(
        width=creative.width,
        height=creative.height,
        layers=layers,
        palette_light=creative.palette_light,
        palette_dark=creative.palette_dark,
        seed=next((seed for layer in layers for seed in _seeds(layer) if seed), creative.name),
        rtl=language in RTL_LANGUAGES or (language == "en" and _mostly_rtl(binder.texts)),
        locale=locale,
        personal=binder.personal,
        over=ends,
    )


def bind_texts(fields: dict[str, str | int], locale: str) -> dict[str, str | int]:
    """Bind what is known into the offer's own texts, once: what is bound in is never read as a template itself.

    A text that comes out empty is absent. Texts that read something of the person's are named in `BOUND`, for their
    pictures are personal although a design reads `offer.*` only.
    """
    written = {name: text for name, text in fields.items() if isinstance(text, str) and _is_written(name, text)}
    if not written:
        return fields
    made = {name: value for name, value in fields.items() if name not in written}
    binder = _Binder(_context(made), made, locale, "")
    personal = []
    for name, source in written.items():
        binder.personal = False
        if text := binder.fill(source):
            made[name] = text
            personal += [name.removeprefix("offer.")] if binder.personal else []
    return made | {BOUND: " ".join(personal)} if personal else made


def _is_written(name: str, text: str) -> bool:
    return "{" in text and name.startswith("offer.")


class _Binder:
    """Binds one creative's parts and notes what was personal on the way."""

    def __init__(self, context: dict[str, dict[str, Value]], fields: Fields, locale: str, currency: str) -> None:
        self.context = context
        self.fields = fields
        self.locale = locale
        self.currency = currency
        self.personal = False
        self.bound = frozenset(str(fields.get(BOUND) or "").split())
        self.left = 0
        self.texts: list[str] = []

    def fill(self, source: str) -> str:
        if "{" not in source:
            return clean(source)
        try:
            template, read = compile_template(source)
            text = template.render(self.context, **{LOCALE: self.locale})
        except (ValueError, TypeError, TemplateError, ArithmeticError):
            # Publishing refuses such templates; an old plan that holds one loses that text, never the picture.
            return ""
        profile = self.context["profile"]
        for root, name in read:
            if (root == "profile" and profile.get(name) not in (None, "")) or (root == "offer" and name in self.bound):
                self.personal = True
        return clean(text)

    def seconds_left(self, countdown: Countdown, at_ms: int | None) -> int:
        """Whole seconds from the second of `at_ms` to that of the countdown's end; 0 where it is over or unknown."""
        ends_ms = instant(self.fill(countdown.until))
        return 0 if ends_ms is None or at_ms is None else max(0, ends_ms // 1000 - at_ms // 1000)

    def layers(self, layers: tuple[Layer, ...]) -> tuple[Bound, ...]:
        return tuple(bound for layer in layers if (bound := self.layer(layer)) is not None)

    def layer(self, layer: Layer) -> Bound | None:
        match layer:
            case Grid():
                cells = self.cells(layer)
                return Cells(layer, cells) if cells else None
            case Column():
                items = tuple(bound for item in layer.items if (bound := self.item(item)) is not None)
                return replace(layer, items=items) if items else None
            case Background():
                return replace(layer, picture=self.blob(layer.picture))
            case Picture():
                seed, sign = self.fill(layer.seed), self.fill(layer.pictogram)
                return replace(layer, source=self.blob(layer.source), seed=seed, pictogram=sign)
            case Art():
                return replace(layer, seed=self.fill(layer.seed), pictogram=self.fill(layer.pictogram))
            case Badge():
                text = kept_together(self.fill(layer.text))
                return replace(layer, text=text) if text else None
            case _:
                return layer

    def cells(self, grid: Grid) -> tuple[Cell, ...]:
        """Bind the items once for every product that the decision named, or for the one there is."""
        alone = self.context["product"]
        products = products_of(self.fields) or ([alone] if alone.get("name") else [])
        cells = []
        for product in products:
            self.context["product"] = product
            items = tuple(bound for item in grid.items if (bound := self.item(item)) is not None)
            category = self.fill("{{ product.category|default(product.name) }}")
            cells.append(Cell(self.blob("{{ product.picture }}"), category, category, items))
        self.context["product"] = alone
        return tuple(cells)

    def item(self, item: Item) -> Item | None:
        match item:
            case Price():
                return self.price(item)
            case Rating():
                value, count = number(self.fill(item.value)), whole_number(self.fill(item.count))
                if value is None or not 0 < value <= 5 or not count or count < 1:
                    return None
                return replace(item, value=f"{value:.1f}", count=grouped(count, self.locale))
            case Countdown():
                return replace(item, until=str(self.left)) if self.left else None
            case _:
                text = self.fill(item.text)
                # A code is written as it is; everything else is set as text.
                text = text if isinstance(item, Coupon) else kept_together(text)
                self.texts.append(text)
                return replace(item, text=text) if text else None

    def price(self, item: Price) -> Price | None:
        """Format a price; the former one is shown only where it is really higher."""
        now, former = whole_number(self.fill(item.amount)), whole_number(self.fill(item.struck))
        if now is None or now < 0:
            return None
        currency = str(self.context["product"].get("currency") or self.currency)
        struck = money(former, currency, self.locale) if former is not None and former > now else ""
        return replace(item, amount=money(now, currency, self.locale), struck=struck)

    def blob(self, source: str) -> str:
        text = self.fill(source) if source else ""
        return text if _HASH.match(text) else ""


def _seeds(layer: Bound) -> tuple[str, ...]:
    if isinstance(layer, Art | Picture):
        return (layer.seed,)
    return tuple(cell.seed for cell in layer.cells) if isinstance(layer, Cells) else ()


def products_of(fields: Fields) -> list[dict[str, Value]]:
    """Return the products of a grid from fields such as `products.0.name`, without gaps and without nameless ones."""
    found: list[dict[str, Value]] = []
    for index in range(MAX_CELLS):
        start = f"products.{index}."
        product = {key.removeprefix(start): value for key, value in fields.items() if key.startswith(start)}
        plain = _context({"product": product})["product"]
        if plain.get("name"):
            found.append(plain)
    return found


def instant(text: str) -> int | None:
    """Return an instant as Unix ms: from such a number, or from ISO 8601 with an offset; None for anything else."""
    whole = whole_number(text)
    if whole is not None:
        return whole if whole > 0 else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return unix_ms(moment) if moment.tzinfo is not None else None


def _context(fields: Fields) -> dict[str, dict[str, Value]]:
    """Bring flat and nested fields into one shape of plain values; whatever is not plain is left out."""
    context: dict[str, dict[str, Value]] = {root: {} for root in ROOTS}
    for key, value in fields.items():
        root, _, name = str(key).partition(".")
        if root not in context:
            continue
        inner = value.items() if isinstance(value, Mapping) and not name else [(name, value)]
        for field, plain in inner:
            if isinstance(plain, str):
                context[root][str(field)] = plain[: 4 * MAX_TEXT]
            elif isinstance(plain, int | float | None) and field:
                context[root][str(field)] = plain
    return context


def kept_together(text: str) -> str:
    """Return a text in which no line ends between a number and its percent sign, which many languages set apart."""
    return _PERCENT.sub("\u00a0", text)


def clean(text: str) -> str:
    """Return text fit for drawing: composed, bounded, spaces single, no controls, bidi overrides or towers of marks."""
    kept: list[str] = []
    marks = 0
    for char in unicodedata.normalize("NFC", text[: 4 * MAX_TEXT]):
        category = unicodedata.category(char)
        if char == "\n":
            kept.append(char)
        elif category[0] == "Z" or char == "\t":
            kept.append("\u00a0" if char in "\u00a0\u202f\u2007" else " ")
        elif (category[0] == "C" and char not in _KEPT_FORMATS) or char in _BIDI_CONTROLS:
            continue
        else:
            marks = marks + 1 if category in ("Mn", "Me") else 0
            if marks <= MAX_MARKS:
                kept.append(char)
    lines = (re.sub(" +", " ", line).replace(" ,", ",").strip() for line in "".join(kept).split("\n"))
    whole = "\n".join(line for line in lines if line)
    return whole if len(whole) <= MAX_TEXT else whole[: MAX_TEXT - 1].rstrip() + "…"


def _mostly_rtl(texts: list[str]) -> bool:
    """Tell whether most letters run right to left, for texts whose locale nobody declared."""
    kinds = [unicodedata.bidirectional(char) for text in texts for char in text]
    return sum(kind in ("R", "AL") for kind in kinds) > sum(kind == "L" for kind in kinds)
