"""Traits that name a person or say where to find them: sealed in the database, readable only where a state is opened.

A stored document, which audience rules compare, says of each such trait only that it is there, and whether it says
anything. Other traits, also those that a shop invents, stand in it as they are, since rules compare them; so does a yes
or no whatever its name (`email_opt_in`), as it identifies nobody.
"""

from __future__ import annotations

import re
from typing import Any, Final

from signals.state import ProfileState, Trait, queried

SEALED: Final = "sealed"
"""The part of a stored document that says which identifying traits there are."""

_NAMES: Final = frozenset((
    "name", "first_name", "firstname", "last_name", "lastname", "middle_name", "full_name", "fullname", "given_name",
    "family_name", "maiden_name", "birth_name", "display_name", "user_name", "username", "nickname", "nick_name",
    "surname", "forename", "name_first", "name_last", "avatar", "photo", "loyalty_id", "loyalty_card", "loyalty_number",
    "card_number", "customer_id", "customer_number", "user_id", "member_id", "account_number",
    "fname", "lname", "contact_name", "billing_name", "shipping_name", "recipient_name", "spouse_name", "partner_name",
    "child_name", "company_name", "credit_card", "bank_account", "tax_id", "social_security_number", "vorname",
    "nachname", "familienname", "anschrift", "adresse", "hausnummer", "kundennummer", "ip", "ip_address", "latitude",
    "longitude",
))  # fmt: skip
_WORDS: Final = frozenset((
    "email", "mail", "phone", "telephone", "mobile", "cellphone", "fax", "whatsapp", "address", "street", "line1",
    "line2", "address1", "address2", "street1", "street2", "postal", "postalcode", "postcode", "zip", "zipcode",
    "birthday", "birthdate", "dob", "iban", "ssn", "passport", "note", "notes", "comment", "comments", "remark",
    "remarks", "twitter", "instagram", "facebook", "linkedin", "skype", "emailaddress", "emailadresse", "email1",
    "email2", "phone1", "phone2", "phonenumber", "mobilephone", "mobilenumber", "contactemail", "homeaddress",
    "dateofbirth", "tel", "landline", "telefon", "telefonnummer", "handy", "handynummer", "strasse", "straße", "plz",
    "postleitzahl", "geburtstag", "geburtsdatum",
))  # fmt: skip
_BIRTHS: Final = frozenset(("birth_date", "date_of_birth"))
_REGIONS: Final = frozenset(("city", "country", "country_code", "region", "state", "province"))
"""Parts of an address that many live in."""
_SPLIT: Final = re.compile(r"[\W_]+")
_FOREIGN: Final = re.compile(r"[^a-z0-9]+")
"""What parts words where one of another script stands beside them: `email地址`."""


def is_identifying(name: str) -> bool:
    """Whether a trait, in the spelling of `foldevent.trait_name`, names a person or says where to find them."""
    plain = _SPLIT.sub("_", name).strip("_")
    if name.startswith("address.") and plain.removeprefix("address_") in _REGIONS:
        return False
    return any(
        one in _NAMES or one in _BIRTHS or not _WORDS.isdisjoint(one.split("_"))
        for one in (plain, _FOREIGN.sub("_", name).strip("_"))
    )


def readable(state: ProfileState) -> dict[str, Any]:
    """What SQL reads of a state, without the values of identifying traits."""
    return hidden(queried(state))


def hidden(document: dict[str, Any]) -> dict[str, Any]:
    """A state's document without the values of identifying traits."""
    traits = document.get("traits") or {}
    told = {name: says(value) for name, value in traits.items() if not isinstance(value, bool) and is_identifying(name)}
    if not told:
        return document
    return document | {"traits": {name: value for name, value in traits.items() if name not in told}, SEALED: told}


def says(value: Trait) -> bool:
    """Whether a trait says anything: a text of blanks does not."""
    return not isinstance(value, str) or bool(value.strip())
