"""Build the bytes of a mail. The skeleton is encoded once a plan; a recipient costs the values that differ.

Only fields of the plan, cleaned and encoded values and URLs of our own making reach a header, so none can break out of
its line. The same delivery always gets the same Message-ID, which names no address. A mail is pure ASCII, so that every
relay takes it; only an address that is not ASCII before its @ stands in it as it is (RFC 6532).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any, Final

from base.ids import Delivery
from campaigns import templates
from campaigns.links import MailUrls
from campaigns.mail import CompiledMail, envelope_address
from campaigns.signing import Signatures, SigningKey
from render.mailtext import Ready, clean

_WORD_BYTES: Final = 42
"""Bytes of UTF-8 in one encoded word: 42 make 56 characters of base64, so the word has 68 of 75 (RFC 2047 §2)."""
_SUBJECT_SHOWN: Final = 250


@dataclass(frozen=True, slots=True)
class Built:
    """A mail ready to be handed over, and to which address."""

    message_id: str
    recipient: str
    content: bytes


class Composer:
    """Builds the mails of one compiled message; make one per plan and keep it. For one thread at a time."""

    def __init__(self, mail: CompiledMail, hash_key: bytes) -> None:
        self.mail = mail
        self._hash_key = hash_key
        self.domain = mail.from_address.rpartition("@")[2].lower()
        self._boundary = "=_lb_" + hashlib.sha256(mail.html.encode()).hexdigest()[:24]
        closed = templates.quoted_printable
        self._subject = templates.compiled(mail.subject, templates.plain, escape=False)
        self._preheader = templates.compiled(mail.preheader, templates.plain, escape=False)
        self._html = templates.compiled(_ended(mail.html), closed, escape=True)
        self._text = templates.compiled(_ended(mail.text), closed, escape=False)
        self._amp = templates.compiled(_ended(mail.amp), closed, escape=True) if mail.amp else None
        self._brand = {"name": mail.brand or mail.from_name, "postal_address": mail.postal_address}
        self._fixed = self._fixed_headers()
        self._signatures = Signatures((), self._fixed)

    def fields(self, traits: Mapping[str, Any]) -> dict[str, Any]:
        """The profile fields this mail prints: the person's own, else the message's fallback."""
        return {name: traits[name] if clean(traits.get(name)) else other for name, other in self.mail.fallbacks.items()}

    def message_id(self, delivery: Delivery) -> str:
        """The Message-ID of a delivery, with its angle brackets. The same one at every attempt."""
        text = f"message-id\0{delivery.profile}\0{delivery.name}".encode()
        mark = hmac.new(self._hash_key, text, hashlib.sha256).hexdigest()[:24]
        return f"<c{delivery.campaign}.o{delivery.occurrence}.{mark}@{self.domain}>"

    def build(
        self,
        delivery: Delivery,
        address: str,
        traits: Mapping[str, Any],
        urls: MailUrls,
        now: datetime,
        keys: Sequence[SigningKey] = (),
    ) -> Built:
        """The mail for one person, signed with each of the keys.

        Raises InvalidInput for an address that no mail can be handed over to.
        """
        recipient = envelope_address(address)
        person = self.fields(traits)
        subject = self._subject.render(profile=person, brand=self._brand)[:_SUBJECT_SHOWN]
        context = {
            "profile": person,
            "brand": self._brand,
            "message": {"subject": subject, "preheader": self._preheader.render(profile=person, brand=self._brand)},
            "link": self._links(urls),
            "url": self._pictures(urls),
        }
        message_id = self.message_id(delivery)
        varying = (
            ("Date", format_datetime(now)),
            ("Message-ID", message_id),
            ("To", f"<{recipient}>"),
            ("Subject", header_text(subject)),
            ("List-Unsubscribe", f"<{urls.unsubscribe}>"),
        )
        limit = f"--{self._boundary}"
        body = "".join(
            (
                f"{limit}\r\n{_PART.format('plain')}",
                self._text.render(context),
                # Before the HTML: a program that shows only the last part shows one it knows.
                self._amp_part(limit, context, urls),
                f"\r\n{limit}\r\n{_PART.format('html')}",
                self._html.render(context),
                f"\r\n{limit}--\r\n",
            )
        ).encode("ascii")
        own = "".join(f"{name}: {value}\r\n" for name, value in varying)
        signed = self._signed_by(keys).headers(varying, body, now) if keys else ""
        return Built(message_id, recipient, f"{signed}{own}{self._fixed}\r\n\r\n".encode() + body)

    def _signed_by(self, keys: Sequence[SigningKey]) -> Signatures:
        """What signs with these keys, kept as long as they are the same: it knows the hash of the fixed headers."""
        if self._signatures.keys != tuple(keys):
            self._signatures = Signatures(keys, self._fixed)
        return self._signatures

    def _amp_part(self, limit: str, context: Mapping[str, Any], urls: MailUrls) -> str:
        """The AMP part; none where its data would not come by https, because no program would show it."""
        if self._amp is None or not all(slot.amp.startswith("https://") for slot in urls.slots.values()):
            return ""
        return f"\r\n{limit}\r\n{_PART.format('x-amp-html')}{self._amp.render(context)}"

    def html(self, traits: Mapping[str, Any], urls: MailUrls) -> str:
        """The HTML part as text, for previews; the same template without the transfer encoding."""
        person = self.fields(traits)
        subject = self._subject.render(profile=person, brand=self._brand)
        return templates.compiled(self.mail.html, templates.plain, escape=True).render(
            profile=person,
            brand=self._brand,
            message={"subject": subject, "preheader": self._preheader.render(profile=person, brand=self._brand)},
            link=self._links(urls),
            url=self._pictures(urls),
        )

    def _links(self, urls: MailUrls) -> dict[str, str]:
        links: dict[str, str] = {slot.name: Ready(urls.slots[slot.index].click) for slot in self.mail.slots}
        return links | {"view": Ready(urls.view), "unsubscribe": Ready(urls.unsubscribe), "trap": Ready(urls.trap)}

    def _pictures(self, urls: MailUrls) -> dict[str, str]:
        pictures: dict[str, str] = {}
        for slot in self.mail.slots:
            pictures[f"picture_{slot.index}"] = Ready(urls.slots[slot.index].picture)
            pictures[f"dark_{slot.index}"] = Ready(urls.slots[slot.index].dark)
            pictures[f"amp_{slot.index}"] = Ready(urls.slots[slot.index].amp)
        return pictures

    def _fixed_headers(self) -> str:
        mail = self.mail
        lines = [
            f"From: {mailbox(mail.from_name, mail.from_address)}",
            # One-click by POST, without a page in between (RFC 8058).
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
            f"List-Id: <campaign-{mail.campaign}.{self.domain}>",
            # Campaign, kind and sender, read from the right; nothing in it is unique to one mail.
            f"Feedback-ID: {mail.campaign}:{mail.locale}:mail:{_sender_id(mail.brand, self.domain)}",
            "Precedence: bulk",
            "MIME-Version: 1.0",
            f'Content-Type: multipart/alternative; boundary="{self._boundary}"',
        ]
        if mail.reply_to is not None:
            lines.insert(1, f"Reply-To: <{mail.reply_to}>")
        return "\r\n".join(lines)


_PART: Final = "Content-Type: text/{}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"


@lru_cache(maxsize=4096)
def header_text(text: str) -> str:
    """Text as a header's value: as it is when it is short, plain ASCII, else as encoded words (RFC 2047)."""
    one_line = clean(text) if any(ord(char) < 32 for char in text) else text
    if one_line.isascii() and len(one_line) <= 200 and "=?" not in one_line:
        return one_line
    words: list[bytes] = [b""]
    for char in one_line:
        data = char.encode("utf-8", "replace")
        if len(words[-1]) + len(data) > _WORD_BYTES:
            words.append(b"")
        words[-1] += data
    return "\r\n ".join(f"=?utf-8?B?{base64.b64encode(word).decode()}?=" for word in words)


def mailbox(name: str, address: str) -> str:
    """A name and an address as a header's value (RFC 5322 §3.4)."""
    if name.isascii() and "=?" not in name:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}" <{address}>'
    return f"{header_text(name)} <{address}>"


def _ended(source: str) -> str:
    """The source with a last line end, so that an encoded part never ends in a soft break."""
    return source if source.endswith("\n") else source + "\n"


def _sender_id(brand: str, domain: str) -> str:
    """The last field of Feedback-ID: 5 to 15 letters and digits that name the sender."""
    letters = "".join(char for char in (brand + domain).lower() if char.isascii() and char.isalnum())
    return (letters + "sender")[:15]
