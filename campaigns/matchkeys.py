"""The names by which advertising channels know people again: normalised as each asks, then SHA-256, never in clear.

Google (Customer Match): an address in small letters without blanks, at gmail.com and googlemail.com also without dots
and without what follows a plus; a phone number in E.164 with its plus. Meta (Custom Audiences): an address in small
letters without blanks; a phone number with its country code, digits only. *generic* is for other tools: address as for
Meta, phone as for Google. A phone number without its country code names nobody for sure and is left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final

FORMATS: Final = ("google", "meta", "generic")
COLUMNS: Final[Mapping[str, tuple[str, str]]] = {
    "google": ("Email", "Phone"),
    "meta": ("email", "phone"),
    "generic": ("email", "phone"),
}
"""What each calls address and phone number in its files."""
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_GMAIL: Final = ("gmail.com", "googlemail.com")


def match_keys(format_: str, email: str | None, phone: str | None) -> dict[str, str]:
    """The hashed names of a person, `email` and `phone` as lower-case hexadecimal; empty when none can be made."""
    made: dict[str, str] = {}
    if email:
        made["email"] = _hashed(_ADDRESSES.get(format_, _plain)(email))
    if phone and _E164.fullmatch(phone):
        made["phone"] = _hashed(phone.lstrip("+") if format_ == "meta" else phone)
    return made


def digest(names: Mapping[str, str]) -> bytes:
    """What names one set of hashed names."""
    return hashlib.sha256("\0".join(f"{kind}={names[kind]}" for kind in sorted(names)).encode()).digest()


def _plain(address: str) -> str:
    return "".join(address.split()).lower()


def _google(address: str) -> str:
    local, _, domain = _plain(address).rpartition("@")
    if domain in _GMAIL:
        local = local.partition("+")[0].replace(".", "")
    return f"{local}@{domain}"


_ADDRESSES: Final[Mapping[str, Callable[[str], str]]] = {"google": _google}


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
