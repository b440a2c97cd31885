"""`POST /v1/decide`: the decision a mail would show, for a site, an app or a call.

A contact (campaign, channel, placement, request, profile) plays the delivery's part: it holds, it uses caps and it is
recorded as an open is. The same request asked again gets the same decision while that holds.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from base import keys
from base.clock import monotonic
from base.errors import BadToken, InvalidInput, Unavailable
from base.tokens import WHOLE_MAIL, Purpose, Token, TokenKeys, day_of, second_number
from render import respond
from render.agree import Names
from render.cache import Picture
from render.classify import Verdict
from render.fetch import Fetch, Open
from render.open import find_open
from render.parts import Parts
from render.recording import answer_record
from render.respond import Answer
from signals.moments import unix_ms

MAX_BODY: Final = 16_384
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")]

Asked = TypeVar("Asked")


class DecideIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks for what. `profile` is the person's token from our API (`mint_profile`); `placement` a slot's name.

    `request` tells contacts of one placement apart, such as a call's or a session's number; asked again, it is the same
    contact.
    """

    campaign: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    channel: Name
    placement: Name
    profile: Annotated[str, Meta(max_length=100)]
    request: Name


class ChosenOut(Struct, frozen=True, kw_only=True):
    """What one placement shows. `fields` are the texts and whole numbers (minor units) of its creative."""

    slot: int
    name: str
    offer: int
    offer_name: str
    kind: str
    fields: dict[str, str | int]
    landing: str


class DecideOut(Struct, frozen=True, kw_only=True):
    """The decision; empty for a placement that the campaign does not have."""

    decision: str
    held: bool
    slots: list[ChosenOut]


_read: Final = msgspec.json.Decoder(DecideIn).decode


def mint_profile(tokens: TokenKeys, profile: int) -> str:
    """The text by which a person is named in calls of the API: opaque, and of no use in a URL."""
    return tokens.mint(Token(Purpose.PROFILE, profile, 0, 0))


def decide_contact(parts: Parts, body: bytes, environ: Mapping[str, object]) -> Answer:
    """Answer `POST /v1/decide`."""
    started = monotonic()
    refusal = refused_key(parts, environ)
    if refusal is not None:
        return refusal
    try:
        asked = read_request(body)
    except InvalidInput as error:
        return fault("400 Bad Request", error.field, error.message)
    return decide_for(parts, asked, started)


def decide_for(parts: Parts, asked: DecideIn, started: float) -> Answer:
    """The answer to somebody who may ask; `started` are monotonic seconds."""
    try:
        fetch = fetch_for(
            parts, asked.profile, asked.campaign, (asked.channel, asked.placement, asked.request), started
        )
    except InvalidInput as error:
        return fault("400 Bad Request", error.field, error.message)
    if not may_have(parts, asked.campaign, asked.placement):
        return respond.json(DecideOut(decision=secrets.token_hex(16), held=False, slots=[]))
    opened = find_open(parts, fetch)
    if opened is None:
        return fault("404 Not Found", "campaign", "There is no such campaign, or nothing of it is published.")
    answer = _answer(opened, asked.placement)
    if opened.is_recorded:
        content = Picture(msgspec.json.encode(answer), "application/json", is_personal=True)
        if not parts.opening.mark(fetch, opened, None, answer_record(fetch, opened, content, "drawn", None)):
            return try_again("The decision could not be kept.")
    parts.metrics.count("contacts")
    return respond.json(answer)


def refused_key(parts: Parts, environ: Mapping[str, object]) -> Answer | None:
    """What a caller is told who has no server key; None where it has one."""
    try:
        key = parts.keyring.read(str(environ.get("HTTP_AUTHORIZATION", "")))
    except Unavailable:
        return try_again("The store is away; try again.")
    if key is None:
        return fault("401 Unauthorized", "", "An API key is needed.", [("WWW-Authenticate", "Bearer")])
    return None if key.kind == "server" else fault("403 Forbidden", "", "A site key cannot speak for a person.")


