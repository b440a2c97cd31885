"""A household as rules read it: how many live there, their ages, and the person's own part. Numbers, and nothing else.

Nothing in it names anybody or tells what another member did: a mail may go by who lives together, and by nothing that
the others bought, looked at or said. Ages are kept as birth years, so that children grow up without a signal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, get_args

import msgspec

Role = Literal["adult", "partner", "child", "grown_child"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""A grown-up child lives elsewhere; one who still lives there is an adult."""
ADULT_AT: Final = 18
MAX_CHILDREN: Final = 12


class Household(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Who lives there, as one of them sees it.

    `adults` counts those who came as adults. `children` are the birth years of those who came as children, ascending, 0
    where it is not known, at most MAX_CHILDREN. `grown` counts grown-up children who live elsewhere, `oldest` is the
    birth year of the oldest adult (0: not known), `size` the number of people that somebody stated (0: nobody did).
    `whole`: it was stated who lives there, so who is not known of is not there. `role` is the person's own, `sure` how
    certain it is that these live together, in percent. `born` is the person's own birth year, if they came as a child
    (0: as an adult, or it is not known, as in what early versions wrote).
    """

    adults: int
    children: tuple[int, ...] = ()
    grown: int = 0
    oldest: int = 0
    size: int = 0
    whole: bool = False
    role: str = "adult"
    sure: int = 100
    born: int = 0


class Other(msgspec.Struct, frozen=True):
    """Somebody of a household who has no profile, as another member stated it. `born` is a year, 0 if not known."""

    role: Role
    born: int = 0


class Member(msgspec.Struct, frozen=True):
    """A profile of a household: the role that was stated, the birth year (0: not known), how certain it belongs there.

    `elsewhere`: a grown-up child who does not live there.
    """

    role: Role | None = None
    born: int = 0
    sure: int = 100
    elsewhere: bool = False


def is_grown(born: int, year: int) -> bool:
    """Whether somebody of this birth year (0: not known) is of age in that year."""
    return bool(born) and year - born >= ADULT_AT


def role_of(role: Role | None, born: int, year: int) -> Role:
    """The role as stated, else by age in that year; an adult where nothing tells, and who was stated a child and is of
    age by then."""
    if role is None:
        return "child" if born and not is_grown(born, year) else "adult"
    return "adult" if role == "child" and is_grown(born, year) else role


def compose(
    members: Sequence[Member], others: Sequence[Other] | None, size: int | None, year: int
) -> list[Household | None]:
    """The household as each of its members sees it; None for who lives elsewhere.

    `others` are those without a profile (None: nobody stated them), `size` the stated number of people who live there.
    """
    home = [(role_of(one.role, one.born, year), one.born) for one in members if not one.elsewhere]
    stated = [(one.role, one.born) for one in others or ()]
    there = home + [one for one in stated if one[0] != "grown_child"]
    adults = [born for role, born in there if role != "child"]
    whole = Household(
        adults=len(adults),
        children=tuple(sorted(born for role, born in there if role == "child")[-MAX_CHILDREN:]),
        grown=sum(one.elsewhere for one in members) + sum(role == "grown_child" for role, _ in stated),
        oldest=_oldest(adults),
        size=size or 0,
        whole=others is not None or size is not None,
        sure=min((one.sure for one in members if not one.elsewhere), default=100),
    )
    return [None if one.elsewhere else _seen_by(one, whole, year) for one in members]


def _seen_by(one: Member, whole: Household, year: int) -> Household:
    role = role_of(one.role, one.born, year)
    return msgspec.structs.replace(whole, role=role, born=one.born if role == "child" else 0)


def _oldest(born: Iterable[int]) -> int:
    return min((year for year in born if year), default=0)
