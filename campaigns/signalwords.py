"""What a signal was about, in the few words that a timeline has room for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaigns import corrections
from campaigns.wording import consent_words


def detail(name: str | None, properties: Mapping[str, Any]) -> str:
    """What a signal was about, in a few words: what was said, the categories of its lines, or its own name."""
    if name == "Consent Changed":
        return consent_words(properties)
    told = corrections.words(name, properties)
    if told is not None:
        return told
    products = properties.get("products")
    lines = products if isinstance(products, list) else [properties]
    names = []
    for line in lines:
        if isinstance(line, dict):
            name = line.get("name") or line.get("category") or line.get("product_id")
            if name and str(name) not in names:
                names.append(str(name))
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def case(name: str | None, properties: Mapping[str, Any]) -> str | None:
    """The number of the complaint that a signal opened, "" without one; None for other signals."""
    return str(properties.get("complaint_id") or "") if name == "Complaint Opened" else None
