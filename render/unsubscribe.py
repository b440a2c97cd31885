"""Leaving and preferences: a page that changes nothing when it is looked at, and the POST that does (RFC 8058).

Scanners follow every link of a mail, so only POST withdraws. The page shows nothing about the person, neither their
address nor what they allow now, and takes no agreement: whoever holds a forwarded mail may see and use it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from markupsafe import escape
from werkzeug.datastructures import MultiDict

from base.clock import monotonic
from base.errors import BadToken
from base.logs import logger
from base.tokens import Purpose
from render.notice import not_found, notice, try_again
from render.open import Environ, fetch_of
from render.parts import Parts
from render.plan import Plan
from render.record import THIS_CHANNEL, ConsentRecord
from render.respond import Answer
from signals.contents import MESSAGES, PURPOSES
from signals.moments import unix_ms

MAX_ASKED: Final = 20
_OTHER: Final = {
    THIS_CHANNEL: {"question": "Do you want to stop messages like this one from {brand}?"},
    "sms": {
        "question": "Do you want to stop text messages from {brand} to your number?",
        "choices_note": "What you do not tick stays as it is. It holds within seconds.",
    },
    "push": {
        "question": "Do you want to stop messages from {brand} to your devices?",
        "choices_note": "What you do not tick stays as it is. It holds within seconds.",
    },
}
"""What the page says otherwise where a campaign does not go by mail, or nothing says by what it goes."""
_TEXTS: Final = {
    "title": "Unsubscribe",
    "question": "Do you want to stop mails from {brand} to this mailbox?",
    "button": "Unsubscribe",
    "choices_question": "Or choose what {brand} shall do no more:",
    "email_choice": "Send mails to this mailbox",
    "tracking_choice": "Note which mails I open, click and what I look at",
    "profiling_choice": "Choose content and offers by what is known of me",
    "sms_choice": "Send text messages to my number",
    "push_choice": "Send messages to my devices",
    "advertising_choice": "Name me, in hashed form, to advertising channels",
    "choices_button": "Save",
    "choices_note": "What you do not tick stays as it is. It holds for this mailbox, within seconds.",
    "done": "Done. This mailbox will get no more mails from {brand}.",
    "tracking_done": "Done. Opens of mails to this mailbox are no longer tracked.",
    "profiling_done": "Done. Content and offers are no longer chosen by what is known of you.",
    "advertising_done": "Done. You are no longer named to advertising channels.",
    "sms_done": "Done. You will get no more text messages from {brand}.",
    f"{THIS_CHANNEL}_done": "Done. You will get no more messages like this one from {brand}.",
    "push_done": "Done. Your devices will get no more messages from {brand}.",
    "nothing_done": "Nothing was ticked, so nothing was changed.",
}


def show_page(parts: Parts, text: str, environ: Environ) -> Answer:
    """Answer `GET /u/<token>`: a page with a button. Reads no key of the person and writes nothing."""
    started = monotonic()
    try:
        token = parts.tokens.read(text, Purpose.UNSUBSCRIBE)
    except BadToken:
        parts.metrics.count("forged")
        return not_found()
    fetch = fetch_of(parts, token, "unsubscribe", environ, started)
    texts = _texts(_plan(parts, fetch.token.campaign))
    return _page(
        texts,
        f"<p>{escape(texts['question'])}</p>{_form(texts['channel'], texts['button'])}{_choices(texts)}",
    )


def withdraw(parts: Parts, text: str, form: MultiDict[str, str]) -> Answer:
    """Answer `POST /u/<token>`, from a mail provider's one-click or from the page: its button, or what was ticked.

    200 only once the withdrawal is safe; it is in effect within five seconds. 503 when it cannot be kept: providers
    try again. It hangs on the record alone: where nothing says by what channel the message came the recorder finds out,
    and the page's words are chosen afterwards. Leaving by a test mail looks the same and withdraws nothing: whoever
    tries it is not the person.
    """
    started = monotonic()
    try:
        token = parts.tokens.read(text, Purpose.UNSUBSCRIBE)
    except BadToken:
        parts.metrics.count("forged")
        return not_found()
    if not token.profile:
        return not_found()
    is_one_click = form.get("List-Unsubscribe", "").strip().lower() == "one-click"
    asked = set(form.getlist("purpose")[:MAX_ASKED])
    plan = _plan(parts, token.campaign)
    purposes: list[str] = [purpose for purpose in PURPOSES if purpose in asked]
    if is_one_click or not (purposes or "choices" in form):
        purposes = [_channel(plan)]
    if token.delivery.is_test or not purposes:
        return _done(parts, plan, purposes)
    made = tuple(
        ConsentRecord(
            id=secrets.token_hex(16),
            at_ms=unix_ms(parts.now()),
            profile=token.profile,
            campaign=token.campaign,
            occurrence=token.occurrence,
            purpose=purpose,
            granted=False,
            via="one-click" if is_one_click else "page",
        )
        for purpose in purposes
    )
    if not parts.recorder.accept(made, started + parts.deadline_seconds):
        return try_again("Please try again", "This could not be saved. Please try again in a minute.")
    parts.metrics.count("unsubscribes", value=made[0].via)
    return _done(parts, plan, purposes)


def _offered(channel: str) -> list[str]:
    """The purposes that a page tells of: that of the channel its message came by, and those that are no channels."""
    return [purpose for purpose in PURPOSES if purpose == channel or purpose not in MESSAGES]


def _done(parts: Parts, plan: Plan | None, purposes: Sequence[str]) -> Answer:
    """What was done, in the plan's words; in our own where those cannot be said, for it is done all the same."""
    try:
        return _told(_texts(plan), purposes)
    except Exception as error:  # noqa: BLE001 - what fails in choosing words must not say that nothing was kept
        _failed(parts, error)
        known = [purpose for purpose in purposes if purpose in PURPOSES]
        return _told(_texts(None), known or [THIS_CHANNEL] if purposes else [])


