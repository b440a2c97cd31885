"""What may stand in an address: numbers that a column can hold and plain names; any other address is not found."""

from __future__ import annotations

from typing import Final

from werkzeug.routing import BaseConverter, IntegerConverter

from signals.state import MAX_PRODUCT_ID

MAX_ID: Final = 10**9 - 1
"""The largest number of a campaign, an offer and the like: nine digits."""
MAX_LONG_ID: Final = 10**18 - 1
"""The largest number of a profile or a delivery: eighteen digits."""
NAME: Final = "[A-Za-z0-9_.-]{1,100}"


class IdConverter(IntegerConverter):
    """`<int:…>`: an id of a thing that people make."""

    # Bounded by the pattern: a number refused later than that would be answered 405 where two methods share an address.
    regex = r"\d{1,9}"


class LongIdConverter(IntegerConverter):
    """`<long:…>`: an id of a thing that comes by the million."""

    regex = r"\d{1,18}"


class NameConverter(BaseConverter):
    """`<…>`: a key's id, a hash."""

    regex = NAME


class ProductConverter(BaseConverter):
    """`<product:…>`: a product's id, as its shop spells it: with a slash in it too, though not before all else."""

    regex = rf"[^/\x00][^\x00]{{0,{MAX_PRODUCT_ID - 1}}}"


CONVERTERS: Final[dict[str, type[BaseConverter]]] = {
    "int": IdConverter,
    "long": LongIdConverter,
    "product": ProductConverter,
    "default": NameConverter,
}
SCHEMAS: Final[dict[type[BaseConverter], dict[str, object]]] = {
    IdConverter: {"type": "integer", "minimum": 0, "maximum": MAX_ID},
    LongIdConverter: {"type": "integer", "minimum": 0, "maximum": MAX_LONG_ID},
    ProductConverter: {"type": "string", "minLength": 1, "maxLength": MAX_PRODUCT_ID},
    NameConverter: {"type": "string", "pattern": f"^{NAME}$"},
}
"""How the API's document tells what each takes."""
