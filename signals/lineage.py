"""Which of several statements of a trait holds, by a policy for each trait: newest, most trusted source, or longest.

The newest holds where nothing else is said. A statement that loses is dropped before folding, so states, rebuilds and
the origins of traits all follow. That a trait is taken back (null) is a statement like others, and counts as the
longest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, get_args

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput
from signals.foldevent import FoldEvent, trait_name
from signals.state import ProfileState, Trait

Policy = Literal["newest", "trusted", "longest"]
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)
MAX_POLICIES: Final = 100


class TraitPolicy(Model):
    """The policy of one trait; a trait without a row goes by the newest statement."""

    __tablename__ = "trait_policy"

    name: Mapped[str] = mapped_column(primary_key=True)
    policy: Mapped[str]
    changed_at: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class Rules:
    """The policies in force, and what the word of each source is worth."""

    policies: Mapping[str, str] = field(default_factory=dict)
    trust: Mapping[int, int] = field(default_factory=dict)

    def settle(self, events: Sequence[FoldEvent]) -> list[FoldEvent]:
        """These events, in canonical order and with none before them, without the statements that lose."""
        if not self.policies:
            return list(events)
        holders: dict[str, tuple[Trait | None, int]] = {}
        settled = []
        for event in events:
            lost = set()
            for name in event.traits.keys() & self.policies.keys():
                value, trust = event.traits[name], self.trust.get(event.source, 0)
                if name in holders and not self._wins(name, value, trust, *holders[name]):
                    lost.add(name)
                else:
                    holders[name] = (value, trust)
            settled.append(_without(event, lost))
        return settled

    def may_fold_on(self, state: ProfileState, events: Iterable[FoldEvent]) -> bool:
        """Whether new events state nothing that only the events before them can settle."""
        return all(
            same(event.traits[name], state.traits.get(name))
            for event in events
            for name in event.traits.keys() & self.policies.keys()
        )

    def _wins(self, name: str, value: Trait | None, trust: int, held: Trait | None, held_trust: int) -> bool:
        if self.policies[name] == "trusted":
            return trust >= held_trust
        return value is None or held is None or len(str(value)) >= len(str(held))


def _without(event: FoldEvent, lost: set[str]) -> FoldEvent:
    if not lost:
        return event
    return msgspec.structs.replace(event, traits={name: one for name, one in event.traits.items() if name not in lost})


def rules(session: Session) -> Rules:
    """What holds now."""
    policies = {row.name: row.policy for row in session.execute(text("SELECT name, policy FROM trait_policy"))}
    if not policies:
        return Rules()
    return Rules(policies, {row.id: row.trust for row in session.execute(text("SELECT id, trust FROM source"))})


def policies(session: Session) -> list[TraitPolicy]:
    """The traits that have a policy of their own, by name."""
    return list(session.scalars(select(TraitPolicy).order_by(TraitPolicy.name)))


def set_policy(session: Session, name: str, policy: str, now: datetime) -> tuple[str, str, str]:
    """Have a trait go by this policy; its name as traits are spelt, its policy before, and now. *newest* ends it.

    Signals from now on follow it, what is stored with the next rebuild. Raises InvalidInput naming the field.
    """
    spelt = trait_name(name)
    if not spelt or "\x00" in spelt:
        raise InvalidInput("name", "must be the name of a trait")
    if policy not in POLICIES:
        raise InvalidInput("policy", f"must be one of {', '.join(POLICIES)}")
    row = session.get(TraitPolicy, spelt)
    before = row.policy if row else "newest"
    if policy == "newest":
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
