"""A process that was forgotten when keys were rotated takes nothing more, loses nothing, and says what to do."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from base.clock import monotonic, pause
from base.db import Sessions, transaction
from base.errors import SettingError
from base.settings import Settings
from base.stores import Store
from signals import keymarks, sealingkeys
from signals.sealingkeys import Retired
from tests.databases import PII_KEYS
from tests.serving import Serve, Served
from tests.signals.sending import NOW, Desk, identified
from tests.workers.test_rekeying import BOTH, NEW, held, program, values
from workers.commands.rekey import command
from workers.pulse import Pulse

LATE_SECONDS = 60.0


@pytest.fixture
def desk(sessions: Sessions, valkey: Store) -> Desk:
    """An intake on the test's own database and key space."""
    return Desk(sessions, valkey)


def post(served: Served, name: str) -> tuple[int, str | None]:
    """Tell who somebody is; the status, and after how many seconds to come again."""
    body = {"userId": name, "messageId": name, "traits": {"email": f"{name}@example.com"}}
    heads = {"Authorization": "Basic " + b64encode(b"shop:").decode(), "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{served.url}/v1/identify", json.dumps(body).encode(), heads)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Retry-After"]


def ready(served: Served) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{served.url}/readyz", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_an_intake_that_seals_under_a_retired_key_takes_nothing_more(
    desk: Desk, settings: Settings, serve: Serve
) -> None:
    # Both keys, the old one last: the first step of a rotation, after which somebody forgot the second.
    forgotten = serve("signals", replace(settings, hash_key=desk.intake.hash_key, pii_keys=NEW | PII_KEYS, niceness=0))
    assert post(forgotten, "before") == (200, None)
    with held(desk, BOTH):
        done = CliRunner().invoke(command, env=program(settings, BOTH, desk))
        assert done.exit_code == 0, done.output
        told = ["before"]
        deadline = monotonic() + LATE_SECONDS
        while (answer := post(forgotten, f"u{len(told)}")) == (200, None) and monotonic() < deadline:
            told.append(f"u{len(told)}")
            pause(0.1)
        assert answer == (503, str(sealingkeys.RETRY_SECONDS))
        assert ready(forgotten) == (503, f"{Retired(1)}\n")
        assert "nothing is done with these keys" in forgotten.log.read_text()
        # What it took until it noticed is sealed under the old key, and the second run finds all of it.
        assert CliRunner().invoke(command, env=program(settings, BOTH, desk)).exit_code == 0
        assert set(values(desk)) == {2}
        assert post(forgotten, "after") == (503, str(sealingkeys.RETRY_SECONDS))
        forgotten.stop()
        mended = serve("signals", replace(settings, hash_key=desk.intake.hash_key, pii_keys=dict(NEW), niceness=0))
        assert post(mended, f"u{len(told)}") == (200, None)
        stored = [row.message_id for row in desk.rows("SELECT message_id FROM event ORDER BY id")]
    assert stored == [*told, f"u{len(told)}"]


def test_an_intake_that_lacks_the_key_of_a_stored_value_asks_to_come_again(
    desk: Desk, settings: Settings, serve: Serve
) -> None:
    own = replace(settings, hash_key=desk.intake.hash_key, niceness=0)
    forgotten = serve("signals", own)
    with held(desk, BOTH):
        keymarks.settle(desk.sessions, own, NOW)
        desk.send(identified("ann", email="ann@example.com"))
    assert post(forgotten, "ann") == (503, str(sealingkeys.RETRY_SECONDS))
    log = forgotten.log.read_text()
    assert "what is stored cannot be opened" in log
    assert "LATEBIND_PII_KEYS: must hold key 2" in log
    assert "Traceback" not in log
    forgotten.stop()
    mended = serve("signals", replace(own, pii_keys=BOTH.keys))
    assert post(mended, "ann") == (200, None)
    assert desk.rows("SELECT count(*) FROM event WHERE message_id = 'ann'") == [(1,)]


def test_whatever_has_the_database_does_no_more_until_the_mark_is_there(
    desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(keymarks, "ASKED_SECONDS", 0.0)
    keymarks.settle(desk.sessions, settings, NOW)
    pulse = Pulse(tmp_path / "alive", desk.sessions, [])
    assert pulse.beat()
    desk.run("CREATE TABLE kept AS TABLE sealing_key; DELETE FROM sealing_key")
    with pytest.raises(Retired, match="key 1 of LATEBIND_PII_KEYS was retired"), transaction(desk.sessions):
        pytest.fail("no transaction begins")
    assert not pulse.beat()
    desk.run("INSERT INTO sealing_key TABLE kept")
    with transaction(desk.sessions):
        assert pulse.beat()


def test_keys_that_could_not_be_checked_at_the_start_are_checked_once_they_can_be(
    desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keymarks, "ASKED_SECONDS", 0.0)
    desk.send(identified("ann", email="ann@example.com"))
    desk.run("ALTER TABLE key_mark RENAME TO key_mark_to_come")
    keymarks.settle(desk.sessions, settings, NOW)
    with transaction(desk.sessions):
        pass
    desk.run("ALTER TABLE key_mark_to_come RENAME TO key_mark")
    with pytest.raises(SettingError, match="LATEBIND_HASH_KEY"), transaction(desk.sessions):
        pytest.fail("no transaction begins")
