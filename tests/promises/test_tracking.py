"""What is kept of a reader at each tracking level, found by looking at everything that is kept after real opens.

At every level classes are told, and neither the address nor the agent they were told by is anywhere: not in the hot
store or its log, not in the database, a file or a process's log. At level none nothing is sent to the hot store that
names the reader, and nothing is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.promises.ground import Ground
from tests.promises.reader import BROWSER, GMAIL, SCANNER, Mail, fetch
from tests.promises.world import World
from tests.serving import Served

MARK = "Zephyrbird/77.3"
ADDRESS = "203.0.113.77"
TABLES = ("decision", "fetch", "click", "served_bytes", "subject", "outcome")


def forms(word: str) -> list[bytes]:
    """A word as it may have been kept: as it is, in hexadecimal, or by a digest without a key."""
    found = [word.encode(), word.encode().hex().encode()]
    for name in ("md5", "sha1", "sha256"):
        digest = hashlib.new(name, word.encode(), usedforsecurity=False)
        found += [digest.digest(), digest.hexdigest().encode()]
    return found


TRACES = [*forms(MARK), *forms(ADDRESS), *forms(f"{BROWSER} {MARK}"), bytes(map(int, ADDRESS.split(".")))]


def hot(world: World) -> dict[bytes, Any]:
    """Every key of the hot store with what it holds."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": world.store.get, b"hash": world.store.hgetall, b"stream": world.store.xrange,
        b"set": world.store.smembers, b"list": lambda name: world.store.lrange(name, 0, -1),
        b"zset": lambda name: world.store.zrange(name, 0, -1, withscores=True),
    }  # fmt: skip
    names: Any = world.store.keys("*")
    kinds = {name: world.store.type(name) for name in names}
    return {name: readers[kind](name) for name, kind in kinds.items() if kind in readers}


def everything(world: World) -> Iterator[tuple[str, bytes]]:
    """Whatever is kept, by the place where it is: keys, tables, and files but for the database's own."""
    for name, value in hot(world).items():
        yield f"key {name!r}", name + repr(value).encode() + (value if isinstance(value, bytes) else b"")
    for table in world.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        rows = world.rows(f'SELECT t::text AS line FROM "{table.tablename}" t')
        yield f"table {table.tablename}", "\n".join(row.line for row in rows).encode()
    for path in world.folder.rglob("*"):
        if path.is_file() and "postgres" not in path.relative_to(world.folder).parts:
            yield str(path), path.read_bytes()


def traces(world: World) -> list[str]:
    """Where an address or an agent is kept. Four bytes alone say nothing in what is sealed or drawn."""
    words = TRACES[:-1]
    return [place for place, kept in everything(world) for word in words if word in kept]


def open_all(render: Served, mail: Mail) -> None:
    """Fetch, read and click all there is: as a person, a provider's proxy and a scanner do."""
    for agent in (f"{BROWSER} {MARK}", f"{GMAIL} {MARK}", f"{SCANNER} {MARK}"):
        for path in (*mail.pictures.values(), *mail.dark.values(), mail.view, *mail.clicks.values()):
            answer = fetch(render.url, path, agent, headers={"X-Forwarded-For": ADDRESS})
            assert answer.status in (200, 302)


@pytest.fixture(scope="module")
def render(ground: Ground) -> Iterator[Served]:
    """A render process behind a balancer that says where readers are."""
    world = ground.world
    made = world.serve("listened render", trusted_proxies=("127.0.0.0/8",), render_workers=1)
    yield made
    made.stop()
    del world.apps["listened render"]


def test_it_tells_classes_and_keeps_neither_address_nor_agent(ground: Ground, render: Served) -> None:
    world = ground.world
    story = world.story("followed", people=1)
    with ground.proxy.listening() as heard:
        open_all(render, story.mail())
    world.recorded()
    rows = world.rows('SELECT DISTINCT fetch_class AS n FROM "fetch" WHERE campaign_id = :c', c=story.campaign)
    assert {row.n for row in rows} == {"person", "proxy", "scanner"}
    assert traces(world) == []
    assert not [word for word in TRACES if word in heard]
    # What is looked for at level none is there when a campaign is followed.
    profile = world.shop.profile(story.names[0])
    assert f"{{{profile}}}".encode() in heard
    assert [name for name in hot(world) if name.startswith(f"{{{profile}}}:shown".encode())]


def test_it_sends_and_keeps_nothing_of_a_reader_who_is_not_followed(ground: Ground, render: Served) -> None:
    world = ground.world
    story = world.story("unfollowed", people=2, tracking="none")
    # Addresses of pictures name nobody; whoever meets one knows from then on that nobody is to be asked for.
    fetch(render.url, story.mail().pictures[0])
    world.settle()
    world.recorded()
    before, counts = hot(world), [world.rows(f'SELECT count(*) AS n FROM "{table}"')[0].n for table in TABLES]
    with ground.proxy.listening() as heard:
        for mail in story.mails.values():
            open_all(render, mail)
    assert heard, "render asks for the campaign"
    world.recorded()
    assert traces(world) == []
    for name, mail in story.mails.items():
        token = mail.view.rsplit("/", 1)[-1].encode()
        words = [*TRACES, f"{{{world.shop.profile(name)}}}".encode(), token]
        assert not [word for word in words if word in heard]
    assert b"XADD" not in heard.upper()
    after = hot(world)
    people = [f"{{{world.shop.profile(name)}}}".encode() for name in story.names]
    theirs = [name for name in before | after if any(name.startswith(person) for person in people)]
    assert [after.get(name) for name in theirs] == [before.get(name) for name in theirs]
    assert [world.rows(f'SELECT count(*) AS n FROM "{table}"')[0].n for table in TABLES] == counts
