"""Which stated facts together name one person: name and address, name and e-mail, name and phone; not a name alone.

Each is made into a *match key*: both facts in one plain spelling, hashed. Two profiles with one key are one person: two
people of one name rarely share an address, and a family that shares one has different names. Where each has a user id
of its own, the key only suggests it. `signals/identity.py` treats a key as an identifier that is never seen, with the
same bounds.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal

import phonenumbers

MatchType = Literal["name", "name_address", "name_email", "name_phone"]
MatchKey = tuple[MatchType, str]

_LETTERS: Final = str.maketrans({
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
    # Cyrillic and Greek as passports write them, roughly: what matters is that both spellings of a name meet.
    "а": "a", "б": "b", "в": "v", "г": "g", "ґ": "g", "д": "d", "е": "e", "ё": "e", "є": "ie", "ж": "zh", "з": "z",
    "и": "i", "і": "i", "ї": "i", "й": "i", "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r",
    "с": "s", "т": "t", "у": "u", "ф": "f", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ы": "y",
    "ь": "", "э": "e", "ю": "iu", "я": "ia",
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k", "λ": "l",
    "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t", "υ": "y", "φ": "f",
    "χ": "ch", "ψ": "ps", "ω": "o",
})  # fmt: skip
_WORDS: Final = re.compile(r"[^\W_]+")
_DIALLED: Final = re.compile(r"[\s+(/]*\d(?:[\s().\-‐-―/]*\d){5,17}\s*")
"""Digits, and what people put between those of a telephone number."""
_UMLAUTS: Final = re.compile("([aou])e")
"""Müller is written Mueller where there is no ü, and Muller by who leaves the dots out: all three become one."""

_TITLES: Final = frozenset((
    "mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "madam", "herr", "frau", "hr", "fr", "monsieur", "madame",
    "mme", "mlle", "senor", "senora", "sr", "sra",
))  # fmt: skip
_STREET_WORDS: Final = {
    "street": "st", "saint": "st", "avenu": "ave", "av": "ave", "road": "rd", "boulevard": "blvd", "bd": "blvd",
    "drive": "dr", "lane": "ln", "court": "ct", "place": "pl", "platz": "pl", "square": "sq", "highway": "hwy",
    "terrace": "ter", "north": "n", "south": "s", "east": "e", "west": "w", "apartment": "apt", "flat": "apt",
    "unit": "apt", "suite": "ste", "number": "", "no": "", "nr": "", "calle": "c", "via": "v", "ru": "r",
}  # fmt: skip
"""Words of streets as `plain` leaves them (avenue, rue), with what is written for them."""
_STRASSE: Final = re.compile(r"str(asse)?\b")


def plain(text: str) -> str:
    """A text without case, accents and scripts: what is left of it when different people type it."""
    folded = text.casefold().translate(_LETTERS)
    bare = "".join(one for one in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(one))
    return _UMLAUTS.sub(r"\1", bare.translate(_LETTERS))


def match_keys(traits: Mapping[str, Any], email: str | None, phone: str | None) -> Iterator[MatchKey]:
    """The keys of what one call states; none without a name. `email` and `phone` are normalised identifiers."""
    name = plain_name(traits)
    if not name:
        return
    yield "name", _hashed(name)
    street = plain_address(traits)
    if street:
        yield "name_address", _hashed(name, street)
    if email:
        yield "name_email", _hashed(name, email)
    if phone:
        yield "name_phone", _hashed(name, e164(phone, _country(traits)))


def plain_name(traits: Mapping[str, Any]) -> str:
    """First and last name in whatever order, without titles and initials; empty where it is no full name."""
    first, last = _text(traits, "firstName", "first_name"), _text(traits, "lastName", "last_name")
    words = _WORDS.findall(plain(f"{first} {last}" if first and last else _text(traits, "name")))
    kept = sorted(word for word in words if word not in _TITLES and (len(word) > 1 or not word.isascii()))
    return " ".join(kept) if len(kept) > 1 or any(not word.isascii() for word in kept) else ""


def plain_address(traits: Mapping[str, Any]) -> str:
    """Street with its number, and the postal code or else the city; empty where one of them is missing."""
    found = traits.get("address")
    address: Mapping[str, Any] = found if isinstance(found, dict) else traits
    street = plain_street(_text(address, "street", "street_address", "line1"))
    area = plain(_text(address, "postalCode", "postal_code", "zip", "postcode") or _text(address, "city"))
    place = "".join(_WORDS.findall(area))
    return f"{street}|{place}" if street and place else ""


def plain_street(street: str) -> str:
    """A street with its number, however they are written; empty where one of them is missing."""
    told = _STRASSE.sub("str", plain(street))
    words = [_STREET_WORDS.get(word, word) for word in _WORDS.findall(told)]
    numbers = sorted(word for word in words if word[:1].isdigit())
    # The number goes before the street here and after it there.
    rest = "".join(word for word in words if not word[:1].isdigit())
    return f"{' '.join(numbers)} {rest}" if numbers and rest else ""


def e164(phone: str, country: str | None) -> str:
    """A phone number with its country's code, when it has one or the country (two letters) is known; else as it is."""
    try:
        parsed = phonenumbers.parse(phone, country)
    except phonenumbers.NumberParseException:
        return phone
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def spellings(phone: str, regions: Collection[str] = ()) -> set[str]:
    """How a number that somebody typed may be kept: with its country's code, and as it is dialled within the country.

    `regions` (two letters each) are the countries whose numbers are told without a code; any, where none is given.
    Empty for what is no telephone number.
    """
    if not _DIALLED.fullmatch(phone):
        return set()
    typed = re.sub(r"^\s*00", "+", phone)
    if typed.lstrip().startswith("+"):
        number = _parsed(typed, None)
        if number is None:
            return set()
        is_told_without = not regions or (phonenumbers.region_code_for_number(number) or "") in regions
        return set(_spelt(number)[: 2 if is_told_without else 1])
    found = [_parsed(typed, region) for region in regions or phonenumbers.SUPPORTED_REGIONS]
    return {
        one
        for number in found
        if number is not None and (regions or phonenumbers.is_valid_number(number))
        for one in _spelt(number)
    }


def _parsed(phone: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        number = phonenumbers.parse(phone, region)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_possible_number(number) else None


def _spelt(number: phonenumbers.PhoneNumber) -> tuple[str, ...]:
    """The number with its country's code, then as it is dialled at home."""
    at_home = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    abroad = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return abroad, "".join(one for one in at_home if one.isdigit())


def _country(traits: Mapping[str, Any]) -> str | None:
    address = traits.get("address")
    stated = _text(address, "country") if isinstance(address, dict) else ""
    code = (stated or _text(traits, "country")).strip().upper()
    return code if code in phonenumbers.SUPPORTED_REGIONS else None


def _text(traits: Mapping[str, Any], *names: str) -> str:
    found = (
        value for name in names if isinstance(value := traits.get(name), str | int) and not isinstance(value, bool)
    )
    return str(next(found, ""))[:200]


def _hashed(*facts: str) -> str:
    return hashlib.blake2b("\n".join(facts).encode(), digest_size=16).hexdigest()
