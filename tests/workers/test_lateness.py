"""What arrives late: opens from then on know it, and what was decided before stays as it was."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from base import keys
from base.blobs import blobs_from
from campaigns import audit
from campaigns.audit import Opening
from signals.intake import take_apart
from signals.joining import join
from signals.rebuild import rebuild
from tests.workers.opens import Opens

SECOND = timedelta(seconds=1)


def openings(opens: Opens, profile: int) -> list[Opening]:
    """The opens of this person as support is told them, the oldest first."""
    opens.record()
    settings = opens.shop.settings
    with opens.shop.sessions.begin() as session:
        rows = opens.rows("SELECT id FROM decision WHERE profile_id = :p ORDER BY at", p=profile)
        return [audit.opening(session, blobs_from(settings), settings.subject_key, row.id, [profile]) for row in rows]


def parts(opening: Opening) -> dict[str, Any]:
    """All that is told of an open but what arrived later."""
    names = ("public", "explanations", "fetches", "facts", "known", "sound", "shown")
    return {name: getattr(opening, name) for name in names}


@pytest.mark.feature("DE-03", "SU-05")
def test_it_changes_nothing_of_an_open_by_what_arrives_after_it(opens: Opens) -> None:
    shop = opens.shop
    mails = opens.send("ann", "bob")
    mail, ann, bob = mails["ann"], mails["ann"].token.profile, mails["bob"].token.profile
    at = shop.now
    known = shop.store.get(keys.state(ann))
    served = opens.look(mail)
    (before,) = openings(opens, ann)
    assert before.facts is not None
    assert before.facts.state == known
    stored = opens.rows('SELECT d::text AS d, f::text AS f FROM decision d JOIN "fetch" f ON f.decision_id = d.id')
    assert (before.public.slots[0].offer, before.late, before.sound) == (opens.discount, (), True)

    shop.clock.advance(timedelta(minutes=10))
    arrived = shop.now
    shop.send(shop.order("ann", "Shoes", at - 30 * SECOND), shop.order("ann", "Shoes", at + SECOND))
    opens.forget()
    opens.look(mail)
    assert rebuild(shop.intake, shop.now).different == 0
    merge = join(shop.intake, bob, ann, shop.now, by="x")
    take_apart(shop.intake, merge, shop.now, apart=True, by="x")

    first, second = openings(opens, ann)
    assert parts(first) == parts(before)
    assert [(one.name, one.happened, one.arrived) for one in first.late] == [
        ("Order Completed", at - 30 * SECOND, arrived)
    ], "what happened after the open is no late word on it"
    assert (second.public.slots[0].offer, second.late) == (opens.thanks, ())
    assert [one.name for one in second.known if one.name == "Order Completed"] == ["Order Completed"] * 2
    kept = 'SELECT d::text AS d, f::text AS f FROM decision d JOIN "fetch" f ON f.decision_id = d.id WHERE d.id = :id'
    assert opens.rows(kept, id=first.row.id) == stored
    with shop.sessions.begin() as session:
        sha256 = first.fetches[0].sha256
        copy = audit.picture(session, blobs_from(shop.settings), shop.settings.subject_key, first.row.id, sha256, [ann])
    assert copy.body == served


@pytest.mark.feature("SU-05")
def test_an_open_tells_what_was_known_of_who_was_the_person_then(opens: Opens) -> None:
    shop = opens.shop
    mails = opens.send("ann", "bob")
    ann, bob = mails["ann"].token.profile, mails["bob"].token.profile
    day = timedelta(days=1)
    shop.send(
        shop.order("ann", "Shoes", shop.now - day, "same"), shop.order("bob", "Shoes", shop.now - 2 * day, "same")
    )
    shop.send(shop.order("bob", "Hats", shop.now - day))

    def told() -> Opening:
        shop.clock.advance(timedelta(minutes=10))
        opens.forget()
        opens.look(mails["ann"])
        opening = openings(opens, ann)[-1]
        shop.clock.advance(SECOND)
        shop.send(shop.order("bob", "Hats", opening.row.at - SECOND))
        return opening

    def merged() -> int:
        shop.clock.advance(SECOND)
        return join(shop.intake, bob, ann, shop.now, by="x")

    alone = told()
    merge = merged()
    together = told()
    shop.clock.advance(SECOND)
    take_apart(shop.intake, merge, shop.now, apart=True, by="x")
    apart = told()
    before = [alone, together, apart]
    assert [sum(one.name == "Order Completed" for one in seen.known) for seen in before] == [1, 3, 1]
    late = [(), ("Order Completed",), ()]

    def are_told_as_before() -> bool:
        seen = openings(opens, ann)
        assert [tuple(signal.name for signal in one.late) for one in seen] == late
        return [one.known for one in seen] == [one.known for one in before]

    assert are_told_as_before()
    merged()
    assert are_told_as_before()


@pytest.mark.feature("SU-05")
def test_an_open_tells_the_newest_of_what_was_known(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = opens.shop
    mail = opens.send("ann")["ann"]
    shop.send(*(shop.order("ann", "Hats", shop.now - timedelta(days=days)) for days in (3, 1, 2)))
    opens.look(mail)
    (every,) = openings(opens, mail.token.profile)
    happened = sorted((one.happened for one in every.known), reverse=True)
    assert len(happened) > 3
    monkeypatch.setattr(audit, "MAX_EVENTS", 3)
    (newest,) = openings(opens, mail.token.profile)
    assert [one.happened for one in newest.known] == happened[:3]
