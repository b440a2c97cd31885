"""Support's work on real opens: every story is found whole, every picture is the one that was served, nothing moves."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from base import keys
from base.blobs import blobs_from
from base.errors import NotFound
from campaigns import served
from campaigns.subjects import known_subject
from tests.campaigns.living import Living
from tests.campaigns.town import STORIES, Diary, Town
from tests.campaigns.web import Browser
from tests.promises.world import World
from tests.streams import entries
from workers.restarts import CURSOR

OPEN = re.compile(r'href="(/customers/\d+/opens/[0-9a-f]{32})"')
SERVED = re.compile(r'(?:src|href)="(/customers/\d+/opens/[0-9a-f]{32}/([0-9a-f]{64}))"')
ENTRY = re.compile(r'<li class="timeline-entry timeline-(\w+)"')
LOGGED = ("access_log", "unchained", "chain_entry")
COUNTED = "(SELECT campaign_id, what, name, sum(number) FROM open_count GROUP BY 1, 2, 3 HAVING sum(number) <> 0)"
"""What its rows come to: the schedule loop makes one of several now and then."""
"""Where looks are noted, and the chain that each note is tied to."""
ASKED = ("&bought=shoes", "&complained=on", "&dark=on", "&no_pictures=on", "&at=2026-04-01T09:00")
"""What a preview is asked; every customer's as they are, and one of these in turn."""
SEEK = ("email", "user_id", "phone", "loyalty_id", "order", "profile")


@pytest.fixture(scope="module")
def town(life: Living) -> Town:
    """The stories, lived through, everything recorded."""
    world = life.world
    story = world.story("audit", people=len(STORIES) + 2, slots=2, send=False,
                        discount={"fields": {"headline": "{{ profile.first_name }}, 10 % off"}})  # fmt: skip
    names = story.names
    for number, name in enumerate(names):
        traits = {
            "firstName": ("Ada", "Bo")[number % 2],
            "phone": f"+43 660 {100000 + number}",
            "loyaltyId": f"L{number}",
        }
        world.tell({"type": "identify", "userId": name, "traits": traits})
    world.tell(world.shop.consent(names[-1], False))
    world.tell({"type": "identify", "userId": "audit-nowhere", "traits": {"suite": "audit", "firstName": "Nils"}})
    world.send(story.campaign)
    mails = {mail.recipient.partition("@")[0]: mail for mail in world.mails(story.campaign)}
    made = Town(life, replace(story, mails=mails))
    for name, live in zip(names, STORIES, strict=False):
        diary = made.diaries[name] = Diary(name)
        live(made, diary)
    made.diaries[names[-2]] = Diary(names[-2])
    made.diaries[names[-1]] = Diary(names[-1], skipped="unsubscribed")
    made.diaries["audit-nowhere"] = Diary("audit-nowhere", skipped="no e-mail address")
    for number, (name, diary) in enumerate(made.diaries.items()):
        diary.seek = seek(made, number, name)
    world.recorded()
    return made


def seek(town: Town, number: int, name: str) -> str:
    """What the customer names on the phone: another kind of thing from story to story."""
    kind = SEEK[number % len(SEEK)]
    if name == "audit-nowhere" or (kind == "order" and not town.diaries[name].orders):
        kind = "user_id"
    return {
        "email": f" {name.upper()}@example.com ", "user_id": name, "phone": f"+43 (660) {100000 + number}",
        "loyalty_id": f"l{number}", "order": (town.diaries[name].orders or [""])[0],
        "profile": f"Customer {town.world.shop.known()[name]}",
    }[kind]  # fmt: skip


def found(browser: Browser, query: str) -> str:
    """The page that one search leads to: the first click."""
    browser.get("/customers/")
    answer = browser.client.post("/customers/", data={"csrf_token": browser.token, "q": query}, follow_redirects=True)
    assert answer.status_code == 200
    assert "<h1" in answer.text
    return answer.text


@pytest.mark.feature("SU-01")
def test_it_finds_every_story_whole_in_three_clicks(town: Town) -> None:
    support = town.life.web.desk("support")
    assert len(town.diaries) >= 20
    for diary in town.diaries.values():
        page = found(support, diary.seek)  # one
        kinds = ENTRY.findall(page)
        assert kinds.count("mail") == diary.mails, diary
        assert kinds.count("click") == diary.clicks, diary
        assert kinds.count("order") == len(diary.orders), diary
        assert diary.skipped in unescape(page), diary
        assert page.count("accepted by the mail server") == (0 if diary.skipped else 1), diary
        assert page.count("Arrived ") == diary.late, diary
        seen: list[str] = []
        for path in dict.fromkeys(OPEN.findall(page)):
            detail = support.get(path)  # two
            assert detail.status_code == 200
            rows = re.findall(r"<tbody>(.*?)</tbody>", detail.text, re.DOTALL)[0].count("<tr>")
            hashes = {sha256 for _, sha256 in SERVED.findall(detail.text)}
            seen += [sha256 for sha256 in diary.served if sha256 in hashes]
            assert rows >= len(hashes), diary
        assert set(seen) == set(diary.served), diary


