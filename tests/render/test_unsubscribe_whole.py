"""Leaving, from the mail's link to the signals: the render app, the recorder and the intake together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from base.blobs import blobs_from
from base.clock import FixedClock
from base.db import Sessions
from base.ids import Delivery
from base.settings import Settings
from base.stores import Store
from base.tokens import Purpose
from render.app import create_app
from tests.render.mail import SCANNER, Mail, browser, size_of
from tests.render.shoe_shop import DISCOUNT, NOON, plan
from tests.signals.sending import Desk, call, identified
from workers.following import Following
from workers.recorder import Recorder, RecorderParts

# The clock of signals stands at the same noon as that of the opens.
CONSENTS = {"consents": {"email": True, "tracking": True}, "wording": "I agree"}


@pytest.mark.feature("EC-22")
def test_it_unsubscribes_by_post_and_never_by_looking(settings: Settings, sessions: Sessions, valkey: Store) -> None:
    desk = Desk(sessions, valkey)
    desk.send(identified("u1"), call("track", userId="u1", event="Consent Changed", properties=CONSENTS))
    profile = desk.root("user_id", "u1")
    settings = replace(settings, deadline_ms=5000)
    clock = FixedClock(NOON)
    mail = Mail(valkey, settings, plan(slots=2), Delivery(profile, 7, 1))
    mail.publish()
    parts = RecorderParts(settings, sessions, valkey, blobs_from(settings), clock)
    recorder = Recorder(parts, Following(parts))
    recorder.prepare()
    app = create_app(settings, clock)
    client = app.test_client()

    def catch_up() -> dict[str, bool]:
        while recorder.step(block_ms=1):
            pass
        return desk.read(profile).consent

    leave = f"/u/{mail.token(Purpose.UNSUBSCRIBE)}"
    view = f"/view/{mail.token(Purpose.VIEW)}"
    for path in (leave, view, mail.url(), mail.url(1, dark=True), mail.click(), mail.click(1)):
        for agent in (SCANNER, "", "Mozilla/5.0 (compatible; Barracuda)"):
            client.head(path, headers=browser(agent=agent))
            client.get(path, headers=browser(agent=agent))
    assert catch_up() == {"email": True, "tracking": True}
    client.get(mail.url(), headers=browser())
    assert mail.lane().chosen[0].offer == DISCOUNT

    answer = client.post(leave, data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    assert catch_up() == {"email": False, "tracking": True}
    records = len(mail.records())
    assert size_of(client.get(mail.url(), headers=browser()).data) == (1200, 400)
    assert len(mail.records()) == records
    app.extensions["parts"].close()
