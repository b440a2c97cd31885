"""The ledger of a campaign as a file, without names or addresses."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final

from campaigns import accounting
from campaigns.deliveries import is_our_fault
from campaigns.parts import Parts

MAX_EXPORTED: Final = 50_000_000


def lines(own: Parts, campaign_id: int, state: str, reason: str | None) -> Iterator[str]:
    """The file as CSV, a page of the ledger at a time, of a state or part as in `accounting.kinds`.

    `unsent` says of a failed row whether it failed here, before a server was asked to take it. The file is read while
    it is sent, when the request is over.
    """
    yield "profile,occurrence,state,reason,reply,holdout,sent_at,unsent\r\n"
    after = written = 0
    while written < MAX_EXPORTED:
        with own.transaction() as session:
            rows = accounting.listing(
                session, campaign_id, state=state, reason=reason, after=after, limit=accounting.MAX_LISTED
            )
        if not rows:
            return
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        for row in rows:
            sent = row.sent_at.isoformat() if row.sent_at else ""
            why = (row.reason or "", row.reply or "")
            is_unsent = row.state == "failed" and is_our_fault(row.reason)
            told = [row.profile_id, row.occurrence, row.state, *why, row.holdout, sent, str(is_unsent).lower()]
            writer.writerow(told)
        yield buffer.getvalue()
        after, written = rows[-1].id, written + len(rows)
