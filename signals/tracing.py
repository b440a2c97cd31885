"""What a stored signal came to: the form it folds in, and what of the person's state it changed when it arrived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from signals import folding, lineage
from signals.catalog import Categories, slugs
from signals.events import Event
from signals.fold import fold_all
from signals.foldevent import FoldEvent
from signals.histories import Told, readable_history, stored
from signals.measures import shown
from signals.moments import ms_of
from signals.profiles import Profile
from signals.state import ProfileState, document

MOST_EVENTS: Final = 5_000
"""Signals of a person that are folded twice to tell; of more the trace says that it cannot."""
_PASSED: Final = ("version", "order_keys", "segments", "scores", "household")
"""Of a state, what moves with every signal, is bookkeeping, or is computed elsewhere."""
_NOTHING: Final = FoldEvent(time_ms=0, message_id="", kind="other")


@dataclass(frozen=True, slots=True)
class Change:
    """A value of the state document before the signal and after it; None where there is none."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Trace:
    """A signal in the form that folds, its parts that say nothing left out; `changes` None where they cannot be told.

    The changes are those to the state of everybody who is that person now, by what had arrived until then.
    """

    form: dict[str, Any]
    changes: list[Change] | None


def trace(session: Session, categories: Categories, event: Event) -> Trace:
    """What a stored signal came to that is not damaged. Changes nothing; folds at most 5,000 signals twice."""
    names = {number: slug for slug, number in slugs(session).items()}
    root = session.scalar(select(Profile.root_id).where(Profile.id == event.profile_id))
    members = list(session.scalars(select(Profile.id).where(Profile.root_id == root)))
    number = session.scalar(select(func.count()).select_from(Event).where(Event.profile_id.in_(members))) or 0
    if number > MOST_EVENTS:
        return Trace(_form(stored(session, event.id, categories).event, names), None)
    told = [one for one in readable_history(session, members, categories) if one.event.arrival <= event.id]
    rules = lineage.rules(session)
    own = next(one for one in told if one.event.arrival == event.id)
    after = _folded(told, rules)
    before = _folded([one for one in told if one is not own], rules)
    return Trace(_form(own.event, names), list(_differences(_shown(before, names), _shown(after, names), "")))


def _folded(told: Sequence[Told], rules: lineage.Rules) -> ProfileState:
    events = rules.settle([one.event for one in told])
    copies = [Told(event, one.is_order, True) for event, one in zip(events, told, strict=True)]
    folding.counts_once(copies)
    return fold_all(copy.event for copy in copies if copy.folds)


def _form(event: FoldEvent, names: Mapping[int, str]) -> dict[str, Any]:
    plain = msgspec.to_builtins(event)
    nothing = msgspec.to_builtins(_NOTHING)
    form = {name: value for name, value in plain.items() if value != nothing[name] or name == "kind"}
    form["lines"] = [
        {"product": line.product, "category": names.get(line.category, ""),
         "quantity": shown(line.quantity, line.millionths), "cents": line.cents, "gift": line.gift,
         "coupon": line.coupon}
        for line in event.lines
    ]  # fmt: skip
    if event.category:
        form["category"] = names.get(event.category, event.category)
    return {name: value for name, value in form.items() if value != []}


def _shown(state: ProfileState, names: Mapping[int, str]) -> dict[str, Any]:
    plain = {name: value for name, value in document(state).items() if name not in _PASSED}
    for name in ("categories", "views", "reviews", "registered"):
        plain[name] = {names.get(int(key), key): value for key, value in plain[name].items()}
    return plain


def _differences(before: Any, after: Any, path: str) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, dict | None) and isinstance(after, dict | None):
        one, other = before or {}, after or {}
        for name in sorted(names := {*one, *other}):
            if name.endswith("_day") and f"{name[:-4]}_s" in names:
                continue  # The day of the moment beside it.
            yield from _differences(one.get(name), other.get(name), f"{path}.{name}".lstrip("."))
    else:
        yield Change(path, _readable(path, before), _readable(path, after))


def _readable(path: str, value: Any) -> Any:
    """A moment of the state as people write it; anything else as it is."""
    if path.endswith("_s") and isinstance(value, int):
        return datetime.fromtimestamp(ms_of(value) / 1000, UTC).isoformat()
    return value
