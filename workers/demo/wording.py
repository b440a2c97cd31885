"""Readable words for the data's till shorthand, and the invented first names."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from signals import catalog

_NAMES: Final = (
    "Ada Amir Ana Anders Anna Aroha Aya Ben Carla Carmen Chen Clara Daniel David Diego Dora Elena Elif Emil Emma "
    "Erik Esther Eva Farah Felix Finn Fiona Frida Gita Grace Greta Hana Hassan Helen Hugo Ida Ines Ingrid Irene "
    "Isaac Ivan Jana Jasper Joan Jonas Jorge Julia Kamal Karen Karl Kim Klara Kofi Laila Lars Laura Lea Leon Lina "
    "Louis Lucia Maja Malik Marco Maria Marta Mei Mia Milan Mina Nadia Naomi Nils Nina Noah Nora Olga Omar Oscar "
    "Otto Paul Pedro Petra Priya Rafael Ravi Rosa Ruth Sami Sara Sofia Stefan Sven Tara Theo Tomas Uma Vera Victor "
    "Yara Yusuf Zoe"
)
FIRST_NAMES: Final = tuple(_NAMES.split())

_DEPARTMENTS: Final = {
    "DRUG GM": "Drugstore and general",
    "MEAT-PCKGD": "Packaged meat",
    "SEAFOOD-PCKGD": "Packaged seafood",
    "GM MERCH EXP": "General merchandise",
    "CNTRL/STORE SUP": "Store supplies",
    "PROD-WHS SALES": "Produce warehouse",
    "ELECT &PLUMBING": "Electrical and plumbing",
    "RX": "Pharmacy",
}
_WORDS: Final = {
    "BG": "bags", "BKD": "baked", "BN": "beans", "BRKFST": "breakfast", "BTR": "butter", "CKYS": "cookies",
    "CLEANG": "cleaning", "CNDY": "candy", "CONC": "concentrate", "CRKR": "crackers", "CRYSTL": "crystal",
    "DISPOSIBLE": "disposable", "DNR": "dinner", "DRNK": "drink", "DRNKS": "drinks", "DRSNG": "dressing", "DSH": "dish",
    "FD": "food", "FRZN": "frozen", "HBC": "body care", "JCE": "juice", "MEMORABLILIA": "memorabilia", "MX": "mix",
    "MXS": "mixes", "NDAIRY": "non-dairy", "PKG": "packaged", "PKGD": "packaged", "PKLD": "pickled", "PLY": "supply",
    "PNT": "peanut", "PWDR": "powder", "REFRGRATD": "refrigerated", "RW": "ready", "SALD": "salad",
    "SHERBTS": "sherbets", "SLD": "salad", "SNDWCH": "sandwich", "SNKS": "snacks", "SOD": "soda", "SPLY": "supplies",
    "SPRD": "spread", "SUPPPLIES": "supplies", "SWEETNERS": "sweeteners",
    "TISS": "tissues", "TRSH": "trash", "VEG": "vegetables", "WHLSM": "wholesome", "WTR": "water",
}  # fmt: skip
_BREAKS: Final = re.compile(r"[^0-9A-Z&%.'-]+|(?<=[A-Z])&(?=[A-Z])")


@lru_cache(maxsize=4096)
def readable(text: str) -> str:
    """Till shorthand in plain words: "FRZN NOVELTIES/WTR ICE" -> "Frozen novelties, water ice"."""
    phrases = []
    for phrase in re.split(r"[/:]|(?<= )-(?= )", text.upper()):
        words = [_WORDS.get(word, word.lower()) for word in _BREAKS.split(phrase) if word]
        if words:
            phrases.append(" ".join(words))
    joined = ", ".join(phrases)
    return joined[:1].upper() + joined[1:]


def department_name(code: str | None) -> str:
    """The department as a shop would write it; products that the tables do not know are under "Other"."""
    if code is None:
        return "Other"
    return _DEPARTMENTS.get(code) or readable(code)


def category_name(category: str | None, product_type: str | None, department: str | None) -> str:
    """The category as a shop would write it.

    Gasoline is filed among coupons in the data; it gets a category of its own. Products without a category get their
    department's name.
    """
    if product_type is not None and product_type.startswith("GASOLINE"):
        return "Fuel"
    if category is None:
        return department_name(department)
    return readable(category)


@lru_cache(maxsize=65536)
def product_title(product_type: str | None, package_size: str | None) -> str:
    """What the feed calls a product: its type and its package, at most 120 characters."""
    title = readable(product_type) if product_type else "Assorted"
    size = package_size.strip().lower() if package_size else ""
    return f"{title} {size}".strip()[:120]


def slug_of(category: str) -> str:
    """The slug that the catalogue gives a category of this name."""
    return catalog.slug(category)
