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


def test_it_shows_what_was_chosen_where_it_came_after_what_stood_in_for_it(opens: Opens) -> None:
    mail = opens.send("ann")["ann"]
    opens.look(mail)
    opens.record()
    with opens.shop.sessions.begin() as session:
        (before,) = timeline.timeline(session, [mail.token.profile], kind="open").entries
        # The same open fetched the picture some seconds before, too early for what it had chosen.
        session.connection().exec_driver_sql(
            'CREATE TEMP TABLE early ON COMMIT DROP AS SELECT * FROM "fetch";'
            "UPDATE early SET id = repeat('e', 32), at = at - interval '21 seconds', rung = 'static', sha256 = 'x';"
            'INSERT INTO "fetch" SELECT * FROM early'
        )
        (entry,) = timeline.timeline(session, [mail.token.profile], kind="open").entries
    assert entry.sha256 == before.sha256
    assert entry.facts["instead"] == "", "what the page calls shown was shown"
    assert f"first {INSTEAD_WORDS['static']}; then what was chosen" in entry.detail
