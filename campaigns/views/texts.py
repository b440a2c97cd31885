"""The page of how a campaign reaches people: by mail, or a text or push message that a gateway gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from msgspec.structs import replace

from base.errors import Conflict, InvalidInput
from campaigns import campaigns, editions, gateways, messages, textcompose, texts
from campaigns.access import allow
from campaigns.models import Campaign
from campaigns.parts import parts
from campaigns.textcompose import Sample
from campaigns.texts import MAX_VERSIONS, TextIn, TextVersion
from campaigns.views import forms
from campaigns.views.acting import actor
from campaigns.views.campaigns import frame

FIRST_NAME: Final = "first_name"
SOMEBODY: Final = "there"
"""How somebody is called of whom no first name is known, unless the form says otherwise."""
pages = Blueprint("texts", __name__, url_prefix="/campaigns")


@pages.get("/<int:campaign_id>/text")
@allow("manager")
def show(campaign_id: int) -> ResponseReturnValue:
    """By which way it goes, and the message in every language."""
    return _page(campaign_id, None, {})


@pages.post("/<int:campaign_id>/text")
@allow("manager")
def save(campaign_id: int) -> ResponseReturnValue:
    """Keep the way and the message."""
    try:
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            editions.check(session, row, "campaign", partial(_edition, row))
            gateway = forms.whole(request.form, "gateway")
            written = _written(request.form, row)
            kept = written if gateway is not None else texts.begun(written)
            content = forms.changed(campaigns.content(row), gateway_id=gateway, text=kept)
            campaigns.update_campaign(session, row.id, content, parts().now(), actor())
    except (InvalidInput, Conflict) as error:
        return _page(campaign_id, error, request.form), 409 if isinstance(error, Conflict) else 400
    flash("Saved.")
    return redirect(url_for("texts.show", campaign_id=campaign_id))


def _edition(row: Campaign) -> str:
    return editions.of(row.gateway_id, row.text)


def _written(form: Mapping[str, str], row: Campaign) -> TextIn:
    """The message that was typed; a version without a language is left out."""
    old = msgspec.convert(row.text, TextIn).versions if row.text is not None else {}
    versions = {}
    for number in range(MAX_VERSIONS):
        locale = forms.text(form, f"locale-{number}") if f"locale-{number}" in form else ""
        if not locale:
            continue
        if locale in versions:
            raise InvalidInput("text.versions", "name a locale twice")
        version = TextVersion(
            body=forms.text(form, f"body-{number}", most=texts.MAX_WRITTEN).replace("\r\n", "\n"),
            title=forms.text(form, f"title-{number}"),
            fallbacks=dict(old[locale].fallbacks) if locale in old else {},
        )
        versions[locale] = replace(version, fallbacks=version.fallbacks | _fallbacks(form, number, version))
    return TextIn(versions=versions, link=forms.optional(form, "link"), image=forms.optional(form, "image"))


def _fallbacks(form: Mapping[str, str], number: int, version: TextVersion) -> dict[str, str]:
    """What was typed to stand in for the fields that a version prints; what was not asked for yet is left out."""
    asked = {name: f"fallback-{number}-{name}" for name in _asked(version)}
    typed = {name: forms.text(form, key, most=texts.MAX_FALLBACK) for name, key in asked.items() if key in form}
    return typed | {FIRST_NAME: typed.get(FIRST_NAME) or SOMEBODY}


def _asked(version: TextVersion) -> list[str]:
    """The fields that the page asks a fallback for: a first name always, and what the version prints."""
    return [FIRST_NAME, *sorted(texts.printed(version) - {FIRST_NAME})]


@dataclass(frozen=True)
class Line:
    """A version as the form shows it, with what stands in for each field that it prints."""

    locale: str
    title: str
    body: str
    fallbacks: dict[str, str]
    is_kept: bool


def _line(number: int, locale: str, version: TextVersion | None, typed: Mapping[str, str]) -> Line:
    """What was typed where a refusal is shown, else what is kept."""
    kept = version or TextVersion(body="")
    shown = replace(kept, body=typed.get(f"body-{number}", kept.body), title=typed.get(f"title-{number}", kept.title))
    standing = {FIRST_NAME: SOMEBODY} | kept.fallbacks
    fallbacks = {name: typed.get(f"fallback-{number}-{name}", standing.get(name, "")) for name in _asked(shown)}
    return Line(typed.get(f"locale-{number}", locale), shown.title, shown.body, fallbacks, version is not None)


def _page(campaign_id: int, fault: InvalidInput | Conflict | None, typed: Mapping[str, str]) -> str:
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        kept = msgspec.convert(row.text, TextIn) if row.text is not None else TextIn(versions={})
        locales = texts.locales(kept.versions, row.locale)
        shown = [*((name, kept.versions[name]) for name in locales), *_empty(row, len(locales))]
        return render_template(
            "campaigns/text.html",
            **frame(session, row, "message"),
            edition=_edition(row),
            fault=fault,
            typed=typed,
            kept=kept,
            lines=[_line(number, *one, typed) for number, one in enumerate(shown)],
            at=_at(fault),
            gateways=gateways.listing(session),
            places=[] if row.message_id is None else messages.message(session, row.message_id).slots,
            samples=_samples(row, kept),
            most=texts.MAX_PARTS,
            most_push=texts.MAX_PUSH,
        )


def _samples(row: Campaign, kept: TextIn) -> dict[str, Sample]:
    """What is kept as it arrives, by locale; nothing of what is not sound any more since the mail was changed."""
    if row.gateway_id is None or row.message_id is None or not kept.versions:
        return {}
    settings = parts().settings
    with parts().transaction() as session:
        places = {slot["name"]: slot["index"] for slot in messages.message(session, row.message_id).slots}
    try:
        compiled = texts.compile_text(kept, row.channel, row.gateway_id, row.locale, places)
    except InvalidInput:
        return {}
    return textcompose.samples(compiled, row.id, row.brand, settings.hash_key, settings.render_base(row.brand))


def _at(fault: InvalidInput | Conflict | None) -> tuple[str, str] | None:
    """The locale and the part of the version that a refusal is about, where it is about one."""
    field = (fault.field or "") if isinstance(fault, InvalidInput) else ""
    locale, _, part = field.removeprefix("text.versions.").rpartition(".")
    return (locale, part) if field.startswith("text.versions.") and part in ("title", "body") else None


def _empty(row: Campaign, written: int) -> list[tuple[str, None]]:
    """A line for one more version: of the campaign's own language where there is none yet."""
    return [("" if written else row.locale, None)] if written < MAX_VERSIONS else []
