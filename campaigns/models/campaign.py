"""A campaign, its published plans, its runs, and the segments and holdouts its audiences are made of."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class Segment(Model):
    """A rule over profiles that has a name."""

    __tablename__ = "segment"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    rule: Mapped[dict[str, Any]] = mapped_column(JSONB)
    count: Mapped[int | None] = mapped_column(Integer)
    counted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class SegmentSize(Model):
    """How many people were in a segment on a UTC day: the last count of that day."""

    __tablename__ = "segment_size"

    segment_id: Mapped[int] = mapped_column(ForeignKey("segment.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    people: Mapped[int] = mapped_column(Integer)


class Campaign(Model):
    """Audience + message + schedule.

    `kind` is broadcast (one run), recurring (a run by the calendar), evergreen (a run when somebody joined its
    audience), replenishment (a run a day while it lasts) or triggered (a run when somebody did it). `state` is draft,
    scheduled, sending, paused, finished or cancelled.
    """

    __tablename__ = "campaign"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[str] = mapped_column(Text, server_default="broadcast")
    state: Mapped[str] = mapped_column(Text, server_default="draft", index=True)
    message_id: Mapped[int | None] = mapped_column(ForeignKey("message.id"))
    # How it reaches people: email, or what the gateway it goes by takes (campaigns/channels.py), with its text.
    channel: Mapped[str] = mapped_column(Text, server_default="email")
    gateway_id: Mapped[int | None] = mapped_column(ForeignKey("gateway.id"))
    text: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    audience: Mapped[dict[str, Any]] = mapped_column(JSONB)
    replenish: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    trigger: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    slots: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    send_holdout: Mapped[float] = mapped_column(Float, server_default="0")
    content_holdout: Mapped[float] = mapped_column(Float, server_default="0")
    hold_s: Mapped[int] = mapped_column(Integer, server_default="3600")
    lifetime_days: Mapped[int] = mapped_column(Integer, server_default="60")
    currency: Mapped[str] = mapped_column(Text, server_default="EUR")
    brand: Mapped[str] = mapped_column(Text, server_default="default")
    locale: Mapped[str] = mapped_column(Text, server_default="en")
    default_landing: Mapped[str] = mapped_column(Text, server_default="")
    needs_consent: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    suppress: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    guard: Mapped[str] = mapped_column(Text, server_default="off")  # off | offers | audience
    arbitration: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # Against other campaigns where a person may not get all of them; see campaigns/contacts.py.
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    mandatory: Mapped[bool] = mapped_column(Boolean, server_default="false")
    ends_on_purchase: Mapped[bool] = mapped_column(Boolean, server_default="false")  # see campaigns/exits.py
    undecided_capped: Mapped[bool] = mapped_column(Boolean, server_default="true")
    amp: Mapped[bool] = mapped_column(Boolean, server_default="false")
    tracking: Mapped[str] = mapped_column(Text, server_default="identified")
    feed_stale_s: Mapped[int] = mapped_column(Integer, server_default="172800")
    landing_hosts: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    # When it is scheduled: the wall time and zone that were meant, and the instant they were when it was saved.
    due_wall: Mapped[datetime | None] = mapped_column(DateTime)
    due_zone: Mapped[str | None] = mapped_column(Text)
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # How its mails get their moments, and how it comes again; campaigns/timing.py.
    timing: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    repeat: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    timezone: Mapped[str] = mapped_column(Text, server_default="UTC")
    ends_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    plan_hash: Mapped[str | None] = mapped_column(Text)
    # What is shown from a moment on instead; the open itself goes by it, see render.plan.Live.
    next_plan_hash: Mapped[str | None] = mapped_column(Text)
    next_plan_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    locked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    locked_by: Mapped[str | None] = mapped_column(Text)
    killed: Mapped[bool] = mapped_column(Boolean, server_default="false")
    kill_picture: Mapped[str | None] = mapped_column(Text)  # blob of the kill switch's static picture
    withdrawn: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default="{}")
    model_hash: Mapped[str | None] = mapped_column(Text)
    # Models on trial: one that decides a share of the deliveries, and one whose choices nobody sees.
    canary_hash: Mapped[str | None] = mapped_column(Text)
    canary_share: Mapped[float | None] = mapped_column(Float)
    shadow_hash: Mapped[str | None] = mapped_column(Text)
    # What keeps its mails from leaving, in the relay's words; see campaigns/troubles.py.
    trouble: Mapped[str | None] = mapped_column(Text)
    trouble_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # What was tried and had failed when it was last stopped for that; see campaigns/breaker.py.
    judged_tries: Mapped[int] = mapped_column(BigInteger, server_default="0")
    judged_failures: Mapped[int] = mapped_column(BigInteger, server_default="0")
    # The versions that are tried against each other, and the key that draws people into them; render/arms.py.
    arms: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    arms_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_by: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class ContactLimit(Model):
    """The most messages that a person gets within a period, over all channels; without a row there is no limit."""

    __tablename__ = "contact_limit"

    channel: Mapped[str] = mapped_column(Text, primary_key=True)
    most: Mapped[int] = mapped_column(Integer)
    period_days: Mapped[int] = mapped_column(Integer)


class Goal(Model):
    """What counts as success of a campaign, and since when. A change makes a new version; the old ones stay."""

    __tablename__ = "campaign_goal"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    metric: Mapped[str] = mapped_column(Text)  # one of campaigns.goals.METRICS
    window_days: Mapped[int] = mapped_column(Integer)
    named_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    named_by: Mapped[str] = mapped_column(Text)


class ProfitTerms(Model):
    """What things cost a campaign, and since when, by version; see campaigns/profit.py. Money is cents."""

    __tablename__ = "profit_terms"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    margin_share: Mapped[float] = mapped_column(Float)  # of the list value, where an order tells no cost
    window_days: Mapped[int] = mapped_column(Integer)
    return_cents: Mapped[int] = mapped_column(Integer)  # handling one return
    service_cents: Mapped[int] = mapped_column(Integer)  # one complaint or call
    named_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    named_by: Mapped[str] = mapped_column(Text)


class RatioCheck(Model):
    """Whether groups of a campaign lost people: the strongest evidence ever seen, which a sequential test goes by."""

    __tablename__ = "ratio_check"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    stage: Mapped[str] = mapped_column(Text, primary_key=True)  # a key of campaigns.arms.STAGES
    evidence: Mapped[float] = mapped_column(Float)  # log of the Bayes factor
    counts: Mapped[dict[str, int]] = mapped_column(JSONB)
    checked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Plan(Model):
    """A published campaign, immutable: the open's part and the mail's part lie in the blob store by hash."""

    __tablename__ = "plan"
    __table_args__ = (Index("plan_campaign_number", "campaign_id", "number", unique=True),)

    hash: Mapped[str] = mapped_column(Text, primary_key=True)  # lower-case hex SHA-256 of the plan's bytes
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    number: Mapped[int] = mapped_column(Integer)
    mail_hash: Mapped[str] = mapped_column(Text)  # blob of the compiled mail
    size: Mapped[int] = mapped_column(Integer)
    published_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    published_by: Mapped[str] = mapped_column(Text)
    anonymous: Mapped[bool] = mapped_column(Boolean, server_default="false")  # its tracking level
    arms: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    starts_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # NULL: when it was published


class Occurrence(Model):
    """One run of a campaign, which is due, sending, finished or cancelled.

    `counts`: the audience at the freeze, by reason. Test runs have the top bit set.
    """

    __tablename__ = "occurrence"
    __table_args__ = (Index("occurrence_open", "state", "due_at"),)

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    # Where a run goes by recipients' clocks it begins with the first of them, and `wall` is what they all show.
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    wall: Mapped[datetime | None] = mapped_column(DateTime)
    missed: Mapped[str | None] = mapped_column(Text)  # asked | skipped, where it could not begin in time
    plan_hash: Mapped[str | None] = mapped_column(ForeignKey("plan.hash"))
    counts: Mapped[dict[str, int] | None] = mapped_column(JSONB(none_as_null=True))
    frozen_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class HoldoutAssignment(Model):
    """The group a person was put into, kept for good. `campaign_id` 0 is the holdout over all campaigns."""

    __tablename__ = "holdout_assignment"

    campaign_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)  # send | content
    profile_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    held: Mapped[bool] = mapped_column(Boolean)
    share: Mapped[float] = mapped_column(Float)
    assigned_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    left_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    left_reason: Mapped[str | None] = mapped_column(Text)


class GlobalHoldout(Model):
    """The share of all profiles that is held out over all campaigns, per kind."""

    __tablename__ = "global_holdout"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)  # send | content
    share: Mapped[float] = mapped_column(Float)
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class ReplenishEntry(Model):
    """One due item of one household: entered once per campaign, category and last purchase, however often it is due."""

    __tablename__ = "replenish_entry"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    profile_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    category_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    last_day: Mapped[int] = mapped_column(
        Integer, primary_key=True
    )  # of the purchase it follows; days since 2020-01-01
    occurrence: Mapped[int] = mapped_column(BigInteger)
    entered_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class TriggerEntry(Model):
    """One person in a campaign that waits for a behaviour: entered once, with the event that began it."""

    __tablename__ = "trigger_entry"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    profile_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    event_id: Mapped[int] = mapped_column(BigInteger)
    occurrence: Mapped[int] = mapped_column(BigInteger)
    entered_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
