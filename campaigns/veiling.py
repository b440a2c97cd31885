"""What of a signal somebody may see: the body for admins as it came, for support without what names or reaches people.
A write key in it is for nobody.

What cannot be read may hold anything, so it is for admins alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote, unquote_plus

import msgspec

from campaigns.customers import masked
from signals import writekeys
from signals.foldevent import trait_name
from signals.identifying import is_identifying

HIDDEN: Final = "•••"
_IDENTIFIERS: Final = {
    "userid": "user_id", "anonymousid": "anonymous_id", "previousid": "user_id", "groupid": "user_id",
    "email": "email", "phone": "phone", "mobile": "phone", "loyaltyid": "loyalty_id", "username": "user_id",
}  # fmt: skip
_REACHES: Final = frozenset({
    "ip", "street", "street1", "street2", "streetname", "streetnumber", "housenumber", "line1", "line2", "line3",
    "address", "address1", "address2", "addressline1", "addressline2", "streetaddress", "postalcode", "postcode", "zip",
    "zipcode", "firstname", "middlename", "lastname", "fullname", "givenname", "familyname",
    "surname", "maidenname", "displayname", "nickname", "nameoncard", "birthday", "birthdate", "dateofbirth", "dob",
    "password", "token", "writekey", "geburtsname", "rechnungsadresse", "lieferadresse",
})  # fmt: skip
"""Names, without regard to case and hyphens, of what a person could be found by."""
_PEOPLE: Final = frozenset({
    "customer", "buyer", "recipient", "contact", "receiver", "guest", "attendee", "participant", "passenger",
    "cardholder", "accountholder", "policyholder", "ticketholder", "person", "people", "owner", "traveler", "traveller",
    "driver", "member", "signatory", "payer", "payee", "subscriber", "patient", "student", "child", "children",
    "consignee", "addressee", "shipto", "billto", "soldto", "sender", "reviewer", "applicant", "companion", "guardian",
    "spouse", "husband", "wife", "mother", "father", "daughter", "brother", "sister", "sibling",
})  # fmt: skip
"""Names of people, and ends of such names; a text is somebody's name then."""
_CALLERS: Final = frozenset({
    "user", "client", "son", "holder", "kunde", "käufer", "empfänger", "ansprechpartner",
})  # fmt: skip
"""As these, but for what ends with one: an `httpClient`, a season, a placeholder and a Sekunde are none."""
_CALLED_BY: Final = frozenset({"first", "last", "middle", "given", "family"})
"""Parts that a name of somebody has, and one of a product has not."""
_OF_PEOPLE: Final = frozenset({"trait", "billing", "shipping", "delivery", "invoice"})
"""Names of what tells of people, as `_PEOPLE` do: a name within is somebody's, elsewhere it is a product's or a page's.
A text is none: shipping may be an amount."""
_TELLS: Final = ("detail", "information", "info", "data", "record", "list")
"""What may stand behind a name of people or of theirs, as in `billing_details` and `customer_name_list`."""
_TOLD: Final = re.compile("|".join(_TELLS))
"""In what of them a text that is told may be a name."""
_NAMED: Final = tuple(name for name in _REACHES if name.endswith("name"))
_THING: Final = "product|item|article|variant|category|collection|brand|file|method"
_THINGS: Final = re.compile("(?:^|_)(?:product|item|article|variant|category|categorie|collection|brand)s?$")
"""Things whose own names stand within; of a method or a file it is mostly that of who pays, or whose it is."""
_THING_NAMED: Final = frozenset({"displayname", "fullname", "familyname"})
"""Names of people that are a thing's as well."""
_OF_THINGS: Final = re.compile(f"(?:^|_)(?:{_THING})_?(?:display|full|family)_?names?(?:_?(?:{'|'.join(_TELLS)})s?)*$")
"""How names end that are none of people's. The thing is a word by itself: a `profile` is no file."""
_PAID: Final = frozenset({"payment", "card", "account"})
"""Whose method, file or brand bears the name of who pays."""
_NUMBER: Final = re.compile(r"[_\-\s.]*[0-9]+")
_PLACES: Final = frozenset({"city", "country", "countrycode", "state", "region"})
_ADDRESS: Final = re.compile(r"[^@\s\"'<>,;:]{1,64}@[^@\s\"'<>,;:]{1,190}")
_ENCODED: Final = re.compile(
    r"(?:[^%@\s\"'<>,;:/?&=#]|%(?!40)[0-9a-f]{2}){1,64}%40[^%@\s\"'<>,;:/?&=#]{1,190}", re.IGNORECASE
)
"""One as it stands in the address of a page."""
_ASKED: Final = re.compile(r"(?<=[?&#])([^=?&#\s]{1,64})=([^&#\s]+)")
"""A name and its value in the address of a page."""
_PHONE: Final = re.compile(r"(?<![\w.])(?:\+|00?)[1-9](?:[\s().\-/]{0,3}[0-9]){6,13}(?![\w])")
_CALLED: Final = re.compile("phone|mobil|telefon|telefax|handy|whatsapp|landline|callback")
"""What stands in the name of a number by which somebody is called."""
_DIGITS: Final = 7
"""How many digits of such a number or text, or more, reach somebody."""
DEPTH: Final = 14