@pytest.mark.feature("SU-01")
def test_it_lists_every_fetch_that_was_answered(town: Town) -> None:
    answered = sum(len(diary.served) for diary in town.diaries.values())
    rows = 'SELECT count(*) AS n FROM "fetch" WHERE campaign_id = :campaign AND sha256 IS NOT NULL'
    assert town.world.rows(rows, campaign=town.story.campaign)[0].n == answered


@pytest.mark.feature("SU-02")
def test_it_shows_the_very_bytes_of_every_picture_that_was_served(town: Town) -> None:
    support = town.life.web.desk("support")
    origins: dict[str, int] = {}
    for diary in town.diaries.values():
        wanted = set(diary.served)
        page = found(support, diary.name)
        for path in dict.fromkeys(OPEN.findall(page)):
            for address, sha256 in set(SERVED.findall(support.get(path).text)):
                copy = support.get(address)
                assert hashlib.sha256(copy.data).hexdigest() == sha256, diary
                origins[copy.headers["Latebind-Copy"]] = origins.get(copy.headers["Latebind-Copy"], 0) + 1
                wanted.discard(sha256)
        assert not wanted, diary
    assert set(origins) == {"stored", "redrawn"}, "some bytes lie under another person's key and are drawn again"


@pytest.mark.feature("SU-05")
def test_it_tells_what_arrived_after_the_open(town: Town) -> None:
    support = town.life.web.desk("support")
    (diary,) = (diary for diary in town.diaries.values() if diary.late)
    (path,) = set(OPEN.findall(found(support, diary.name)))
    page = support.get(path).text
    after = page.partition("Arrived only later")[2]
    told = re.search(r"Order placed of ([^<]*) arrived ([^<]*), after this open", after)
    assert told, "the order that had happened and was not known"
    when = "SELECT event_time AS happened, received_at AS arrived FROM event WHERE order_id = :order"
    (order,) = town.world.rows(when, order=diary.orders[0])
    assert order.happened < order.arrived
    assert [told[1], told[2]] == [f"{at:%-d %b %Y, %H:%M}" for at in order]
    late = town.life.web.program("support").told("GET", path)["late"]
    assert late == [f"Order Completed of {order.happened.isoformat()} arrived {order.arrived.isoformat()}"]
    assert "Order placed" not in page.partition("The newest signals known")[2]
    swap = next(diary for diary in town.diaries.values() if len(diary.orders) == 1 and not diary.late)
    last = support.get(OPEN.findall(found(support, swap.name))[0]).text
    assert "Order placed" in last.partition("The newest signals known")[2]


@pytest.mark.feature("SU-06")
def test_it_changes_nothing_but_the_access_log_by_looking(town: Town) -> None:
    admin = town.life.web.desk("admin")
    program = town.life.web.program("admin")
    before, looked = until_still(town.world), town.world.rows("SELECT count(*) AS n FROM access_log")[0].n
    campaign = town.story.campaign
    for diary, asked in zip(town.diaries.values(), itertools.cycle(ASKED), strict=False):
        page = found(admin, diary.name)
        for path in dict.fromkeys(OPEN.findall(page)):
            for address, _ in set(SERVED.findall(admin.get(path).text)):
                assert admin.get(address).status_code == 200
        profile = town.world.shop.known()[diary.name]
        for what in ("", asked):
            shown = admin.get(f"/campaigns/{campaign}/preview?customer={profile}{what}")
            assert shown.status_code == 200
            assert admin.get(f"/campaigns/{campaign}/preview/mail?customer={profile}{what}").status_code == 200
        for path in (f"/customers/{profile}", f"/customers/{profile}/timeline"):
            program.told("GET", path)
        program.told("POST", f"/campaigns/{campaign}/preview", {"profile": profile, "bought": [1]})
    for tab in ("audience", "message", "offers", "schedule", "results", "ledger", "audience/count", "progress"):
        assert admin.get(f"/campaigns/{campaign}/{tab}").status_code == 200
    for path in ("/", "/campaigns/", "/offers/", "/system/", f"/campaigns/{campaign}/ledger.csv"):
        assert admin.get(path).get_data()
    assert everything(town.world) == before
    assert town.world.rows("SELECT count(*) AS n FROM access_log")[0].n > looked + 10 * len(town.diaries)


