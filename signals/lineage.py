"""Which of several statements of a trait holds, by a policy for each: servers before browsers, the newest, the most
trusted source, or the longest.

Where nothing is said the newest of what servers stated holds, and a browser's word only until a server stated one:
anybody may send with a key that every visitor can read. A statement that loses is dropped before folding, so states,
rebuilds and the origins of traits all follow. That a trait is taken back (null) is a statement like others, and counts
as the longest; what is taken back is anybody's to state again, but where trust decides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput
from signals.foldevent import FoldEvent, trait_name
from signals.state import Trait

Policy = Literal["servers", "newest", "trusted", "longest"]
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)
USUAL: Final[Policy] = "servers"
"""The policy of a trait of which nothing is said."""
MAX_POLICIES: Final = 100


class TraitPolicy(Model):
    """The policy of one trait; a trait without a row goes by `USUAL`."""

    __tablename__ = "trait_policy"

    name: Mapped[str] = mapped_column(primary_key=True)
    policy: Mapped[str]
    changed_at: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class Held:
    """What holds of a trait (None: it was taken back), and the authority of who states it."""

    value: Trait | None
    authority: int


NOTHING_HELD: Final[Mapping[str, Held]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rules:
    """The policies in force, what the word of each source is worth, and which sources are servers."""

    policies: Mapping[str, str]
    trust: Mapping[int, int]
    servers: Collection[int]

    def authority(self, name: str, source: int) -> int:
        """How much a source's word on a trait weighs: of two statements the weightier holds, whichever came first."""
        policy = self.policies.get(name, USUAL)
        if policy == "trusted":
            return self.trust.get(source, 0)
        return int(policy != "newest" and source in self.servers)

    def settle(self, events: Sequence[FoldEvent], held: Mapping[str, Held] = NOTHING_HELD) -> list[FoldEvent]:
        """These events, in canonical order, without the statements that lose; `held`: what held before them.

        An event that is older than what held loses only what it would lose anywhere in the order.
        """
        holders = dict(held)
        settled = []
        for event in events:
            lost = set()
            for name, value in event.traits.items():
                stated = Held(value, self.authority(name, event.source))
                holder = holders.get(name)
                if holder is not None and not self._wins(name, stated, holder):
                    lost.add(name)
                else:
                    holders[name] = stated
            settled.append(_without(event, lost))
        return settled

    def _wins(self, name: str, stated: Held, held: Held) -> bool:
        policy = self.policies.get(name, USUAL)
        if policy != "trusted" and held.value is None:
            return True
        if stated.authority != held.authority or policy != "longest":
            return stated.authority >= held.authority
        return stated.value is None or len(str(stated.value)) >= len(str(held.value))


def _without(event: FoldEvent, lost: set[str]) -> FoldEvent:
    if not lost:
        return event
    return msgspec.structs.replace(event, traits={name: one for name, one in event.traits.items() if name not in lost})


def rules(session: Session) -> Rules:
    """What holds now."""
    policies = {row.name: row.policy for row in session.execute(text("SELECT name, policy FROM trait_policy"))}
    sources = session.execute(text("SELECT id, trust, kind <> 'browser' AS is_server FROM source")).all()
    servers = frozenset(row.id for row in sources if row.is_server)
    return Rules(policies, {row.id: row.trust for row in sources}, servers)


def policies(session: Session) -> list[TraitPolicy]:
    """The traits that have a policy of their own, by name."""
    return list(session.scalars(select(TraitPolicy).order_by(TraitPolicy.name)))


def set_policy(session: Session, name: str, policy: str, now: datetime) -> tuple[str, str, str]:
    """Have a trait go by this policy; its name as traits are spelt, its policy before, and now. *servers* ends it.

    Signals from now on follow it, what is stored with the next rebuild. Raises InvalidInput naming the field.
    """
    spelt = trait_name(name)
    if not spelt or "\x00" in spelt:
        raise InvalidInput("name", "must be the name of a trait")
    if policy not in POLICIES:
        raise InvalidInput("policy", f"must be one of {', '.join(POLICIES)}")
    row = session.get(TraitPolicy, spelt)
    before = row.policy if row else USUAL
    if policy == USUAL:
        if row is not None:
            session.delete(row)
    elif row is not None:
        row.policy, row.changed_at = policy, now
    else:
        if (session.scalar(select(func.count()).select_from(TraitPolicy)) or 0) >= MAX_POLICIES:
            raise InvalidInput("name", f"at most {MAX_POLICIES} traits have a policy of their own")
        session.add(TraitPolicy(name=spelt, policy=policy, changed_at=now))
    session.flush()
    return spelt, before, policy


def same(one: Any, other: Any) -> bool:
    """Whether two values of a trait are the same to PostgreSQL: 1 and 1.0 are, 1 and true are not."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