def body_of(text: str, *, whole: bool) -> Any:
    """A stored body as JSON to show; None where it is not for who looks, text where it cannot be read."""
    try:
        raw = msgspec.json.decode(text)
        return keyless(raw) if whole else veiled(raw)
    except (msgspec.MsgspecError, RecursionError):
        return keyless_text(text) if whole else None


def keyless(value: Any) -> Any:
    """A JSON value without the write keys in it: what is taken now is kept without, what came earlier was not."""
    match value:
        case dict():
            return {
                name: HIDDEN if _plain(name) == "writekey" and inner is not None else keyless(inner)
                for name, inner in value.items()
            }
        case list():
            return [keyless(inner) for inner in value]
        case str():
            return keyless_text(value)
        case _:
            return value


def keyless_text(text: str) -> str:
    """A text, as of a body that cannot be read, without the write keys in it."""
    return writekeys.SPELT.sub(rf"\g<1>{HIDDEN}", text)


def veiled(value: Any, depth: int = 0, *, of_person: bool = False, of_thing: bool = False, called: bool = False) -> Any:
    """A JSON value with identifiers masked, without whatever names a person or says where to find them, as of traits
    (signals/identifying.py), and without addresses and phone numbers in texts, nor what the query of a page's address
    says under such a name.

    `of_person`: it tells of somebody, so that a `name` within is theirs. `of_thing`: of a product or the like, so that
    a `full_name` within is its own. `called`: its numbers are phone numbers.
    """
    if depth > DEPTH:
        return HIDDEN
    match value:
        case dict():
            return {
                veiled(str(name)): _member(
                    str(name), inner, depth + 1, of_person=of_person, of_thing=of_thing, called=called
                )
                for name, inner in value.items()
            }
        case list():
            return [veiled(inner, depth + 1, of_person=of_person, of_thing=of_thing, called=called) for inner in value]
        case str() | int() | float() if called and sum(map(str.isdigit, str(value))) >= _DIGITS:
            return HIDDEN
        case str():
            return _line(value, depth)
        case _:
            return value


def _line(text: str, depth: int) -> str:
    """A text of some value, with each part of a query judged by its name."""

    def asked(found: re.Match[str]) -> str:
        told = unquote_plus(found[2])
        name = unquote_plus(found[1]).replace("[", ".").replace("]", "")  # `user[first_name]` names a part.
        seen = _member(name, told, depth + 1, of_person=False, of_thing=False, called=False)
        return _unreached(found[0]) if seen == told else f"{_unreached(found[1])}={seen}"

    return _parted(_ASKED, text, asked, _unreached)


def _unreached(text: str) -> str:
    """A text without addresses and phone numbers."""
    if "%40" not in text:
        return _unsaid(text)
    return _parted(_ENCODED, text, lambda found: masked("email", unquote(found[0])), _unsaid)


def _unsaid(text: str) -> str:
    text = _ADDRESS.sub(lambda found: masked("email", found[0]), text) if "@" in text else text
    return _PHONE.sub(HIDDEN, text)


