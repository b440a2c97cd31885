"""The linter of a campaign's mail: what keeps it from going out, and what somebody should know before it does.

Errors block; warnings want a reason from whoever asks for approval, and whoever approves sees both. What a message
cannot be compiled without (size, unsubscribe link, postal address, places with their alternative texts, a fallback for
every field) is refused earlier, in campaigns/mail.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from msgspec import UNSET, Struct
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from base.processes import is_this_machine
from campaigns import audience, mailreading
from campaigns.mail import ADDRESS_BYTES, MAX_HTML, CompiledMail
from campaigns.mailreading import Reading
from campaigns.models.campaign import Campaign
from render import validity
from render.creative import Column, Price
from render.incentive import INCENTIVES
from render.plan import Offer, Plan
from render.template import compile_template
from signals.identifying import SEALED, is_identifying
from signals.products import Product
from signals.profiles import ProfileStateRow

Level = Literal["error", "warning"]
NEARLY: Final = 0.85
"""Of the size at which Gmail clips a mail: from there on it is told."""
INVISIBLE: Final = 1.5
"""A contrast below this is text that nobody sees, which filters take for hidden words."""
FEW_WORDS: Final = 20
LONG_SUBJECT: Final = 90
_LOWERED: Final = frozenset({("offer", "price_cents"), ("offer", "price")})
MAX_TOLD: Final = 3
"""Places told of one kind of finding."""
SHORTENERS: Final = frozenset({
    "bit.ly", "t.co", "tinyurl.com", "goo.gl", "ow.ly", "is.gd", "buff.ly", "rebrand.ly", "cutt.ly", "rb.gy", "t.ly",
    "shorturl.at", "tiny.cc", "v.gd", "lnkd.in", "s.id", "bl.ink", "short.io", "soo.gd", "adf.ly",
})  # fmt: skip
FREEMAIL: Final = frozenset({
    "gmail.com", "googlemail.com", "yahoo.com", "ymail.com", "outlook.com", "hotmail.com", "live.com", "msn.com",
    "aol.com", "icloud.com", "me.com", "mac.com", "gmx.de", "gmx.net", "gmx.at", "web.de", "mail.ru", "proton.me",
    "protonmail.com", "zoho.com",
})  # fmt: skip
"""Mailboxes of everybody: their DMARC records have mails refused that others send in their name."""
EXAMPLES: Final = frozenset({"example.com", "example.net", "example.org"})
NOBODYS: Final = frozenset({"example", "invalid", "localhost", "test"})
"""Domains that are nobody's, and top-level domains under which there are none."""
TRIGGERS: Final = (
    "100% free", "act now", "risk free", "risk-free", "guaranteed winner", "you are a winner", "you have won",
    "cash bonus", "double your", "earn money", "make money fast", "no obligation", "once in a lifetime",
    "click here now", "this is not spam", "viagra", "casino bonus", "weight loss", "lowest price ever",
    "urgent response",
)  # fmt: skip
_ADDRESS_LIKE: Final = re.compile(
    r"(?:https?://)?(?:www\.)?([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,})(?:/\S*)?", re.IGNORECASE
)
_NUMBERS: Final = re.compile(r"[\d.]+|\[.*\]")
_WRITTEN: Final = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://|www\.)\S+|(?<![\w@./-])(?:(?:[\w-]+\.)+[a-z]{2,}|\d{1,3}(?:\.\d{1,3}){3})/\S*",
    re.IGNORECASE,
)
"""What phones make a link of in plain text; without a scheme only where a path follows."""
_TAG: Final = re.compile(r"\{(?:\{(?P<printed>.*?)\}|%.*?%|#.*?#)\}", re.DOTALL)
_LITERAL: Final = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_AFTER: Final = ".,;:!?)]}>»”’\"'"
"""What ends a sentence and not the address before it."""
_DEFAULT: Final = re.compile(r"""profile\.first_name\s*\|\s*default\(\s*(?:"([^"]*)"|'([^']*)')""")
_PRINTED: Final = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)


