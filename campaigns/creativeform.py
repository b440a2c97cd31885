"""Creatives as forms: a field for each field of each layer and item, whatever layers and items render has.

A `Draft` holds what was typed, sound or not, so nothing is lost while a creative is being made. Fields are named by
their place: `width`, `light.ink`, `L2.box.x`, `L2.I0.text`, and `O0.colour` of what is shown once a countdown has run
out. `document` makes the creative of a draft; an error names
the form's field.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo
from msgspec.structs import fields as struct_fields

from base.errors import InvalidInput
from campaigns.numerals import numeral
from render.creative import MAX_ITEMS, MAX_LAYERS, Box, Creative, Item, Layer, Palette

MAX_TEXT: Final = 2_000
PALETTES: Final = {"light": "palette_light", "dark": "palette_dark"}
SIDES: Final = tuple(info.name for info in struct_fields(Box))
LAYERS: Final[dict[str, type]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Layer)}
ITEMS: Final[dict[str, type]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Item)}
RESOLVED_ONLY: Final = frozenset({"cells"})
"""Fields that are filled when a design is resolved; nobody writes them."""
COUNTDOWN: Final = "countdown"
"""The item with which a design needs something to show afterwards."""
GROUPS: Final = {"L": "layers", "O": "over"}
"""The letter of a layer's place -> the field of a creative that holds it."""
_LETTERS: Final = {long: letter for letter, long in GROUPS.items()}
_PLACE: Final = re.compile(r"(layers|over)\[(\d+)\]\.?(?:items\[(\d+)\]\.?)?(.*)")
_ACTION: Final = re.compile(r"(add|up|down|remove):([LO])(?:(\d{1,2})(?:\.I(\d{1,2}))?)?(?::([a-z_]{1,20}))?")


@dataclass
class Part:
    """A layer or an item as it was typed; `items` of a layer that has some."""

    kind: str
    values: dict[str, str]
    items: list[Part] = field(default_factory=list)


@dataclass
class Draft:
    """A creative as it was typed."""

    values: dict[str, str]
    layers: list[Part]
    over: list[Part] = field(default_factory=list)

    def group(self, letter: str) -> list[Part]:
        """The layers whose places begin with this letter."""
        return self.over if letter == "O" else self.layers


@dataclass(frozen=True)
class Entry:
    """One field of a form. `kind`: text, number, switch, choice; `choices` of a choice."""

    name: str
    path: str
    kind: str
    choices: tuple[str, ...] = ()


def entries(kind: type, at: str) -> list[Entry]:
    """The form's fields of a layer or item whose place is `at`; nested items have places of their own."""
    return [entry for info in written_fields(kind) for entry in _entries(info, at)]


def written_fields(kind: type) -> list[FieldInfo]:
    """The fields of a layer or item that somebody writes."""
    return [info for info in struct_fields(kind) if info.name not in RESOLVED_ONLY]


def _entries(info: FieldInfo, at: str) -> Iterator[Entry]:
    path = f"{at}.{info.name}" if at else info.name
    if info.type is Box:
        yield from (Entry(f"box.{side}", f"{path}.{side}", "number") for side in SIDES)
    elif get_origin(info.type) is Literal:
        yield Entry(info.name, path, "choice", tuple(str(choice) for choice in get_args(info.type)))
    elif info.type is bool:
        yield Entry(info.name, path, "switch")
    elif info.type in (int, float):
        yield Entry(info.name, path, "number")
    elif info.type is str:
        yield Entry(info.name, path, "text")
    elif not _holds_items(info):
        raise TypeError(f"there is no form field for {path}: {info.type}")


def _holds_items(info: FieldInfo) -> bool:
    """Whether a field is the items of a layer."""
    inner = get_args(info.type)[0] if get_origin(info.type) is tuple else None
    members = get_args(inner) if get_origin(inner) in (Union, types.UnionType) else ()
    return bool(members) and set(members) == set(ITEMS.values())


def has_items(kind: type) -> bool:
    """Whether a layer holds items."""
    return any(_holds_items(info) for info in written_fields(kind))


def blank(kind: str, known: Mapping[str, type], size: tuple[int, int]) -> Part:
    """A new layer or item: defaults where there are some, else a box over the middle and a text to begin with."""
    values: dict[str, str] = {}
    for info in written_fields(known[kind]):
        if info.type is Box:
            box = (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2)
            values |= {f"box.{side}": str(value) for side, value in zip(SIDES, box, strict=True)}
        elif not _holds_items(info):
            values[info.name] = _typed(info.default) if info.default is not msgspec.NODEFAULT else _first(info)
    return Part(kind, values, [blank("text", ITEMS, size)] if has_items(known[kind]) else [])


def _first(info: FieldInfo) -> str:
    """What a field without a default begins with."""
    if get_origin(info.type) is Literal:
        return str(get_args(info.type)[0])
    return FIRST.get(info.name, "") if info.type is str else "0"


FIRST: Final = {
    "text": "{{ offer.headline }}", "amount": "{{ offer.price_cents }}", "value": "{{ product.rating }}",
    "count": "{{ product.rating_count }}",
}  # fmt: skip
"""What compulsory texts begin with."""


def draft_of(name: str, document: Mapping[str, Any]) -> Draft:
    """A stored creative as it would have been typed."""
    creative = msgspec.convert({**document, "id": 0, "name": name}, Creative)
    values = {"name": name, "width": str(creative.width), "height": str(creative.height), "family": creative.family}
    for short, long in PALETTES.items():
        palette = getattr(creative, long)
        values |= {f"{short}.{info.name}": getattr(palette, info.name) for info in struct_fields(Palette)}
    return Draft(values, *([_part(layer) for layer in getattr(creative, group)] for group in GROUPS.values()))


