"""Which refused and contradicting calls name a person: by an identifier in its place, by an address anywhere.

A refused call belongs to nobody, but it may name somebody as it was sent; one that contradicts a stored call may name
another person than that. A call names a customer number, a loyalty number and a device only where it has these, by the
whole value: "traits" as the name of a device is not every call. E-mail addresses and phone numbers name a person
wherever they stand, as whole words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from signals.events import CONFLICT_BODY, REJECTED_CONTENT
from signals.profiles import IDENTIFIER_VALUE
from signals.sealingkeys import content, leaving_out, legible

PHONE_DIGITS: Final = 8
"""Digits that a phone number must have to name anybody, without the country's code where that is left out."""
COUNTRY_DIGITS: Final = 3
AT_ONCE: Final = 1_000
_DIGITS: Final = re.compile("[0-9]+")
_SEPARATOR: Final = r"[\s().\-/]{0,3}"
_ELSEWHERE: Final = re.compile(rf"(?:\+|00)[0-9]{{1,{COUNTRY_DIGITS}}}[\s().\-/]{{1,3}}$")
"""What stands before a number of another country."""

_IDENTIFIERS: Final = text("""
    SELECT profile_id, type, value FROM identifier WHERE profile_id = ANY(:members) LIMIT CAST(:most AS bigint)
""")
_REFUSED: Final = text("SELECT id, body FROM rejected_event ORDER BY id")
_CONTRADICTING: Final = text("SELECT id, body FROM event_conflict ORDER BY id")
_PLACES: Final[Mapping[str, Sequence[str]]] = {
    "userId": ("user_id",), "anonymousId": ("anonymous_id",), "previousId": ("user_id", "anonymous_id"),
    "loyaltyId": ("loyalty_id",), "loyalty_id": ("loyalty_id",),
}  # fmt: skip
_PLACED: Final = re.compile(rf'"({"|".join(_PLACES)})"\s*:\s*"?([^",}}\]]*)')
"""An identifier in its place, in what cannot be read as JSON."""


def naming(session: Session, members: Sequence[int]) -> list[int]:
    """The refused calls that name one of these profiles, by their number. One that is damaged names nobody."""
    names = names_of(session, members)
    # The bodies are sealed, so each is opened; there are 100,000 at most (signals/events.py).
    rows = session.execute(_REFUSED, execution_options={"yield_per": AT_ONCE})
    told = ((row.id, legible(session, row.body, REJECTED_CONTENT, id=row.id)) for row in rows)
    return [number for number, body in told if body and names.may_be_in(body) and names.are_in(body)]


def contradicting(session: Session, members: Sequence[int]) -> list[int]:
    """The calls that contradicted stored ones, anybody's, and name one of these profiles, by their number. One
    that is damaged names nobody."""
    names = names_of(session, members)
    rows = session.execute(_CONTRADICTING, execution_options={"yield_per": AT_ONCE})
    found = []
    for row in rows:
        with leaving_out(column=CONFLICT_BODY.place, id=row.id):
            body = content(session, row.body, CONFLICT_BODY.place).decode()
            if names.may_be_in(body) and names.are_in(body):
                found.append(row.id)
    return found


def names_of(session: Session, members: Sequence[int], most: int | None = None) -> Names:
    """By what a person is looked for who is these profiles: their identifiers, `most` of them or all. One that is
    damaged is left out, with a log line."""
    rows = session.execute(_IDENTIFIERS, {"members": list(members), "most": most}).all()
    read = ((row.type, legible(session, row.value, IDENTIFIER_VALUE, profile=row.profile_id)) for row in rows)
    return Names((kind, value) for kind, value in read if value is not None)


