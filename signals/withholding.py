"""Consent at the intake: what is not kept of a person who refuses to be followed or profiled.

From the moment such a refusal is known, what they look at, put into carts and click is not stored at all, by whichever
key it is told. What a contract or their own word needs goes on: orders, returns, complaints, reviews, calls, details,
consent. A later agreement begins anew from there; nothing that was withheld comes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from signals.contents import REFUSABLE
from signals.foldevent import FoldEvent, Kind
from signals.folding import Root
from signals.reading import Item
from signals.sources import Sender

BEHAVIOUR: Final[frozenset[Kind]] = frozenset(
    {"view", "list_view", "cart_add", "cart_remove", "cart", "checkout", "mail_open", "mail_click", "clue"}
)
LOOKS: Final = ("page", "screen")
"""Calls that tell of a look at something, whatever it is named."""


def permitted(items: Sequence[Item], roots: Mapping[int, Root], sender: Sender) -> list[Item]:
    """The items that may be kept; the others are marked as withheld. Their persons must be settled.

    A refusal in the same batch holds from its own time on, an agreement for what comes after the batch.
    """
    said: dict[int, list[FoldEvent]] = {}
    for item in items:
        if item.told.event.consent:
            said.setdefault(item.person.root().id, []).append(item.told.event)
    kept = []
    for item in items:
        number = item.person.root().id
        words = [word for word in said.get(number, ()) if word.key <= item.told.event.key]
        if _is_behaviour(item, sender) and (_is_refused(roots[number]) or _refuses(words)):
            item.status = "withheld"
        else:
            kept.append(item)
    return kept


def _is_behaviour(item: Item, sender: Sender) -> bool:
    """Whether an event tells of what somebody did unasked; what a browser tells without a known name does."""
    kind = item.signal.kind
    return kind in BEHAVIOUR or item.signal.type in LOOKS or (kind == "other" and not sender.is_server)


def _is_refused(root: Root) -> bool:
    """Whether a person has refused, by what was known before the batch."""
    return root.state is not None and any(root.state.consent.get(purpose) is False for purpose in REFUSABLE)


def _refuses(words: Sequence[FoldEvent]) -> bool:
    """Whether the newest of some statements on a purpose refuses it."""
    newest: dict[str, bool] = {}
    for word in sorted(words, key=lambda word: word.key):
        newest |= word.consent
    return any(newest.get(purpose) is False for purpose in REFUSABLE)
