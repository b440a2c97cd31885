"""The profiles a rule describes, as SQL: persons (roots of merges) who were not erased, with what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from campaigns import rulebook
from signals import rules_sql
from signals.profiles import Profile, ProfileStateRow


def matching(session: Session, rule: Mapping[str, Any], now: datetime, field: str = "audience") -> Select[int]:
    """A query of the ids of all persons who fit the rule now. Raises InvalidInput naming the path in the rule."""
    read = rulebook.check(session, rule, "audience", field)
    return (
        select(ProfileStateRow.profile_id)
        .join(Profile, Profile.id == ProfileStateRow.profile_id)
        .where(Profile.root_id == Profile.id, Profile.erased_at.is_(None), rules_sql.where(read, now))
    )
