"""`POST /v1/outcome`: what a person said to the offer of a contact, told by whoever spoke with them.

The answer is written down with the mark that it was given, in one write: told again it changes nothing, and another
answer to the same showing is refused. It uses no cap, which the decision did; offers that tire count it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from base.clock import monotonic
from base.errors import InvalidInput, Unavailable
from base.tokens import WHOLE_MAIL
from render import respond
from render.agree import Change
from render.click import after_answer
from render.contact import Name, fault, fetch_for, read_body, refused_key, try_again
from render.current import after_fetch
from render.facts import ANSWERS, Chosen, Lane, encode_shown
from render.facts import Answer as AnswerGiven
from render.fetch import Fetch
from render.lookup import Running
from render.opening import Read
from render.parts import Parts
from render.permission import may_record
from render.plan import Plan
from render.record import ClickRecord
from render.respond import Answer

MAX_ROUNDS: Final = 8


class OutcomeIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contact as `/v1/decide` was asked for it, the slot that it answered with, and what the person said.

    `decision` is the one it answered with: where it is given, what was decided since in this contact is left alone.
    """

    campaign: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    channel: Name
    placement: Name
    profile: Annotated[str, Meta(max_length=100)]
    request: Name
    slot: Annotated[int, Meta(ge=0, lt=WHOLE_MAIL)]
    outcome: Literal["taken", "refused"]
    decision: Annotated[str, Meta(max_length=64)] | None = None


class OutcomeOut(Struct, frozen=True, kw_only=True):
    """What is on record. `repeated` says that it was before this call."""

    decision: str
    slot: int
    offer: int
    outcome: AnswerGiven
    repeated: bool


_read: Final = msgspec.json.Decoder(OutcomeIn).decode


def tell_outcome(parts: Parts, body: bytes, environ: Mapping[str, object]) -> Answer:
    """Answer `POST /v1/outcome`."""
    started = monotonic()
    refusal = refused_key(parts, environ)
    if refusal is not None:
        return refusal
    try:
        told = read_body(body, _read)
    except InvalidInput as error:
        return fault("400 Bad Request", error.field, error.message)
    return keep(parts, told, started)


def keep(parts: Parts, told: OutcomeIn, started: float) -> Answer:
    """Keep what was told by somebody who may tell it; `started` are monotonic seconds."""
    try:
        fetch = fetch_for(parts, told.profile, told.campaign, (told.channel, told.placement, told.request), started)
    except InvalidInput as error:
        return fault("400 Bad Request", error.field, error.message)
    running, personal = parts.lookup.read(told.campaign, fetch.names, fetch.now_ms)
    if personal is None:
        return try_again("The store is away; try again.")
    if running is None or running.plan is None:
        return fault("404 Not Found", "campaign", "There is no such campaign, or nothing of it is published.")
    read = Read(personal)
    for _ in range(MAX_ROUNDS):
        answer = _told(parts, fetch, running, running.plan, read, told)
        if isinstance(answer, Answer):
            return answer
        read = answer
    return try_again("Others kept writing; try again.")


def answer_in(lane: Lane, slot: int) -> AnswerGiven | None:
    """What a person said to what an open shows in a slot, None while nothing was told."""
    return next((answer for answer in ANSWERS if (slot, answer) in lane.served), None)


def _told(parts: Parts, fetch: Fetch, running: Running, plan: Plan, read: Read, told: OutcomeIn) -> Answer | Read:
    """The answer; or what another process wrote meanwhile, to look at once more."""
    lane = read.shown.live
    shown_by = plan if lane.plan == running.plan_hash else parts.lookup.plan(lane.plan) if lane.plan else None
    slot = shown_by.slot_by_index.get(told.slot) if shown_by is not None else None
    chosen = lane.in_slot(told.slot)
    if not lane.open_number or not may_record(read.state, plan):
        return fault("404 Not Found", "request", "Nothing was decided in this contact that could be answered.")
    if shown_by is None and lane.plan:
        return try_again("The plan of this contact cannot be read; try again.")
    if shown_by is None or chosen is None or slot is None or slot.name != told.placement:
        return fault("400 Bad Request", "slot", "was not decided on in this contact")
    if told.decision is not None and told.decision != lane.decision:
        return fault("409 Conflict", "decision", "Another decision was made in this contact since.")
    before = answer_in(lane, told.slot)
    if before == told.outcome:
        return respond.json(_answer(lane, chosen, before, repeated=True))
    if before is not None:
        return fault("409 Conflict", "outcome", f"The offer was {before}, as was told before.")
    after = after_fetch(lane, told.slot, told.outcome, None)
    shown = encode_shown(read.shown.with_lane("live", after, fetch.now_ms))
    used = after_answer(read.personal.used, shown_by.offer_by_id.get(chosen.offer), told.outcome, fetch.now_ms)
    entry = parts.recorder.sealed((_record(fetch, lane, chosen, told),))
    try:
        theirs = parts.agreement.write(fetch.names, read.personal, Change(shown, used, entry))
    except Unavailable:
        return try_again("The outcome could not be kept.")
    if theirs is not None:
        return Read(theirs)
    parts.metrics.count("outcomes", value=told.outcome)
    return respond.json(_answer(lane, chosen, told.outcome, repeated=False))


def _answer(lane: Lane, chosen: Chosen, outcome: AnswerGiven, *, repeated: bool) -> OutcomeOut:
    return OutcomeOut(
        decision=lane.decision, slot=chosen.slot, offer=chosen.offer, outcome=outcome, repeated=repeated
    )  # fmt: skip


def _record(fetch: Fetch, lane: Lane, chosen: Chosen, told: OutcomeIn) -> ClickRecord:
    return ClickRecord(
        id=hashlib.sha256(f"outcome\0{lane.decision}\0{chosen.slot}".encode()).hexdigest()[:32],
        at_ms=fetch.now_ms,
        profile=fetch.token.profile,
        campaign=fetch.token.campaign,
        occurrence=fetch.token.occurrence,
        slot=chosen.slot,
        fetch_class=fetch.verdict.fetch_class,
        evidence=fetch.verdict.evidence,
        decision=lane.decision,
        offer=chosen.offer,
        outcome=told.outcome,
    )
