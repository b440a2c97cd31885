"""The DKIM keys of sending domains: made, published by their owner in the DNS, signed with, replaced, retired.

The private half lies in the database sealed under a key that is derived from LATEBIND_SUBJECT_KEY, so that every host
that sends can open it, and nobody who holds the database alone. A key signs once its record was seen in the DNS. The
one it replaces signs no more, but its record must stay as long as mails on their way name it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

import idna
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput, LatebindError, NotFound
from base.sealing import KEY_BYTES, Unsealable, seal, unseal
from campaigns import admin_log, signing
from campaigns.admin_log import Actor
from campaigns.lookups import Lookups, NoAnswer
from campaigns.models.signing import DkimKey
from campaigns.signing import Algorithm, SigningKey

ALGORITHMS: Final[tuple[Algorithm, ...]] = ("rsa", "ed25519")
MAX_KEYS: Final = 1_000
KEEP: Final = timedelta(days=7)
"""How long mails may be on their way: five days in a relay's queue (RFC 5321 §4.5.4.1), and some to be checked."""
STRING_BYTES: Final = 255
"""The longest string in a TXT record (RFC 1035 §3.3.14); a longer record is several."""
_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_SELECTOR: Final = re.compile(_LABEL.replace("_", ""))
_DOMAIN: Final = re.compile(rf"({_LABEL}\.)+[a-z0-9][a-z0-9-]{{0,61}}[a-z0-9]")
_TAG: Final = re.compile(r"\s*([a-zA-Z]+)\s*=\s*([^;]*)")


class Unopenable(LatebindError):
    """A key of this domain was sealed under another LATEBIND_SUBJECT_KEY; a mail must not leave unsigned for that."""

    def __init__(self, domain: str) -> None:
        super().__init__(
            f"The DKIM key of {domain} cannot be opened: it was sealed under another LATEBIND_SUBJECT_KEY. "
            "Bring that back, or retire the key and make a new one."
        )


@dataclass(frozen=True)
class Record:
    """What the owner of a domain publishes: a TXT record, in strings that are not too long."""

    name: str
    strings: tuple[str, ...]

    @property
    def value(self) -> str:
        """The whole text, as most pages of DNS providers want it."""
        return "".join(self.strings)

    @property
    def line(self) -> str:
        """The line of a zone file."""
        return f"{self.name}. 3600 IN TXT {self.quoted}"

    @property
    def quoted(self) -> str:
        """The strings as a zone file has them."""
        return " ".join(f'"{part}"' for part in self.strings)


def text_record(name: str, value: str) -> Record:
    """A TXT record with this text."""
    parts = [value[start : start + STRING_BYTES] for start in range(0, len(value), STRING_BYTES)]
    return Record(name, tuple(parts))


def record(key: DkimKey) -> Record:
    """The record that publishes a key."""
    return text_record(f"{key.selector}._domainkey.{key.domain}", f"v=DKIM1; k={key.algorithm}; p={key.public}")


def make(
    session: Session,
    domain: str,
    algorithm: str,
    subject_key: bytes,
    now: datetime,
    by: Actor,
    selector: str | None = None,
) -> DkimKey:
    """A new key, not signed with yet. Raises InvalidInput for a field, Conflict where the selector is taken."""
    host = domain_name(domain)
    if algorithm not in ALGORITHMS:
        raise InvalidInput("algorithm", f"must be one of {', '.join(ALGORITHMS)}")
    kind: Algorithm = algorithm
    taken = set(session.scalars(select(DkimKey.selector).where(DkimKey.domain == host)))
    name = selector.strip().lower() if selector else _free(f"lb{now:%Y%m%d}-{kind}", taken)
    if not _SELECTOR.fullmatch(name):
        raise InvalidInput("selector", "must be letters, digits and hyphens, at most 63")
    if name in taken:
        raise Conflict(f"{host} has, or had, a key with the selector {name}: a name is good for one key.")
    if (session.scalar(select(func.count()).select_from(DkimKey)) or 0) >= MAX_KEYS:
        raise Conflict(f"There are {MAX_KEYS} keys, which is as many as can be.")
    secret, public = signing.generate(kind)
    key = DkimKey(
        domain=host, selector=name, algorithm=kind, public=public, state="made", created_at=now,
        sealed=seal(secret, _sealing(subject_key), _purpose(host, name)),
    )  # fmt: skip
    session.add(key)
    session.flush()
    admin_log.record(session, by, "create", "dkim key", key.id, now, after=admin_log.snapshot(key))
    return key


