"""What a manager writes and what becomes of it at publish: a mail checked, compiled and stored by its hash."""

from __future__ import annotations

import re
from email.utils import parseaddr
from typing import Annotated, Final, Literal

import idna
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from base.errors import UNREADABLE, InvalidInput
from base.tokens import TOKEN_LENGTH
from campaigns import amp, markup, templates
from campaigns.texts import CompiledText

FORMAT_VERSION: Final = 1
MAX_HTML: Final = 100_000
"""Bytes of the HTML part with its links filled in: Gmail clips at about 102 kB (email-facts, §1.6)."""
ADDRESS_BYTES: Final = 64 + TOKEN_LENGTH
"""What an address is counted with: its token, and the render app's own address with the path."""
MAX_SUBJECT: Final = 200
MAX_SLOTS: Final = 16
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,}")
_LOCAL: Final = re.compile(r"[^\s@\x00-\x20\x7f\"<>(),;:\\\[\]]+")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9.-]{1,190}\.[A-Za-z0-9-]{2,}")
MAX_LOCAL: Final = 64
"""Bytes before the @ (RFC 5321 §4.5.3.1.1); of a whole address MAX_ADDRESS."""
MAX_ADDRESS: Final = 254
_EXPRESSION: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_STATIC: Final = re.compile(r"\b(brand|message)\.([a-z_]+)")
_PROFILE: Final = re.compile(r"\bprofile\.([a-z][a-z0-9_]*)")
_RESERVED: Final = ("view", "unsubscribe")
_TRAP: Final = (
    '<a href="{{ link.trap }}" rel="nofollow" aria-hidden="true" tabindex="-1" '
    'style="display:none;mso-hide:all;font-size:0;line-height:0;max-height:0;overflow:hidden"></a>'
)
"""A link that no reader meets: not drawn, not read out, not reached by keyboard, and without a text that could look
like hidden words. Whoever follows it follows every link of a mail (docs/fetch-classes.md)."""

ShortText = Annotated[str, Meta(max_length=200)]


class SlotIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place in the message that is filled at open. Sizes are CSS pixels; the picture has twice as many.

    `alt` is fixed when the mail is built and must stay true whatever is shown: it describes the place, not one offer.
    """

    index: int
    name: str
    width: int
    height: int
    alt: ShortText
    fmt: Literal["jpg", "png", "gif"] = "jpg"
    max_bytes: int = 150_000


class MessageIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message as it is written. `fallbacks` gives every profile field the mail prints a text for who has none.

    The MJML holds each slot once as `{{ slot.<name> }}` and, like the text, `{{ link.unsubscribe }}` and
    `{{ brand.postal_address }}`; the MJML also `{{ link.view }}`. `{{ link.<slot> }}` is where that slot's click goes.
    """

    name: ShortText
    subject: str
    from_name: ShortText
    from_address: ShortText
    mjml: str
    text: str
    postal_address: ShortText
    slots: list[SlotIn]
    preheader: ShortText = ""
    reply_to: ShortText | None = None
    locale: Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    fallbacks: dict[str, ShortText] = {}


class CompiledMail(Struct, frozen=True, kw_only=True):
    """A message as it is sent, immutable with its plan: HTML with slots as markup, templates still to be filled.

    `fallbacks` holds exactly the profile fields that the templates read. `amp` is the AMP form of the HTML, where the
    campaign wants one; `message` is what a gateway gets instead of the mail, whose HTML is then the page that the
    message leads to. A mail without them has the bytes, and so the hash, of the time before there were any.
    """

    campaign: int
    name: str
    subject: str
    preheader: str
    from_name: str
    from_address: str
    reply_to: str | None
    html: str
    text: str
    postal_address: str
    locale: str
    brand: str
    fallbacks: dict[str, str]
    slots: tuple[SlotIn, ...]
    amp: str | UnsetType = UNSET
    message: CompiledText | UnsetType = UNSET
    version: int = FORMAT_VERSION


