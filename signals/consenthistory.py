"""A person's history of consent, as rows: written with the events that state it, made again from all events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.sealed import SealedText
from base.vault import vault_of
from signals.histories import Told

CONSENT_WORDING: Final = SealedText("consent.wording")

NEWEST_SAID: Final = """
    date_trunc('milliseconds', consent.at) DESC, event.message_id COLLATE "C" DESC, consent.source_id DESC
"""
"""How rows of `consent`, each with its `event`, are ordered, that which holds first: as signals are folded."""

_CONSENTED = text("""
    INSERT INTO consent (profile_id, purpose, granted, at, received_at, source_id, wording, event_id)
    SELECT e.profile_id, new.purpose, new.granted, e.event_time, e.received_at, e.source_id, new.wording, e.id
    FROM unnest(CAST(:events AS bigint[]), CAST(:purposes AS text[]), CAST(:granted AS boolean[]),
                CAST(:wordings AS bytea[])) AS new (event, purpose, granted, wording)
    JOIN event e ON e.id = new.event
""")


UNSUBSCRIBED: Final = "unsubscribed"
"""Why an address is on the list of those that get no mail when its reader said so; see `_WELCOMED`."""

_WELCOMED: Final = text("""
    WITH gone AS (
        DELETE FROM suppression x USING event e, profile p, profile m, identifier n
        WHERE e.id = ANY(CAST(:events AS bigint[])) AND p.id = e.profile_id AND m.root_id = p.root_id
          AND n.profile_id = m.id AND n.type = 'email' AND x.address_hash = n.value_hash
          AND x.reason = :reason AND x.at < e.event_time
        RETURNING x.address_hash, x.reason, e.event_time
    )
    INSERT INTO suppression_change (address_hash, at, listed, reason, via)
    SELECT address_hash, event_time, false, reason, 'consent' FROM gone
""")


def write_consents(session: Session, told: Iterable[Told], *, anew: bool = False) -> None:
    """Add the statements of consent in these events to the history.

    Who agrees to mail after somebody unsubscribed the same address takes it off the list of those that get none; not
    when a history is only written `anew`, for then whoever is one with them by now may have been another person.
    """
    rows = [
        (entry.event.arrival, purpose, granted, wording(entry.body or {}))
        for entry in told
        for purpose, granted in entry.event.consent.items()
    ]
    if rows:
        vault = vault_of(session)
        session.execute(
            _CONSENTED,
            {
                "events": [row[0] for row in rows],
                "purposes": [row[1] for row in rows],
                "granted": [row[2] for row in rows],
                "wordings": [row[3] and vault.seal(row[3].encode(), CONSENT_WORDING.place) for row in rows],
            },
        )
    agreed = [event for event, purpose, granted, _ in rows if purpose == "email" and granted]
    if agreed and not anew:
        session.execute(_WELCOMED, {"events": agreed, "reason": UNSUBSCRIBED})


_NO_CONSENTS = text("DELETE FROM consent WHERE profile_id = ANY(:members) AND event_id <> ALL(:kept)")


def rewrite_consents(session: Session, members: Sequence[int], told: Sequence[Told]) -> None:
    """Make the consent history of these profiles again from all events of theirs that state consent; what a damaged one
    stated stays as it is written."""
    kept = [entry.event.arrival for entry in told if entry.damaged]
    session.execute(_NO_CONSENTS, {"members": list(members), "kept": kept})
    write_consents(session, [entry for entry in told if not entry.damaged], anew=True)


def wording(body: Mapping[str, Any]) -> str | None:
    """The words a person agreed to or withdrew by, as the event gives them."""
    given = (body.get("properties") or {}).get("wording")
    return given[:2000] if isinstance(given, str) else None
