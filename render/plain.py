"""A profile state as rules and models may choose by it: without sensitive categories, and asked since an instant."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from signals.moments import seconds_of
from signals.state import ProfileState

_SENSITIVE_MAPS: Final = ("categories", "views", "reviews", "registered")


def without(state: ProfileState, categories: frozenset[int]) -> ProfileState:
    """The state as if nothing had ever been known in these categories; the same object if nothing was.

    Segments and intents were folded before this point: they are kept, and must not be built on sensitive categories.
    """
    changed: dict[str, Any] = {}
    for name in _SENSITIVE_MAPS:
        entries = getattr(state, name)
        if not categories.isdisjoint(entries):
            changed[name] = {key: value for key, value in entries.items() if key not in categories}
    for name in ("recent", "cart"):
        lines = getattr(state, name)
        kept = tuple(line for line in lines if line.category not in categories)
        if len(kept) != len(lines):
            changed[name] = kept
    if "cart" in changed:
        changed["clues"] = {}
    return replace(state, **changed) if changed else state


def bought_since(state: ProfileState, category: int, since_ms: int) -> bool:
    """Whether something of a category was bought after an instant and kept: returns are not in the state any more.

    A category knows the second of its latest purchase; within the very second of `since_ms` the recent purchases, kept
    to the millisecond, decide.
    """
    stats = state.categories.get(category)
    if stats is None:
        return False
    since = seconds_of(since_ms)
    if stats.last_s != since:
        return stats.last_s > since
    return any(line.category == category and line.time_ms > since_ms for line in state.recent)
