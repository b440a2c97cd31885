"""Made-up people, the duplicates of some of them with FEBRL's kinds of errors, and which orders are filed under these.

How many fields of a duplicate are wrong, and which, is drawn as often as FEBRL 4's duplicates have it (3,454 pairs: one
field in .32 of them, two in .33, three in .23, four or more in .10; street .38, surname .33, given name .32, suburb
.25, number and postcode .16, birth date .09). An error is one of the generator's: a character put in, left out,
replaced by its neighbour on the keyboard, exchanged with the next; a sound or a shape taken for another; names, or day
and month, exchanged; a field left empty. Names are no real ones. All of it follows from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, Final

from signals.foldevent import FoldEvent

Orders = Mapping[int, tuple[FoldEvent, ...]]
Record = dict[str, str]

DUPLICATE: Final = 1_000_000
"""What is added to a household's number for that of its duplicate."""
OWN_PART: Final = (0.25, 0.75)
"""The share of a household's orders that its second profile gets, drawn evenly between these."""
RELATED: Final = 0.1
"""The share of people who live with another one of their name."""
BARE: Final = 0.5
"""How often a bare duplicate lacks the birth date, and how often it lacks the address."""
WRONG_FIELDS: Final = (0.02, 0.32, 0.33, 0.23, 0.10)
"""How often none, one, two, three and four fields are wrong."""
FIELDS: Final = {
    "street": 0.38, "family": 0.33, "given": 0.32, "city": 0.25, "number": 0.16, "post": 0.16, "born": 0.09,
}  # fmt: skip
"""The fields of a record, and how often each is wrong."""
_LEFT_EMPTY: Final = 0.08
_EXCHANGED: Final = 0.1
_NEIGHBOURS: Final = {
    key: row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm", "1234567890") for place, key in enumerate(row)
}  # fmt: skip
_TAKEN_FOR: Final = (
    ("ph", "f"), ("f", "ph"), ("ck", "k"), ("k", "c"), ("c", "k"), ("z", "s"), ("s", "z"), ("i", "y"), ("v", "w"),
    ("rn", "m"), ("m", "rn"), ("l", "i"), ("d", "t"), ("b", "p"), ("e", "a"), ("1", "7"), ("0", "6"), ("5", "6"),
)  # fmt: skip
"""Sounds and shapes that are taken for others."""
_ONSETS: Final = ("b", "br", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "st", "t", "th", "v", "w")
_VOWELS: Final = ("a", "e", "i", "o", "u", "ai", "ea")
_SHORTEST: Final = 3
_ENDS: Final = ("", "", "l", "n", "r", "s", "ck")


@dataclass(frozen=True)
class Filing:
    """Orders as they are filed: under each profile its own. `truth`: profile -> the household whose it is;
    `records`: profile -> what it states of who its owner is; `moved`: share of all orders under a duplicate."""

    orders: dict[int, tuple[FoldEvent, ...]]
    truth: dict[int, int]
    records: dict[int, Record]
    moved: float


def filed(orders: Orders, share: float, *, seed: int, scattered: bool = False, bare: bool = False) -> Filing:
    """File this share of all orders under duplicates.

    As a rule they go by *cards*: some households, drawn until the share is reached, have a second profile that gets a
    part of their orders (`OWN_PART`). `scattered`: each order of everybody goes to a duplicate by chance. `bare`: the
    duplicates lack much besides (`BARE`).
    """
    draw = random.Random(seed)
    total = sum(map(len, orders.values()))
    left = share * total
    filed, truth, moved = dict(orders), {household: household for household in orders}, 0
    for household in draw.sample(sorted(orders), len(orders)):
        part = share if scattered else draw.uniform(*OWN_PART)
        if not scattered and moved >= left:
            break
        away = [draw.random() < part for _ in orders[household]]
        if any(away):
            own = list(zip(orders[household], away, strict=True))
            filed[household] = tuple(order for order, is_away in own if not is_away)
            filed[household + DUPLICATE] = tuple(order for order, is_away in own if is_away)
            truth[household + DUPLICATE] = household
            moved += sum(away)
    records = people(sorted(orders), draw)
    for profile, household in truth.items():
        if profile != household:
            records[profile] = duplicate(records[household], draw, bare=bare)
    return Filing(filed, truth, records, moved / max(total, 1))


