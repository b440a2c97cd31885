"""Whether receivers will believe mails from a domain: DKIM, SPF, DMARC, PTR and one-click, as they see it themselves.

These are what Gmail, Yahoo and Outlook.com ask of bulk senders and can be seen from outside. What cannot be seen there
is the share of complaints, which must stay below 0.3 %, and how the relay speaks to others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from base.errors import LatebindError
from base.settings import Settings
from base.tokens import TokenKeys
from campaigns import dkimkeys, dmarc, domaincheck, spf
from campaigns.dkimkeys import Record
from campaigns.lookups import Lookups, NoAnswer
from campaigns.models.signing import DkimKey

MAX_ADDRESSES: Final = 8
ASKED_BY: Final = {
    "dkim": "Gmail, Yahoo and Outlook.com", "spf": "Gmail, Yahoo and Outlook.com",
    "dmarc": "Gmail, Yahoo and Outlook.com", "ptr": "Gmail and Yahoo", "one-click": "Gmail and Yahoo",
}  # fmt: skip
_ALL: Final = {"+all", "all"}


class Wrong(LatebindError):
    """A check failed: what is wrong and what to do, and the record to publish where that is it."""

    def __init__(self, words: str, publish: Record | None = None) -> None:
        super().__init__(words)
        self.publish = publish


class Untold(LatebindError):
    """A check could not be made; says why."""


@dataclass(frozen=True)
class Finding:
    """What one check found; `well` is None where it could not be made. `publish` is the record that would mend it."""

    check: str
    well: bool | None
    words: str
    publish: Record | None = None

    @property
    def asked_by(self) -> str:
        """Who asks bulk senders for it."""
        return ASKED_BY[self.check]


def examine(
    domain: str, keys: Sequence[DkimKey], settings: Settings, lookups: Lookups, tokens: TokenKeys, now: datetime
) -> Iterator[Finding]:
    """Check a domain; `keys` are those of all domains. A few seconds for each check that gets no answer."""
    checks: dict[str, Callable[[], str]] = {
        "dkim": lambda: _dkim(domain, keys, lookups),
        "spf": lambda: _spf(settings.bounce_domain or domain, settings, lookups),
        "dmarc": lambda: _dmarc(domain, keys, settings, lookups),
        "ptr": lambda: _ptr(settings, lookups),
        "one-click": lambda: _one_click(settings, tokens, now),
    }
    for check, found in checks.items():
        try:
            yield Finding(check, True, found())
        except Wrong as wrong:
            yield Finding(check, False, str(wrong), wrong.publish)
        except (Untold, NoAnswer) as error:
            yield Finding(check, None, str(error))


def signing(domain: str, keys: Sequence[DkimKey]) -> list[DkimKey]:
    """The keys that sign mails from a domain: the active ones of the nearest domain that has some."""
    for name in dkimkeys.ancestry(domain):
        found = [key for key in keys if key.domain == name and key.state == "active"]
        if found:
            return found
    return []


def _dkim(domain: str, keys: Sequence[DkimKey], lookups: Lookups) -> str:
    active = signing(domain, keys)
    if not active:
        made = next((key for key in keys if key.domain == domain and key.state == "made"), None)
        if made is not None:
            raise Wrong(
                f"Mails from {domain} leave unsigned: publish this record, then activate the key.",
                dkimkeys.record(made),
            )
        raise Wrong(f"Mails from {domain} leave unsigned: make a key, or have the relay sign them.")
    named = [key for key in keys if key.state == "kept" and key.domain == active[0].domain]
    for key in (*active, *named):
        well, words = dkimkeys.published(key, lookups)
        if not well:
            raise Wrong(words, dkimkeys.record(key))
    if all(key.algorithm != "rsa" for key in active):
        raise Wrong("Mails are signed with Ed25519 alone, which many receivers do not check: add an RSA key.")
    return f"Mails are signed as {active[0].domain} by {' and '.join(key.selector for key in active)}."


def _spf(domain: str, settings: Settings, lookups: Lookups) -> str:
    sending = _outgoing(settings, lookups)
    allowed = " ".join(f"ip{address.version}:{address}" for address in sending)
    try:
        text = spf.record(lookups, domain)
        if text is None:
            wanted = dkimkeys.text_record(domain, f"v=spf1 {allowed} ~all") if allowed else None
            raise Wrong(f"{domain} has no SPF record: publish one that lets the relay send.", wanted)
        if _ALL & set(text.lower().split()):
            raise Wrong(f"The SPF record of {domain} lets everybody send (+all): end it with ~all or -all.")
        if not sending:
            spf.Evaluation(lookups).result(domain, ipaddress.ip_address("192.0.2.1"))
            raise Untold(f"{domain} has an SPF record. {_UNKNOWN}")
        for address in sending:
            _passes(domain, text, address, lookups)
    except spf.Broken as broken:
        raise Wrong(f"The SPF record of {domain} {broken}: mend it.") from None
    return f"The SPF record of {domain} lets {_listed(sending)} send."


_UNKNOWN: Final = (
    "From which addresses the relay sends is not known: name them in LATEBIND_OUTGOING_ADDRESSES, and ask again."
)


def _passes(domain: str, text: str, address: spf.Address, lookups: Lookups) -> None:
    evaluation = spf.Evaluation(lookups)
    result = evaluation.result(domain, address)
    if result == "pass":
        return
    if evaluation.passed_over:
        raise Untold(f"The SPF record of {domain} decides by {evaluation.passed_over[0]}, which is not followed here.")
    head, _, rest = text.partition(" ")
    wanted = f"{head} ip{address.version}:{address} {rest}".strip()
    raise Wrong(f"The SPF record of {domain} says {result} of {address}: add it.", dkimkeys.text_record(domain, wanted))


def _dmarc(domain: str, keys: Sequence[DkimKey], settings: Settings, lookups: Lookups) -> str:
    try:
        found = dmarc.policy(lookups, domain)
    except dmarc.Broken as broken:
        raise Wrong(str(broken)) from None
    if found is None:
        wanted = dkimkeys.text_record(f"_dmarc.{domain}", f"v=DMARC1; p=none; rua=mailto:dmarc@{domain}")
        raise Wrong(f"{domain} has no DMARC record: publish one, with an address of yours for reports.", wanted)
    envelope = settings.bounce_domain or domain
    signed = [
        key.domain
        for key in signing(domain, keys)
        if dmarc.is_aligned(domain, key.domain, found, strict=found.strict_dkim)
    ]
    by_envelope = dmarc.is_aligned(domain, envelope, found, strict=found.strict_spf)
    if not signed and not by_envelope:
        raise Wrong(
            f"Neither the signature nor the envelope sender ({envelope}) is aligned with {domain}: sign with a key of "
            f"{domain}."
        )
    by = " and ".join([*(["DKIM"] if signed else []), *(["SPF"] if by_envelope else [])])
    advice = "" if found.has_reports else " It names no address for reports (rua): add one."
    if found.policy == "none":
        advice += " Once reports show no mail of yours failing, ask for p=quarantine."
    return f"_dmarc.{found.domain} asks for p={found.policy}; mails are aligned by {by}.{advice}"


def _ptr(settings: Settings, lookups: Lookups) -> str:
    sending = _outgoing(settings, lookups)
    if not sending:
        raise Untold(_UNKNOWN)
    for address in sending:
        names = lookups.names(str(address))
        if not names:
            raise Wrong(f"{address} has no name (PTR): whoever gave you the address sets it.")
        if not any(str(address) in lookups.addresses(name) for name in names[:MAX_ADDRESSES]):
            raise Wrong(f"{address} is named {names[0]}, which does not lead back to it: give that name the address.")
    return f"{_listed(sending)} {'has a name that leads' if len(sending) == 1 else 'have names that lead'} back."


def _one_click(settings: Settings, tokens: TokenKeys, now: datetime) -> str:
    checked = 0
    for address in domaincheck.addresses(settings):
        host = urlsplit(address.url).hostname or ""
        if domaincheck.is_local(host):
            continue
        checked += 1
        for found in domaincheck.examine(address.url, tokens, now):
            if not found.well:
                raise Wrong(found.words)
    if not checked:
        raise Untold("The render address leads to this machine only: mails of it cannot be unsubscribed elsewhere.")
    return "Every mail carries List-Unsubscribe and List-Unsubscribe-Post, signed, and the POST is answered."


def _outgoing(settings: Settings, lookups: Lookups) -> list[spf.Address]:
    """The public addresses that mails come from, as far as they are known."""
    named = settings.outgoing_addresses or lookups.addresses(urlsplit(settings.relay_url).hostname or "")
    found = [ipaddress.ip_address(address) for address in named[:MAX_ADDRESSES]]
    return found if settings.outgoing_addresses else [address for address in found if address.is_global]


def _listed(addresses: Sequence[spf.Address]) -> str:
    return ", ".join(map(str, addresses))
