"""Leaving: a page that changes nothing when it is looked at, and the POST that does (RFC 8058).

Scanners follow every link of a mail, so only POST withdraws. The page shows nothing about the person: whoever holds a
forwarded mail may see it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from markupsafe import escape

from base.clock import monotonic
from base.errors import BadToken
from base.tokens import Purpose
from render.notice import not_found, notice, try_again
from render.open import Environ, fetch_of
from render.parts import Parts
from render.record import ConsentRecord
from render.respond import Answer
from signals.moments import unix_ms

PURPOSES = ("email", "tracking")
_TEXTS = {
    "title": "Unsubscribe",
    "question": "Do you want to stop mails from {brand} to this mailbox?",
    "button": "Unsubscribe",
    "tracking_question": "Or keep the mails, but stop personal content and the tracking of opens:",
    "tracking_button": "Stop tracking",
    "done": "Done. This mailbox will get no more mails from {brand}.",
    "tracking_done": "Done. Opens of mails to this mailbox are no longer tracked.",
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
    texts = _texts(parts, fetch.token.campaign)
    return _page(
        texts,
        f"<p>{escape(texts['question'])}</p>{_form('email', texts['button'])}"
        f'<p class="less">{escape(texts["tracking_question"])}</p>'
        f"{_form('tracking', texts['tracking_button'], 'quiet')}",
    )


def withdraw(parts: Parts, text: str, environ: Environ, form: Mapping[str, str]) -> Answer:
    """Answer `POST /u/<token>`, from a mail provider's one-click or from the page's button.

    200 only once the withdrawal is safe; it is in effect within five seconds. 503 when it cannot be kept: providers
    try again. Leaving by a test mail looks the same and withdraws nothing: whoever tries it is not the person.
    """
    started = monotonic()
    try:
        token = parts.tokens.read(text, Purpose.UNSUBSCRIBE)
    except BadToken:
        parts.metrics.count("forged")
        return not_found()
    if not token.profile:
        return not_found()
    fetch = fetch_of(parts, token, "unsubscribe", environ, started)
    purpose = form.get("purpose", "email")
    via = "one-click" if form.get("List-Unsubscribe", "").strip().lower() == "one-click" else "page"
    if purpose not in PURPOSES or via == "one-click":
        purpose = "email"
    if token.delivery.is_test:
        return _done(parts, token.campaign, purpose)
    made = ConsentRecord(
        id=secrets.token_hex(16),
        at_ms=fetch.now_ms,
        profile=token.profile,
        campaign=token.campaign,
        occurrence=token.occurrence,
        purpose=purpose,
        granted=False,
        via=via,
    )
    if not parts.recorder.accept((made,), fetch.deadline):
        return try_again("Please try again", "This could not be saved. Please try again in a minute.")
    parts.metrics.count("unsubscribes", value=via)
    return _done(parts, token.campaign, purpose)


def _done(parts: Parts, campaign: int, purpose: str) -> Answer:
    texts = _texts(parts, campaign)
    return _page(texts, f"<p>{escape(texts['done' if purpose == 'email' else 'tracking_done'])}</p>")


def _texts(parts: Parts, campaign: int) -> dict[str, str]:
    """The page's texts: the plan's own where it has them; with its `sender` and its `locale`."""
    running = parts.lookup.running(campaign, unix_ms(parts.now()))
    plan = running.plan if running is not None else None
    brand = plan.brand if plan is not None else ""
    written = {**_TEXTS, **(plan.unsubscribe if plan is not None else {})}
    texts = {name: line.replace("{brand}", brand or "this sender") for name, line in written.items()}
    return {**texts, "sender": brand, "locale": plan.locale if plan is not None else "en"}


def _form(purpose: str, button: str, kind: str = "") -> str:
    return (
        f'<form method="post"><input type="hidden" name="purpose" value="{purpose}">'
        f'<button class="{kind}">{escape(button)}</button></form>'
    )


def _page(texts: Mapping[str, str], body: str) -> Answer:
    return notice(texts["title"], body, sender=texts["sender"], locale=texts["locale"])
