"""Consent at the intake: what is not kept of a person who refuses to be followed or profiled.

From the moment such a refusal is known, what they look at, put into carts and click is not stored at all, by whichever
key it is told. What a contract or their own word needs goes on: orders, returns, complaints, reviews, calls, details,
consent. A later agreement begins anew from there; nothing that was withheld comes back. Of what they do that was
refused for a fault, or contradicts what is stored, nothing is listed but what was wrong with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import Binaries
from base.errors import InvalidInput
from signals.consenthistory import NEWEST_SAID
from signals.contents import REFUSABLE
from signals.foldevent import LOOKS, FoldEvent, Kind, kind_of
from signals.folding import Root
from signals.identity import IdentifierType, normalised, value_hash
from signals.journal import Refusal
from signals.reading import Item
from signals.sources import Sender

BEHAVIOUR: Final[frozenset[Kind]] = frozenset(
    {"view", "list_view", "cart_add", "cart_remove", "cart", "checkout", "mail_open", "mail_click", "clue"}
)
NOT_KEPT: Final = "; it is not kept, since the person refuses it"


_REFUSING: Final = text(f"""
    SELECT DISTINCT root_id FROM (
        SELECT DISTINCT ON (p.root_id, consent.purpose) p.root_id, consent.granted
        FROM consent JOIN event ON event.id = consent.event_id JOIN profile p ON p.id = consent.profile_id
        WHERE p.root_id = ANY(:roots) AND consent.purpose = ANY(:purposes)
        ORDER BY p.root_id, consent.purpose, {NEWEST_SAID}
    ) AS newest WHERE NOT granted
""")  # noqa: S608 - a constant of ours


def permitted(
    session: Session, items: Sequence[Item], roots: Mapping[int, Root], sender: Sender, *, unsure: Collection[int] = ()
) -> list[Item]:
    """The items that may be kept; the others are marked as withheld. Their persons must be settled.

    A refusal in the same batch holds from its own time on, an agreement for what comes after the batch. Of the roots
    that are `unsure` the state does not tell, as it was lost or another was merged into them just now.
    """
    refusing = {number for number, root in roots.items() if number not in unsure and _is_refused(root)}
    if unsure:
        refusing.update(session.scalars(_REFUSING, {"roots": list(unsure), "purposes": list(REFUSABLE)}))
    said: dict[int, list[FoldEvent]] = {}
    for item in items:
        if item.told.event.consent:
            said.setdefault(item.person.root().id, []).append(item.told.event)
    kept = []
    for item in items:
        number = item.person.root().id
        words = [word for word in said.get(number, ()) if word.key <= item.told.event.key]
        if _is_behaviour(item.signal.kind, item.signal.type, sender) and (number in refusing or _refuses(words)):
            item.status = "withheld"
        else:
            kept.append(item)
    return kept


def listed(session: Session, sender: Sender, refusals: Sequence[Refusal], hash_key: bytes) -> list[Refusal]:
    """Refused calls as they may be kept: without a body where somebody whom it names refuses what it tells of them."""
    hidden = unlisted(session, sender, [(refusal.body, refusal.call) for refusal in refusals], hash_key)
    return [
        replace(refusal, body=b"", message=f"{refusal.message}{NOT_KEPT}") if number in hidden else refusal
        for number, refusal in enumerate(refusals)
    ]


_REFUSERS: Final = text("""
    SELECT DISTINCT w.place
    FROM unnest(CAST(:types AS text[]), CAST(:hashes AS bytea[])) WITH ORDINALITY AS w (type, value_hash, place)
    JOIN identifier i ON i.type = w.type AND i.value_hash = w.value_hash JOIN profile p ON p.id = i.profile_id
    JOIN profile_state s ON s.profile_id = p.root_id
    WHERE EXISTS (SELECT FROM unnest(CAST(:purposes AS text[])) AS o (purpose)
                  WHERE s.document -> 'consent' ->> o.purpose = 'false')
""")


def unlisted(session: Session, sender: Sender, calls: Sequence[tuple[bytes, str]], hash_key: bytes) -> set[int]:
    """Which of these calls (bytes, and the type their address named) tell of behaviour of somebody who refuses it.

    Nobody is resolved here: whoever owns or shares one of the identifiers in a call is taken to be meant.
    """
    named = {number: found for number, one in enumerate(calls) if (found := set(_named(*one, sender)))}
    wanted = sorted({one for found in named.values() for one in found})
    if not wanted:
        return set()
    given = {"types": [kind for kind, _ in wanted], "hashes": Binaries(value_hash(hash_key, *one) for one in wanted)}
    places = session.scalars(_REFUSERS, given | {"purposes": list(REFUSABLE)})
    refusers = {wanted[place - 1] for place in places}
    return {number for number, found in named.items() if found & refusers}


def _named(body: bytes, call: str, sender: Sender) -> Iterator[tuple[IdentifierType, str]]:
    """The identifiers in a call that tells of behaviour; none in one that tells of anything else, or is unreadable."""
    try:
        raw: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    if not isinstance(raw, dict):
        return
    type_, event = str(raw.get("type") or call), raw.get("event")
    if not _is_behaviour(kind_of(type_, event if isinstance(event, str) else None), type_, sender):
        return
    context = raw.get("context")
    traits = context.get("traits") if isinstance(context, dict) else None
    told = traits if isinstance(traits, dict) else {}
    places: tuple[tuple[IdentifierType, Any], ...] = (
        ("user_id", raw.get("userId")), ("anonymous_id", raw.get("anonymousId")), ("email", told.get("email")),
        ("phone", told.get("phone")), ("loyalty_id", told.get("loyaltyId")), ("loyalty_id", told.get("loyalty_id")),
    )  # fmt: skip
    for kind, value in places:
        if isinstance(value, str | int) and "\x00" not in str(value):
            with suppress(InvalidInput):
                yield kind, normalised(kind, str(value))


def _is_behaviour(kind: Kind, type_: str, sender: Sender) -> bool:
    """Whether an event tells of what somebody did unasked; what a browser tells without a known name does."""
    return kind in BEHAVIOUR or type_ in LOOKS or (kind == "other" and not sender.is_server)


def _is_refused(root: Root) -> bool:
    """Whether a person has refused, by what was known before the batch."""
    return root.state is not None and any(root.state.consent.get(purpose) is False for purpose in REFUSABLE)


def _refuses(words: Sequence[FoldEvent]) -> bool:
    """Whether the newest of some statements on a purpose refuses it."""
    newest: dict[str, bool] = {}
    for word in sorted(words, key=lambda word: word.key):
        newest |= word.consent
    return any(newest.get(purpose) is False for purpose in REFUSABLE)