def compile_mail(message: MessageIn, campaign: int, brand: str, *, with_amp: bool = False) -> CompiledMail:
    """Check a message whole and compile it. Raises InvalidInput naming the field at fault."""
    _check_heads(message)
    slots = {slot.name: slot for slot in message.slots}
    unfilled = markup.to_html(message.mjml, message.locale, "mjml")
    content = _with_slots(unfilled, slots)
    read = {
        "subject": templates.fields(message.subject, "subject"),
        "preheader": templates.fields(message.preheader, "preheader"),
        "mjml": templates.fields(content, "mjml"),
        "text": templates.fields(message.text, "text"),
    }
    for field, names in read.items():
        for root, name in sorted(names):
            _check_field(root, name, field, message, slots)
    for field, wanted in (("mjml", ("unsubscribe", "view")), ("text", ("unsubscribe",))):
        for name in wanted:
            if ("link", name) not in read[field]:
                raise InvalidInput(field, f"must contain {{{{ link.{name} }}}}")
        if ("brand", "postal_address") not in read[field]:
            raise InvalidInput(field, "must contain {{ brand.postal_address }}")
    body, closing, rest = content.rpartition("</body>")
    content = f"{body}{_TRAP}{closing}{rest}" if closing else content + _TRAP
    # Every address grows by its token; a slot has three of them.
    addresses = (3 + 3 * len(slots)) * ADDRESS_BYTES
    size = len(content.encode()) + addresses
    if size > MAX_HTML:
        raise InvalidInput("mjml", f"becomes {size} bytes of HTML; mail clients cut what is longer than {MAX_HTML}")
    used = {name for names in read.values() for root, name in names if root == "profile"}
    return CompiledMail(
        campaign=campaign,
        name=message.name,
        subject=message.subject,
        preheader=message.preheader,
        from_name=message.from_name,
        from_address=message.from_address,
        reply_to=message.reply_to,
        html=content,
        text=message.text,
        postal_address=message.postal_address,
        locale=message.locale,
        brand=brand,
        fallbacks={name: message.fallbacks[name] for name in sorted(used)},
        slots=tuple(message.slots),
        amp=_amp(unfilled, message) if with_amp else UNSET,
    )


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(CompiledMail).decode


def encode(mail: CompiledMail) -> bytes:
    """The one byte form of a compiled mail."""
    return _encode(mail)


def decode(data: bytes) -> CompiledMail:
    """Read a compiled mail. Raises InvalidInput for bytes that are not one this release understands."""
    try:
        mail = _decode(data)
    except UNREADABLE as error:
        raise InvalidInput("mail", str(error)) from None
    if mail.version != FORMAT_VERSION:
        raise InvalidInput("mail.version", f"is {mail.version}; this release reads version {FORMAT_VERSION}")
    return mail


def view_template(mail: CompiledMail) -> str:
    """The mail as a page: the same HTML as a template over profile.*, link.* and url.*, with its fallbacks written in.

    Subject and preheader stand there without the person's fields. `link.<slot>`, `link.unsubscribe`, `link.view`,
    `url.picture_<index>` and `url.dark_<index>` are the addresses that whoever shows the page fills in.
    """
    brand = {"name": mail.brand or mail.from_name, "postal_address": mail.postal_address}
    head = {
        name: templates.compiled(source, templates.plain, escape=True).render(profile=mail.fallbacks, brand=brand)
        for name, source in (("subject", mail.subject), ("preheader", mail.preheader))
    }

    def written(expression: re.Match[str]) -> str:
        text = _STATIC.sub(lambda found: _literal({"brand": brand, "message": head}[found[1]][found[2]]), expression[0])
        return _PROFILE.sub(lambda found: f"({found[0]}|default({_literal(mail.fallbacks[found[1]])}))", text)

    # A page has readers only, and whatever else comes to it follows all links.
    return _EXPRESSION.sub(written, mail.html.replace(_TRAP, ""))


def _literal(text: str) -> str:
    """Text as a string of the template language."""
    return msgspec.json.encode(text).decode("utf-8").replace("\\/", "/")


def is_sendable(address: str) -> bool:
    """Whether a mail can be handed over to this address by every relay: ASCII, one @, no spaces, brackets, controls."""
    return len(address) <= MAX_ADDRESS and _ADDRESS.fullmatch(address) is not None


def envelope_address(address: str) -> str:
    """The address as a relay is told it: an international domain by its A-labels (RFC 5891), the rest as it is.

    Where what is before the @ is not ASCII, only a relay that offers SMTPUTF8 can take it. Raises InvalidInput for an
    address that no mail can be handed over to.
    """
    if is_sendable(address):
        return address
    local, _, domain = address.rpartition("@")
    if (
        not _LOCAL.fullmatch(local)
        or not local.isprintable()
        or local.startswith(".")
        or local.endswith(".")
        or ".." in local
        or len(local.encode("utf-8", "replace")) > MAX_LOCAL
    ):
        raise InvalidInput("address", "is not one that mail can be handed over to")
    try:
        host = domain if domain.isascii() else idna.encode(domain[:MAX_ADDRESS], uts46=True).decode()
    except idna.IDNAError:
        raise InvalidInput("address", "has a domain that is no international domain name") from None
    told = f"{local}@{host}"
    if not _DOMAIN.fullmatch(host) or len(told.encode()) > MAX_ADDRESS:
        raise InvalidInput("address", "is not one that mail can be handed over to")
    return told