def activate(
    session: Session, key_id: int, lookups: Lookups, now: datetime, by: Actor, *, unchecked: bool = False
) -> DkimKey:
    """Sign with this key from now on, in place of the one of the same domain and algorithm.

    Raises Conflict where the DNS does not show its record, or another; `unchecked` activates it without looking, for a
    DNS that this machine does not see as receivers do.
    """
    key = _held(session, key_id)
    if key.state == "retired":
        raise Conflict("The key is retired and its private half is gone: make a new one.")
    if key.state == "active":
        raise Conflict("Mails are signed with this key already.")
    if not unchecked:
        try:
            well, words = published(key, lookups)
        except NoAnswer as error:
            raise Conflict(str(error)) from None
        if not well:
            raise Conflict(words)
    before = admin_log.snapshot(key)
    rival = select(DkimKey).where(
        DkimKey.domain == key.domain, DkimKey.algorithm == key.algorithm, DkimKey.state == "active"
    )
    for other in session.scalars(rival.with_for_update()):
        was = admin_log.snapshot(other)
        other.state, other.replaced_at = "kept", now
        session.flush()
        admin_log.record(session, by, "replace", "dkim key", other.id, now, before=was, after=admin_log.snapshot(other))
    key.state, key.activated_at, key.replaced_at = "active", now, None
    session.flush()
    after = admin_log.snapshot(key) | ({"unchecked": True} if unchecked else {})
    admin_log.record(session, by, "activate", "dkim key", key.id, now, before=before, after=after)
    return key


def retire(session: Session, key_id: int, now: datetime, by: Actor) -> DkimKey:
    """Never sign with this key again; its private half is deleted. Raises Conflict if that was done before."""
    key = _held(session, key_id)
    if key.state == "retired":
        raise Conflict("The key is retired already.")
    before = admin_log.snapshot(key)
    key.state, key.retired_at, key.sealed = "retired", now, None
    session.flush()
    admin_log.record(session, by, "retire", "dkim key", key.id, now, before=before, after=admin_log.snapshot(key))
    return key


def keys(session: Session, domain: str | None = None) -> list[DkimKey]:
    """All keys, or those of a domain, by domain and the newest first."""
    query = select(DkimKey).order_by(DkimKey.domain, DkimKey.id.desc()).limit(MAX_KEYS)
    return list(session.scalars(query if domain is None else query.where(DkimKey.domain == domain)))


def key(session: Session, key_id: int) -> DkimKey:
    """One key. Raises NotFound."""
    found = session.get(DkimKey, key_id)
    if found is None:
        raise NotFound("DKIM key", key_id)
    return found


def named(session: Session, domain: str, selector: str) -> DkimKey:
    """The key with this name. Raises NotFound."""
    found = session.scalar(select(DkimKey).where(DkimKey.domain == domain_name(domain), DkimKey.selector == selector))
    if found is None:
        raise NotFound("DKIM key", f"{selector}._domainkey.{domain}")
    return found


