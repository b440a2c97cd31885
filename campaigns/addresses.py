"""What may stand in an address: numbers that a column can hold and plain names; any other address is not found."""

from __future__ import annotations

from typing import Final

from werkzeug.routing import BaseConverter, IntegerConverter, Map

MAX_ID: Final = 2**31 - 1
"""The largest number of a campaign, an offer and the like."""
MAX_LONG_ID: Final = 2**63 - 1
"""The largest number of a profile or a delivery."""
NAME: Final = "[A-Za-z0-9_.-]{1,100}"


class IdConverter(IntegerConverter):
    """`<int:…>`: an id of a thing that people make."""

    def __init__(self, map: Map) -> None:
        super().__init__(map, max=MAX_ID)


class LongIdConverter(IntegerConverter):
    """`<long:…>`: an id of a thing that comes by the million."""

    def __init__(self, map: Map) -> None:
        super().__init__(map, max=MAX_LONG_ID)


class NameConverter(BaseConverter):
    """`<…>`: a key's id, a hash."""

    regex = NAME


CONVERTERS: Final[dict[str, type[BaseConverter]]] = {
    "int": IdConverter,
    "long": LongIdConverter,
    "default": NameConverter,
}
SCHEMAS: Final[dict[type[BaseConverter], dict[str, object]]] = {
    IdConverter: {"type": "integer", "minimum": 0, "maximum": MAX_ID},
    LongIdConverter: {"type": "integer", "minimum": 0, "maximum": MAX_LONG_ID},
    NameConverter: {"type": "string", "pattern": f"^{NAME}$"},
}
"""How the API's document tells what each takes."""