class Finding(Struct, frozen=True):
    """One thing about a mail, or about the text that goes in its place.

    How bad it is, what kind in a stable word, the tab where it is put right, and a sentence.
    """

    level: Level
    code: str
    tab: str
    words: str


class Lacking(Struct, frozen=True):
    """A field that the mail prints, and how many of the `people` who are mailed have none and get the fallback.

    `offer` is the name of the offer in whose text it stands, empty where it is the mail's own.
    """

    field: str
    fallback: str
    lacking: int
    people: int
    offer: str = ""


def findings(row: Campaign, plan: Plan, mail: CompiledMail, *, is_sending: bool) -> list[Finding]:
    """What is to be said of a campaign's mail, of its text and of where links lead; errors first.

    `is_sending`: mails go to people, so that a made-up sender is an error. Nobody's data is read.
    Where a text or push message goes in the mail's place, the mail is a page that it leads to: nothing is said of what
    only inboxes and filters see.
    """
    reading = mailreading.read(mail.html)
    found = [*_unfilled(row), *_without_product(plan)]
    found += [*_contrast(reading), *_pictures(reading), *_links(row, plan, mail, reading)]
    if mail.message is UNSET:
        found += [*_size(mail), *_made_up(mail, is_sending), *_sender(mail), *_subject(mail), *_text(mail, reading)]
    return sorted(found, key=lambda one: one.level != "error")


def errors(row: Campaign, plan: Plan, mail: CompiledMail, *, is_sending: bool) -> list[str]:
    """The sentences of what blocks."""
    return [
        f"The {'text' if one.tab == 'text' else 'mail'}: {one.words}"
        for one in findings(row, plan, mail, is_sending=is_sending)
        if one.level == "error"
    ]


def lacking(
    session: Session, row: Campaign, plan: Plan, mail: CompiledMail, now: datetime, hash_key: bytes
) -> list[Lacking]:
    """How many of those who would be mailed now have none of each field that the mail or a text of a chosen offer
    prints, the most lacking first. Raises InvalidInput when the rule is not sound.
    """
    printed = [("", name, text) for name, text in sorted(_fallbacks(mail).items())] + list(_of_offers(plan))
    names = sorted({name for _, name, _ in printed})
    if not names:
        return []
    members = audience.mailed(session, row, now, hash_key).cte("mailed")
    values = [_said(name) for name in names]
    counts: list[Any] = [func.count() - func.count(value) for value in values]
    query = select(func.count(), *counts).join(members, members.c.profile_id == ProfileStateRow.profile_id)
    people, *numbers = session.execute(query).one()
    without = dict(zip(names, numbers, strict=True))
    found = [Lacking(name, fallback, without[name], people, offer) for offer, name, fallback in printed]
    return sorted(found, key=lambda one: -one.lacking)