def published(key: DkimKey, lookups: Lookups) -> tuple[bool, str]:
    """Whether the DNS shows this key under its name, and what to say of it. Raises NoAnswer."""
    wanted = record(key)
    found = [text for text in lookups.texts(wanted.name) if "p=" in text]
    if not found:
        return False, f"{wanted.name} has no TXT record yet: publish it, and wait until the DNS shows it."
    if len(found) > 1:
        return False, f"{wanted.name} has {len(found)} keys: receivers take either, so leave one."
    tags = {name.lower(): "".join(value.split()) for name, value in _TAG.findall(found[0])}
    if not tags.get("p"):
        return False, f"{wanted.name} says that the key is revoked (an empty p=): publish it anew."
    if tags["p"] != key.public:
        return False, f"{wanted.name} holds another key: publish this one, whole and in the order of its strings."
    if tags.get("k", "rsa").lower() != key.algorithm:
        return False, f"{wanted.name} says k={tags.get('k', 'rsa')}, which must be k={key.algorithm}."
    if "y" in tags.get("t", "").lower().split(":"):
        return False, f"{wanted.name} says t=y: receivers take the domain for one that only tries DKIM. Take it out."
    return True, f"{wanted.name} shows the key."


def domain_name(text: str) -> str:
    """A domain in the form it is kept in. Raises InvalidInput."""
    domain = text.strip().rstrip(".").lower()[:254]
    try:
        host = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        raise InvalidInput("domain", "is no international domain name") from None
    if len(host) > 253 or not _DOMAIN.fullmatch(host):
        raise InvalidInput("domain", "must be a domain such as mail.example.com")
    return host


def ancestry(domain: str) -> list[str]:
    """A domain and those above it, down to two labels: their keys are aligned with it where that may be relaxed."""
    labels = domain.split(".")
    return [".".join(labels[start:]) for start in range(max(1, len(labels) - 1))]


class Keyring:
    """The keys that a process signs with, opened once each. Refreshed by batch, so that changes count at once."""

    def __init__(self, subject_key: bytes) -> None:
        self._sealing = _sealing(subject_key) if subject_key else b""
        self._opened: dict[int, SigningKey | None] = {}
        self._active: dict[str, list[DkimKey]] = {}

    def refresh(self, session: Session) -> None:
        """Learn which keys are active now."""
        active = defaultdict(list)
        # RSA comes first: a receiver that reads one signature reads that.
        rows = select(DkimKey).where(DkimKey.state == "active").order_by(DkimKey.algorithm.desc())
        for row in session.scalars(rows):
            active[row.domain].append(row)
        self._active = dict(active)
        left = {row.id for rows_ in active.values() for row in rows_}
        self._opened = {number: opened for number, opened in self._opened.items() if number in left}

    def of(self, domain: str) -> tuple[SigningKey, ...]:
        """The keys that sign mails from a domain: its own, else those of the nearest domain above it.

        Empty where nothing signs for it. Raises Unopenable.
        """
        for name in ancestry(domain):
            if name in self._active:
                return tuple(self._open(row) for row in self._active[name])
        return ()

    def _open(self, row: DkimKey) -> SigningKey:
        if row.id not in self._opened:
            self._opened[row.id] = self._unsealed(row)
        opened = self._opened[row.id]
        if opened is None:
            raise Unopenable(row.domain)
        return opened

    def _unsealed(self, row: DkimKey) -> SigningKey | None:
        try:
            secret = unseal(row.sealed or b"", self._sealing, _purpose(row.domain, row.selector))
        except (Unsealable, ValueError):
            return None
        return signing.opened(row.domain, row.selector, cast(Algorithm, row.algorithm), secret)


def _held(session: Session, key_id: int) -> DkimKey:
    found = session.get(DkimKey, key_id, with_for_update=True)
    if found is None:
        raise NotFound("DKIM key", key_id)
    return found


def _free(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def _sealing(subject_key: bytes) -> bytes:
    """The key that seals private halves: one of its own, derived, so that it says nothing of the per-person keys."""
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"latebind dkim").derive(subject_key)


def _purpose(domain: str, selector: str) -> bytes:
    return f"dkim:{selector}._domainkey.{domain}".encode()