def people(numbers: list[int], draw: random.Random) -> dict[int, Record]:
    """A record for each; some are another's relatives and share name and address with them."""
    words = {
        "given": _words(draw, 700, 2), "family": _words(draw, 1_400, 2), "street": _words(draw, 2_000, 3),
        "city": _words(draw, 1_300, 3),
    }  # fmt: skip
    codes = draw.sample(range(1_000, 9_999), len(words["city"]))
    found: dict[int, Record] = {}
    for number in numbers:
        place = _frequent(draw, len(words["city"]), 100)
        record = {
            "given": words["given"][_frequent(draw, len(words["given"]), 15)],
            "family": words["family"][_frequent(draw, len(words["family"]), 8)],
            "number": str(draw.randint(1, 300)),
            "street": f"{draw.choice(words['street'])} {draw.choice(('street', 'place', 'circuit', 'crescent'))}",
            "city": words["city"][place],
            "post": str(codes[place]),
            "born": f"{draw.randint(1930, 1999)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}",
        }
        if found and draw.random() < RELATED:
            relative = found[draw.choice(list(found))]
            record |= {field: relative[field] for field in ("family", "number", "street", "city", "post")}
        found[number] = record
    return found


def duplicate(record: Record, draw: random.Random, *, bare: bool = False) -> Record:
    """The record as somebody else wrote it down."""
    wrong, found = draw.choices(range(len(WRONG_FIELDS)), WRONG_FIELDS)[0], dict(record)
    left = dict(FIELDS)
    for _ in range(wrong):
        field = draw.choices(list(left), list(left.values()))[0]
        del left[field]
        chance = draw.random()
        if chance < _LEFT_EMPTY:
            found[field] = ""
        elif chance < _LEFT_EMPTY + _EXCHANGED and field in ("given", "family"):
            found["given"], found["family"] = found["family"], found["given"]
        elif chance < _LEFT_EMPTY + _EXCHANGED and field == "born":
            year, month, day = found["born"].split("-")
            found["born"] = f"{year}-{day}-{month}"
        else:
            found[field] = draw.choice(_SLIPS)(found[field], draw)
    if bare:
        for lacking in (("born",), ("number", "street", "city", "post")):
            if draw.random() < BARE:
                found |= dict.fromkeys(lacking, "")
    return found


def traits(record: Record) -> dict[str, Any]:
    """The record as the traits of an `identify` call."""
    street = f"{record['number']} {record['street']}".strip()
    return {
        "firstName": record["given"],
        "lastName": record["family"],
        "birthday": record["born"],
        "address": {"street": street, "city": record["city"], "postalCode": record["post"]},
    }


def _put_in(text: str, draw: random.Random) -> str:
    place = draw.randint(0, len(text))
    return text[:place] + _near(text[max(0, place - 1) : place] or text[:1], draw) + text[place:]


def _left_out(text: str, draw: random.Random) -> str:
    place = draw.randrange(max(len(text), 1))
    return text[:place] + text[place + 1 :]


def _replaced(text: str, draw: random.Random) -> str:
    place = draw.randrange(max(len(text), 1))
    return text[:place] + _near(text[place : place + 1], draw) + text[place + 1 :]


def _exchanged(text: str, draw: random.Random) -> str:
    place = draw.randrange(max(len(text) - 1, 1))
    return text[:place] + text[place + 1 : place + 2] + text[place : place + 1] + text[place + 2 :]


def _misheard(text: str, draw: random.Random) -> str:
    met = [(one, other) for one, other in _TAKEN_FOR if one in text]
    return text.replace(*draw.choice(met), 1) if met else _replaced(text, draw)


_SLIPS: Final[tuple[Callable[[str, random.Random], str], ...]] = (
    _put_in, _left_out, _replaced, _exchanged, _misheard,
)  # fmt: skip


def _near(character: str, draw: random.Random) -> str:
    return draw.choice(_NEIGHBOURS.get(character, "e"))


def _words(draw: random.Random, count: int, syllables: int) -> list[str]:
    """So many different words, in no order."""
    found: dict[str, None] = {}
    while len(found) < count:
        length = draw.randint(1, syllables) if len(found) > count // 20 else syllables
        word = "".join(draw.choice(_ONSETS) + draw.choice(_VOWELS) for _ in range(length)) + draw.choice(_ENDS)
        if len(word) >= _SHORTEST:
            found[word] = None
    return draw.sample(list(found), count)


def _frequent(draw: random.Random, count: int, evenness: int) -> int:
    """A place below `count`, the low ones more often; the more even, the less so."""
    return draw.choices(range(count), cum_weights=_cumulated(count, evenness))[0]


@cache
def _cumulated(count: int, evenness: int) -> tuple[float, ...]:
    return tuple(accumulate(1 / (place + evenness) for place in range(count)))
