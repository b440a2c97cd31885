"""What is compared of two records, and by what records are found that are worth comparing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from workers.clusters import NO_KEY
from workers.facts import Facts
from workers.nicknames import full


@dataclass(frozen=True)
class Level:
    """A kind of likeness: its condition in DuckDB's SQL, and the column whose rare values weigh more."""

    condition: str
    rare: str = ""


@dataclass(frozen=True)
class Fact:
    """One comparison: the column that must be known of both, its levels from the most alike, what it is a key of."""

    name: str
    column: str
    levels: tuple[Level, ...]
    key: str = NO_KEY


def _same(column: str) -> str:
    return f"{column}_l = {column}_r"


def _close(column: str, least: float) -> str:
    return f"jaro_winkler_similarity({column}_l, {column}_r) >= {least}"


def _typo(column: str, most: int) -> str:
    return f"damerau_levenshtein({column}_l, {column}_r) <= {most}"


def _shared(column: str, least: int) -> str:
    return f"len(list_intersect({column}_l, {column}_r)) >= {least}"


_SWAPPED: Final = (
    "substr(born_l, 1, 4) = substr(born_r, 1, 4) AND substr(born_l, 6, 2) = substr(born_r, 9, 2)"
    " AND substr(born_l, 9, 2) = substr(born_r, 6, 2)"
)
FACTS: Final = (
    Fact(
        "name",
        "called",
        (
            Level(_same("called"), "called"),
            Level("given_l = family_r AND family_l = given_r"),
            Level(f"{_same('root')} AND {_same('family')}", "family"),
            Level(_shared("words", 3)),
            Level(f"{_close('given', 0.88)} AND {_close('family', 0.88)}"),
            Level(_shared("words", 2)),
            Level(_same("family"), "family"),
            Level(f"{_same('root')} AND {_close('family', 0.75)}"),
            Level(_close("family", 0.92)),
            Level(_same("given"), "given"),
            Level(_shared("words", 1)),
        ),
        "name",
    ),
    Fact(
        "birth date",
        "born",
        (
            Level(_same("born"), "born"),
            Level(f"{_typo('born', 1)} OR ({_SWAPPED})"),
            Level("substr(born_l, 1, 4) = substr(born_r, 1, 4)"),
            Level(_typo("born", 2)),
        ),
        "birth date",
    ),
    Fact(
        "postal code",
        "post",
        (
            Level(_same("post"), "post"),
            Level(_typo("post", 1)),
            Level("length(post_l) > 5 AND left(post_l, -2) = left(post_r, -2)"),
            Level("split_part(post_l, ' ', 1) = split_part(post_r, ' ', 1)"),
        ),
        "address",
    ),
    Fact(
        "street",
        "street",
        (
            Level(f"{_same('street')} AND {_same('number')}", "street"),
            Level(f"{_close('street', 0.9)} AND {_same('number')}"),
            Level(_same("street"), "street"),
            Level(_shared("ways", 2)),
            Level(_close("street", 0.88)),
            Level(_same("number"), "number"),
        ),
        "address",
    ),
    Fact("city", "city", (Level(_same("city"), "city"), Level(_close("city", 0.9))), "address"),
    Fact(
        "birth place",
        "birthplace",
        (Level(_same("birthplace"), "birthplace"), Level(_close("birthplace", 0.9))),
        "birth place",
    ),
    Fact("work", "work", (Level(_same("work"), "work"),), "work"),
    Fact(
        "e-mail address",
        "email",
        (
            Level(_same("email")),
            Level("split_part(email_l, '@', 1) = split_part(email_r, '@', 1)"),
        ),
        "contact",
    ),
    Fact("phone number", "phone", (Level(_same("phone")), Level(_typo("phone", 1))), "contact"),
)  # fmt: skip
"""What is compared. Any fact may be a key; where many people share a value, its weight tells that it is none."""

Hook = Callable[[Facts], tuple[str, ...]]
HOOKS: Final[tuple[Hook, ...]] = (
    lambda one: (one.given, one.family),
    lambda one: (one.family, one.given),
    lambda one: (root(one), one.born),
    lambda one: (one.family, one.born),
    lambda one: (root(one), _area(one)),
    lambda one: (one.family, _area(one)),
    lambda one: (one.born, _area(one)),
    lambda one: (one.born, one.birthplace or one.city),
    lambda one: (one.family, one.birthplace),
    lambda one: (one.street, one.number),
    lambda one: (one.family, one.number),
    lambda one: (one.given[:3], one.family[:3], one.born[:4]),
    lambda one: (one.born[:4], _area(one)),
    lambda one: (one.post, one.number),
    lambda one: (one.email,),
    lambda one: (one.phone,),
)
"""What two records may agree on to be compared; a hook with an empty part is none."""


def root(one: Facts) -> str:
    """The full form of the first given name."""
    return full(one.given.partition(" ")[0])


def _area(one: Facts) -> str:
    return one.post.partition(" ")[0]
