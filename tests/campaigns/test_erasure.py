"""Erasing a person: nothing of them can be read any more, and what was counted stays counted."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from base.errors import NotFound
from base.ids import Delivery
from campaigns import audit, sentfacts, subjects
from campaigns.opens import Fetch
from signals.erasure import erase
from tests.campaigns.living import Living
from tests.campaigns.shop import Shop
from tests.campaigns.web import told
from tests.promises.reader import fetch
from tests.promises.world import World


def counted(world: World) -> list[object]:
    """Everything that reports count."""
    return [
        world.rows(f'SELECT count(*) AS n FROM "{name}"')[0].n for name in ("decision", "fetch", "click", "delivery")
    ]


def test_it_leaves_nothing_to_read_of_an_erased_person_and_every_total(life: Living) -> None:
    world = life.world
    story = world.story("erased", people=2)
    mail = story.mail()
    profile, settings, blobs = mail.token.profile, world.shop.settings, world.shop.blobs
    delivery = Delivery(profile, story.campaign, mail.token.occurrence)
    fetch(world.render.url, mail.pictures[0])
    fetch(world.render.url, mail.clicks[0])
    world.recorded()
    (row,) = world.rows("SELECT id FROM decision WHERE profile_id = :p", p=profile)
    with world.shop.sessions.begin() as session:
        assert audit.opening(session, blobs, settings.subject_key, row.id, [profile]).facts is not None
        assert sentfacts.read(session, blobs, delivery, settings.subject_key) is not None
    before = counted(world)
    assert life.web.program("support").call("POST", f"/customers/{profile}/erase").status_code == 403
    admin = life.web.program("admin")
    for _ in range(2):
        assert admin.told("POST", f"/customers/{profile}/erase") == {"done": True, "state": "erased"}
        with world.shop.sessions.begin() as session:
            with pytest.raises(NotFound):
                audit.opening(session, blobs, settings.subject_key, row.id, [profile])
            seen = session.scalars(select(Fetch.sha256).where(Fetch.campaign_id == story.campaign)).all()
            for sha256 in filter(None, seen):
                with pytest.raises(NotFound):
                    audit.picture(session, blobs, settings.subject_key, row.id, sha256.hex(), [profile])
            assert sentfacts.read(session, blobs, delivery, settings.subject_key) is None
        (left,) = world.rows("SELECT count(*) AS n FROM subject WHERE profile_id = :p", p=profile)
        assert left.n == 0
        assert counted(world) == before
    assert admin.told("GET", f"/customers/{profile}")["erased"] is True
    assert len(world.rows("SELECT 1 FROM admin_log WHERE action = 'erase' AND object_id = :p", p=str(profile))) == 2
    told(admin.call("POST", "/customers/999999/erase"), 404)


def test_it_gives_no_key_to_the_erased_nor_to_who_never_was(shop: Shop) -> None:
    ann, bob = shop.people("ann", "bob")
    assert erase(shop.intake, ann, shop.now)
    with shop.sessions.begin() as session:
        assert subjects.subject_keys(session, [ann, bob, 999_999], shop.settings.subject_key, shop.now).keys() == {bob}
