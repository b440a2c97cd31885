"""What support may ask: find a customer, their timeline, one open in full. Each look is logged."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
from flask import Response

from base.tokens import TokenKeys
from campaigns import access_log, audit, customers, dossier, erasure, evidence, timeline
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.campaigns import Moment
from campaigns.parts import parts
from campaigns.retention import Policy
from campaigns.views.acting import actor
from render.contact import mint_profile
from render.identity import MOST_MINUTES, mint_identity
from signals.identity import IdentifierType


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Any identifier of a customer, or an order number."""

    q: str


class IdentityIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A customer whom the asking server has signed in, by the identifier it knows; `minutes` are the token's life."""

    type: IdentifierType
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    minutes: Annotated[int, msgspec.Meta(ge=1, le=MOST_MINUTES)] = 60


class IdentityOut(msgspec.Struct, frozen=True):
    """`profile` for calls from servers; `person` for a page, as the snippet's `data-person`, until `until`."""

    profile: str
    person: str
    until: str


class FoundOut(msgspec.Struct, frozen=True):
    """A customer that was found, and by what."""

    profile: int
    name: str
    matched: str


class FoundList(msgspec.Struct, frozen=True):
    """At most 20 customers."""

    customers: list[FoundOut]


class NameOut(msgspec.Struct, frozen=True):
    """One identifier, its middle hidden; *damaged where it is stored* where it cannot be read any more."""

    type: str
    masked: str


class CustomerOut(msgspec.Struct, frozen=True):
    """What is known of a customer now. `state` is the profile state as readable JSON; null before any signal.

    `categories` are the names of those that the state gives by number; `erased_at` is when they were erased.
    """

    profile: int
    name: str
    members: list[int]
    identifiers: list[NameOut]
    erased: bool
    state: dict[str, Any] | None
    categories: dict[str, str] = {}
    erased_at: str | None = None


class LineOut(msgspec.Struct, frozen=True):
    """One line of a signal that can be corrected, and how it was: gift, not_for_me, wrong_person, already_own."""

    line: int
    words: str
    corrected: str | None


class EntryOut(msgspec.Struct, frozen=True):
    """One line of a timeline; `alarm` says that its records contradict others.

    `event` is a signal's number, `lines` what of it can be corrected, `complaint` the number of the one it opened.
    """

    at: str
    kind: str
    title: str
    detail: str
    decision: str | None
    offers: list[str]
    cents: int | None
    alarm: str | None
    event: int | None = None
    lines: list[LineOut] = []
    complaint: str | None = None


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a timeline: of one kind or all, before a moment."""

    kind: Literal["", "mail", "open", "click", "order", "signal", "disagreement"] = ""
    before: Moment | None = None


class TimelineOut(msgspec.Struct, frozen=True):
    """What happened, the newest first; `older` is the `before` of the next part, null at the end."""

    profile: int
    name: str
    entries: list[EntryOut]
    older: str | None


class OpenSlot(msgspec.Struct, frozen=True):
    """What one place showed, and why."""

    slot: int
    name: str
    offer_name: str
    why: list[str]
    others: list[str]


class OpenOut(msgspec.Struct, frozen=True):
    """One open: what was chosen and why, the fetches with the hash of their bytes, and what arrived later.

    A fetch says `instead` what was served in the place of what was chosen, where that was not ready in time. `alarms`
    tell of clicks that went to another offer than was shown.
    """

    id: str
    at: str
    sound: bool
    slots: list[OpenSlot]
    fetches: list[dict[str, Any]]
    late: list[str]
    alarms: list[str]


@api.post("/customers/search")
@allow("support")
@served(200, FoundList, "customers")
def find_customers(json: Query) -> FoundList:
    """Find customers by an identifier or an order number; it stands in the body, never in a URL."""
    with parts().transaction() as session:
        found = customers.find(session, json.q, parts().settings.hash_key, parts().settings.phone_regions)
        access_log.record(session, actor(), "search", parts().now(), detail={"found": len(found)})
    return FoundList([FoundOut(one.profile, one.name, one.matched) for one in found])


@api.get("/customers/<long:profile>")
@allow("support")
@served(200, CustomerOut, "customers", 404)
def get_customer(profile: int) -> CustomerOut:
    """What is known of one customer now."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        known = customers.document(session, root.id)
        access_log.record(session, actor(), "customer", parts().now(), profile_id=root.id)
        return CustomerOut(
            profile=root.id,
            name=customers.display_name(known, root.id),
            members=customers.members(session, root.id),
            identifiers=[NameOut(one.type, one.masked) for one in customers.names(session, root.id)],
            erased=root.erased_at is not None,
            state=customers.without_contacts(known),
            categories=customers.category_names(session, known),
            erased_at=None if root.erased_at is None else root.erased_at.isoformat(),
        )


