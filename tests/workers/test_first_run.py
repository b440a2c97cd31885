from __future__ import annotations

import stat

from base import db
from base.clock import FixedClock
from base.settings import Settings
from campaigns import people
from signals.sources import sender_by_key
from workers.first_run import prepare


def test_it_makes_logins_and_keys_that_work_and_keeps_them(
    settings: Settings, sessions: db.Sessions, clock: FixedClock
) -> None:
    access = prepare(settings)
    assert [user["role"] for user in access.users] == ["manager", "support", "admin"]
    with db.transaction(sessions) as session:
        for login in access.users:
            user = people.authenticate(session, login["email"], login["password"], clock.now())
            assert user is not None
            assert user.roles == [login["role"]]
        key = people.read_key(session, access.api_key)
        assert key is not None
        sender = sender_by_key(session, access.write_key)
        assert sender is not None
        assert sender.is_server
    assert prepare(settings) == access
    kept = settings.var / "secrets" / "access.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_it_gives_new_ones_when_the_kept_ones_are_lost(
    settings: Settings, sessions: db.Sessions, clock: FixedClock
) -> None:
    before = prepare(settings)
    (settings.var / "secrets" / "access.json").unlink()
    after = prepare(settings)
    assert after.api_key != before.api_key
    assert after.write_key != before.write_key
    with db.transaction(sessions) as session:
        login = after.users[0]
        assert people.authenticate(session, login["email"], login["password"], clock.now())
        assert not people.authenticate(session, login["email"], before.users[0]["password"], clock.now())
