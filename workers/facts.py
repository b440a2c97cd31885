"""What a record states of who somebody is, in one plain spelling, for comparing what was typed by many hands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from signals.matching import plain
from workers.nicknames import full

_WORD: Final = re.compile(r"[^\W_]+")
_NAMELESS: Final = frozenset(plain(word) for word in (
    "mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "madam", "lady", "lord", "herr", "frau", "monsieur", "madame",
    "mme", "mlle", "senor", "senora", "jr", "sr", "esq", "rev", "hon", "baron", "baronet", "baroness", "bt", "earl",
    "duke", "count", "countess", "viscount", "viscountess", "marquess", "marquis", "prince", "princess", "captain",
    "colonel", "general", "major", "admiral", "of", "the", "de", "la", "le", "du", "von", "van", "der", "den", "di",
    "da", "del", "and", "y", "zu", "st", "nd", "rd", "th",
))  # fmt: skip
"""Titles, ranks and particles: they tell nobody from anybody."""
_DATE: Final = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})")
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Facts:
    """One record. Empty where it is silent. `words` are the words of the whole name, short forms written out;
    `born` is YYYY-MM-DD; `post` keeps the blank of codes that have one; `ways` are the words of the address."""

    given: str = ""
    family: str = ""
    words: tuple[str, ...] = ()
    born: str = ""
    post: str = ""
    street: str = ""
    number: str = ""
    ways: tuple[str, ...] = ()
    city: str = ""
    birthplace: str = ""
    work: str = ""
    email: str = ""
    phone: str = ""


def facts(stated: Mapping[str, Any]) -> Facts:
    """The facts of a record whose columns are `given`, `family`, `name`, `born`, `post`, `street`, `number`, `address`,
    `city`, `birthplace`, `work`, `email`, `phone`; any of them may be missing, None or no text."""
    given, family, name = (_words(_text(stated, column)) for column in ("given", "family", "name"))
    if not given and not family and len(name) > 1:
        given, family = name[:1], name[-1:]
    given = [word for word in given if word not in _NAMELESS] or given
    whole = [word for word in (*given, *family, *name) if word not in _NAMELESS and not word[0].isdigit()]
    street, number = _words(_text(stated, "street")), " ".join(_words(_text(stated, "number")))
    if not number:
        number = " ".join(word for word in street if word[0].isdigit())
        street = [word for word in street if not word[0].isdigit()]
    return Facts(
        given=" ".join(given),
        family=" ".join(family),
        words=tuple(sorted({full(word) for word in whole})),
        born=born(_text(stated, "born")),
        post=" ".join(_words(_text(stated, "post"))),
        street=" ".join(street),
        number=number,
        ways=tuple(sorted({*street, *_words(_text(stated, "address"))})),
        city=" ".join(_words(_text(stated, "city"))),
        birthplace=" ".join(_words(_text(stated, "birthplace"))),
        work=" ".join(_words(_text(stated, "work"))),
        email=_text(stated, "email").strip().lower(),
        phone=_text(stated, "phone").strip(),
    )


def born(text: str) -> str:
    """A birth date as YYYY-MM-DD; empty where the text is none. A day that no calendar has stays: it is mistyped."""
    found = _DATE.match(text.strip())
    return "-".join(found.groups()) if found else ""


def _words(text: str) -> list[str]:
    return _WORD.findall(plain(text))


def _text(stated: Mapping[str, Any], column: str) -> str:
    value = stated.get(column)
    return str(value)[:_LONGEST] if isinstance(value, str | int) and not isinstance(value, bool) else ""
