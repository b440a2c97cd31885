"""Tables of households: who was said to live where, where each lives by that, and whose home is to be found anew.

A household is links and never a merge: people keep their own identifiers, signals and states. What was said is kept by
the profile that it came by, as merges are, so it follows every merge and its undoing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model
from base.sealed import SealedText

CLAIM_WHY: Final = SealedText("household_claim.why")
CLAIM_ENDED_WHY: Final = SealedText("household_claim.ended_why")


class HouseholdClaim(Model):
    """What was said of one profile and one home or household, the newest word on it (`signals.homes.Said`).

    `key` is keyed (`signals.homes.household_key`). A person who says that it does not hold ends it (`ended_at`, who,
    why), and nothing but a person revives it. `since` is the first word, `said_at` the newest, by `message_id` of a
    source or `by` a person. Who reads it reads PERSONAL: what was said of all profiles of a person, put together.
    """

    __tablename__ = "household_claim"
    __table_args__ = (
        UniqueConstraint("profile_id", "kind", "key"),
        CheckConstraint("kind IN ('hand', 'group', 'home', 'order')", name="kind"),
        Index("ix_household_claim_key", "key"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    profile_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str]
    key: Mapped[bytes]
    role: Mapped[str | None]
    gone: Mapped[bool] = mapped_column(server_default="false")
    size: Mapped[int | None] = mapped_column(SmallInteger)
    others: Mapped[list[Any] | None] = mapped_column(JSONB)
    since: Mapped[datetime]
    said_at: Mapped[datetime]
    message_id: Mapped[str]
    source_id: Mapped[int | None]
    by: Mapped[str | None]
    why: Mapped[str | None] = mapped_column(CLAIM_WHY)
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None]
    ended_why: Mapped[str | None] = mapped_column(CLAIM_ENDED_WHY)


PERSONAL: Final = """
    SELECT DISTINCT ON (p.root_id, c.key, c.kind) p.root_id, c.key, c.kind, c.role, c.gone, c.size, c.others,
           min(c.since) OVER (PARTITION BY p.root_id, c.key, c.kind) AS since,
           c.said_at, c.message_id, c.source_id, c.by, c.why,
           CASE WHEN c.kind = 'hand' AND max(c.said_at) FILTER (WHERE c.kind = 'hand' AND c.ended_at IS NULL)
                    OVER place >= max(c.ended_at) OVER place
                THEN NULL ELSE max(c.ended_at) OVER place END AS ended_at
    FROM household_claim c JOIN profile p ON p.id = c.profile_id
    WINDOW place AS (PARTITION BY p.root_id, c.key)
    ORDER BY p.root_id, c.key, c.kind, c.said_at DESC, c.message_id COLLATE "C" DESC, c.source_id DESC, c.id DESC
"""
"""SQL: what was said of each person, by `root_id`: one row of each home or household and kind, the newest word on it.

What a person ended by hand is ended for all profiles, however it is known, and nothing but a later joining by hand
counts there again.
"""


class Dwelling(Model):
    """Where a root profile lives by all that was said: derived from claims, as the state is from signals.

    `stated` is the household it was said to be of, `address` its home, `household` which of the two counts among those
    who live there, on what `evidence`; `elsewhere` those of which it is a grown-up child. `facts` is the household as
    its state holds it (`signals.household.Household`), `version` that of the state when it changed last.
    """

    __tablename__ = "dwelling"
    __table_args__ = (
        Index("ix_dwelling_address", "address"),
        Index("ix_dwelling_household", "household", text("(facts IS NULL)"), "profile_id"),
        Index("ix_dwelling_elsewhere", "elsewhere", postgresql_using="gin"),
    )

    profile_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    stated: Mapped[bytes | None]
    address: Mapped[bytes | None]
    household: Mapped[bytes | None]
    elsewhere: Mapped[list[bytes]] = mapped_column(ARRAY(BYTEA), server_default="{}")
    role: Mapped[str | None]
    evidence: Mapped[str | None]
    facts: Mapped[bytes | None]
    version: Mapped[int] = mapped_column(BigInteger, server_default="0")


class HouseholdDue(Model):
    """A profile whose home is to be found anew. Written with what changed; it goes when all states say so."""

    __tablename__ = "household_due"
    __table_args__ = (Index("ix_household_due_profile_id", "profile_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    profile_id: Mapped[int] = mapped_column(BigInteger)
