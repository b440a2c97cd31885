"""What is kept of a reader at each tracking level, found by looking at everything that is kept after real opens.

At every level classes are told, and neither the address nor the agent they were told by is anywhere: not in the hot
store or its log, not in the database, a file or a process's log. At level anonymous nothing that is kept of opens and
clicks names the reader. At level none nothing is sent to the hot store that names the reader, and nothing is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import msgspec
import pytest
from msgspec.structs import replace

from base import keys
from base.sealing import Sealer
from base.tokens import Purpose
from render.record import unseal
from tests.promises.ground import Ground
from tests.promises.keeping import everything, hot
from tests.promises.reader import BROWSER, GMAIL, SCANNER, Mail, fetch
from tests.promises.world import World
from tests.serving import Served

MARK = "Zephyrbird/77.3"
ADDRESS = "203.0.113.77"
AGENTS = (f"{BROWSER} {MARK}", f"{GMAIL} {MARK}", f"{SCANNER} {MARK}")
NAMELESS = frozenset({"id", "occurrence", "slot", "kind", "fetch_class", "rung"})
"""What a record and its row say beside hour, campaign and offer, which are called otherwise in each."""
ENTRY = re.compile(rb"XADD\r\n\$\d+\r\n" + keys.RECORDS.encode() + rb"\r\n\$1\r\n\*\r\n\$1\r\nr\r\n\$(\d+)\r\n")
TABLES = ("decision", "fetch", "click", "served_bytes", "subject", "outcome")


def forms(word: str) -> list[bytes]:
    """A word as it may have been kept: as it is, in hexadecimal, or by a digest without a key."""
    found = [word.encode(), word.encode().hex().encode()]
    for name in ("md5", "sha1", "sha256"):
        digest = hashlib.new(name, word.encode(), usedforsecurity=False)
        found += [digest.digest(), digest.hexdigest().encode()]
    return found


TRACES = [*forms(MARK), *forms(ADDRESS), *forms(f"{BROWSER} {MARK}"), bytes(map(int, ADDRESS.split(".")))]


def traces(world: World) -> list[str]:
    """Where an address or an agent is kept. Four bytes alone say nothing in what is sealed or drawn."""
    words = TRACES[:-1]
    return [place for place, kept in everything(world) for word in words if word in kept]


def grown(before: dict[str, bytes], after: dict[str, bytes]) -> dict[str, bytes]:
    """What was added to each place, the whole of it where more than its end changed."""
    changed = {place: data for place, data in after.items() if data != before.get(place)}
    return {place: data.removeprefix(before.get(place, b"")) for place, data in changed.items()}


def block_page(world: World, mail: Mail) -> str:
    """The path of the hero as HTML, which no mail of the story names."""
    return f"/h/{world.tokens.mint(replace(mail.token, purpose=Purpose.HTML, slot=0))}"


def open_all(render: Served, mail: Mail) -> None:
    """Fetch, read and click all there is: as a person, a provider's proxy and a scanner do."""
    for agent in AGENTS:
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


@pytest.mark.feature("OP-14")
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


@pytest.mark.feature("OP-14")
def test_it_keeps_opens_and_clicks_that_name_nobody(ground: Ground, render: Served) -> None:
    world = ground.world
    story = world.story("nameless", people=2, tracking="anonymous")
    fetch(render.url, story.mail().pictures[0])
    world.settle()
    world.recorded()
    before, counts = (
        dict(everything(world)),
        [world.rows(f'SELECT count(*) AS n FROM "{table}"')[0].n for table in TABLES],
    )
    with ground.proxy.listening() as heard:
        for mail in story.mails.values():
            open_all(render, mail)
            assert fetch(render.url, block_page(world, mail)).status == 200
        world.tell(world.buy(story.names[0]))
    world.recorded()
    world.credited()

    # What went to the stream: by no script that writes a person's keys, of one kind, with nothing that leads to them.
    assert b"EVAL" not in heard.upper()
    sealer = Sealer(world.settings.record_key)
    entries = [heard[found.end() : found.end() + int(found[1])] for found in ENTRY.finditer(heard)]
    made = [msgspec.to_builtins(one) for entry in entries for one in unseal(bytes(entry), sealer)]
    rows = world.rows("SELECT * FROM anonymous_fetch WHERE campaign_id = :c", c=story.campaign)
    each = len(AGENTS) * (len(story.mail().paths) - 1) + 1
    assert len(made) == len(rows) - 1 == each * len(story.mails)
    assert {frozenset(one) for one in made} == {NAMELESS | {"type", "at_ms", "campaign", "offer"}}
    assert {frozenset(row._fields) for row in rows} == {NAMELESS | {"at", "campaign_id", "offer_id"}}
    assert {row.kind for row in rows} == {"picture", "dark", "html", "view", "click"}
    assert {row.fetch_class for row in rows} == {"person", "proxy", "scanner"}
    assert {(row.at.minute, row.at.second, row.at.microsecond) for row in rows} == {(0, 0, 0)}

    # What is kept: neither who nor with what anywhere, no row of a person's opens, no key, nothing credited.
    assert traces(world) == []
    assert [world.rows(f'SELECT count(*) AS n FROM "{table}"')[0].n for table in TABLES] == counts
    people = [f"{{{world.shop.profile(name)}}}" for name in story.names]
    assert not [name for name in hot(world) for person in people if name.startswith(f"{person}:shown".encode())]
    assert not [name for name in hot(world) for person in people if name.startswith(f"{person}:used".encode())]
    tokens = [
        path.rsplit("/", 1)[-1].partition(".")[0].encode() for mail in story.mails.values() for path in mail.paths
    ]
    more = grown(before, dict(everything(world)))
    log = b"".join(new for place, new in more.items() if "appendonly" in place)
    assert b"XADD" in log
    assert not [word for word in (b":shown:", b":used") if word in log]
    for place, new in more.items():
        assert not [word for word in tokens if word in new], place
        assert "blobs" not in place, "no bytes are kept"


@pytest.mark.feature("OP-14")
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
