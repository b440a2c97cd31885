"""A click goes to the offer last shown to a person in that block, not to a newer one.

What was shown is read from the delivery's shown key; where nothing can be told, the click goes to the plan's default
page and its record says why. A campaign of tracking level anonymous keeps nothing of what was shown: there a click goes
to what would be shown now. An offer that ended or sold out since it was seen gets an honest page, never another
product.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from markupsafe import escape
from msgspec.structs import replace

from base.clock import monotonic
from base.errors import BadToken, Unavailable
from base.tokens import WHOLE_MAIL, Purpose
from render import respond
from render.agree import Change, Personal
from render.anonymous import anonymous_open
from render.classify import Verdict, told
from render.facts import DAY_MS, LastShown, Used, decode_used, encode_used
from render.facts import Answer as AnswerGiven
from render.fetch import Fetch
from render.lookup import Look, Running, understood
from render.notice import not_found, notice, try_again
from render.open import Environ, fetch_of, is_nobodys, note_unrecorded
from render.opening import Read
from render.parts import Parts
from render.permission import may_record
from render.plan import Offer, Plan
from render.record import ClickRecord
from render.recording import anonymous_record
from render.respond import Answer
from signals.productfacts import ProductFacts
from signals.state import decode as decode_state

MAX_ANSWER_ROUNDS: Final = 8
_SENTENCES: Final = {
    "ended": "The offer you saw in your mail has ended.",
    "out of stock": "What you saw in your mail is out of stock.",
}


@dataclass(frozen=True, slots=True)
class Destination:
    """What a click was resolved to.

    `outcome` is redirect, default, ended, out of stock, unseen, unresolved, or trap for the link that no reader sees.
    """

    outcome: str
    landing: str
    sight: LastShown | None = None
    is_ambiguous: bool = False


def follow_click(parts: Parts, text: str, environ: Environ) -> Answer:
    """Answer `GET /c/<token>`."""
    started = monotonic()
    try:
        token = parts.tokens.read(text, Purpose.CLICK)
    except BadToken:
        parts.metrics.count("forged")
        parts.metrics.count("clicks", value="not_found")
        return not_found()
    fetch = fetch_of(parts, token, "click", environ, started)
    if token.slot == WHOLE_MAIL:
        fetch = _trapped(fetch)
    if is_nobodys(parts, token, fetch.now_ms):
        look = Look(parts.lookup.running(token.campaign, fetch.now_ms), None)
    else:
        look = parts.lookup.read(token.campaign, fetch.names, fetch.now_ms)
    if look.running is None or look.running.plan is None:
        parts.metrics.count("clicks", value="unresolved")
        return _nowhere()
    read = Read(look.personal) if look.personal is not None else None
    is_followed = token.profile and look.running.plan.tracking != "none"
    if not is_followed or not may_record(read.state if read is not None else None, look.running.plan):
        parts.metrics.count("not_recorded")
        return _answer(look.running.plan, Destination("default", look.running.plan.default_landing))
    if look.running.plan.tracking == "anonymous":
        return _answer(look.running.plan, _decided_anew(parts, fetch, look.running, look.running.plan, look.personal))
    destination = resolve_click(parts, fetch, look.running, look.running.plan, read)
    # A click that cannot be written down is still followed: the person did nothing wrong.
    parts.recorder.accept((_record(fetch, destination),), fetch.deadline)
    if read is not None and fetch.verdict.fetch_class == "person" and destination.sight is not None:
        note_answer(parts, fetch, read, look.running.plan.offer_by_id.get(destination.sight.offer), "taken")
    parts.metrics.count("clicks", value=_counted(destination.outcome))
    return _answer(look.running.plan, destination)


def note_answer(parts: Parts, fetch: Fetch, read: Read, offer: Offer | None, answer: AnswerGiven) -> bool:
    """Count for the person that they took an offer or refused it; False where nothing asks for that, or it failed.

    Only offers that tire, or belong to a group that may, are counted. What cannot be written now is restored from the
    records when the key is lost, and else forgotten: the offer then counts as ignored once more.
    """
    personal = read.personal
    for _ in range(MAX_ANSWER_ROUNDS):
        used = after_answer(personal.used, offer, answer, fetch.now_ms)
        if used is None:
            return False
        try:
            theirs = parts.agreement.write(fetch.names, personal, Change(personal.shown or b"", used))
        except Unavailable:
            return False
        if theirs is None:
            return True
        personal = theirs
        if not may_record(understood(decode_state, personal.state)):
            return False
    return False


def after_answer(used: bytes | None, offer: Offer | None, answer: AnswerGiven, now_ms: int) -> bytes | None:
    """The used key with one more answer in it; None for an offer that does not tire, nor its group."""
    if offer is None or not (offer.fatigue or offer.group):
        return None
    known = understood(decode_used, used) or Used()
    return encode_used(known.answered(offer.id, offer.group, answer, now_ms))


def _decided_anew(parts: Parts, fetch: Fetch, running: Running, plan: Plan, personal: Personal | None) -> Destination:
    """Where a click goes that nothing may be known of: to the offer decided on now, and it is counted for nobody."""
    opened = anonymous_open(parts, fetch, running, plan, personal)
    if not opened.is_recorded:
        note_unrecorded(parts, fetch, opened)
        return Destination("default", plan.default_landing)
    chosen = opened.in_slot(fetch.token.slot) if not opened.lane.refused else None
    if fetch.token.slot == WHOLE_MAIL:
        destination = Destination("trap", plan.default_landing)
    elif chosen is None:
        destination = Destination("unresolved", plan.default_landing)
    else:
        landing = plan.offer_by_id[chosen.offer].landing_for(chosen.product)
        destination = Destination("redirect", _allowed(plan, landing))
    made = anonymous_record(fetch, chosen.offer if chosen is not None else None, destination.outcome)
    parts.recorder.accept((*opened.records, made), fetch.deadline)
    parts.metrics.count("clicks", value=destination.outcome)
    return destination


def _trapped(fetch: Fetch) -> Fetch:
    """The fetch of the link that no reader sees, with what that tells."""
    verdict = fetch.verdict
    evidence = verdict.evidence | {"trap": True}
    kept = verdict.fetch_class in ("test", "staff")
    return replace(fetch, verdict=Verdict(verdict.fetch_class if kept else told(evidence), evidence))


def resolve_click(parts: Parts, fetch: Fetch, running: Running, plan: Plan, read: Read | None) -> Destination:
    """Where the click goes, and what is known about what was seen."""
    if fetch.token.slot == WHOLE_MAIL:
        return Destination("trap", plan.default_landing)
    if read is None:
        return Destination("unresolved", plan.default_landing)
    lane = read.shown.lane("test" if fetch.delivery.is_test else "live")
    sights = lane.shown.get(fetch.token.slot, ())
    if not sights:
        expired = fetch.now_ms - fetch.token.sent_ms > plan.lifetime_days * DAY_MS
        lost = read.state is None or (expired and not lane.open_number)
        return Destination("unresolved" if lost else "unseen", plan.default_landing)
    last = sights[-1]
    # What was seen belongs to the plan it was decided by, even when another has been published since.
    seen_by = last.plan or lane.plan
    shown_by = plan if seen_by == running.plan_hash else parts.lookup.plan(seen_by) or plan
    offer = shown_by.offer_by_id.get(last.offer)
    ambiguous = is_ambiguous(sights, fetch.now_ms, plan.hold_s * 1000)
    outcome = "ended" if offer is None else _validity(offer, last.product, running, shown_by, fetch.now_ms)
    landing = plan.default_landing
    if offer is not None and outcome == "redirect":
        landing = _allowed(shown_by, offer.landing_for(last.product))
    return Destination(outcome, landing, last, ambiguous)


def is_ambiguous(sights: tuple[LastShown, ...], now_ms: int, hold_ms: int) -> bool:
    """Whether another offer than the last shown may be what the person saw.

    So it is if two decisions were shown within the hold, or if an earlier fetch that may have been a machine's (and so
    may be the copy that is looked at) showed another offer.
    """
    last = sights[-1]
    recent = {sight.decision for sight in sights if now_ms - sight.at_ms < hold_ms}
    if len(recent) > 1:
        return True
    shown = (last.offer, last.product)
    return any(
        sight.fetch_class == "undecided" and (sight.offer, sight.product) != shown for sight in sights[:-1]
    )  # fmt: skip


def _validity(offer: Offer, picked: str, running: Running, plan: Plan, now_ms: int) -> str:
    """Whether the offer that was seen may still be had; `picked` is the product that was picked for it, if one was."""
    if offer.id in plan.default_ids:
        return "redirect"
    live = running.live
    if live is not None and (live.state != "live" or offer.id in live.withdrawn):
        return "ended"
    if offer.ends_ms is not None and now_ms >= offer.ends_ms:
        return "ended"
    over = [_is_over(offer, running.products.get(name)) for name in offer.all_products or (picked,)]
    return "out of stock" if (any if offer.kind == "bundle" else all)(over) else "redirect"


def _is_over(offer: Offer, product: ProductFacts | None) -> bool:
    """Whether a product of an offer is known to be sold no more; of several, opens ask for stock anyway."""
    if product is None:
        return False
    asks_stock = offer.needs_stock or bool(offer.products)
    return product.gone or (asks_stock and product.stock is not None and product.stock <= 0)


def _allowed(plan: Plan, landing: str) -> str:
    """The landing page, if its host is one the plan allows; publishing has seen to that already."""
    if plan.landing_hosts and (urlsplit(landing).hostname or "") not in plan.landing_hosts:
        return plan.default_landing
    return landing


def _answer(plan: Plan, destination: Destination) -> Answer:
    sentence = _SENTENCES.get(destination.outcome)
    if sentence is None:
        return respond.redirect(destination.landing)
    shop = escape(plan.brand or "the shop")
    link = f'<p><a class="go" href="{escape(destination.landing)}">See what {shop} has for you now</a></p>'
    return notice(sentence, link, sender=plan.brand, locale=plan.locale)


def _nowhere() -> Answer:
    """No plan can be read, so there is no page to go to: say so, and that trying again helps."""
    return try_again("One moment", "This link cannot be followed right now. Please try again in a minute.")


def _record(fetch: Fetch, destination: Destination) -> ClickRecord:
    sight = destination.sight
    return ClickRecord(
        id=secrets.token_hex(16),
        at_ms=fetch.now_ms,
        profile=fetch.token.profile,
        campaign=fetch.token.campaign,
        occurrence=fetch.token.occurrence,
        slot=fetch.token.slot,
        fetch_class=fetch.verdict.fetch_class,
        evidence=fetch.verdict.evidence,
        decision=sight.decision if sight is not None else None,
        offer=sight.offer if sight is not None else None,
        landing=destination.landing,
        outcome=destination.outcome,
        is_ambiguous=destination.is_ambiguous,
        is_unseen=destination.outcome == "unseen",
        is_unresolved=destination.outcome == "unresolved",
    )


def _counted(outcome: str) -> str:
    return "ended" if outcome == "out of stock" else outcome