def _told(texts: Mapping[str, str], purposes: Sequence[str]) -> Answer:
    names = ["done" if purpose == "email" else f"{purpose}_done" for purpose in purposes] or ["nothing_done"]
    return _page(texts, "".join(f"<p>{escape(texts[name])}</p>" for name in names))


def _choices(texts: Mapping[str, str]) -> str:
    """What can be withdrawn purpose by purpose; nothing is ticked, so that the page tells nothing."""
    boxes = "".join(
        f'<label class="box"><input type="checkbox" name="purpose" value="{purpose}"> '
        f"{escape(texts[f'{purpose}_choice'])}</label>"
        for purpose in _offered(texts["channel"])
    )
    return (
        f'<form method="post" class="less"><p>{escape(texts["choices_question"])}</p>{boxes}'
        f'<input type="hidden" name="choices" value="1"><p>{escape(texts["choices_note"])}</p>'
        f'<button class="quiet">{escape(texts["choices_button"])}</button></form>'
    )


def _plan(parts: Parts, campaign: int) -> Plan | None:
    """The campaign's plan; None where it cannot be had. Never raises: nobody's leaving may hang on it."""
    try:
        running = parts.lookup.running(campaign, unix_ms(parts.now()))
    except Exception as error:  # noqa: BLE001 - what it reads is stored elsewhere, and may be broken in any way
        _failed(parts, error)
        return None
    return running.plan if running is not None else None


def _failed(parts: Parts, error: Exception) -> None:
    logger(__name__).error("the words of a page of leaving failed", error=type(error).__name__, exc_info=error)
    parts.metrics.count("errors", value="other")


def _channel(plan: Plan | None) -> str:
    return plan.channel if plan is not None else THIS_CHANNEL


def _texts(plan: Plan | None) -> dict[str, str]:
    """The page's texts: the plan's own where it has them; with its `sender`, its `locale` and its `channel`."""
    brand = plan.brand if plan is not None else ""
    channel = _channel(plan)
    written = {**_TEXTS, **_OTHER.get(channel, {}), **(plan.unsubscribe if plan is not None else {})}
    texts = {name: line.replace("{brand}", brand or "this sender") for name, line in written.items()}
    locale = plan.locale if plan is not None else "en"
    return {**texts, "sender": brand, "locale": locale, "channel": channel}


def _form(purpose: str, button: str) -> str:
    return (
        f'<form method="post"><input type="hidden" name="purpose" value="{purpose}">'
        f"<button>{escape(button)}</button></form>"
    )


def _page(texts: Mapping[str, str], body: str) -> Answer:
    return notice(texts["title"], body, sender=texts["sender"], locale=texts["locale"])
