"""A person whose key, or a record of whom, is damaged where it is stored: it keeps nobody else's mail waiting and hides
nobody else's records, nor their own signals from who asks for all that is kept of them."""

from __future__ import annotations

import json
import uuid

import pytest
from sqlalchemy import select

from base import keys
from campaigns import dossier
from campaigns.opens import Decision
from campaigns.recorded import records
from campaigns.settling import send_again
from render.record import RepairRecord
from tests.campaigns.shop import MANAGER, Shop
from tests.damage import flip
from tests.workers.opens import Opens
from tests.workers.relay import Relay
from tests.workers.test_sending import account, due, run_jobs
from workers.repair import Repairs
from workers.schedule import Scheduler
from workers.sending import Sender


@pytest.mark.parametrize("place", ["subject.wrapped_key", "decision.personal"])
def test_its_records_are_left_out_and_all_else_is_read(opens: Opens, place: str) -> None:
    shop = opens.shop
    mails = opens.send("ann", "bob")
    for mail in mails.values():
        opens.look(mail)
    opens.record()
    ann, bob = (mails[name].token.profile for name in ("ann", "bob"))
    key = shop.settings.subject_key

    def read() -> list[int]:
        with shop.sessions.begin() as session:
            rows = session.scalars(select(Decision).order_by(Decision.profile_id)).all()
            return [row.profile_id for row, _ in records(session, rows, key)]

    assert read() == [ann, bob]
    flip(shop.sessions, place, f"profile_id = {ann}")
    assert read() == [bob]
    with shop.sessions.begin() as session, dossier.export(session, shop.store, key, ann, shop.now, MANAGER) as made:
        told = json.loads(made.read())
    (opened,) = told["opens"]
    assert (opened["facts"], opened["damaged"]) == (None, ["facts"])
    assert opened["record"]["id"] == opened["id"]
    (left,) = told["mails_left_with"]
    assert (left["state"] is None) == ("damaged" in left) == (place == "subject.wrapped_key")
    assert len(told["signals"]) > 0


def test_the_others_mails_leave(shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender) -> None:
    ann, _, _ = shop.people("ann", "bob", "cleo")
    sender.send(due(shop, scheduler, shop.campaign()))
    flip(shop.sessions, "subject.wrapped_key", f"profile_id = {ann}")
    campaign = shop.campaign()
    assert sender.send(due(shop, scheduler, campaign)).states == {"accepted": 2, "failed": 1}
    (failed,) = (row for row in shop.ledger(campaign) if row.state == "failed")
    assert (failed.profile_id, failed.reason) == (ann, "could not be built: the person's key is damaged")
    assert relay.received() == {"ann@example.com": 1, "bob@example.com": 2, "cleo@example.com": 2}

    # Put back, it is sent on demand.
    flip(shop.sessions, "subject.wrapped_key", f"profile_id = {ann}")
    with shop.sessions.begin() as session:
        assert send_again(session, campaign, shop.now, MANAGER) == 1
    scheduler.tick()
    run_jobs(shop)
    assert account(shop, campaign) == {"accepted": 3}


@pytest.mark.parametrize("place", ["subject.wrapped_key", "decision.personal"])
def test_a_lost_state_comes_back_though_an_open_of_the_past_cannot_be_read(opens: Opens, place: str) -> None:
    shop, mail = opens.shop, opens.send("ann")["ann"]
    opens.look(mail)
    opens.record()
    ann = mail.token.profile
    flip(shop.sessions, place, f"profile_id = {ann}")
    shop.store.delete(keys.state(ann))
    wanted = RepairRecord(id=uuid.uuid4().hex, at_ms=0, what="state", profile=ann, name="", campaign=0)
    repairs = Repairs(shop.sessions, shop.store, shop.blobs, shop.intake, shop.settings.subject_key)
    assert repairs.repair([wanted]) == 1
    assert shop.store.get(keys.state(ann)) is not None