def read_request(body: bytes) -> DecideIn:
    """The request. Raises InvalidInput naming the field."""
    return read_body(body, _read)


def read_body(body: bytes, read: Callable[[bytes], Asked]) -> Asked:
    """What a body asks, in the form that `read` knows. Raises InvalidInput naming the field."""
    if len(body) > MAX_BODY:
        raise InvalidInput("", f"The body is larger than {MAX_BODY} bytes.")
    try:
        return read(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise InvalidInput(path.rstrip("`"), message) from None
    except msgspec.DecodeError:
        raise InvalidInput("", "The body is not JSON.") from None


def may_have(parts: Parts, campaign: int, placement: str) -> bool:
    """Whether a campaign may have such a slot.

    One that it has not begins no contact: each name made up would use caps, and a key of the hot store, of its own.
    """
    running = parts.lookup.running(campaign, unix_ms(parts.now()))
    plan = running.plan if running is not None else None
    return plan is None or any(slot.name == placement for slot in plan.slots)


def contact_fetch(
    parts: Parts,
    profile: int,
    campaign: int,
    contact: tuple[str, str, str],
    started: float,
    picture: tuple[Token, str] | None = None,
) -> Fetch:
    """What a contact (channel, placement, request) asks for, for one person; profile 0 is nobody.

    It asks for a decision, or for the `picture` of this token and kind in the contact's open.
    """
    now = parts.now()
    mark = contact_mark(campaign, contact)
    whole = Token(Purpose.HTML, profile, campaign, 0, WHOLE_MAIL, sent_s=counted_from(now))
    token, kind = picture or (whole, "decide")
    return Fetch(
        token=token,
        delivery=token.delivery,
        kind=kind,
        names=Names(keys.state(profile), keys.contact(profile, mark), keys.used(profile)),
        delivery_name=f"contact.{mark}",
        verdict=Verdict("person", {"channel": contact[0]}),
        now=now,
        now_ms=unix_ms(now),
        started=started,
        deadline=started + parts.deadline_seconds,
        contact="/".join(contact),
    )


def fetch_for(parts: Parts, person: str, campaign: int, contact: tuple[str, str, str], started: float) -> Fetch:
    """The fetch of a contact with the person whom a token names. Raises InvalidInput for another token."""
    try:
        profile = parts.tokens.read(person, Purpose.PROFILE).profile
    except BadToken:
        raise InvalidInput("profile", "is not a person's token") from None
    return contact_fetch(parts, profile, campaign, contact, started)


def contact_mark(campaign: int, contact: tuple[str, str, str]) -> str:
    """The name of a contact (channel, placement, request) among a person's keys."""
    return hashlib.sha256("\0".join((str(campaign), *contact)).encode()).hexdigest()[:24]


def counted_from(now: datetime) -> int:
    """The second from which a contact counts what was bought, as a token has it: no mail was sent before it, so
    that is the beginning of its day."""
    return day_of(second_number(now))


def _answer(opened: Open, placement: str) -> DecideOut:
    slots = []
    for slot in opened.plan.slots:
        chosen = opened.in_slot(slot.index)
        if slot.name != placement or chosen is None:
            continue
        offer = opened.plan.offer_by_id[chosen.offer]
        slots.append(
            ChosenOut(
                slot=slot.index,
                name=slot.name,
                offer=offer.id,
                offer_name=offer.name,
                kind=offer.kind,
                fields=chosen.fields,
                landing=offer.landing_for(chosen.product),
            )
        )
    decision = opened.decision if opened.is_recorded else secrets.token_hex(16)
    return DecideOut(decision=decision, held=not opened.is_new, slots=slots)


def try_again(message: str) -> Answer:
    """What a caller is told where something is away."""
    return fault("503 Service Unavailable", "", message, [("Retry-After", "1")])


def fault(status: str, field: str, message: str, extra: respond.Headers | None = None) -> Answer:
    """What a caller is told that cannot be served: the field at fault, and one sentence."""
    return respond.json({"error": {"field": field, "message": message}}, status, extra)
