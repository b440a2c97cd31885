"""The domains that mails come from, and what signs for them."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parseaddr
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from base.settings import Settings
from campaigns import dkimkeys
from campaigns.models.catalogue import Message
from campaigns.models.signing import DkimKey

MAX_DOMAINS: Final = 200


@dataclass(frozen=True)
class Sending:
    """A domain that mails come from or that has keys. `messages` counts those not archived; `keys` are its own.

    `sends` says whether mails come from it, of messages or by default.
    """

    domain: str
    messages: int
    keys: tuple[DkimKey, ...]
    signed: bool
    sends: bool


def domains(session: Session, settings: Settings) -> list[Sending]:
    """The domains of new mails, of messages and of keys, by name; at most 200."""
    host = func.lower(func.split_part(Message.from_address, "@", 2))
    counted = select(host, func.count()).where(Message.archived_at.is_(None)).group_by(host).limit(MAX_DOMAINS)
    messages: dict[str, int] = {domain: number for domain, number in session.execute(counted) if domain}
    keys = dkimkeys.keys(session)
    active = {key.domain for key in keys if key.state == "active"}
    default = parseaddr(settings.from_address)[1].rpartition("@")[2].lower()
    names = {*messages, *(key.domain for key in keys), default} - {""}
    return [
        Sending(
            name,
            messages.get(name, 0),
            tuple(key for key in keys if key.domain == name),
            not active.isdisjoint(dkimkeys.ancestry(name)),
            name in messages or name == default,
        )
        for name in sorted(names)[:MAX_DOMAINS]
    ]
