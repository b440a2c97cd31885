"""What a person allows and where they may be mailed: consent by purpose with its history, and suppressed addresses.

Both are told with who said so, when, and on what evidence. A consent is stated anew and never edited; a suppressed
address is let go by a person who says why.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from base.errors import InvalidInput, NotFound
from campaigns import admin_log, customers
from campaigns.admin_log import Actor
from signals import consent, sealingkeys, suppression
from signals.consent import ConsentFact
from signals.consenthistory import NEWEST_SAID
from signals.contents import PURPOSES
from signals.events import Event
from signals.intake import Intake
from signals.profiles import Identifier
from signals.sources import INTERNAL, Source
from signals.suppression import Suppression, SuppressionChange

MAX_ADDRESSES: Final = 20
REACHED_AT: Final = ("email", "phone")
"""The identifiers that can be on the suppression list; a user id stays a person's whatever devices they have."""
MAX_STATEMENTS: Final = 200
PURPOSE_WORDS: Final = {
    "email": "Mails",
    "tracking": "Being followed: opens, clicks, visits",
    "profiling": "Being profiled: content and offers by what is known",
    "advertising": "Advertising: being named, hashed, to advertising channels",
    "sms": "Text messages",
    "push": "Messages to their devices",
}
SOURCE_WORDS: Final = {INTERNAL: "Latebind"}
VIA_WORDS: Final = {
    "one-click": "one-click link of a mail",
    "page": "preference page of a mail",
    "support": "support staff",
    "relay": "the mail server's refusal",
    "dsn": "a bounce that came back",
    "arf": "a complaint that came back",
    "person": "staff",
    "consent": "a newer consent",
}
"""By which way something was said; others keep their name."""
LISTED_WORDS: Final = {
    "bounced": "takes no messages any more",
    "complained": "reported our mail as unwanted",
    "unsubscribed": "unsubscribed by whoever reads it",
}
"""Why an address is on the list; other reasons keep their name."""


@dataclass(frozen=True)
class Statement:
    """One word on a purpose. `until` is when a newer one took its place, None while it holds."""

    purpose: str
    granted: bool
    at: datetime
    received_at: datetime
    source: str
    via: str | None
    wording: str | None
    until: datetime | None


@dataclass(frozen=True)
class Address:
    """One address of a person, of a `kind` in REACHED_AT. `mark` names it to `lift`.

    `reason` says why nothing goes there (None: it may).
    """

    mark: str
    kind: str
    value: str
    masked: str
    reason: str | None
    since: datetime | None
    changes: list[SuppressionChange]


def statements(session: Session, root: int) -> list[Statement]:
    """The history of a person's consent, the newest first; at most 200."""
    query = (
        select(ConsentFact)
        .join(Event, Event.id == ConsentFact.event_id)
        .where(ConsentFact.profile_id.in_(customers.members(session, root)))
        .order_by(text(NEWEST_SAID))
        .limit(MAX_STATEMENTS)
    )
    facts = sealingkeys.rows(session, query, ConsentFact.wording)
    told = select(Event).where(Event.id.in_([fact.event_id for fact in facts]))
    bodies = {event.id: event.body or {} for event in sealingkeys.rows(session, told, Event.body)}
    sources = dict(session.execute(select(Source.id, Source.name)).all())
    newer: dict[str, datetime] = {}
    found = []
    for fact in facts:
        source, via = sources[fact.source_id], (bodies[fact.event_id].get("properties") or {}).get("via")
        found.append(
            Statement(
                fact.purpose, fact.granted, fact.at, fact.received_at, SOURCE_WORDS.get(source, source), via,
                fact.wording, newer.get(fact.purpose),
            )
        )  # fmt: skip
        newer[fact.purpose] = fact.at
    return found


def standing(history: list[Statement]) -> dict[str, Statement | None]:
    """The statement that holds now of each purpose; None where nobody ever asked."""
    return {purpose: next((one for one in history if one.purpose == purpose), None) for purpose in PURPOSES}


def addresses(session: Session, root: int) -> list[Address]:
    """A person's addresses and phone numbers, each once, with what became of it on the suppression list; at most 20."""
    stated = (
        select(Identifier.profile_id, Identifier.type, customers.SEALED, Identifier.value_hash, Identifier.last_seen)
        .ext(distinct_on(Identifier.type, Identifier.value_hash))
        .where(Identifier.type.in_(REACHED_AT), Identifier.profile_id.in_(customers.members(session, root)))
        .order_by(Identifier.type, Identifier.value_hash, Identifier.last_seen.desc())
        .subquery()
    )
    rows = session.execute(select(stated).order_by(stated.c.last_seen.desc()).limit(MAX_ADDRESSES)).all()
    values = {row.value_hash: customers.identifier_name(session, row) for row in rows}
    on_list = select(Suppression).where(Suppression.address_hash.in_(list(values)))
    listed = {one.address_hash: one for one in session.scalars(on_list)}
    changes = suppression.changes(session, list(values))
    return [
        Address(
            hashed.hex(),
            name.type,
            name.value,
            name.masked,
            listed[hashed].reason if hashed in listed else None,
            listed[hashed].at if hashed in listed else None,
            [one for one in changes if one.address_hash == hashed],
        )
        for hashed, name in values.items()
    ]


def state(intake: Intake, root: int, purpose: str, granted: bool, why: str, now: datetime, by: Actor) -> None:
    """Keep what a customer told support of a purpose; in effect when this returns. `why` says when and how they did.

    Raises InvalidInput, NotFound for an erased customer, Unavailable.
    """
    wording = " ".join(why.split())
    if not wording or len(wording) > suppression.WHY_LENGTH:
        raise InvalidInput("why", f"say in 1 to {suppression.WHY_LENGTH} characters when and how they said so")
    name = f"support-{secrets.token_hex(16)}"

    def note(session: Session) -> None:
        # Not why: what a customer said belongs to them alone, and is kept with the word.
        said = {"purpose": purpose, "granted": granted}
        admin_log.record(session, by, "state consent", "customer", root, now, after=said)

    done = consent.set_consent(
        intake, root, purpose, granted, at=now, now=now, via="support", message_id=name, wording=wording, along=note
    )
    if not done:
        raise NotFound("customer", root)


def lift(session: Session, root: int, mark: str, why: str, now: datetime, by: Actor) -> None:
    """Let mail go to a suppressed address of this person again. Raises NotFound, InvalidInput without a reason."""
    hashed = next((one.mark for one in addresses(session, root) if one.mark == mark), None)
    if hashed is None:
        raise NotFound("address of this customer")
    who = f"user {by.user_id}" if by.user_id is not None else by.name
    reason = suppression.lift(session, bytes.fromhex(hashed), now, by=who, why=why)
    # Why is kept with the address, sealed.
    admin_log.record(session, by, "lift suppression", "customer", root, now, before={"reason": reason})
