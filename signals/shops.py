"""Shops that tell of orders by webhook: where each posts to, the secret it signs with, and what came of its topics.

A shop is a source like others. Its secret lies sealed under LATEBIND_SUBJECT_KEY, so that nobody who holds the database
alone can sign in its place.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from sqlalchemy import BigInteger, ForeignKey, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput, Unavailable
from base.sealing import Unsealable, seal, unseal
from signals.sources import Sender, Source, create_source, sender

Platform = Literal["shopify", "woocommerce"]
PLATFORMS: Final[tuple[Platform, ...]] = get_args(Platform)
NUMBER_ALIKE: Final[frozenset[Platform]] = frozenset({"woocommerce"})
"""Platforms whose every shop numbers from one; Shopify numbers the customers and orders of all its shops in one row."""

Outcome = Literal["taken", "passed", "unknown topic", "unreadable", "forged", "to be erased"]
"""*passed*: understood, and nothing of it is kept: a test order, or one that is not placed yet. *to be erased*: it asks
for an erasure, which is listed for a person to do."""
SECRET_BYTES: Final = 32
MIN_SECRET: Final = 8
MAX_SECRET: Final = 200
MAX_PREFIX: Final = 40
MOST_TOPICS: Final = 100
_CURRENCY: Final = re.compile(r"[A-Z]{3}")


class ShopSource(Model):
    """A shop. `hook` is the last part of the address it posts to, `secret` is sealed.

    `currency` is that of its products' prices, which Shopify tells without; `prefix` is put before its customer numbers
    where two shops number alike, and before those of its orders unless the shop was there before that was done
    (`prefixes_orders`): what is told of an order must go by the number that its first word went by.
    """

    __tablename__ = "shop_source"

    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"), primary_key=True, autoincrement=False)
    platform: Mapped[str]
    hook: Mapped[str] = mapped_column(unique=True)
    secret: Mapped[bytes]
    currency: Mapped[str]
    prefix: Mapped[str]
    prefixes_orders: Mapped[bool]

    @property
    def order_prefix(self) -> str:
        """What is put before the numbers of its orders."""
        return self.prefix if self.prefixes_orders else ""


class ShopTopic(Model):
    """How many calls of a topic came to what, and when the last one did."""

    __tablename__ = "shop_topic"

    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"), primary_key=True, autoincrement=False)
    topic: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    last_at: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop as its calls are read: who it is to the intake, the secret in the clear, the key that hides its guests."""

    sender: Sender
    platform: Platform
    secret: bytes
    currency: str
    prefix: str
    order_prefix: str
    guest_key: bytes


