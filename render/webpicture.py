"""`GET /s/<token>`: the picture of a web page's slot, drawn as a mail's is, in the open that the page was told of.

`POST /v1/decide` hands the addresses out (render/site.py), so whoever has one was let in there: by a site key, from one
of its origins. An address names the person for the day on which it was made and the next; after that, and where it is
fetched too often, nobody is looked up. Like a mail's it always ends in a picture of its size with status 200.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from base.clock import monotonic
from base.errors import BadToken
from base.logs import logger
from base.tokens import DAY_SECONDS, Purpose, Token, day_of, second_number
from render import respond
from render.contact import contact_fetch
from render.encode import CONTENT_TYPES
from render.fetch import Fetch
from render.open import serve
from render.parts import Parts
from render.plan import Slot
from render.respond import Answer
from signals.moments import unix_ms

PATH: Final = "/s/"
CHANNEL: Final = "site"
VISIT: Final = "page"
"""The request of every page's contact: a slot holds for a person, whichever page of the site it stands on."""
KINDS: Final = {Purpose.SLOT: "picture", Purpose.SLOT_DARK: "dark"}
DAYS: Final = 1
"""Days after its own on which an address still names the person: a page that was left open over night."""
RATE: Final = (20.0, 200.0)
"""Pictures of one person per second and at once, in each process: a page may have many, in light and in dark."""


def picture_address(parts: Parts, purpose: Purpose, profile: int, campaign: int, slot: Slot) -> str:
    """The address of a slot's picture for a person, without a host; profile 0 is a stranger's."""
    token = Token(purpose, profile, campaign, 0, slot.index, slot.width, slot.height, slot.web_fmt, _today(parts))
    return f"{PATH}{parts.tokens.mint(token)}.{slot.web_fmt}"


def open_web_picture(parts: Parts, name: str) -> Answer:
    """Answer `GET /s/<token>.<format>`; never raises."""
    started = monotonic()
    token = _token(parts, name)
    if token is None:
        parts.metrics.count("forged")
        return respond.picture(parts.pictures.neutral())
    fetch = _fetch(parts, token, started)
    try:
        served = serve(parts, fetch)
    except Exception as error:  # noqa: BLE001 - a page shows a picture too, whatever happens
        logger(__name__).error("web picture failed", error=type(error).__name__, exc_info=error)
        parts.metrics.count("errors", value="open")
        parts.metrics.count("unrecorded")
        served = parts.ladder.static(fetch)
    parts.metrics.count("answers", value=served.rung)
    return respond.picture(served.picture)


def head_web_picture(parts: Parts, name: str) -> Answer:
    """Answer `HEAD /s/<token>`: the type, without deciding, reading or recording anything."""
    token = _token(parts, name)
    return respond.picture_head(CONTENT_TYPES[token.fmt] if token else parts.pictures.neutral().content_type)


def _token(parts: Parts, name: str) -> Token | None:
    for purpose in KINDS:
        try:
            return parts.tokens.read(name.partition(".")[0], purpose)
        except BadToken:
            continue
    return None


def _fetch(parts: Parts, token: Token, started: float) -> Fetch:
    """What is asked for: in the person's contact with the slot, or for a stranger."""
    is_named = 0 <= _today(parts) - token.sent_s <= DAYS * DAY_SECONDS
    if not is_named or not parts.rates.take(f"picture:{token.profile}", *RATE):
        token = replace(token, profile=0)
    running = parts.lookup.running(token.campaign, unix_ms(parts.now()))
    plan = running.plan if running is not None else None
    slot = plan.slot_by_index.get(token.slot) if plan is not None else None
    if slot is None:
        # A slot that was taken away since: no contact is begun for it, which would use caps for nothing.
        token = replace(token, profile=0)
    contact = (CHANNEL, slot.name if slot is not None else "", VISIT)
    return contact_fetch(parts, token.profile, token.campaign, contact, started, (token, KINDS[token.purpose]))


def _today(parts: Parts) -> int:
    """The day of an address, as its first second: what was bought counts from there, as for the page's own contact."""
    return day_of(second_number(parts.now()))
