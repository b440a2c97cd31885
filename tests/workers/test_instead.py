"""What support is told where another picture was served than the open had chosen, as that was not ready in time."""

from __future__ import annotations

import pytest

from base.blobs import blobs_from
from campaigns import audit, timeline
from campaigns.wording import INSTEAD_WORDS
from tests.workers.opens import Opens


@pytest.mark.parametrize("rung", ["last", "default", "static"])
def test_it_tells_what_was_served_instead(opens: Opens, rung: str) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.record()
    profile = mail.token.profile
    settings = opens.shop.settings

    def told() -> tuple[str, str, str]:
        with opens.shop.sessions.begin() as session:
            (entry,) = timeline.timeline(session, [profile], kind="open").entries
            assert entry.decision
            seen = audit.opening(session, blobs_from(settings), settings.subject_key, entry.decision, [profile])
        (fetch,) = seen.fetches
        return fetch.instead, entry.detail or "", entry.facts["instead"]

    assert told()[0] == told()[2] == ""
    with opens.shop.sessions.begin() as session:
        session.connection().exec_driver_sql('UPDATE "fetch" SET rung = %s', (rung,))
    instead, detail, fact = told()
    assert instead == fact == INSTEAD_WORDS[rung]
    assert instead in detail
