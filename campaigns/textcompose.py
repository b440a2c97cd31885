"""Build the call that hands a text or push message for one person to its gateway."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from jinja2 import Template

from base.errors import InvalidInput
from base.ids import Delivery
from base.tokens import TOKEN_LENGTH
from campaigns import channels, templates, texts
from campaigns.compose import Built
from campaigns.links import MailUrls
from campaigns.texts import MAX_TITLE, CompiledText, TextVersion, check_built
from render.mailtext import Ready, clean

MADE_UP: Final = "x"
"""What the tokens of a sample are made of."""


class TextComposer:
    """Builds the messages of one campaign; make one per plan and keep it. For one thread at a time."""

    def __init__(self, text: CompiledText, campaign: int, brand: str, hash_key: bytes) -> None:
        self.text = text
        self._campaign = campaign
        self._brand = {"name": brand}
        self._hash_key = hash_key
        self._versions = {name.lower(): (name, *_compiled(version)) for name, version in text.versions.items()}

    def name(self, delivery: Delivery) -> str:
        """What names a delivery to the gateway: the same at every attempt, and telling nothing of the person."""
        told = f"message\0{self.text.channel}\0{delivery.profile}\0{delivery.name}".encode()
        mark = hmac.new(self._hash_key, told, hashlib.sha256).hexdigest()[:24]
        return f"{self.text.channel}.c{delivery.campaign}.o{delivery.occurrence}.{mark}"

    def build(self, delivery: Delivery, address: str, traits: Mapping[str, Any], urls: MailUrls) -> Built:
        """The call's body for one person. Raises InvalidInput for an address that cannot be reached, or a long text."""
        recipient = channels.check_address(self.text.channel, address)
        locale, title, body, version = self._version(traits.get("locale"))
        context = {
            "profile": {
                name: traits[name] if clean(traits.get(name)) else other for name, other in version.fallbacks.items()
            },
            "brand": self._brand,
            "link": self._links(urls),
        }
        told: dict[str, Any] = {
            "type": "message.send",
            "id": self.name(delivery),
            "channel": self.text.channel,
            "to": recipient,
            "locale": locale,
            "text": body.render(context).strip(),
            "campaign": self._campaign,
            "test": delivery.is_test,
            "unsubscribe": urls.unsubscribe,
        }
        check_built(told["text"], self.text.channel)
        if self.text.channel == "push":
            told["title"] = title.render(context).strip()[:MAX_TITLE]
        if self.text.link is not None:
            told["url"] = urls.slots[self.text.link].click
        if self.text.image is not None:
            told["image"] = urls.slots[self.text.image].picture
        return Built(told["id"], recipient, msgspec.json.encode(told))

    def sample(self, locale: str, base_url: str) -> tuple[str, str]:
        """Title and text as they reach somebody of whom no field is known; its links are as long as real ones."""
        _, title, body, version = self._version(locale)
        token = MADE_UP * TOKEN_LENGTH
        links = {name: Ready(f"{base_url}/c/{token}") for name in self.text.slots}
        links |= {"view": Ready(f"{base_url}/view/{token}"), "unsubscribe": Ready(f"{base_url}/u/{token}")}
        context = {"profile": version.fallbacks, "brand": self._brand, "link": links}
        return title.render(context).strip(), body.render(context).strip()

    def _version(self, locale: object) -> tuple[str, Template, Template, TextVersion]:
        asked = locale.replace("_", "-").lower() if isinstance(locale, str) else ""
        for name in (asked, asked.partition("-")[0], self.text.locale.lower()):
            if name in self._versions:
                return self._versions[name]
        raise InvalidInput("text.versions", f"have none for {self.text.locale}")

    def _links(self, urls: MailUrls) -> dict[str, str]:
        links: dict[str, str] = {name: Ready(urls.slots[slot].click) for name, slot in self.text.slots.items()}
        return links | {"view": Ready(urls.view), "unsubscribe": Ready(urls.unsubscribe)}


@dataclass(frozen=True)
class Sample:
    """A version as it reaches somebody of whom no field is known; `parts` of a text message, else 0."""

    title: str
    text: str
    parts: int


def samples(text: CompiledText, campaign: int, brand: str, hash_key: bytes, base_url: str) -> dict[str, Sample]:
    """Every version as it arrives, by locale, the campaign's own first; its tokens are left out."""
    composer = TextComposer(text, campaign, brand, hash_key)
    made = {name: composer.sample(name, base_url) for name in texts.locales(text.versions, text.locale)}
    token = MADE_UP * TOKEN_LENGTH
    return {
        name: Sample(title, body.replace(token, "…"), texts.parts(body) if text.channel == "sms" else 0)
        for name, (title, body) in made.items()
    }


def _compiled(version: TextVersion) -> tuple[Template, Template, TextVersion]:
    title, body = (templates.compiled(text, templates.plain, escape=False) for text in (version.title, version.body))
    return title, body, version
