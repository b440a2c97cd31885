"""What a call says of where somebody lives and with whom: a home address, a household by its id, a role, an age.

An address is compared in the plain spelling of signals/matching.py, with the flat where one is given. A household is
stated by the Segment call `group` whose trait `type` is "household". Of both only a keyed hash is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from base.errors import InvalidInput
from signals.foldevent import kind_of
from signals.household import ROLES, Other, Role
from signals.matching import plain_address

Kind = Literal["hand", "group", "home", "order"]
"""How it is known where somebody lives: a person said so on a page, a `group` call, a stated address, where their
orders go."""

MAX_OTHERS: Final = 12
MAX_SIZE: Final = 20
MAX_AGE: Final = 120
ID_LENGTH: Final = 200
AGE_TRAITS: Final = (
    "birthday", "birth_date", "date_of_birth", "birth_year", "year_of_birth", "age", "age_band", "age_group",
)  # fmt: skip
"""Traits that tell an age, the most exact first."""

_STREETS: Final = ("street", "street_address", "line1", "address1")
_FLATS: Final = ("line2", "street2", "address2", "apartment", "unit", "flat", "suite")
_ROLE_WORDS: Final[Mapping[str, Role]] = {
    "adult": "adult", "partner": "partner", "child": "child", "grown_child": "grown_child",
    "adult_child": "grown_child", "grown_up_child": "grown_child", "spouse": "partner", "husband": "partner",
    "wife": "partner", "son": "child", "daughter": "child", "kid": "child", "parent": "adult", "mother": "adult",
    "father": "adult", "head": "adult",
}  # fmt: skip
_DATE: Final = re.compile(r"(\d{4})-\d\d-\d\d")
_BAND: Final = re.compile(r"(\d{1,3})\s*[-–]\s*(\d{1,3})")
_FROM: Final = re.compile(r"(\d{1,3})\s*\+?")


class Said(msgspec.Struct, frozen=True):
    """What one call says. `value` is the household's id or the home's plain spelling.

    Of a household also: the role there, that they left it, how many people live there, and those without a profile.
    """

    kind: Kind
    value: str
    role: Role | None = None
    left: bool = False
    size: int | None = None
    others: tuple[Other, ...] | None = None


def said(raw: Mapping[str, Any], at: datetime) -> Said | None:
    """What a decoded call says of a home or household; None for most. Raises InvalidInput for a `group` call of type
    household that cannot be read; whatever else cannot be read says nothing."""
    if is_household(raw):
        return _household(raw, raw["traits"], at)
    traits = raw.get("traits")
    match raw.get("type"):
        case "identify" if isinstance(traits, dict):
            return _home("home", traits)
        case "track" if kind_of("track", raw.get("event")) == "order":
            properties = raw.get("properties") or {}
            found = properties.get("shipping_address", properties.get("shippingAddress"))
            return _home("order", {"address": found}) if isinstance(found, dict) else None
    return None


def is_household(raw: Mapping[str, Any]) -> bool:
    """Whether a decoded call says who is of a household: `group` with the trait `type` "household"."""
    traits = raw.get("traits")
    return raw.get("type") == "group" and isinstance(traits, dict) and _word(traits.get("type")) == "household"


def household_key(hash_key: bytes, kind: Kind, value: str) -> bytes:
    """The keyed hash that stands for a household or a home; a home by its address and by orders is one."""
    name = "group" if kind == "group" else "home"
    return hmac.new(hash_key, f"household {name}:{value}".encode(), hashlib.sha256).digest()


def born(name: str, value: object, at: datetime) -> int:
    """The birth year that a trait says which was stated at this time; 0 when it says none. Of a band the middle."""
    year = _year(name, value, at) if not isinstance(value, bool) else 0
    return year if at.year - MAX_AGE <= year <= at.year else 0


def role(value: object) -> Role | None:
    """The role that a word says; None for no word of ours."""
    return _ROLE_WORDS.get(_word(value))


def _year(name: str, value: object, at: datetime) -> int:
    if name.startswith("birth") or name.endswith("birth"):
        if isinstance(value, str):
            found = _DATE.match(value)
            return int(found[1]) if found else int(value) if value.isascii() and value.isdigit() else 0
        return int(value) if isinstance(value, int | float) and abs(value) < 10_000 else 0
    if isinstance(value, int | float):
        return at.year - int(value) if 0 <= value <= MAX_AGE else 0
    if not isinstance(value, str):
        return 0
    if band := _BAND.fullmatch(value.strip()):
        return at.year - (int(band[1]) + int(band[2])) // 2
    open_end = _FROM.fullmatch(value.strip())
    return at.year - int(open_end[1]) if open_end else 0


def _home(kind: Kind, traits: Mapping[str, Any]) -> Said | None:
    found = traits.get("address")
    address: Mapping[str, Any] = found if isinstance(found, dict) else traits
    street, flat = _first(address, _STREETS), _first(address, _FLATS)
    spelt = plain_address({"address": {**address, "street": f"{street} {flat}".strip()}}) if street else ""
    return Said(kind, spelt) if spelt else None


def _household(raw: Mapping[str, Any], traits: Mapping[str, Any], at: datetime) -> Said:
    name = raw.get("groupId")
    if isinstance(name, bool) or not isinstance(name, str | int) or not 0 < len(str(name).strip()) <= ID_LENGTH:
        raise InvalidInput("groupId", f"must be the id of a household, 1 to {ID_LENGTH} characters")
    stays = traits.get("member", True)
    if not isinstance(stays, bool):
        raise InvalidInput("traits.member", "must be true, or false for who has left the household")
    return Said(
        "group",
        str(name).strip(),
        role=_role(traits.get("role"), "traits.role"),
        left=not stays,
        size=_size(traits.get("size")),
        others=_others(traits.get("people"), at),
    )


def _role(value: object, path: str) -> Role | None:
    if value is None:
        return None
    found = role(value)
    if found is None:
        raise InvalidInput(path, f"must be one of {', '.join(ROLES)}")
    return found


def _size(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
        raise InvalidInput("traits.size", f"must be a whole number of people, 1 to {MAX_SIZE}")
    return value


def _others(value: object, at: datetime) -> tuple[Other, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_OTHERS:
        raise InvalidInput("traits.people", f"must be a list of at most {MAX_OTHERS} people without a profile")
    return tuple(_other(one, f"traits.people[{index}]", at) for index, one in enumerate(value))


def _other(value: object, path: str, at: datetime) -> Other:
    if not isinstance(value, dict):
        raise InvalidInput(path, "must be an object with a role")
    found = _role(value.get("role"), f"{path}.role")
    if found is None:
        raise InvalidInput(f"{path}.role", f"must be one of {', '.join(ROLES)}")
    years = (born(name, value[name], at) for name in AGE_TRAITS if value.get(name) is not None)
    return Other(found, next((year for year in years if year), 0))


def _first(address: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = (value for name in names if isinstance(value := address.get(name), str) and value.strip())
    return next(found, "")[:200]


def _word(value: object) -> str:
    return re.sub(r"[\s-]+", "_", value.strip().lower())[:40] if isinstance(value, str) else ""
