"""Profiles: persons as we know them, over all their identifiers, with the stored form of what we know."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, CheckConstraint, Double, ForeignKey, Identity, Index, PrimaryKeyConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.logs import logger
from base.sealed import SealedBytes, SealedJson, SealedText
from base.sealing import Unsealable
from signals import sealingkeys
from signals.state import ProfileState, decode

IDENTIFIER_VALUE: Final = SealedText("identifier.value")
STATE_ENCODED: Final = SealedBytes("profile_state.encoded")
TRAIT_VALUE: Final = SealedJson("trait_lineage.value")
TRAIT_CONTENT: Final = SealedBytes(TRAIT_VALUE.place)
"""A value as its bytes; the model has it as JSON."""
_log = logger(__name__)


class Profile(Model):
    """A person. `root_id` is the profile that speaks for it after merges; its own id while it is not merged.

    The root's row lock guards everything that is folded. An erased profile keeps its row, its time of erasure and the
    version of its tombstone, and nothing else; `erasing` until everything that is kept elsewhere is gone too.
    """

    __tablename__ = "profile"
    __table_args__ = (
        Index("ix_profile_root_id", "root_id"),
        Index("ix_profile_erasing", "root_id", postgresql_where="erasing"),
        Index("ix_profile_erased_at", "erased_at", postgresql_where="erased_at IS NOT NULL"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    root_id: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]
    erased_version: Mapped[int | None] = mapped_column(BigInteger)
    erasing: Mapped[bool] = mapped_column(server_default="false")
    made_up: Mapped[bool] = mapped_column(server_default="false")  # see signals/madeup.py


class ProfileLink(Model):
    """A merge: `child_id` (a root until then) was put under `parent_id`. Undone merges keep their row.

    It ties two profiles, its ends, on the evidence of the identifier behind `claim_type` and `claim_hash` (keyed, as in
    `Identifier`), told by a message of a source; or `by` a person; or by likeness, with `evidence`: the weight of the
    pair, the facts that agreed, the model that weighed them. `kept` holds what of the child cannot be folded again, for
    when the merge is undone: its segments and scores. `apart`: a person undid it, so nothing but a person joins the two
    again.
    """

    __tablename__ = "profile_link"
    __table_args__ = (
        Index("ix_profile_link_child_id", "child_id"),
        Index("ix_profile_link_parent_id", "parent_id"),
        Index("ix_profile_link_child_end", "child_end"),
        Index("ix_profile_link_parent_end", "parent_end"),
        Index("ix_profile_link_claim_hash", "claim_hash"),
        Index("ix_profile_link_apart", "child_end", "parent_end", postgresql_where="apart"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    child_id: Mapped[int] = mapped_column(ForeignKey("profile.id"), type_=BigInteger)
    parent_id: Mapped[int] = mapped_column(ForeignKey("profile.id"), type_=BigInteger)
    child_end: Mapped[int] = mapped_column(BigInteger)
    parent_end: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str]
    claim_type: Mapped[str | None]
    claim_hash: Mapped[bytes | None]
    message_id: Mapped[str | None]
    source_id: Mapped[int | None]
    by: Mapped[str | None]
    at: Mapped[datetime]
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    kept: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    undone_at: Mapped[datetime | None]
    undone_by: Mapped[str | None]
    apart: Mapped[bool] = mapped_column(server_default="false")


class RefusedTie(Model):
    """An identifier that did not merge two people although both are known by it: which (by keyed hash), why
    (`signals.identity.TieRefusal`), how often and when last."""

    __tablename__ = "refused_tie"
    __table_args__ = (
        PrimaryKeyConstraint("type", "value_hash", "reason"),
        Index("ix_refused_tie_last_at", "last_at"),
    )

    type: Mapped[str]
    value_hash: Mapped[bytes]
    reason: Mapped[str]
    times: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    source_id: Mapped[int]


class Identifier(Model):
    """One name of a person. A normalised value belongs to one profile (`owns`), and names it in look-ups.

    An address or phone that several persons share has further rows without `owns`: a mail goes there, a look-up does
    not. Names, and what is stated together with them, are here too, hashed (signals/matching.py). `profile_id` is the
    profile that got the value; its root speaks for it. The value is sealed; it is found, and told from others, by
    `value_hash`, keyed with the installation's hash key (signals/identity.py). `last_seen` is when the person last
    stated it: of two addresses the newer is the one to write to. `ties` counts the merges it made: past a bound it is
    a hub and makes none any more. `presumed`: a user id that an alias named before anybody came under it, so that it
    may as well be a device's; it finds its person when somebody does, and is no customer number of theirs until then.
    """

    __tablename__ = "identifier"
    __table_args__ = (
        PrimaryKeyConstraint("type", "value_hash", "profile_id"),
        Index("uq_identifier_owner", "type", "value_hash", unique=True, postgresql_where="owns"),
        CheckConstraint(
            "type IN ('user_id', 'email', 'anonymous_id', 'phone', 'loyalty_id',"
            " 'name', 'name_address', 'name_email', 'name_phone')",
            name="type",
        ),
        Index("ix_identifier_profile_id", "profile_id"),
        Index("ix_identifier_value_hash", "value_hash"),
    )

    type: Mapped[str]
    value: Mapped[str] = mapped_column(IDENTIFIER_VALUE)
    value_hash: Mapped[bytes]
    profile_id: Mapped[int] = mapped_column(BigInteger)
    owns: Mapped[bool]
    source_id: Mapped[int]
    trust: Mapped[int]
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]
    ties: Mapped[int] = mapped_column(server_default="0")
    presumed: Mapped[bool] = mapped_column(server_default="false")


class ProfileStateRow(Model):
    """The fold of a root profile's signals: `document` for audience rules, without what names the person
    (signals/identifying.py), and, sealed, the bytes that render reads.

    Persons alone have one: what merges a profile into another, or erases it, deletes its row under the same locks.
    Derived: `latebind rebuild` makes it again from the events, byte for byte. `edition` orders its writers
    (folding.Root); 0 where an earlier release wrote the row, whose version stands for it. `encoded` is read by `stored`
    and `opened` alone.
    """

    __tablename__ = "profile_state"

    profile_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(BigInteger)
    edition: Mapped[int] = mapped_column(BigInteger, server_default="0")
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    encoded: Mapped[bytes] = mapped_column(STATE_ENCODED, deferred=True, deferred_raiseload=True)
    updated_at: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored state: its bytes, and what they say."""

    encoded: bytes
    state: ProfileState


