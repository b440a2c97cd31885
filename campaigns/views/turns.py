"""The turns of a campaign's offers, as its page lists and reads them: a number beside an offer, per place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from base.errors import InvalidInput
from campaigns import rankform
from campaigns.campaigns import SlotChoice
from campaigns.models import Offer
from campaigns.views import forms

_TURN: Final = re.compile(r"0{0,8}[1-9][0-9]{0,8}")
MOST_LISTED = 200
"""Offers that a place lists besides those that have a turn in it."""


def listed(
    shown: Sequence[Offer], chosen: Sequence[int], query: str, names: Mapping[str, str]
) -> tuple[list[Offer], int]:
    """A place's offers: those that have a turn first, in their order, whatever is searched for, then those that fit.

    With them goes how many more fit that are not listed. Whoever saves a searched list so loses no turn. `names` gives
    the names of categories by slug.
    """
    known = {row.id: row for row in shown}
    first = [known[number] for number in chosen if number in known]
    wanted = query.lower().split()
    rest = [row for row in shown if row.id not in chosen and row.kind != "neutral" and _has(row, wanted, names)]
    return first + rest[:MOST_LISTED], max(0, len(rest) - MOST_LISTED)


def words(row: Offer, names: Mapping[str, str]) -> str:
    """What a search looks through: a category by its slug and by its name, which `names` gives."""
    return " ".join(filter(None, (row.name, row.kind, row.category, names.get(row.category or ""), row.product)))


def choice(form: Mapping[str, str], slot: int, names: Mapping[int, str]) -> SlotChoice:
    """A place's offers in the order of the numbers typed beside them. Raises InvalidInput, which `names` the offer."""
    default = forms.whole(form, f"default-{slot}")
    if default is None:
        raise InvalidInput(f"default-{slot}", "is compulsory: a place can never come out empty")
    mode: Literal["model", "rules"] = "model" if form.get(f"mode-{slot}") == "model" else "rules"
    return SlotChoice(
        slot=slot,
        default=default,
        offers=[number for _, number in sorted(_turns(form, slot, names))],
        mode=mode,
        policy=rankform.policy(form, slot),
    )


def shared(form: Mapping[str, str], slot: int, place: str, names: Mapping[int, str]) -> Iterator[str]:
    """Each turn of a place that several offers were given, as a sentence that tells what comes of it."""
    by_turn: dict[int, list[str]] = {}
    for turn, number in sorted(_turns(form, slot, names)):
        by_turn.setdefault(turn, []).append(_name(number, names))
    for turn, held in by_turn.items():
        if len(held) > 1:
            said = f"{', '.join(held[:-1])} and {held[-1]}"
            yield (
                f"In {place}, {said} have the same turn, {turn}. They get it in this order; "
                "number them anew to change it."
            )


def _name(number: int, names: Mapping[int, str]) -> str:
    return f"“{names.get(number, f'offer no. {number}')}”"


def _turns(form: Mapping[str, str], slot: int, names: Mapping[int, str]) -> list[tuple[int, int]]:
    """The turns that were typed, each with its offer."""
    turns = []
    for key in form:
        prefix, _, number = key.partition(f"turn-{slot}-")
        if prefix or not number.isdigit():
            continue
        typed = forms.text(form, key)
        if not typed:
            continue
        if not _TURN.fullmatch(typed):
            raise InvalidInput(
                "turn", f"of {_name(int(number), names)} must be a whole number such as 1, and at least 1"
            )
        turns.append((int(typed), int(number)))
    return turns


def _has(row: Offer, wanted: Sequence[str], names: Mapping[str, str]) -> bool:
    text = words(row, names).lower()
    return all(word in text for word in wanted)
