"""Which statement of a trait holds where sources differ, and what each source's word is worth; both are logged."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from campaigns import admin_log
from campaigns.admin_log import Actor
from signals import lineage, sources


def set_policy(session: Session, name: str, policy: str, now: datetime, by: Actor) -> str:
    """Have a trait go by this policy; the trait as it is spelt. Raises InvalidInput naming the field."""
    spelt, before, after = lineage.set_policy(session, name, policy, now)
    said = {"before": {"policy": before}, "after": {"policy": after}}
    admin_log.record(session, by, "change", "trait policy", spelt, now, **said)
    return spelt


def set_trust(session: Session, source: int, trust: int, now: datetime, by: Actor) -> None:
    """Say what a source's word is worth. Raises NotFound, InvalidInput naming the field."""
    row, before = sources.set_trust(session, source, trust)
    admin_log.record(session, by, "change", "source", row.id, now, before={"trust": before}, after={"trust": trust})
