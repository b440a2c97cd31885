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
from render import respond
from render.open import Environ, fetch_of
from render.parts import Parts
from render.record import ConsentRecord
from render.respond import Answer

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
        return respond.not_found()
    fetch = fetch_of(parts, token, "unsubscribe", environ, started)
    texts = _texts(parts, fetch.token.campaign)
    return _page(
        texts,
        f"<p>{texts['question']}</p>{_form('email', texts['button'])}"
        f"<p>{texts['tracking_question']}</p>{_form('tracking', texts['tracking_button'])}",
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
        return respond.not_found()
    if not token.profile:
        return respond.not_found()
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
        page = respond.page(
            '<!doctype html><html lang="en"><title>Please try again</title><p>This could not be saved. Please try '
            "again in a minute.</p></html>",
            "503 Service Unavailable",
        )
        return page._replace(headers=[*page.headers, ("Retry-After", "30")])
    parts.metrics.count("unsubscribes", value=via)
    return _done(parts, token.campaign, purpose)


def _done(parts: Parts, campaign: int, purpose: str) -> Answer:
    texts = _texts(parts, campaign)
    return _page(texts, f"<p>{texts['done' if purpose == 'email' else 'tracking_done']}</p>")


def _texts(parts: Parts, campaign: int) -> dict[str, str]:
    """The page's texts, escaped: the plan's own where it has them."""
    running = parts.lookup.running(campaign)
    plan = running.plan if running is not None else None
    brand = plan.brand if plan is not None and plan.brand else "this sender"
    written = {**_TEXTS, **(plan.unsubscribe if plan is not None else {})}
    texts = {name: str(escape(line.replace("{brand}", brand))) for name, line in written.items()}
    texts["locale"] = str(escape(plan.locale)) if plan is not None else "en"
    return texts


def _form(purpose: str, button: str) -> str:
    return (
        f'<form method="post"><input type="hidden" name="purpose" value="{purpose}">'
        f'<button style="font:inherit;padding:.6rem 1.2rem;cursor:pointer">{button}</button></form>'
    )


def _page(texts: Mapping[str, str], body: str) -> Answer:
    return respond.page(
        f'<!doctype html><html lang="{texts["locale"]}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{texts["title"]}</title></head>'
        '<body style="font-family:system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;color:#1c1b1a">'
        f'<h1 style="font-size:1.5rem">{texts["title"]}</h1>{body}</body></html>'
    )
