"""Text and push messages: what a manager writes, checked and compiled with the mail, and built for one person.

They are written in the template language of mails (campaigns/templates.py), a version a locale. A person gets the one
of their own locale, else of its language, else of the campaign's. Printed values are one line each; a message that
comes out too long is not cut, for it would end within a link: it fails, for that person alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from base.errors import InvalidInput
from campaigns import templates

MAX_VERSIONS: Final = 30
MAX_WRITTEN: Final = 2_000
MAX_TITLE: Final = 120
MAX_PARTS: Final = 10
"""Parts of a text message as it arrives."""
MAX_PUSH: Final = 1_000
"""Characters of a push message as it arrives: more than devices show."""
_GSM: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE: Final = frozenset("^{}\\[~]|€\f")
"""The alphabet of text messages (GSM 03.38 §6.2.1), and what takes the place of two in it."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
_LOCALE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_LINES: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
MAX_FALLBACK: Final = 200
ShortText = Annotated[str, Meta(max_length=MAX_FALLBACK)]


class TextVersion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message in one language. `fallbacks` gives every profile field that it prints a text for who has none.

    `{{ link.<slot> }}` is where that place's click goes, `{{ link.view }}` the page that shows all places and
    `{{ link.unsubscribe }}` the page to leave by, which a text message must name. A title belongs to push messages.
    """

    body: str
    title: str = ""
    fallbacks: dict[str, ShortText] = {}


class TextIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text or push message as it is written: its versions by locale, the campaign's own locale among them.

    `link` and `image` name places (slots) of the campaign's message: where a tap on a push message leads, and whose
    picture it shows.
    """

    versions: dict[str, TextVersion]
    link: str | None = None
    image: str | None = None


class CompiledText(Struct, frozen=True, kw_only=True):
    """A message as it is sent, immutable with its plan; `link` and `image` are numbers of slots."""

    channel: str
    gateway: int
    locale: str
    versions: dict[str, TextVersion]
    slots: dict[str, int]
    link: int | None
    image: int | None


def compile_text(text: TextIn, channel: str, gateway: int, locale: str, slots: Mapping[str, int]) -> CompiledText:
    """Check a message whole and compile it; `slots` are the numbers of the places. Raises InvalidInput."""
    if not 0 < len(text.versions) <= MAX_VERSIONS:
        raise InvalidInput("text.versions", f"must be 1 to {MAX_VERSIONS}")
    if len({name.lower() for name in text.versions}) != len(text.versions):
        raise InvalidInput("text.versions", "name a locale twice")
    if locale not in text.versions:
        raise InvalidInput("text.versions", f"have none for {locale}, the campaign’s own locale")
    versions: dict[str, TextVersion] = {}
    for name, version in sorted(text.versions.items()):
        if not _LOCALE.fullmatch(name):
            raise InvalidInput("text.versions", "must be named by a locale such as de or pt-BR")
        printed = _check_version(version, channel, f"text.versions.{name}", slots)
        versions[name] = replace(version, fallbacks={field: version.fallbacks[field] for field in printed})
    _check_places(text, channel, slots)
    return CompiledText(
        channel=channel,
        gateway=gateway,
        locale=locale,
        versions=versions,
        slots=dict(slots),
        link=None if text.link is None else slots[text.link],
        image=None if text.image is None else slots[text.image],
    )


def printed(version: TextVersion) -> set[str]:
    """The profile fields that a version reads; none of what is no sound template yet."""
    try:
        read = templates.fields(version.title, "title") | templates.fields(version.body, "body")
    except InvalidInput:
        return set()
    return {name for root, name in read if root == "profile" and _NAME.fullmatch(name)}


def begun(text: TextIn) -> TextIn | None:
    """What is kept of a message while its campaign goes by mail: the versions that have any text."""
    versions = {name: version for name, version in text.versions.items() if version.body.strip()}
    return replace(text, versions=versions) if versions else None