@api.post("/customers/identity")
@allow("support")
@served(200, IdentityOut, "customers", 404)
def name_customer(json: IdentityIn) -> IdentityOut:
    """Name a customer to `/v1/decide`: to servers for good, to web pages until a moment. Of an address or phone that
    several state it is the one whom signals with it alone count for; a customer number is nobody else's."""
    until = parts().now() + timedelta(minutes=json.minutes)
    tokens = TokenKeys.from_settings(parts().settings)
    with parts().transaction() as session:
        profile = customers.known_as(session, json.type, json.value, parts().settings.hash_key)
    return IdentityOut(mint_profile(tokens, profile), mint_identity(tokens, profile, until), until.isoformat())


@api.post("/customers/<long:profile>/erase")
@allow("admin")
@served(200, Done, "customers", 404)
def erase_customer(profile: int) -> Done:
    """Erase a customer for ever: what is known of them, and what their opens were decided on. Totals stay."""
    erasure.erase_person(parts().intake, parts().blobs, profile, parts().now(), actor())
    return Done(state="erased")


@api.get("/customers/<long:profile>/export")
@allow("admin")
@served(200, None, "customers", 404)
def export_customer(profile: int) -> Response:
    """All that is kept of a customer, as one JSON document."""
    with parts().transaction() as session:
        key = parts().settings.subject_key
        made = dossier.export(session, parts().store, key, profile, parts().now(), actor())
    headers = {"Content-Disposition": f"attachment; filename=customer-{profile}.json"}
    return Response(dossier.chunks(made), content_type="application/json", headers=headers)


@api.get("/customers/<long:profile>/timeline")
@allow("support")
@served(200, TimelineOut, "customers", 404)
def get_timeline(profile: int, query: Span) -> TimelineOut:
    """One customer's timeline."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        people = customers.members(session, root.id)
        page = timeline.timeline(
            session,
            people,
            kind=query.kind or None,
            before=query.before,
            kept_since=Policy.of(parts().settings).kept_since(parts().now()),
        )
        name = customers.display_name(customers.document(session, root.id), root.id)
        access_log.record(session, actor(), "timeline", parts().now(), profile_id=root.id)
    return TimelineOut(
        root.id,
        name,
        [
            EntryOut(
                one.at.isoformat(), one.kind, one.title, one.detail, one.decision,
                [offer for _, offer in one.offers], one.cents, one.alarm, one.facts.get("event"),
                [LineOut(line.number, line.words, line.corrected) for line in one.facts.get("lines", ())],
                one.facts.get("case"),
            )
            for one in page.entries
        ],
        page.older.isoformat() if page.older else None,
    )  # fmt: skip


@api.get("/customers/<long:profile>/opens/<decision>")
@allow("support")
@served(200, OpenOut, "customers", 404, 410)
def get_open(profile: int, decision: str) -> OpenOut:
    """One open in full."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        people = customers.members(session, root.id)
        seen = audit.opening(session, parts().blobs, parts().settings.subject_key, decision, people)
        access_log.record(session, actor(), "open", parts().now(), profile_id=root.id, detail={"decision": decision})
    return OpenOut(
        id=seen.row.id,
        at=seen.row.at.isoformat(),
        sound=seen.sound,
        slots=[
            OpenSlot(one.slot, one.name, one.offer_name, list(one.why), [other.sentence for other in one.others])
            for one in seen.explanations
        ],
        fetches=[
            {
                "at": one.at.isoformat(),
                "slot": one.slot,
                "kind": one.kind,
                "what": one.words,
                "sha256": one.sha256,
                "rung": one.rung,
                "instead": one.instead,
            }
            for one in seen.fetches
        ],
        late=[f"{one.name} of {one.happened.isoformat()} arrived {one.arrived.isoformat()}" for one in seen.late],
        alarms=list(seen.alarms),
    )


@api.get("/customers/<long:profile>/opens/<decision>/evidence")
@allow("support")
@served(200, None, "customers", 404, 410)
def get_evidence(profile: int, decision: str) -> Response:
    """The evidence pack of one open: a ZIP that `latebind verify` checks offline."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        people = customers.members(session, root.id)
        key = parts().settings.subject_key
        made = evidence.pack(session, parts().blobs, key, decision, people, parts().now())
        access_log.record(
            session, actor(), "evidence", parts().now(), profile_id=root.id, detail={"decision": decision}
        )
    headers = {"Content-Disposition": f"attachment; filename={made.name}"}
    return Response(made.content, content_type="application/zip", headers=headers)


@api.get("/customers/<long:profile>/opens/<decision>/pictures/<sha256>")
@allow("support")
@served(200, None, "customers", 404, 410)
def get_open_picture(profile: int, decision: str, sha256: str) -> Response:
    """The very bytes that were served in an open, proven by their SHA-256."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        people = customers.members(session, root.id)
        key = parts().settings.subject_key
        copy = audit.picture(session, parts().blobs, key, decision, sha256, people)
        access_log.record(session, actor(), "picture", parts().now(), profile_id=root.id, detail={"decision": decision})
    return Response(copy.body, content_type=copy.content_type, headers={"Latebind-Copy": copy.origin})
