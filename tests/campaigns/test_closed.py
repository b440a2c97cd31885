"""Where something that is kept cannot be opened or sealed, a page says so, and the API: never a traceback."""

from __future__ import annotations

import pytest

from base.settings import Settings
from campaigns.parts import EXTENSION, Parts
from signals import keymarks
from tests.campaigns.web import Web
from tests.damage import damaged_signal


@pytest.fixture
def watched(web: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """The web process, which looks for its keys before each transaction."""
    monkeypatch.setattr(keymarks, "ASKED_SECONDS", 0.0)
    parts: Parts = web.app.extensions[EXTENSION]
    keymarks.settle(parts.sessions, web.shop.settings, web.shop.now)
    return web


def run(web: Web, statement: str) -> None:
    with web.shop.sessions.begin() as session:
        session.connection().exec_driver_sql(statement)


def test_what_needs_a_value_that_does_not_open_says_so(
    watched: Web, settings: Settings, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    watched.shop.people("ada", "bob")
    ada, bob = watched.shop.profile("ada"), watched.shop.profile("bob")
    browser, program = watched.browser("support"), watched.program("support")
    assert browser.get(f"/customers/{ada}").status_code == 200
    capsys.readouterr()
    with damaged_signal(watched.shop.sessions, ada) as event:
        said = {"event": event, "line": 0, "word": "gift"}
        page = browser.post(f"/customers/{ada}/corrections", **said)
        answer = program.call("POST", f"/customers/{ada}/corrections", said)
        assert [browser.get(f"/customers/{one}").status_code for one in (ada, bob)] == [200, 200]
    assert (page.status_code, page.headers["Retry-After"]) == (503, "30")
    assert "cannot be opened with the keys that this process has" in page.text
    assert "</html>" in page.text
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert "cannot be opened" in (answer.json or {})["detail"]
    log = "".join(capsys.readouterr()) + caplog.text
    assert "The sealed bytes of event.body" in log
    assert "Traceback" not in log
    assert browser.get(f"/customers/{ada}").status_code == 200


def test_every_page_says_that_the_key_of_its_process_was_retired(
    watched: Web, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    browser, program, stranger = watched.browser("admin"), watched.program("admin"), watched.stranger()
    run(watched, "CREATE TABLE kept AS TABLE sealing_key; DELETE FROM sealing_key")
    capsys.readouterr()
    for answer in (browser.get("/"), stranger.get("/readyz"), program.call("GET", "/campaigns")):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
        assert "key 1 of LATEBIND_PII_KEYS was retired" in answer.text
    log = "".join(capsys.readouterr()) + caplog.text
    assert "nothing is done with these keys" in log
    assert "Traceback" not in log
    run(watched, "INSERT INTO sealing_key TABLE kept")
    assert browser.get("/").status_code == 200