def everything(world: World) -> dict[str, Any]:
    """A hash of every table but the access log and its chain, of every key of the store, and the names of all blobs."""
    tables = world.rows("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    state: dict[str, Any] = {}
    for table in tables:
        if table.name not in LOGGED:
            # How far the store's disk is known to have come is noted by itself, seconds afterwards.
            noted = f" WHERE t.name NOT LIKE '{CURSOR}%'" if table.name == "loop_cursor" else ""
            rows = COUNTED if table.name == "open_count" else f'"{table.name}"'
            (row,) = world.rows(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) AS hash FROM {rows} t{noted}")
            state[table.name] = row.hash
    for name in world.store.scan_iter():
        # The stream's own form also holds when each recorder last asked for more.
        if not name.startswith((b"rq:", b"LIMITS")) and not name.startswith(keys.RECORDS.encode()):
            state[name.decode()] = hashlib.sha256(world.store.dump(name) or b"").hexdigest()
    state[keys.RECORDS] = entries(world.store)
    state["blobs"] = sorted(blobs_from(world.settings).digests())
    return state


def until_still(world: World) -> dict[str, Any]:
    """What everything is once two looks, a second apart, find the same."""
    last, moved = everything(world), set()
    for _ in range(20):
        world.settle()
        again = everything(world)
        moved = {name for name in {*last, *again} if last.get(name) != again.get(name)}
        if not moved:
            return last
        last = again
    raise AssertionError(f"the world does not come to rest: {moved}")


def test_it_shows_a_tombstone_where_the_key_is_gone(town: Town) -> None:
    support = town.life.web.desk("support")
    diary = town.diaries[town.story.names[0]]
    profile = town.world.shop.known()[diary.name]
    (path,) = set(OPEN.findall(found(support, diary.name)))
    with town.world.sessions.begin() as session:
        kept = town.world.rows("SELECT * FROM subject WHERE profile_id = :p", p=profile)[0]
        session.execute(town.world.sql("DELETE FROM subject WHERE profile_id = :p"), {"p": profile})
    try:
        page = support.get(path)
        assert page.status_code == 200
        assert "The personal part of this record is gone" in page.text
    finally:
        with town.world.sessions.begin() as session:
            session.execute(
                town.world.sql("INSERT INTO subject VALUES (:profile_id, :subject_id, :wrapped_key, :created_at)"),
                dict(kept._mapping),
            )


def test_it_says_so_when_a_record_was_altered(town: Town) -> None:
    support = town.life.web.desk("support")
    diary = town.diaries[town.story.names[1]]
    (path,) = set(OPEN.findall(found(support, diary.name)))
    decision = path.rpartition("/")[2]
    assert "has been altered" not in support.get(path).text
    change = (
        "UPDATE decision SET public = convert_to(replace(convert_from(public, 'UTF8'), :a, :b), 'UTF8') WHERE id = :d"
    )
    for a, b in (('"rung":"rules"', '"rung":"model"'), ('"rung":"model"', '"rung":"rules"')):
        with town.world.sessions.begin() as session:
            session.execute(town.world.sql(change), {"a": a, "b": b, "d": decision})
        assert ("has been altered" in support.get(path).text) == (b == '"rung":"model"')


def test_it_shows_nobody_the_open_of_somebody_else(town: Town) -> None:
    support = town.life.web.desk("support")
    ours, theirs = (town.diaries[name] for name in town.story.names[:2])
    (path,) = set(OPEN.findall(found(support, ours.name)))
    other = town.world.shop.known()[theirs.name]
    wrong = re.sub(r"/customers/\d+/", f"/customers/{other}/", path)
    assert support.get(wrong).status_code == 404
    assert support.get(f"{wrong}/{ours.served[0]}").status_code == 404


def unkept(town: Town) -> Iterator[str]:
    """The hashes that were served to a person and are not kept under their key."""
    blobs, key = blobs_from(town.world.settings), town.world.settings.subject_key
    with town.world.sessions.begin() as session:
        for diary in town.diaries.values():
            subject = known_subject(session, town.world.shop.known()[diary.name], key)
            for sha256 in set(diary.served):
                try:
                    served.read(session, blobs, bytes.fromhex(sha256), subject)
                except NotFound:
                    yield sha256


def test_it_has_pictures_to_draw_again(town: Town) -> None:
    assert list(unkept(town)), "the proof above would prove less than it says"