class Names:
    """The identifiers of a person, as they are looked for; each a kind and its normalised value."""

    def __init__(self, identifiers: Iterable[tuple[str, str]]) -> None:
        self._exact: set[tuple[str, str]] = set()
        self._words: list[tuple[str, re.Pattern[str]]] = []
        self._phones: list[tuple[str, re.Pattern[str]]] = []
        self._signs: set[str] = set()
        for kind, value in identifiers:
            if kind != "phone":
                self._signs |= {value.lower(), msgspec.json.encode(value).decode()[1:-1].lower()}
            if kind == "email":
                self._words.append((value, re.compile(rf"(?<![\w.+\-]){re.escape(value)}(?![\w\-]|\.\w)")))
            elif kind == "phone":
                digits = value.removeprefix("+")
                if len(digits.lstrip("0")) >= PHONE_DIGITS:
                    self._phones.append((digits[-PHONE_DIGITS:], _spellings(value)))
            else:
                self._exact.add((kind, value))

    def may_be_in(self, body: str) -> bool:
        """Whether it is worth reading a refused body: no for most, without reading them. What is spelt with escapes is.

        A phone number is written in many ways; its last digits, with nothing between, are the same in all.
        """
        lowered = body.lower()
        if "\\u" in lowered or any(sign in lowered for sign in self._signs):
            return True
        digits = "".join(_DIGITS.findall(body)) if self._phones else ""
        return any(end in digits for end, _ in self._phones)

    def are_in(self, body: str) -> bool:
        """Whether a refused body names the person."""
        try:
            call = msgspec.json.decode(body)
        except (msgspec.MsgspecError, RecursionError):
            placed = ((kind, value.strip()) for place, value in _PLACED.findall(body) for kind in _PLACES[place])
            return not self._exact.isdisjoint(placed) or self._said(body)
        return not self._exact.isdisjoint(_identifiers(call)) or self._said("\n".join(_strings(call)))

    def _said(self, words: str) -> bool:
        lowered = words.lower()
        if any(value in lowered and word.search(lowered) for value, word in self._words):
            return True
        digits = re.sub("[^0-9]", "", words)
        return any(
            end in digits and any(not _ELSEWHERE.search(words[: found.start()]) for found in number.finditer(words))
            for end, number in self._phones
        )


def _spellings(phone: str) -> re.Pattern[str]:
    """A phone number with or without its country, with what people put between the digits."""
    if phone.startswith("+"):
        digits = phone[1:]
        within = [digits[length:] for length in range(1, COUNTRY_DIGITS + 1)]
        whole = [rf"(?:\+|00)?{_SEPARATOR}{_spaced(digits[: -len(rest)])}{_SEPARATOR}(?:0{_SEPARATOR})?{_spaced(rest)}"
                 for rest in within]  # fmt: skip
        nationals = [rf"0?{_SEPARATOR}{_spaced(rest)}" for rest in within if len(rest) >= PHONE_DIGITS]
        either = [*whole, *nationals]
    else:
        rest = phone.lstrip("0")
        abroad = rf"(?:\+|00)[0-9]{{1,{COUNTRY_DIGITS}}}{_SEPARATOR}(?:0{_SEPARATOR})?"
        either = [rf"(?:{abroad}|0)?{_spaced(rest)}"]
    return re.compile(rf"(?<![0-9+])(?:{'|'.join(either)})(?![0-9])", re.ASCII)


def _spaced(digits: str) -> str:
    return _SEPARATOR.join(digits)


def _identifiers(call: Any) -> Iterator[tuple[str, str]]:
    """What a call names in the places of identifiers, addresses and phone numbers aside."""
    if not isinstance(call, dict):
        return
    named = [("user_id", call.get("userId")), ("anonymous_id", call.get("anonymousId"))]
    named += [(kind, call.get("previousId")) for kind in ("user_id", "anonymous_id")]
    context = call.get("context")
    for traits in (call.get("traits"), context.get("traits") if isinstance(context, dict) else None):
        if isinstance(traits, dict):
            named += [("loyalty_id", traits.get(name)) for name in ("loyaltyId", "loyalty_id")]
    for kind, value in named:
        if isinstance(value, str | int):
            yield kind, str(value).strip()


def _strings(call: Any) -> Iterator[str]:
    """Every text and whole number of a call."""
    left = [call]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            left += one
        elif isinstance(one, str | int):
            yield str(one)
