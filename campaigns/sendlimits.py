"""How fast mails may leave: terms that an admin sets, over all campaigns and senders together.

A limit is so many mails within a second, an hour and a day, for everything that leaves, for recipient domains, and, as
a plan that grows by the day, for a sending domain that mail systems do not know yet (warm-up). Whether one more mail
may leave is decided by campaigns/permits.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from sqlalchemy.orm import Session

from base.clock import check_year
from base.errors import InvalidInput
from campaigns import admin_log
from campaigns.admin_log import Actor
from campaigns.models.sending import SendTerms

SECOND: Final = 1
HOUR: Final = 3_600
DAY: Final = 86_400
WINDOWS: Final = (SECOND, HOUR, DAY)
ALL: Final = "all"
OTHERS: Final = "*"
"""Stands for every domain that has no limit of its own, each by itself."""
GATEWAYS: Final = "gateway:"
"""What keys of gateways begin with."""
REASONS: Final = {SECOND: "limit_second", HOUR: "limit_hour", DAY: "limit_day"}
DOMAIN: Final = "limit_domain"
WARM_UP: Final = "limit_warm_up"
GATEWAY: Final = "limit_gateway"
WORDS: Final = {
    REASONS[SECOND]: "no more mails may leave in a second",
    REASONS[HOUR]: "no more mails may leave in an hour",
    REASONS[DAY]: "no more mails may leave in a day",
    DOMAIN: "no more mails may go to their mail provider in this time",
    WARM_UP: "the sending domain is being warmed up, and today’s part is used",
    GATEWAY: "no more messages may be handed to their gateway in this time",
}
_DOMAIN: Final = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")
Most = Annotated[int, Meta(ge=1, le=10**9)]


class Pace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most mails within any second, hour and day; None: no limit."""

    per_second: Most | None = None
    per_hour: Most | None = None
    per_day: Most | None = None

    def windows(self) -> Iterator[tuple[int, int]]:
        """Pairs of a window in seconds and the most mails within it."""
        for window, most in zip(WINDOWS, (self.per_second, self.per_hour, self.per_day), strict=True):
            if most is not None:
                yield window, most