def create_shop(
    session: Session,
    name: str,
    platform: str,
    sealing_key: bytes,
    now: datetime,
    *,
    secret: str = "",
    currency: str = "EUR",
    prefix: str = "",
) -> tuple[Source, ShopSource, str]:
    """A new shop, and the secret it signs with, which is shown this once. Raises InvalidInput naming the field.

    Shopify gives a secret; for WooCommerce one is made where none is given.
    """
    kind = next((one for one in PLATFORMS if one == platform), None)
    if kind is None:
        raise InvalidInput("platform", f"must be one of {', '.join(PLATFORMS)}")
    if not secret and kind == "shopify":
        raise InvalidInput("secret", "must be the one that Shopify shows below its webhooks")
    if secret and not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise InvalidInput("secret", f"must have {MIN_SECRET} to {MAX_SECRET} characters")
    if not _CURRENCY.fullmatch(currency):
        raise InvalidInput("currency", "must be three capitals, such as EUR")
    if len(prefix) > MAX_PREFIX or "\x00" in prefix:
        raise InvalidInput("prefix", f"may have at most {MAX_PREFIX} characters")
    if kind in NUMBER_ALIKE and (other := _numbered_as(session, kind, prefix)):
        raise InvalidInput(
            "prefix",
            f"must differ from that of {other}, by more than digits at its end, to keep their orders apart",
        )
    source, _ = create_source(session, name, "server", now)
    hook = secrets.token_urlsafe(18)
    given = secret or secrets.token_urlsafe(SECRET_BYTES)
    row = ShopSource(
        source_id=source.id, platform=kind, hook=hook, secret=seal(given.encode(), sealing_key, _purpose(hook)),
        currency=currency, prefix=prefix, prefixes_orders=True,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return source, row, given


def _numbered_as(session: Session, platform: str, prefix: str) -> str | None:
    """The name of a shop in use whose customers or orders may have the numbers that a new one with this prefix has.

    Until this transaction ends no other shop is made.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('latebind shops'))"))
    for row, name in _in_use(session, platform):
        if _meet(prefix, row.prefix) or _meet(prefix, row.order_prefix):
            return name
    return None


def _in_use(session: Session, *platforms: str) -> list[tuple[ShopSource, str]]:
    """The shops in use of these platforms, the first first, each with its name."""
    query = select(ShopSource, Source.name).join(Source, Source.id == ShopSource.source_id)
    rows = session.execute(
        query.where(ShopSource.platform.in_(platforms), Source.disabled_at.is_(None)).order_by(Source.id)
    )
    return [(row, name) for row, name in rows]


def _meet(one: str, other: str) -> bool:
    """Whether a number behind one prefix can read as another number behind the other: 12 behind A1 as 112 behind A."""
    short, long = sorted((one, other), key=len)
    rest = long.removeprefix(short)
    return long.startswith(short) and (rest == "" or (rest.isascii() and rest.isdigit()))


@dataclass(frozen=True, slots=True)
class Alike:
    """Shops in use of a platform whose orders have the same numbers, the first first; `customers`: theirs too."""

    names: tuple[str, ...]
    customers: bool

    @property
    def words(self) -> str:
        """What is wrong, and what to do."""
        first, *others = self.names
        whose = "customers and orders" if self.customers else "orders"
        return (
            f"{', '.join(others)} and {first} number their {whose} alike, and what they tell of one number counts as "
            "told of one. On the page Shops, end all of them but one and connect them anew, each with a prefix of its "
            "own: that keeps apart what is told from then on."
        )


def alike(session: Session) -> list[Alike]:
    """The shops in use that number as others do, connected before prefixes had to keep them apart."""
    groups: list[list[tuple[str, ShopSource]]] = []
    for row, name in _in_use(session, *NUMBER_ALIKE):
        near = [
            group
            for group in groups
            if any(row.platform == one.platform and _meet(row.order_prefix, one.order_prefix) for _, one in group)
        ]
        groups = [group for group in groups if group not in near]
        joined = [(name, row), *(one for group in near for one in group)]
        groups.append(sorted(joined, key=lambda one: one[1].source_id))
    return [
        Alike(
            tuple(name for name, _ in group),
            any(_meet(one.prefix, other.prefix) for (_, one), (_, other) in itertools.combinations(group, 2)),
        )
        for group in groups
        if len(group) > 1
    ]


def shop_by_hook(session: Session, platform: str, hook: str, sealing_key: bytes, hash_key: bytes) -> Shop | None:
    """The shop that posts to this address; None where there is none, or it was ended.

    Raises Unavailable where its secret cannot be opened here.
    """
    found = session.execute(
        select(ShopSource, Source)
        .join(Source, Source.id == ShopSource.source_id)
        .where(ShopSource.platform == platform, ShopSource.hook == hook, Source.disabled_at.is_(None))
    ).one_or_none()
    if found is None:
        return None
    row, source = found
    try:
        secret = unseal(row.secret, sealing_key, _purpose(row.hook))
    except (Unsealable, ValueError):
        # The shop tries again for hours: time to give this process the key that its pages have.
        raise Unavailable("The secret of the shop") from None
    kind: Platform = "shopify" if row.platform == "shopify" else "woocommerce"
    return Shop(sender(source), kind, secret, row.currency, row.prefix, row.order_prefix, hash_key)


def is_signed(body: bytes, signature: str, secret: bytes) -> bool:
    """Whether the signature is the Base64 of the body's HMAC-SHA256, as both platforms sign; in constant time."""
    made = base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest())
    return hmac.compare_digest(made, signature.encode("utf-8", "replace"))


def shops(session: Session) -> list[tuple[ShopSource, Source]]:
    """All shops, the ended ones too, by name."""
    query = select(ShopSource, Source).join(Source, Source.id == ShopSource.source_id).order_by(Source.name)
    return [(row, source) for row, source in session.execute(query)]


def topics(session: Session) -> dict[int, list[ShopTopic]]:
    """What came of each shop's topics, by source."""
    found: dict[int, list[ShopTopic]] = {}
    for row in session.scalars(select(ShopTopic).order_by(ShopTopic.topic, ShopTopic.outcome)):
        found.setdefault(row.source_id, []).append(row)
    return found


_TALLY: Final = text("""
    INSERT INTO shop_topic (source_id, topic, outcome, number, last_at) VALUES (:source, :topic, :outcome, 1, :now)
    ON CONFLICT (source_id, topic, outcome) DO UPDATE SET number = shop_topic.number + 1, last_at = excluded.last_at
""")


def tally(session: Session, source: int, topic: str, outcome: Outcome, now: datetime) -> None:
    """Count a call. Of a shop that tells of more topics than any has, further ones are counted together."""
    known = session.scalar(select(ShopTopic.topic).where(ShopTopic.source_id == source, ShopTopic.topic == topic))
    if known is None:
        many = select(func.count()).select_from(ShopTopic).where(ShopTopic.source_id == source)
        topic = "other" if (session.scalar(many) or 0) >= MOST_TOPICS else topic
    session.execute(_TALLY, {"source": source, "topic": topic, "outcome": outcome, "now": now})


def _purpose(hook: str) -> bytes:
    return f"shop secret:{hook}".encode()
