"""A person whose key, or a record of whom, is damaged where it is stored: it hides nobody else's records, nor their own
signals from who asks for all that is kept of them."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from campaigns import dossier
from campaigns.opens import Decision
from campaigns.recorded import records
from tests.campaigns.shop import MANAGER
from tests.damage import flip
from tests.workers.opens import Opens


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
