"""What a campaign still lacks before it can be sent, as it is written now."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import InvalidInput
from base.stores import Store
from campaigns import publish, scenarios
from campaigns.models.campaign import Campaign


def missing(
    session: Session, store: Store, blobs: FolderBlobs, row: Campaign, now: datetime, *, is_sending: bool
) -> list[str]:
    """What is missing, a sentence each; empty when it can be sent.

    Where it was changed since it was published, its scenarios are asked of what is written: an edit shows at once what
    it breaks.
    """
    lines = publish.missing(session, row, is_sending=is_sending)
    if not lines or not scenarios.scenarios(session, row.id):
        return lines
    try:
        _, verdicts = scenarios.as_written(session, store, blobs, row, now)
    except InvalidInput:
        return lines
    told = [scenarios.failed(verdict) for verdict in verdicts if not verdict.passed]
    return [*(line for line in lines if not line.startswith("The scenario ")), *told]