def _of_offers(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Offers with a text that prints the first name, the one trait it can: name, trait, and what stands in for it."""
    for offer in plan.offers:
        texts = [text for text in _texts(offer) if ("profile", "first_name") in compile_template(text)[1]]
        if texts:
            yield offer.name, "first_name", min((_default(text) for text in texts), key=len)


def _texts(offer: Offer) -> list[str]:
    """Its texts, without those with a condition: they say themselves what they are where something is missing."""
    return [text for text in offer.fields.values() if isinstance(text, str) and "{%" not in text]


def _default(text: str) -> str:
    """What a text prints in place of the first name; "" where it says nothing of that."""
    told = _DEFAULT.search(text)
    return "" if told is None else told[1] or told[2] or ""


def _said(name: str) -> ColumnElement[Any]:
    """What a stored document says of a trait; NULL where it is missing or says nothing."""
    if is_identifying(name):
        hidden = func.nullif(ProfileStateRow.document[SEALED][name].astext, "false")
        return func.coalesce(hidden, ProfileStateRow.document["traits"][name].astext)
    return func.nullif(func.btrim(ProfileStateRow.document["traits"][name].astext), "")


def _fallbacks(mail: CompiledMail) -> dict[str, str]:
    """What stands in for each field that the mail prints, or the message that goes in its place."""
    if mail.message is UNSET:
        return mail.fallbacks
    others = {name: text for one in mail.message.versions.values() for name, text in one.fallbacks.items()}
    return mail.fallbacks | others | mail.message.versions[mail.message.locale].fallbacks


def of_nobody(told: list[Lacking]) -> list[Finding]:
    """Fields that nobody has who is mailed, which is most likely a slip, and those that would leave a hole."""
    found = []
    for one in told:
        tab, where = ("offers", f"The offer “{one.offer}”: ") if one.offer else ("message", "")
        if one.people and one.lacking == one.people:
            words = f"{where}Nobody who is mailed has “{one.field}”: everybody gets “{one.fallback}”."
            found.append(Finding("warning", "field", tab, words))
        elif one.lacking and not one.fallback.strip():
            words = f"{where}{one.lacking} of {one.people} people have no “{one.field}”, and nothing stands in for it."
            found.append(Finding("warning", "field", tab, words))
    return found


def unlowered(session: Session, plan: Plan, now: datetime) -> list[Finding]:
    """Offers whose design draws a lowered price, where nothing lowers it: no price is drawn for them."""
    names = {name for offer in plan.offers for name in offer.read_products}
    on_sale = set(
        session.scalars(
            select(Product.id).where(
                Product.id.in_(names),
                Product.sale_cents < Product.price_cents,
                or_(Product.sale_until.is_(None), Product.sale_until >= now),
            )
        )
    )
    found = []
    for offer in plan.offers:
        is_lowered = offer.units is not None or any(name in offer.fields for name in INCENTIVES)
        if not is_lowered and on_sale.isdisjoint(offer.read_products) and _draws_lower(plan, offer):
            words = f"The offer “{offer.name}” draws no price: its design shows a lowered one, and nothing lowers it."
            found.append(Finding("warning", "price", "offers", f"{words} Name a lower price, or another design."))
    return found


def _draws_lower(plan: Plan, offer: Offer) -> bool:
    """Whether its design draws the price under the offer, and is not whole without it."""
    columns = [layer for layer in plan.creative_by_id[offer.creative].layers if isinstance(layer, Column)]
    prices = [item for column in columns for item in column.items if isinstance(item, Price) and not item.optional]
    reads = [compile_template(item.amount)[1] for item in prices]
    return any(read and _LOWERED.issuperset(read) for read in reads)


def _unfilled(row: Campaign) -> Iterator[Finding]:
    """A campaign that offers nobody anything."""
    if row.slots and not any(choice["offers"] for choice in row.slots):
        words = "No offer is chosen for any place: everybody sees the neutral default."
        yield Finding("warning", "offers", "offers", words)


def _without_product(plan: Plan) -> Iterator[Finding]:
    """Offers that print something of a product, or take something off its price, and have none."""
    for offer in plan.offers:
        if offer.product is not None or offer.pick is not None:
            continue
        read = {field for text in _texts(offer) for field in compile_template(text)[1]}
        printed = sorted(f"{root}.{name}" for root, name in read if root == "product" and name != "category")
        if printed:
            words = f"The offer “{offer.name}” prints {', '.join(printed[:MAX_TOLD])}, and has no product: name one."
            yield Finding("warning", "field", "offers", words)
        taken = {f"offer.{name}" for name in ("percent", "amount_off_cents") if name in offer.fields}
        if taken and not offer.products and taken.isdisjoint(validity.check(plan.creative_by_id[offer.creative])):
            words = f"The offer “{offer.name}” takes something off a price, and has no product: name one."
            yield Finding("warning", "price", "offers", words)


def _size(mail: CompiledMail) -> Iterator[Finding]:
    size = len(mail.html.encode()) + (3 + 3 * len(mail.slots)) * ADDRESS_BYTES
    if size > NEARLY * MAX_HTML:
        words = f"It has {size // 1000} kB of {MAX_HTML // 1000}: Gmail cuts what is longer."
        yield Finding("warning", "size", "message", words)


def _made_up(mail: CompiledMail, is_sending: bool) -> Iterator[Finding]:
    """The sender that Latebind fills in, and others of domains that are set aside for examples (RFC 2606, RFC 6761)."""
    for address, what in ((mail.from_address, "The sender"), (mail.reply_to, "The address for answers")):
        domain = (address or "").lower().rpartition("@")[2].rstrip(".")
        if is_sending and (_domain(domain) in EXAMPLES or domain.rpartition(".")[2] in NOBODYS):
            words = f"{what}, {address}, is made up: {domain} is nobody’s. Name an address of a domain of yours."
            yield Finding("error", "sender", "message", words)


def _sender(mail: CompiledMail) -> Iterator[Finding]:
    local, _, domain = mail.from_address.lower().rpartition("@")
    if domain in FREEMAIL:
        words = f"Mails from {domain} that others send are refused: use a domain of yours."
        yield Finding("error", "sender", "message", words)
    if not mail.from_name.strip():
        yield Finding("error", "sender", "message", "It does not say whom it is from.")
    if re.fullmatch(r"(?:no|do[._-]?not)[._-]?reply", local) and not mail.reply_to:
        yield Finding("warning", "sender", "message", "Nobody can answer it: name an address for answers.")


def _subject(mail: CompiledMail) -> Iterator[Finding]:
    subject = _PRINTED.sub("", mail.subject).strip()
    letters = [letter for letter in subject if letter.isalpha()]
    if len(letters) > 10 and sum(letter.isupper() for letter in letters) > 0.7 * len(letters):
        yield Finding("warning", "subject", "message", "The subject is in capitals, as junk mail is.")
    if re.match(r"(?:re|fwd?|aw|wg)\s*:", subject, re.IGNORECASE):
        words = "The subject pretends to be an answer, which the law of many countries forbids."
        yield Finding("warning", "subject", "message", words)
    if re.search(r"[!?$€£]{3,}|!.*!.*!", subject):
        yield Finding("warning", "subject", "message", "The subject shouts: too many signs of exclamation or money.")
    if len(mail.subject) > LONG_SUBJECT:
        yield Finding(
            "warning", "subject", "message", f"The subject has {len(mail.subject)} characters; most inboxes cut it."
        )
    if not mail.preheader.strip():
        words = "No line after the subject: inboxes show the beginning of the mail instead."
        yield Finding("warning", "preheader", "message", words)


def _text(mail: CompiledMail, reading: Reading) -> Iterator[Finding]:
    told = " ".join((mail.subject, mail.preheader, re.sub(r"<[^>]*>", " ", mail.html))).lower()
    spammy = [f"“{words}”" for words in TRIGGERS if words in told]
    if spammy:
        yield Finding("warning", "words", "message", f"Words that junk mail uses: {', '.join(spammy[:MAX_TOLD])}.")
    if reading.words < FEW_WORDS:
        words = f"With pictures off there are {reading.words} words to read: say in text what it is about."
        yield Finding("warning", "text", "message", words)
    if "{{ link." not in mail.text.replace("link.unsubscribe", "").replace("link.view", ""):
        yield Finding(
            "warning", "text", "message", "The text part leads nowhere: it has no link to what the mail offers."
        )


def _contrast(reading: Reading) -> Iterator[Finding]:
    hidden = [one for one in reading.faint if one.contrast < INVISIBLE]
    faint = [one for one in reading.faint if one.contrast >= INVISIBLE]
    for one in hidden[:MAX_TOLD]:
        words = f"“{one.words}” cannot be seen, as what is hidden: contrast {one.contrast:.1f}."
        yield Finding("error", "contrast", "message", words)
    for one in faint[:MAX_TOLD]:
        yield Finding(
            "warning",
            "contrast",
            "message",
            f"“{one.words}” is hard to read: contrast {one.contrast:.1f}, at least 4.5 is needed.",
        )


def _pictures(reading: Reading) -> Iterator[Finding]:
    for source in reading.mute[:MAX_TOLD]:
        yield Finding("error", "alt", "message", f"A picture has no alternative text: {source[:80]}")


def _links(row: Campaign, plan: Plan, mail: CompiledMail, reading: Reading) -> Iterator[Finding]:
    addresses = [(one.address, "message", "A link") for one in reading.links]
    addresses.append((plan.default_landing, "offers", "The address for clicks that lead to no offer"))
    addresses += [(one.landing, "offers", f"The offer “{one.name}”") for one in plan.offers]
    addresses += [(address, "text", f"A link in the text ({locale})") for locale, address in _typed(mail)]
    own = _domain(mail.from_address.rpartition("@")[2])
    known = {own, *map(_domain, row.landing_hosts)}
    elsewhere: dict[str, str] = {}
    for address, tab, what in addresses:
        try:
            parts = urlsplit(address)
            host = (parts.hostname or "").lower()
        except ValueError:
            yield Finding("error", "link", tab, f"{what} leads to {address[:80]}, which is no address.")
            continue
        if parts.scheme in ("mailto", "tel", "") and not host:
            continue
        if is_this_machine(host):
            # Whoever tries things out on one machine may; in a mail to others it is seen.
            yield Finding("warning", "link", tab, f"{what} leads to this machine: nobody elsewhere can follow it.")
            continue
        if parts.scheme != "https":
            yield Finding("error", "link", tab, f"{what} leads to {address[:80]}, which is not https.")
        if host in SHORTENERS or host.removeprefix("www.") in SHORTENERS:
            yield Finding("error", "link", tab, f"{what} goes through {host}: filters refuse shortened addresses.")
        elif _NUMBERS.fullmatch(host):
            yield Finding("error", "link", tab, f"{what} leads to the bare number {host}, as fraud does.")
        elif _domain(host) not in known:
            elsewhere.setdefault(_domain(host), tab)
    for domain, tab in list(elsewhere.items())[:MAX_TOLD]:
        yield Finding("warning", "host", tab, f"It leads to {domain}, which is not the sender’s domain ({own}).")
    for link in reading.links:
        shown = _ADDRESS_LIKE.fullmatch(link.words)
        host = urlsplit(link.address).hostname or ""
        if shown and host and _domain(shown[1].lower()) != _domain(host):
            words = f"“{link.words[:60]}” leads to {host}, another address than it says."
            yield Finding("error", "link", "message", words)


def _typed(mail: CompiledMail) -> list[tuple[str, str]]:
    """The addresses typed into each version of a text or push message, or into what stands in for its fields."""
    if mail.message is UNSET:
        return []
    return [
        (locale, address)
        for locale, version in mail.message.versions.items()
        for text in (version.title, version.body, *version.fallbacks.values())
        for address in _addresses(_TAG.sub(_literals, text))
    ]


def _literals(tag: re.Match[str]) -> str:
    """What a tag prints whoever gets it."""
    return " ".join(first or second for first, second in _LITERAL.findall(tag["printed"] or ""))


def _addresses(text: str) -> Iterator[str]:
    for found in _WRITTEN.findall(text):
        address = found.rstrip(_AFTER)
        yield address if "://" in address else f"https://{address}"


def _domain(host: str) -> str:
    """The last two labels, or three under a short second level such as co.uk: enough to tell whose a host is."""
    labels = host.lower().rstrip(".").split(".")
    size = 3 if len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3 else 2
    return ".".join(labels[-size:])