def _parted(
    pattern: re.Pattern[str], text: str, found: Callable[[re.Match[str]], str], between: Callable[[str], str]
) -> str:
    """A text with what a pattern finds, and what stands between, each made another."""
    at = 0
    parts: list[str] = []
    for one in pattern.finditer(text):
        parts += between(text[at : one.start()]), found(one)
        at = one.end()
    return "".join((*parts, between(text[at:])))


def _member(name: str, value: Any, depth: int, *, of_person: bool, of_thing: bool, called: bool) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if (spelt := _plain(name)) in _IDENTIFIERS and isinstance(value, str | int):
        return masked(_IDENTIFIERS[spelt], str(value))
    # What is numbered is what it would be alone: `passenger_1_name`, `firstName2`.
    alone = _NUMBER.sub("", name)
    plain, told = _plain(alone), trait_name(alone)
    if plain.endswith(("address", "addresses", "adresse", "adressen")) and isinstance(value, dict | list):
        return [_placed(inner) for inner in value] if isinstance(value, list) else _placed(value)
    one = _bare(plain)
    if of_thing and one in _THING_NAMED:
        return veiled(value, depth, called=called)
    # A name is a product's or a page's as often as somebody's.
    is_theirs = of_person or (isinstance(value, dict) and not _CALLED_BY.isdisjoint(map(_plain, value)))
    if is_theirs if one == "name" else spelt in _REACHES or is_identifying(trait_name(name)) or _names(plain, told):
        return HIDDEN
    called = called or _CALLED.search(plain) is not None
    if _is_people(plain):
        return _somebody(value, depth, called=called)
    tells = one in _OF_PEOPLE
    # A text that is told in `billing_details`, or one of several, may be their name.
    if tells and isinstance(value, str | list) and _TOLD.search(plain):
        return _somebody(value, depth, called=called, is_told=True)
    of_person = of_person or tells
    return veiled(value, depth, of_person=of_person, of_thing=not of_person and _is_thing(_THINGS, told), called=called)


def _placed(address: Any) -> Any:
    """Of an address the parts that many share."""
    if not isinstance(address, dict):
        return HIDDEN
    return {
        veiled(str(part)): veiled(inner) if _plain(part) in _PLACES and not isinstance(inner, dict | list) else HIDDEN
        for part, inner in address.items()
    }


def _somebody(value: Any, depth: int, *, called: bool, is_told: bool = False) -> Any:
    """What stands under a name of people. A number counts them, or is how a shop numbers them; so is a text without
    letters that `is_told` of them, an amount."""
    if isinstance(value, list) and depth > DEPTH:
        return HIDDEN
    if isinstance(value, list):
        return [_somebody(inner, depth + 1, called=called, is_told=is_told) for inner in value]
    if isinstance(value, str) and not (is_told and not any(map(str.isalpha, value))):
        return HIDDEN
    return veiled(value, depth, of_person=True, called=called)


def _names(plain: str, told: str) -> bool:
    one = _bare(plain)
    whose = one.removesuffix("name")
    is_a_name = whose != one and (_is_people(whose) or whose in _OF_PEOPLE)
    is_named = one.endswith(_NAMED) and not _is_thing(_OF_THINGS, told)
    return plain in _REACHES or one in _REACHES or is_named or is_a_name or is_identifying(told)


def _is_thing(pattern: re.Pattern[str], told: str) -> bool:
    """Whether a name ends as one of a thing does, and nothing before it speaks of people or of who pays."""
    found = pattern.search(plain := re.sub(r"[\-\s.]", "_", told))
    return found is not None and not any(
        _is_people(part) or _bare(part) in _PAID for part in plain[: found.start()].split("_") if part
    )


def _is_people(plain: str) -> bool:
    one = _bare(plain)
    return one in _CALLERS or one.endswith(tuple(_PEOPLE))


def _bare(plain: str) -> str:
    """A name in the singular, without what may stand behind one of people."""
    size = len(plain)
    while True:
        size -= plain.endswith("s", 0, size)
        told = next((len(end) for end in _TELLS if plain.endswith(end, 0, size)), size)
        if told == size:
            return plain[:size]
        size -= told


def _plain(name: str) -> str:
    return re.sub(r"[_\-\s.]", "", str(name)).lower()