_STORED: Final = text("SELECT profile_id, encoded FROM profile_state WHERE profile_id = ANY(:profiles)")


def stored(session: Session, profiles: Collection[int]) -> dict[int, Stored]:
    """The states of these root profiles, without who has none and whose is damaged. Raises SettingError as `opened`."""
    rows = session.execute(_STORED, {"profiles": list(profiles)})
    return {row.profile_id: held for row in rows if (held := opened(session, row.profile_id, row.encoded)) is not None}


def opened(session: Session, profile: int, sealed: bytes | None) -> Stored | None:
    """The state in a row's `encoded` as it is stored; None without one, and where its bytes are none: what is damaged
    is lost until it is made again, and keeps nobody else waiting. The log says whose it is.

    Raises SettingError where the key that sealed it is not given.
    """
    if sealed is None:
        return None
    try:
        encoded = sealingkeys.content(session, sealed, STATE_ENCODED.place)
        return Stored(encoded, decode(encoded))
    except (Unsealable, msgspec.DecodeError) as error:
        _log.warning(
            "a stored state is damaged and lost until made again",
            profile=profile, column=STATE_ENCODED.place, error=str(error),
        )  # fmt: skip
        return None


class ProfileScore(Model):
    """A computed trait of a root profile: its value, the moment it was computed as of, and by which run.

    Not derived from events alone, so a rebuild keeps these rows and carries them into the states.
    """

    __tablename__ = "profile_score"
    __table_args__ = (PrimaryKeyConstraint("profile_id", "name"), Index("ix_profile_score_name_value", "name", "value"))

    profile_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    value: Mapped[float] = mapped_column(Double)
    as_of: Mapped[datetime]
    run_id: Mapped[int]


class TraitLineage(Model):
    """Where a trait's present value comes from and since when it is so: the first statement of the value, by whoever
    states it again. Derived, as the state is."""

    __tablename__ = "trait_lineage"
    __table_args__ = (PrimaryKeyConstraint("profile_id", "name"),)

    profile_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    value: Mapped[Any] = mapped_column(TRAIT_VALUE)
    event_time: Mapped[datetime]
    source_id: Mapped[int]
    event_id: Mapped[int] = mapped_column(BigInteger)