class DomainPace(Pace, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pace of mails to recipient domains, which share it; `*` alone: to each domain without one of its own."""

    domains: Annotated[list[str], Meta(min_length=1, max_length=50)]


class WarmUp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most mails of a sending domain within a day, on each day since `begins_at`; after the last there is none."""

    domain: str
    begins_at: Annotated[datetime, Meta(tz=True)]
    ceilings: Annotated[list[Most], Meta(min_length=1, max_length=120)]

    def ceiling(self, now: datetime) -> int | None:
        """The most mails within the 24 hours up to now; None once the plan has ended."""
        day = max(0, (now - self.begins_at) // timedelta(days=1))
        return self.ceilings[day] if day < len(self.ceilings) else None


class Breaker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign is stopped when surely more than this share of its mails fail, once `least` were tried."""

    share: Annotated[float, Meta(ge=0.001, le=1)] = 0.25
    least: Annotated[int, Meta(ge=20, le=10**6)] = 200


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All limits of sending; without a breaker no campaign is stopped for failing mails."""

    everything: Pace = Pace()
    domains: Annotated[list[DomainPace], Meta(max_length=200)] = []
    warm_ups: Annotated[list[WarmUp], Meta(max_length=50)] = []
    breaker: Breaker | None = Breaker()


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` mails that count for `key` within any `window_s` seconds; `reason` is that of a row that waits."""

    key: str
    window_s: int
    most: int
    reason: str

    @property
    def name(self) -> str:
        """How a waiting row names it."""
        return f"{self.key} {self.window_s}"


class Limits:
    """Terms as they are asked: which limits does a mail count for? `gateways` are the paces of gateways by number."""

    def __init__(self, terms: Terms, gateways: Mapping[int, Pace] | None = None) -> None:
        self.terms = terms
        self._gateways = gateways or {}
        self._paces = {domain: pace for pace in terms.domains for domain in pace.domains}
        self._warm_ups = {one.domain: one for one in terms.warm_ups}

    def __bool__(self) -> bool:
        """Whether there are any."""
        named = self.terms.domains or self.terms.warm_ups or self._gateways
        return bool(named or list(self.terms.everything.windows()))

    def keys(self, recipient: str, sender: str, gateway: int | None = None) -> list[str]:
        """What a mail to a domain from a domain counts for, or a message to a gateway."""
        found = [ALL]
        if gateway is not None:
            return [*found, f"{GATEWAYS}{gateway}"] if gateway in self._gateways else found
        if recipient in self._paces:
            found.append(f"domain:{self._paces[recipient].domains[0]}")
        elif OTHERS in self._paces:
            found.append(f"domain:{recipient}")
        if sender in self._warm_ups:
            found.append(f"sender:{sender}")
        return found

    def of(self, key: str, now: datetime) -> list[Limit]:
        """The limits of a key."""
        kind, _, domain = key.partition(":")
        if kind == ALL:
            return [Limit(key, window, most, REASONS[window]) for window, most in self.terms.everything.windows()]
        if kind == "sender":
            ceiling = self._warm_ups[domain].ceiling(now) if domain in self._warm_ups else None
            return [] if ceiling is None else [Limit(key, DAY, ceiling, WARM_UP)]
        if kind == "gateway":
            told = self._gateways.get(int(domain), Pace())
            return [Limit(key, window, most, GATEWAY) for window, most in told.windows()]
        pace = self._paces.get(domain) or self._paces.get(OTHERS)
        return [] if pace is None else [Limit(key, window, most, DOMAIN) for window, most in pace.windows()]


def domain_of(address: str) -> str:
    """The domain of an address as limits name it: small letters, internationalised ones in their ASCII form."""
    domain = address.rpartition("@")[2].strip(" <>").lower()
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain


def named_keys(terms: Terms) -> list[str]:
    """The keys that terms name: all but those of domains that only `*` stands for."""
    domains = [f"domain:{pace.domains[0]}" for pace in terms.domains if OTHERS not in pace.domains]
    return [ALL, *domains, *(f"sender:{one.domain}" for one in terms.warm_ups)]


def terms(session: Session) -> Terms:
    """The terms; without any there is no limit."""
    row = session.get(SendTerms, 1)
    return Terms() if row is None else msgspec.convert(row.document, Terms)


def keep(session: Session, wanted: Terms, now: datetime, by: Actor) -> Terms:
    """Keep the terms; returns them as they are kept. See permits.set_terms, which has them count from now on.

    Raises InvalidInput naming the field: a domain that is none or is named twice, a warm-up that shrinks.
    """
    kept = _checked(wanted)
    row = session.get(SendTerms, 1, with_for_update=True)
    before = None if row is None else row.document
    document = msgspec.to_builtins(kept)
    if row is None:
        session.add(SendTerms(id=1, document=document, changed_at=now))
    else:
        row.document, row.changed_at = document, now
    session.flush()
    admin_log.record(session, by, "change", "send limits", "email", now, before=before or {}, after=document)
    return kept


def _checked(wanted: Terms) -> Terms:
    named: set[str] = set()
    domains = []
    for pace in wanted.domains:
        names = [_domain("domains", name) for name in pace.domains]
        if OTHERS in names and len(names) > 1:
            raise InvalidInput("domains", "must name * by itself")
        if twice := next((name for name in names if name in named or names.count(name) > 1), None):
            raise InvalidInput("domains", f"must name {twice} once")
        if not list(pace.windows()):
            raise InvalidInput("domains", f"must have a number of mails for {names[0]}")
        named.update(names)
        domains.append(msgspec.structs.replace(pace, domains=names))
    warm_ups: list[WarmUp] = []
    for number, one in enumerate(wanted.warm_ups):
        check_year(one.begins_at, f"warm_ups[{number}].begins_at")
        name = _domain("warm_ups", one.domain)
        if name == OTHERS or any(other.domain == name for other in warm_ups):
            raise InvalidInput("warm_ups", f"must name a domain once, not {name}")
        if sorted(one.ceilings) != one.ceilings:
            raise InvalidInput("warm_ups", f"must not shrink from one day to the next for {name}")
        warm_ups.append(msgspec.structs.replace(one, domain=name))
    return msgspec.structs.replace(wanted, domains=domains, warm_ups=warm_ups)


def _domain(field: str, name: str) -> str:
    found = name.strip().lower()
    if found == OTHERS:
        return found
    found = domain_of(found)
    if not _DOMAIN.fullmatch(found):
        raise InvalidInput(field, f"must be domains such as example.com, not {name.strip()[:100] or 'nothing'}")
    return found
