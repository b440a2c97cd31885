"""Texts that no design was made for: the longest, the unbreakable, and every direction and height of script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from render.creative import Creative
from render.samples import SAMPLES

HARD: Final[dict[str, tuple[str, str]]] = {
    name: (locale, text) for name, (locale, text) in json.loads(Path(__file__).with_suffix(".json").read_text()).items()
}
"""What it is -> the locale and the text."""
TEXTS: Final = (
    "offer.headline", "offer.body", "offer.button", "offer.eyebrow", "offer.saving", "offer.now_name", "offer.now_text",
    "offer.next_text", "product.name", "product.brand", "brand.name", "profile.first_name",
)  # fmt: skip


def hard_fields(creative: Creative, text: str) -> dict[str, str | int | float]:
    """The design's sample with the text wherever it has one, and amounts of a size that no shop has."""
    fields: dict[str, str | int | float] = {
        **SAMPLES[creative.id],
        **dict.fromkeys(TEXTS, text),
        "offer.badge": "Save $1,250.50 today",
    }
    fields |= {"offer.price_cents": 99_999_999_999, "offer.was_cents": 999_999_999_999}
    fields |= {"product.price_cents": 999_999_999_999, "product.rating": 4.5, "product.rating_count": 1_234_567}
    for number in range(4):
        if f"products.{number}.name" in fields:
            cell: dict[str, str | int] = {
                "name": text,
                "price_cents": 99_999_999,
                "offer_cents": 9_999_999,
                "price": "$9,999,999.99",
            }
            fields |= {f"products.{number}.{name}": value for name, value in cell.items()}
    return fields
