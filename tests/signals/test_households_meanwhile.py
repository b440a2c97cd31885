"""Households while others write the same people: a merge that overlaps, rows that are held, a crowded household."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from signals import claiming, grouping, joining
from signals.homes import Said
from signals.intake import regroup
from tests.signals.sending import NOW, Desk, identified
from tests.signals.test_households import people


def test_it_leaves_no_home_behind_of_who_is_merged_while_their_home_is_found(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.send(identified("ann"))
    desk.send(identified("amy"))
    ann, amy = desk.root("user_id", "ann"), desk.root("user_id", "amy")
    with desk.sessions.begin() as session:
        word = claiming.Statement(amy, Said("home", "main street 12"), NOW, "m", desk.server.id)
        claiming.keep(session, [word], desk.intake.hash_key)
        claiming.queue(session, [amy])
    merging = Session(desk.sessions.kw["bind"])
    joining._join(desk.intake, ann, amy, NOW, "x", merging)
    members = grouping._members

    def after_the_merge(session: Session, *given: Any) -> dict[bytes, list[Any]]:
        merging.commit()
        return members(session, *given)

    monkeypatch.setattr(grouping, "_members", after_the_merge)
    regroup(desk.intake, {amy}, NOW)
    monkeypatch.setattr(grouping, "_members", members)
    merging.close()
    assert desk.root("user_id", "amy") == ann
    regroup(desk.intake, {ann}, NOW)
    assert desk.rows("SELECT profile_id FROM dwelling") == [(ann,)]
    assert people(desk, "ann") == [0], "nobody is two by being known twice"
    assert desk.rows("SELECT count(*) FROM household_due") == [(0,)]
