"""The delivery ledger: one row a person and run, with what became of it."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model
from base.sealed import SealedText

TEST_ADDRESS = SealedText("delivery.test_address")
DELIVERY_STATES = ("queued", "claimed", "accepted", "deferred", "failed", "skipped", "unknown")


class Delivery(Model):
    """One message to one profile. Every move between states is one conditional UPDATE; its row count says who won.

    `reason` says why it was skipped: at the freeze in the words of campaigns/audience.py. `holdout` is none, send or
    content (docs/glossary.md).
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index("delivery_key", "campaign_id", "occurrence", "profile_id", "channel", unique=True),
        Index(
            "delivery_address", "campaign_id", "occurrence", "channel", "address_hash",
            unique=True, postgresql_where=text("state <> 'skipped'"),
        ),
        Index("delivery_lease", "lease_until", postgresql_where=text("state = 'claimed'")),
        Index(
            "delivery_ready", text("coalesce(not_before, '-infinity'::timestamptz)"), "id",
            postgresql_where=text("state = 'queued'"),
        ),
        Index("delivery_deferred", "not_before", postgresql_where=text("state = 'deferred'")),
        Index("delivery_unknown", "campaign_id", postgresql_where=text("state = 'unknown'")),
        Index("delivery_settled", "settled_at", postgresql_using="brin"),
        Index("delivery_listing", "campaign_id", "state", text("coalesce(reason, '')"), "id"),
        Index(
            "delivery_waiting", "campaign_id", "not_before",
            postgresql_where=text("state IN ('queued', 'deferred') AND not_before IS NOT NULL"),
        ),
        Index(
            "delivery_waits_for", "waits_for", "id",
            postgresql_where=text("waits_for IS NOT NULL AND state = 'queued'"),
        ),
        Index("delivery_profile", "profile_id", "sent_at"),
        Index("delivery_contact", "address_hash", "created_at"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    occurrence: Mapped[int] = mapped_column(BigInteger)
    profile_id: Mapped[int] = mapped_column(BigInteger)
    channel: Mapped[str] = mapped_column(Text, server_default="email")
    address_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    holdout: Mapped[str] = mapped_column(Text, server_default="none")
    # The number of the campaign's version that its mail shows; NULL without versions, and where nothing is decided.
    arm: Mapped[int | None] = mapped_column(SmallInteger)
    # The row another profile's mail stands for, when this one was skipped for a shared address.
    chosen_profile_id: Mapped[int | None] = mapped_column(BigInteger)
    # Where a test send goes, which is not the profile's own address. Never set on a real delivery.
    test_address: Mapped[str | None] = mapped_column(TEST_ADDRESS)
    enqueued_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    claimed_by: Mapped[str | None] = mapped_column(Text)
    fence: Mapped[int] = mapped_column(Integer, server_default="0")
    lease_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    handing: Mapped[bool] = mapped_column(Boolean, server_default="false")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    not_before: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # The rate limit that a queued row waits for; see campaigns/permits.py. `not_before` is then an estimate.
    waits_for: Mapped[str | None] = mapped_column(Text)
    # The recipient's time zone, where the campaign goes by it, and what told it: profile | signals | campaign.
    zone: Mapped[str | None] = mapped_column(Text)
    zone_from: Mapped[str | None] = mapped_column(Text)
    message_id: Mapped[str | None] = mapped_column(Text)
    plan_hash: Mapped[str | None] = mapped_column(ForeignKey("plan.hash"))
    facts_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    reply: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    sent_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    settled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class SentFacts(Model):
    """What was known of the person when the mail left, sealed under the subject's key; the shadow decision reads it."""

    __tablename__ = "sent_facts"
    __table_args__ = (
        Index("sent_facts_key", "campaign_id", "occurrence", "profile_id"),
        Index("sent_facts_at", "at", postgresql_using="brin"),
    )

    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(Integer)
    occurrence: Mapped[int] = mapped_column(BigInteger)
    profile_id: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)  # SHA-256 of the open bytes
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    shared_hash: Mapped[str] = mapped_column(Text, index=True)  # blob with the products and cap balances of the batch
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