def _check_heads(message: MessageIn) -> None:
    if not message.name.strip():
        raise InvalidInput("name", "must not be empty")
    if not message.subject.strip() or len(message.subject) > MAX_SUBJECT:
        raise InvalidInput("subject", f"must have 1 to {MAX_SUBJECT} characters")
    if not message.text.strip():
        raise InvalidInput("text", "must not be empty: some readers see only this part")
    if not message.postal_address.strip():
        raise InvalidInput("postal_address", "must not be empty: the law wants it in every commercial mail")
    for field in ("subject", "from_name", "from_address", "reply_to", "preheader", "postal_address"):
        if any(ord(char) < 32 or ord(char) == 127 for char in getattr(message, field) or ""):
            raise InvalidInput(field, "must be one line without control characters")
    for field, address in (("from_address", message.from_address), ("reply_to", message.reply_to)):
        if address is not None and (not is_sendable(address) or parseaddr(address)[1] != address):
            raise InvalidInput(field, "must be a plain e-mail address, without a name")
    _check_slots(message.slots)


def _check_slots(slots: list[SlotIn]) -> None:
    if not 0 < len(slots) <= MAX_SLOTS:
        raise InvalidInput("slots", f"must be 1 to {MAX_SLOTS}")
    for position, slot in enumerate(slots):
        at = f"slots[{position}]"
        if not _NAME.fullmatch(slot.name) or slot.name in (*_RESERVED, "trap"):
            raise InvalidInput(f"{at}.name", "must be a short lower-case word such as hero")
        if not 0 <= slot.index < 255:
            raise InvalidInput(f"{at}.index", "must be 0 to 254")
        if slot.width % 20 or not 20 <= slot.width <= 1200:
            raise InvalidInput(f"{at}.width", "must be a multiple of 20 up to 1200 pixels")
        if slot.height % 10 or not 10 <= slot.height <= 1200:
            raise InvalidInput(f"{at}.height", "must be a multiple of 10 up to 1200 pixels")
        if not slot.alt.strip():
            raise InvalidInput(f"{at}.alt", "must describe the place for who does not see pictures")
        if not 10_000 <= slot.max_bytes <= 1_000_000:
            raise InvalidInput(f"{at}.max_bytes", "must be 10,000 to 1,000,000")
    for field in ("name", "index"):
        values = [getattr(slot, field) for slot in slots]
        if len(set(values)) != len(values):
            raise InvalidInput("slots", f"use a {field} twice")


def _with_slots(content: str, slots: dict[str, SlotIn]) -> str:
    named = markup.SLOT.findall(content)
    for name in named:
        if name not in slots:
            raise InvalidInput("mjml", f"names the slot {name}, which the message does not have")
    for name in slots:
        if named.count(name) != 1:
            raise InvalidInput("mjml", f"must hold {{{{ slot.{name} }}}} exactly once")
    return markup.SLOT.sub(lambda found: markup.slot_markup(slots[found[1]]), content)


def _amp(unfilled: str, message: MessageIn) -> str:
    content = amp.document(unfilled, message.slots, message.locale, "mjml")
    templates.fields(content, "mjml")
    # A slot has four addresses there: of its answer, its picture and twice of its click.
    size = len(content.encode()) + (2 + 4 * len(message.slots)) * ADDRESS_BYTES
    if size > amp.MAX_DOCUMENT:
        raise InvalidInput("mjml", f"becomes {size} bytes of AMP; mail clients show at most {amp.MAX_DOCUMENT}")
    return content


def _check_field(root: str, name: str, field: str, message: MessageIn, slots: dict[str, SlotIn]) -> None:
    if root == "profile":
        if not _NAME.fullmatch(name):
            raise InvalidInput(field, f"reads profile.{name}, which is no name of a fact")
        if name not in message.fallbacks:
            raise InvalidInput("fallbacks", f"has no text for profile.{name}, which {field} prints")
    elif root == "brand" and name not in ("name", "postal_address"):
        raise InvalidInput(field, f"reads brand.{name}; there are brand.name and brand.postal_address")
    elif root == "message" and name not in ("subject", "preheader"):
        raise InvalidInput(field, f"reads message.{name}; there are message.subject and message.preheader")
    elif root == "message" and field in ("subject", "preheader"):
        raise InvalidInput(field, f"cannot print message.{name}")
    elif root == "link" and name not in (*_RESERVED, *slots):
        raise InvalidInput(field, f"reads link.{name}; there are {', '.join((*_RESERVED, *slots))}")
    elif root in ("link", "url") and field in ("subject", "preheader"):
        raise InvalidInput(field, "cannot hold an address")
