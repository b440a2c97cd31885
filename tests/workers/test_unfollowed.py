"""A campaign that is not followed: shared addresses, defaults for everybody, and nothing kept of who looked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from base.tokens import Purpose, TokenKeys
from render.record import ConsentRecord
from tests.promises.reader import Mail
from tests.workers.opens import Opens

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Zephyrbird/153.7"
ADDRESS = "203.0.113.77"
TRACES = (b"Zephyrbird", ADDRESS.encode())


def dump(opens: Opens) -> dict[bytes, Any]:
    """Everything in the hot store."""
    names: Any = opens.shop.store.keys("*")
    return {name: opens.shop.store.dump(name) for name in names}


def look_everywhere(opens: Opens, mail: Mail) -> None:
    """Fetch, read and click all there is, as one reader does."""
    for path in (*mail.pictures.values(), *mail.dark.values(), mail.view, *mail.clicks.values(), mail.trap):
        answer = opens.client.get(path, headers={"User-Agent": AGENT}, environ_overrides={"REMOTE_ADDR": ADDRESS})
        assert answer.status_code in (200, 302)


def kept_nothing(opens: Opens, before: dict[bytes, Any], folder: Path, logged: str) -> None:
    """Neither the hot store nor the database, a file of the installation or a log knows that anybody looked."""
    assert dump(opens) == before
    assert opens.record() == 0
    assert [opens.count(table) for table in ("decision", "fetch", "click", "outcome")] == [0, 0, 0, 0]
    files = [path for path in folder.rglob("*") if path.is_file()]
    spooled = [path for path in files if "spool" in path.parts and path.stat().st_size]
    assert spooled == []
    for data in (logged.encode(), *(path.read_bytes() for path in files)):
        assert not [trace for trace in TRACES if trace in data]


def test_it_keeps_nothing_of_who_opened_or_clicked(
    opens: Opens, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    mails = opens.send("ann", "bob", tracking="none")
    ann, bob = mails["ann"], mails["bob"]
    assert (ann.pictures, ann.dark, ann.clicks, ann.trap) == (bob.pictures, bob.dark, bob.clicks, bob.trap)
    assert ann.unsubscribe != bob.unsubscribe  # whoever leaves must be told from the others
    before = dump(opens)
    look_everywhere(opens, ann)
    out, err = capfd.readouterr()
    kept_nothing(opens, before, opens.shop.settings.var, out + err + caplog.text)
    metrics = opens.client.application.extensions["parts"].metrics
    assert metrics.total("not_recorded") == len(ann.pictures) * 2 + 1 + len(ann.clicks) + 1


def test_it_still_lets_each_person_leave(opens: Opens) -> None:
    mails = opens.send("ann", "bob", tracking="none")
    keys = TokenKeys.from_settings(opens.shop.settings)
    told = {name: keys.read(mail.unsubscribe.rsplit("/", 1)[1], Purpose.UNSUBSCRIBE) for name, mail in mails.items()}
    assert {name: token.profile for name, token in told.items()} == opens.shop.known()
    answer = opens.client.post(mails["ann"].unsubscribe, data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    (consent,) = opens.waiting()
    assert isinstance(consent, ConsentRecord)
    assert consent.profile == told["ann"].profile