def _part(part: Any) -> Part:
    made = Part(str(part.__struct_config__.tag), {})
    for info in written_fields(type(part)):
        value = getattr(part, info.name)
        if isinstance(value, Box):
            made.values |= {f"{info.name}.{side}": str(getattr(value, side)) for side in SIDES}
        elif _holds_items(info):
            made.items = [_part(item) for item in value]
        else:
            made.values[info.name] = _typed(value)
    return made


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def draft_from(form: Mapping[str, str]) -> Draft:
    """What was typed into the form; parts that no creative has are passed by."""
    names = ["name", "width", "height", "family"]
    names += [f"{short}.{info.name}" for short in PALETTES for info in struct_fields(Palette)]
    values = {name: form.get(name, "")[:MAX_TEXT].strip() for name in names}
    return Draft(values, *(list(_layers_from(form, letter)) for letter in GROUPS))


def _layers_from(form: Mapping[str, str], letter: str) -> Iterator[Part]:
    for number in range(MAX_LAYERS):
        at = f"{letter}{number}"
        kind = form.get(f"{at}.type", "")
        if kind in LAYERS:
            layer = _part_from(form, at, kind, LAYERS)
            if has_items(LAYERS[kind]):
                places = [(f"{at}.I{item}", form.get(f"{at}.I{item}.type", "")) for item in range(MAX_ITEMS)]
                layer.items = [_part_from(form, place, inner, ITEMS) for place, inner in places if inner in ITEMS]
            yield layer


def _part_from(form: Mapping[str, str], at: str, kind: str, known: Mapping[str, type]) -> Part:
    return Part(kind, {one.name: form.get(one.path, "")[:MAX_TEXT].strip() for one in entries(known[kind], at)})


def acted(draft: Draft, action: str) -> None:
    """Add, move or remove a part as a button says: `add:L:column`, `up:L2`, `remove:O2.I0`, `add:L2:price`."""
    told = _ACTION.fullmatch(action)
    if told is None:
        return
    do, group, layer, item, kind = told[1], draft.group(told[2]), told[3], told[4], told[5]
    if (layer is None and do != "add") or (layer is not None and int(layer) >= len(group)):
        return
    if do == "add":
        _add(draft, group, None if layer is None else group[int(layer)], kind)
        return
    parts = group if item is None else group[int(layer)].items
    number = int(layer if item is None else item)
    other = number + {"up": -1, "down": 1, "remove": 0}[do]
    if not (0 <= number < len(parts) and 0 <= other < len(parts)):
        return
    if do == "remove":
        del parts[number]
    else:
        parts[number], parts[other] = parts[other], parts[number]


def _add(draft: Draft, group: list[Part], layer: Part | None, kind: str) -> None:
    """Add a layer to a group, or an item to a layer, while there is room."""
    if layer is None:
        if kind in LAYERS and len(group) < MAX_LAYERS:
            group.append(blank(kind, LAYERS, _size(draft)))
    elif kind in ITEMS and has_items(LAYERS[layer.kind]) and len(layer.items) < MAX_ITEMS:
        layer.items.append(blank(kind, ITEMS, _size(draft)))
        if kind == COUNTDOWN and not draft.over:
            draft.over += [blank(one, LAYERS, _size(draft)) for one in ("background", "column")]


def _size(draft: Draft) -> tuple[int, int]:
    """The design's size, or that of a hero while it is no number."""
    width, height = draft.values["width"], draft.values["height"]
    try:
        return int(_number(width, "width", int)), int(_number(height, "height", int))
    except InvalidInput:
        return 600, 300


def document(draft: Draft) -> dict[str, Any]:
    """The creative's document. Raises InvalidInput naming the form's field."""
    made: dict[str, Any] = {
        "width": _number(draft.values["width"], "width", int),
        "height": _number(draft.values["height"], "height", int),
        "family": draft.values["family"],
    }
    for letter, group in GROUPS.items():
        made[group] = [_document(part, f"{letter}{n}", LAYERS) for n, part in enumerate(draft.group(letter))]
    for short, long in PALETTES.items():
        made[long] = {info.name: draft.values[f"{short}.{info.name}"] for info in struct_fields(Palette)}
    return made


def _document(part: Part, at: str, known: Mapping[str, type]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": part.kind}
    for info in written_fields(known[part.kind]):
        path = f"{at}.{info.name}"
        if info.type is Box:
            made[info.name] = [_number(part.values[f"box.{side}"], f"{path}.{side}", int) for side in SIDES]
        elif _holds_items(info):
            made[info.name] = [_document(item, f"{at}.I{number}", ITEMS) for number, item in enumerate(part.items)]
        elif info.type is bool:
            made[info.name] = part.values[info.name] != ""
        elif info.type in (int, float):
            made[info.name] = _number(part.values[info.name], path, info.type)
        else:
            made[info.name] = part.values[info.name]
    return made


def _number(text: str, path: str, kind: type) -> int | float:
    value = float(numeral(text, path))
    if abs(value) >= 10**6:
        raise InvalidInput(path, "must be a number of at most six digits")
    if kind is int and not value.is_integer():
        raise InvalidInput(path, "must be a whole number")
    return int(value) if kind is int else value


def form_field(path: str) -> str:
    """The form's field of a fault that render or msgspec found, such as `creative.layers[1].items[0].text`."""
    path = path.removeprefix("creative.").removeprefix("$.")
    for short, long in PALETTES.items():
        path = path.replace(f"{long}.", f"{short}.")
    place = _PLACE.fullmatch(path)
    if place is None:
        return path
    at = f"{_LETTERS[place[1]]}{place[2]}" + (f".I{place[3]}" if place[3] else "")
    rest = ".box.x" if place[4] == "box" else f".{place[4]}" if place[4] else ""
    return at + rest
