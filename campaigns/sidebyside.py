"""Two customers side by side: what is stated of each, and where they agree, for whoever says whether they are one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns.customers import SEALED, Name, identifier_name, masked
from campaigns.merges import Likely
from signals.identity import IdentifierType
from signals.matching import plain, plain_street
from signals.profiles import Identifier, Profile
from signals.stated import stated

HIDDEN: Final = "•••"
SAME, SPELT, ALIKE = "the same", "the same but for spelling", "much the same"
DIFFERENT, ONE_SIDED = "different", "only one states it"
MAX_TEXT: Final = 200
_HIDDEN: Final = ("street", "postal code", "birth date")
_CONTACTS: Final[Mapping[str, IdentifierType]] = {"e-mail address": "email", "phone number": "phone"}
_WORDS: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Line:
    """What is stated of both in one respect, as people read it, and in a word whether they agree."""

    fact: str
    values: tuple[str, str]
    agreement: str


@dataclass(frozen=True)
class Pair:
    """Two customers who may be one, with what is stated of them; `numbered`: both have a customer number.

    One that is damaged where it is stored counts, as one that no other equals.
    """

    found: Likely
    lines: list[Line]
    numbered: bool


def pairs(session: Session, found: Sequence[Likely], *, veiled: bool) -> list[Pair]:
    """These customers side by side. `veiled`: without what they could be written to, called or visited by."""
    roots = {root for one in found for root in (one.one, one.other)}
    told = stated(session, roots)
    numbers = _numbers(session, roots)
    made = []
    for one in found:
        sides = (told.get(one.one, {}), told.get(one.other, {}))
        held = (numbers.get(one.one, []), numbers.get(one.other, []))
        lines = [
            Line(fact, _shown(fact, values, veiled), _agreement(fact, values, one.facts))
            for fact, values in _facts(sides)
        ]
        if any(held):
            shown = [", ".join(each.masked if veiled else each.value for each in side[:5]) for side in held]
            words = "each their own" if all(held) else ONE_SIDED
            lines.append(Line("customer number", (shown[0], shown[1]), words))
        made.append(Pair(one, lines, all(held)))
    return made


def _facts(sides: tuple[Mapping[str, Any], Mapping[str, Any]]) -> list[tuple[str, tuple[str, str]]]:
    """What either states, by fact."""
    readings = [_reading(side) for side in sides]
    values = {fact: (readings[0][fact], readings[1][fact]) for fact in readings[0]}
    return [(fact, both) for fact, both in values.items() if any(both)]


def _reading(side: Mapping[str, Any]) -> dict[str, str]:
    text = {column: str(value).strip()[:MAX_TEXT] for column, value in side.items()}
    whole = " ".join(filter(None, (text.get("given"), text.get("family"))))
    return {
        "name": whole or text.get("name", ""),
        "birth date": text.get("born", ""),
        "street": text.get("street", ""),
        "postal code": text.get("post", ""),
        "city": text.get("city", ""),
        "e-mail address": text.get("email", ""),
        "phone number": text.get("phone", ""),
    }


def _agreement(fact: str, values: tuple[str, str], evidence: Sequence[str]) -> str:
    """In a word. `evidence`: facts that speak for the two being one, by the measures of a run or by a stated match."""
    if not all(values):
        return ONE_SIDED
    for agreement, told in ((SAME, _written), (SPELT, _plain)):
        if told(fact, values[0]) == told(fact, values[1]):
            return agreement
    return ALIKE if any(fact in facts.split(" and ") for facts in evidence) else DIFFERENT


def _written(fact: str, value: str) -> str:
    """Without regard to case, signs between words, and the order of a name's: Ann Lee is Lee, Ann."""
    if fact == "phone number":
        return re.sub(r"\D", "", value).lstrip("0")
    if fact in _CONTACTS:
        return value.lower()
    words = _WORDS.findall(value.casefold())
    # A date has an order.
    return " ".join(sorted(words) if fact in ("name", "street") else words)


def _plain(fact: str, value: str) -> str:
    """As it is written, without accents, umlauts and the ways of writing a street."""
    return (plain_street(value) if fact == "street" else "") or _written(fact, plain(value))


def _shown(fact: str, values: tuple[str, str], veiled: bool) -> tuple[str, str]:
    if not veiled or (fact not in _HIDDEN and fact not in _CONTACTS):
        return values
    kind = _CONTACTS.get(fact)
    one, other = ((masked(kind, value) if kind else HIDDEN) if value else "" for value in values)
    return one, other


def _numbers(session: Session, roots: set[int]) -> dict[int, list[Name]]:
    """The customer numbers of each of these roots, also those that cannot be read any more."""
    rows = session.execute(
        select(Profile.root_id, Identifier.profile_id, Identifier.type, SEALED)
        .join(Identifier, Identifier.profile_id == Profile.id)
        .where(Profile.root_id.in_(roots), Identifier.type == "user_id", ~Identifier.presumed)
        .order_by(Profile.root_id, Identifier.first_seen, Identifier.value_hash)
    )
    found: dict[int, list[Name]] = {}
    for row in rows.all():
        found.setdefault(row.root_id, []).append(identifier_name(session, row))
    return found
