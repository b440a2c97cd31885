"""What a signal was about, in the few words that a timeline has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from campaigns import corrections
from campaigns.veiling import veiled
from campaigns.wording import consent_words
from signals.foldevent import kind_of, trait_name

SHOWN: Final = 4
"""Names that are told of a signal; of more only how many there are."""
LONGEST: Final = 60
"""Characters of a property's value that are told."""


def detail(type_: str, name: str | None, body: Mapping[str, Any]) -> str:
    """What a signal was about, in a few words, with what names or reaches people masked.

    What was said, and of a complaint or a call what else is told of it; which details were given; what was joined; the
    properties of a shop's own event; of others the names or categories of their lines.
    """
    properties = _mapping(body.get("properties"))
    if name == "Consent Changed":
        return consent_words(properties)
    told = corrections.words(name, properties)
    if told is not None:
        return told
    kind = kind_of(type_, name)
    if kind in ("note", "complaint"):
        field, text = corrections.text_of(properties)
        return "; ".join(filter(None, (text, _properties(properties, field, "text", "complaint_id"))))
    if type_ == "identify":
        return _few([veiled(trait_name(one)) for one in _mapping(body.get("traits"))])
    if type_ in ("group", "alias"):
        seen = veiled({one: body.get(one) for one in ("groupId", "previousId", "traits")})
        said = (_mapping(seen["traits"]).get("type"), seen["groupId"], seen["previousId"])
        return " ".join(str(one) for one in said if one)
    if type_ == "track" and kind == "other":
        return _properties(properties)
    products = properties.get("products")
    lines = products if isinstance(products, list) else [properties]
    names = [
        str(line.get("name") or line.get("category") or line.get("product_id") or "")
        for line in lines
        if isinstance(line, dict)
    ]
    return _few([veiled(one) for one in dict.fromkeys(names) if one], " · ")


def _properties(properties: Mapping[str, Any], *but: str) -> str:
    """Properties and their values, as far as there is room, but for some."""
    shown = veiled({name: value for name, value in properties.items() if name not in but})
    return _few([_told(*one) for one in shown.items() if one[1] is not None])


def _told(name: str, value: Any) -> str:
    if isinstance(value, dict | list):
        return name
    said = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return f"{name}: {said if len(said) <= LONGEST else said[:LONGEST] + '…'}"


def _few(names: Sequence[str], joint: str = ", ") -> str:
    shown = joint.join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def case(name: str | None, properties: Mapping[str, Any]) -> str | None:
    """The number of the complaint that a signal opened, "" without one; None for other signals."""
    return str(properties.get("complaint_id") or "") if name == "Complaint Opened" else None
