"""Proof: the very bytes that were served can be shown and explained, and looking changes nothing."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import delete

from base.blobs import blobs_from
from base.recordstreams import RecordStreams
from campaigns import audit, reports
from campaigns.served import ServedBytes
from campaigns.timeline import timeline
from render.plan import decode
from render.record import DecisionRecord
from render.replay import replay, same_outcome
from tests.promises.reader import APPLE, BROWSER, GMAIL, SCANNER, Answer, fetch
from tests.promises.test_one_open import html_path
from tests.promises.world import Story, World

AGENTS = (BROWSER, GMAIL, APPLE, SCANNER)
TABLES = (
    "delivery", "decision", "fetch", "click", "outcome", "served_bytes", "subject", "event", "profile_state",
    "campaign", "offer", "plan", "occurrence", "access_log", "admin_log",
)  # fmt: skip


def opens(world: World, story: Story) -> dict[tuple[int, str], list[Answer]]:
    """All kinds of fetches by people in all situations; the answers by profile and hash."""
    answers: dict[tuple[int, str], list[Answer]] = {}

    def look(name: str, path: str, agent: str = BROWSER) -> None:
        answer = fetch(world.render.url, path, agent)
        assert answer.status == 200
        answers.setdefault((story.mail(name).token.profile, answer.sha256), []).append(answer)

    for number, name in enumerate(story.names):
        mail = story.mail(name)
        look(name, mail.pictures[0], AGENTS[number % len(AGENTS)])
        if number % 2:
            world.tell(world.buy(name))
        look(name, mail.pictures[0])
        look(name, mail.dark[1])
        look(name, html_path(world, mail, 1))
        look(name, mail.view)
        fetch(world.render.url, mail.clicks[0])
        world.clock.advance(timedelta(minutes=7))
    return answers


def test_it_gives_back_the_very_bytes_of_every_fetch(world: World) -> None:
    story = world.story("bytes", people=8, slots=2)
    answers = opens(world, story)
    world.recorded()
    blobs, key = blobs_from(world.settings), world.settings.subject_key
    rows = fetches(world, story)
    assert len(rows) == sum(map(len, answers.values())) == 5 * len(story.names)
    with world.sessions.begin() as session:
        for row in rows:
            (served, *_) = answers[row.profile_id, row.sha256.hex()]
            copy = audit.picture(session, blobs, key, row.decision_id, row.sha256.hex(), [row.profile_id])
            assert copy.body == served.body
            assert copy.content_type == served.headers["Content-Type"]
            assert (row.size, hashlib.sha256(copy.body).digest()) == (len(copy.body), row.sha256)
    kinds = {(row.kind, row.personal) for row in rows}
    # The thank-you calls the person by name, and a page holds the person's own addresses.
    assert {("picture", False), ("picture", True), ("dark", False), ("html", True), ("view", True)} <= kinds


def test_it_draws_a_countdown_of_long_ago_exactly_as_it_was_served(world: World) -> None:
    ends = world.clock.now() + timedelta(days=2)
    world.shop.creative()  # The plain one is the first there is.
    counting = {"creative_id": world.creative("Countdown"), "ends_at": ends}
    story = world.story("countdown", fmt="gif", discount=counting)
    mail = story.mail()
    served = []
    for _ in range(2):
        # Two seconds of one open: each has a picture of its own.
        served += [fetch(world.render.url, path) for path in (mail.pictures[0], mail.dark[0])]
        world.clock.advance(timedelta(seconds=7))
    world.clock.advance(timedelta(days=3))
    assert fetch(world.render.url, mail.pictures[0]).sha256 not in {one.sha256 for one in served}, "it has run out"
    world.recorded()
    assert len({one.sha256 for one in served}) == 4
    blobs, key = blobs_from(world.settings), world.settings.subject_key
    rows = {row.sha256.hex(): row for row in fetches(world, story)}
    for origin in ("stored", "redrawn"):
        with world.sessions.begin() as session:
            for one in served:
                row = rows[one.sha256]
                copy = audit.picture(session, blobs, key, row.decision_id, one.sha256, [row.profile_id])
                assert (copy.origin, copy.content_type) == (origin, "image/gif")
                assert copy.body == one.body
                # As if the copy had been lost, or lay under another person's key: what the record says is enough.
                session.execute(delete(ServedBytes).where(ServedBytes.sha256 == row.sha256))


def test_it_decides_every_recorded_open_again_with_the_same_outcome(world: World) -> None:
    story = world.story("replay", people=8, slots=2, discount={"cap_total": 5, "cap_person": 2})
    opens(world, story)
    world.recorded()
    found = records(world, story)
    shown = {slot.offer for made in found for slot in made.slots}
    assert shown == {story.discount, story.thanks, story.attire, story.default}
    assert {made.lane for made in found} == {"live", "machine"}
    blobs = blobs_from(world.settings)
    for made in found:
        assert same_outcome(replay(made, decode(blobs.get(made.plan)), None), made)


def test_it_explains_every_candidate_and_tells_what_was_known(world: World) -> None:
    story = world.story("explain", slots=2)
    (name,), mail = story.names, story.mail()
    world.tell(world.buy(name))
    fetch(world.render.url, mail.pictures[0])
    world.recorded()
    (row,) = world.rows("SELECT id FROM decision WHERE campaign_id = :campaign", campaign=story.campaign)
    with world.sessions.begin() as session:
        found = audit.opening(
            session, blobs_from(world.settings), world.settings.subject_key, row.id, [mail.token.profile]
        )
    hero = found.public.slots[0]
    fates = {one.offer: (one.removed_by, one.rule) for one in hero.candidates}
    assert fates == {
        story.discount: ("relevant", "purpose met"),
        story.thanks: (None, None),
        story.attire: ("arbitration", "shown in another slot"),
    }
    assert found.sound
    assert [signal.name for signal in found.known if signal.name == "Order Completed"] == ["Order Completed"]
    assert found.facts is not None
    assert found.facts.state == world.store.get(f"{{{mail.token.profile}}}:state")


def test_it_changes_nothing_by_looking(world: World) -> None:
    story = world.story("looking", people=4, slots=2, discount={"cap_total": 50})
    opens(world, story)
    world.recorded()
    blobs, key = blobs_from(world.settings), world.settings.subject_key
    world.credited()
    # What else follows from records goes on for a moment after the last of them.
    before = until_still(world)
    with world.sessions() as session:
        for row in fetches(world, story):
            audit.opening(session, blobs, key, row.decision_id, [row.profile_id])
            audit.picture(session, blobs, key, row.decision_id, row.sha256.hex(), [row.profile_id])
            timeline(session, [row.profile_id])
        reports.report(session, story.campaign)
        session.commit()
    assert everything(world) == before


def fetches(world: World, story: Story) -> list[Any]:
    return world.rows('SELECT * FROM "fetch" WHERE campaign_id = :campaign ORDER BY at, id', campaign=story.campaign)


def records(world: World, story: Story) -> list[DecisionRecord]:
    """The campaign's decision records, put together again from what the database and the subject keys hold."""
    blobs, key = blobs_from(world.settings), world.settings.subject_key
    found = []
    rows = world.rows("SELECT id, profile_id FROM decision WHERE campaign_id = :campaign", campaign=story.campaign)
    with world.sessions.begin() as session:
        for row in rows:
            opened = audit.opening(session, blobs, key, row.id, [row.profile_id])
            form = json.loads(opened.row.public)
            form.pop("subject")
            form |= {"profile": row.profile_id, "personal": msgspec.to_builtins(opened.facts)}
            found.append(msgspec.json.decode(msgspec.json.encode(form), type=DecisionRecord))
    return found


def everything(world: World) -> dict[str, Any]:
    """A hash of every table that could change, and of every key of the hot store."""
    found: dict[str, Any] = {}
    for table in TABLES:
        (row,) = world.rows(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) AS hash FROM \"{table}\" t")
        found[table] = row.hash
    # The stream itself notes when a recorder last asked; what was ever put on it does not change by that.
    for name in RecordStreams(world.store).names:
        found[f"last of {name}"] = world.store.xinfo_stream(name)["last-generated-id"]
    for name in world.store.scan_iter():
        if not name.startswith((b"rq:", b"records")):
            found[name.decode()] = hashlib.sha256(world.store.dump(name) or b"").hexdigest()
    return found


def until_still(world: World) -> dict[str, Any]:
    """What everything is once two looks find the same."""
    last, moving = everything(world), set()
    for _ in range(10):
        world.settle()
        again = everything(world)
        moving = {name for name, _ in last.items() ^ again.items()}
        if not moving:
            return last
        last = again
    raise AssertionError(f"the world does not come to rest: {moving}")