def check_kept(text: TextIn) -> None:
    """Raises InvalidInput for more than a message can hold; whether it is sound is asked when it gets a gateway."""
    if len(text.versions) > MAX_VERSIONS:
        raise InvalidInput("text.versions", f"must be at most {MAX_VERSIONS}")
    for name, version in text.versions.items():
        if not _LOCALE.fullmatch(name):
            raise InvalidInput("text.versions", "must be named by a locale such as de or pt-BR")
        for part, most in (("body", MAX_WRITTEN), ("title", MAX_TITLE)):
            if len(getattr(version, part)) > most:
                raise InvalidInput(f"text.versions.{name}.{part}", f"must have at most {most} characters")
        if len(version.fallbacks) > MAX_WRITTEN:
            raise InvalidInput(f"text.versions.{name}.fallbacks", f"must be at most {MAX_WRITTEN}")


def parts(text: str) -> int:
    """How many parts a text message is sent in: of 160 characters of its alphabet or 70 of any other; of several, each
    has room for 153 or 67 (3GPP TS 23.040 §9.2.3.24.1)."""
    if all(char in _GSM or char in _GSM_TWICE for char in text):
        size, alone, each = sum(2 if char in _GSM_TWICE else 1 for char in text), 160, 153
    else:
        size, alone, each = len(text.encode("utf-16-le")) // 2, 70, 67
    return 1 if size <= alone else -(-size // each)


def check_built(text: str, channel: str) -> None:
    """Raises InvalidInput for a message that came out too long for somebody."""
    if channel == "sms" and parts(text) > MAX_PARTS:
        raise InvalidInput("text", f"makes {parts(text)} parts for this person; {MAX_PARTS} can be sent")
    if channel == "push" and len(text) > MAX_PUSH:
        raise InvalidInput("text", f"has {len(text)} characters for this person; {MAX_PUSH} can be sent")


def _check_places(text: TextIn, channel: str, slots: Mapping[str, int]) -> None:
    if channel == "sms" and text.image is not None:
        raise InvalidInput("text.image", "belongs to push messages")
    for field, place in (("text.link", text.link), ("text.image", text.image)):
        if place is not None and place not in slots:
            raise InvalidInput(field, f"names the place {place[:40]}, which the message does not have")


def _check_version(version: TextVersion, channel: str, at: str, slots: Mapping[str, int]) -> list[str]:
    """The profile fields that a version prints, if it is sound."""
    if not version.body.strip() or len(version.body) > MAX_WRITTEN:
        raise InvalidInput(f"{at}.body", f"must have 1 to {MAX_WRITTEN} characters")
    if _LINES.search(version.body):
        raise InvalidInput(f"{at}.body", "must not hold control characters")
    if channel == "push" and not (version.title.strip() and len(version.title) <= MAX_TITLE):
        raise InvalidInput(f"{at}.title", f"must have 1 to {MAX_TITLE} characters")
    if channel == "sms" and version.title:
        raise InvalidInput(f"{at}.title", "belongs to push messages")
    if _LINES.search(version.title) or "\n" in version.title:
        raise InvalidInput(f"{at}.title", "must be one line without control characters")
    read = {name: templates.fields(getattr(version, name), f"{at}.{name}") for name in ("title", "body")}
    for part, names in read.items():
        for root, name in sorted(names):
            _check_field(root, name, f"{at}.{part}", version, slots)
    if channel == "sms" and ("link", "unsubscribe") not in read["body"]:
        raise InvalidInput(f"{at}.body", "must contain {{ link.unsubscribe }}")
    return sorted({name for names in read.values() for root, name in names if root == "profile"})


def _check_field(root: str, name: str, field: str, version: TextVersion, slots: Mapping[str, int]) -> None:
    if root == "profile":
        if not _NAME.fullmatch(name):
            raise InvalidInput(field, f"reads profile.{name}, which is no name of a fact")
        if name not in version.fallbacks:
            raise InvalidInput(field, f"prints profile.{name}, for which its version has no fallback")
    elif root == "brand" and name == "name":
        return
    elif root == "link" and field.endswith(".body"):
        if name not in ("view", "unsubscribe", *slots):
            raise InvalidInput(field, f"reads link.{name}; there are {', '.join(('view', 'unsubscribe', *slots))}")
    else:
        raise InvalidInput(field, f"reads {root}.{name}, which such a message does not have")


def locales(versions: Mapping[str, TextVersion], own: str) -> Sequence[str]:
    """The locales of a message, the campaign's own first."""
    return sorted(versions, key=lambda name: (name != own, name))
