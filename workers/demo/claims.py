"""The story's claims: each has a name, is checked once, and is told with what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from base.errors import LatebindError

Say = Callable[[str], None]


class ClaimFailed(LatebindError):
    """Something the demo says of itself did not hold. `names` are the claims."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"{'claims do' if len(names) > 1 else 'a claim does'} not hold: {'; '.join(names)}")
        self.names = names


@dataclass(frozen=True)
class Claim:
    """A sentence, whether it held, and the figures that say so."""

    name: str
    holds: bool
    found: str


class Claims:
    """The claims made so far, told as they are checked. A failed one does not end the story: all are to be seen."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.made: list[Claim] = []

    def check(self, name: str, holds: bool, found: str = "") -> bool:
        """Put down one claim. `name` is a sentence without a full stop; each may be made once."""
        if any(claim.name == name for claim in self.made):
            raise ValueError(f"the claim {name!r} was made before")
        self.made.append(Claim(name, bool(holds), found))
        self._say(f"  {'✓' if holds else '✗ NOT SO:'} {name}{f' — {found}' if found else ''}")
        return bool(holds)

    @property
    def failed(self) -> list[str]:
        """The names of the claims that did not hold, in the order they were made."""
        return [claim.name for claim in self.made if not claim.holds]

    def settle(self) -> None:
        """Raise ClaimFailed if any claim did not hold, or if none was made at all."""
        if not self.made:
            raise ClaimFailed(["the story makes claims"])
        if self.failed:
            raise ClaimFailed(self.failed)
