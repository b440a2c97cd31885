"""Never a broken picture: whatever is down, a valid token gets 200 and a whole picture of its size, in time.

Afterwards every picture that went out has exactly one fetch record, or is counted as unrecorded.
"""

from __future__ import annotations

import base64
import http.client
import random
import shutil
import signal
import statistics
import string
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from base.clock import pause
from base.tokens import Purpose
from campaigns import publish
from tests.campaigns.shop import MANAGER
from tests.promises.ground import DEADLINE_MS, Ground
from tests.promises.reader import BROWSER, Answer, fetch
from tests.promises.world import Story, World, until
from tests.serving import Served

CLIENTS = 3
PAUSE_SECONDS = 0.02
SLACK_SECONDS = 0.35
"""On top of the deadline: the client of the test waits for a core like everybody else on this machine."""


class Opens:
    """Mail clients that keep opening a campaign's mails while something breaks."""

    def __init__(self, url: str, story: Story) -> None:
        self.answers: list[tuple[str, Answer]] = []
        self.broken: list[str] = []
        self._url = url
        self._paths = [
            (path, mail.sizes[slot])
            for mail in story.mails.values()
            for slot in mail.pictures
            for path in (mail.pictures[slot], mail.dark[slot])
        ]
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._open, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Opens:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _open(self, client: int) -> None:
        number = client
        while not self._stopped.is_set():
            path, size = self._paths[number % len(self._paths)]
            number += CLIENTS
            try:
                answer = fetch(self._url, path)
                self.answers.append((path, answer))
                if answer.status != 200 or answer.size != size:
                    self.broken.append(f"{answer.status} {answer.body[:80]!r}")
            except Exception as error:  # noqa: BLE001 - every kind of failure is what is looked for
                self.broken.append(repr(error))
            self._stopped.wait(PAUSE_SECONDS)

    @property
    def p99(self) -> float:
        """Seconds that all but one of a hundred took at most."""
        return statistics.quantiles([answer.seconds for _, answer in self.answers], n=100)[98]


@contextmanager
def opened(world: World, prompt: Served, story: Story) -> Iterator[Opens]:
    """Opens for as long as the block lasts; then nothing may be broken, late, or missing from the records."""
    unrecorded = world.metric("unrecorded")
    with Opens(prompt.url, story) as opens:
        yield opens
    assert opens.broken == []
    assert len(opens.answers) > 50
    assert opens.p99 <= DEADLINE_MS / 1000 + SLACK_SECONDS
    world.recorded()
    served = Counter(answer.sha256 for _, answer in opens.answers)
    rows = world.rows(
        "SELECT encode(sha256, 'hex') AS hash, count(*) AS n FROM \"fetch\" WHERE campaign_id = :campaign GROUP BY 1",
        campaign=story.campaign,
    )
    recorded = Counter({row.hash: row.n for row in rows})
    assert recorded - served == Counter(), "a fetch was recorded twice, or with bytes that nobody got"
    missing = sum((served - recorded).values())
    assert missing <= world.metric("unrecorded") - unrecorded


@pytest.mark.feature("EC-04")
@pytest.mark.feature("EC-05")
@pytest.mark.parametrize("part", ["store", "database", "recorder", "stalled store"])
def test_it_answers_every_open_while_a_server_is_killed_or_stalls(ground: Ground, prompt: Served, part: str) -> None:
    world = ground.world
    story = world.story(f"broken-{part.replace(' ', '-')}", people=20, slots=2)
    with opened(world, prompt, story) as opens:
        pause(0.7)
        before = len(opens.answers)
        if part == "store":
            ground.valkey.kill()
            pause(1.5)
            ground.valkey.start()
        elif part == "database":
            ground.postgres.kill()
            pause(1.5)
            ground.postgres.start()
        elif part == "recorder":
            world.programs["recorder"].kill()
            pause(1.0)
            world.run("recorder")
        else:
            ground.proxy.stall()
            pause(5.0)
            ground.proxy.flow()
        assert len(opens.answers) > before + 20, "opens went on meanwhile"
        pause(1.0)


@pytest.mark.feature("EC-04")
def test_it_answers_every_open_while_model_blobs_and_disk_are_gone(ground: Ground, prompt: Served) -> None:
    world = ground.world
    story = world.story("gone", people=20, slots=2)
    blobs, spool = Path(world.settings.blob_url), world.settings.var / "spool"
    away = blobs.with_name("blobs.away")
    with world.sessions.begin() as session:
        publish.switch(
            session, world.store, story.campaign, "set model", world.shop.now, MANAGER, {"model_hash": "f" * 64}
        )
    with opened(world, prompt, story):
        pause(0.7)
        blobs.rename(away)
        pause(0.7)
        shutil.rmtree(spool, ignore_errors=True)
        spool.write_bytes(b"a file where the folder should be: nothing can be written")
        ground.valkey.kill()
        pause(1.5)
        spool.unlink()
        ground.valkey.start()
        away.rename(blobs)
        pause(1.0)


def test_it_keeps_the_records_of_a_render_process_that_is_killed_while_the_store_is_away(ground: Ground) -> None:
    """What went to the local disk is handed over by whoever is left."""
    world = ground.world
    story = world.story("spooled", people=10)
    world.serve("doomed render", deadline_ms=DEADLINE_MS, render_workers=1)
    doomed = world.apps.pop("doomed render")
    fetch(doomed.url, story.mail().pictures[0])
    ground.valkey.kill()
    answers = [fetch(doomed.url, mail.pictures[0]) for mail in story.mails.values()]
    assert {(answer.status, answer.size) for answer in answers} == {(200, (1200, 600))}
    doomed.kill()
    ground.valkey.start()
    until(lambda: not list((world.settings.var / "spool").glob("*.spool")), "the spool to be drained")
    world.recorded()
    rows = world.rows('SELECT profile_id FROM "fetch" WHERE campaign_id = :campaign', campaign=story.campaign)
    assert Counter(row.profile_id for row in rows) == Counter(
        [story.mail().token.profile, *(mail.token.profile for mail in story.mails.values())]
    )


@pytest.mark.feature("EC-01")
def test_it_answers_every_address_ever_mailed_after_all_that_can_be_deleted_is_gone(ground: Ground) -> None:
    world = ground.world
    story = world.story("deleted", people=3, slots=2)

    def all_answer(links: bool = True) -> None:
        for mail in story.mails.values():
            for slot, size in mail.sizes.items():
                for path in (mail.pictures[slot], mail.dark[slot]):
                    answer = fetch(world.render.url, path)
                    assert (answer.status, answer.size, answer.headers["Content-Type"]) == (200, size, "image/jpeg")
            for path in mail.clicks.values():
                # Without any plan there is no page to lead to; pictures are answered all the same.
                assert not links or fetch(world.render.url, path).status == 302
            for path in (mail.view, mail.unsubscribe):
                assert fetch(world.render.url, path).status == 200

    all_answer()
    with world.sessions.begin() as session:
        publish.kill(session, world.store, story.campaign, world.shop.now, MANAGER)
    world.settle()
    all_answer()
    for pattern in (f"live:{story.campaign}", "plan:*", "product:*", "*:state", "*:shown:*", "*:used"):
        for name in list(world.store.scan_iter(match=pattern)):
            world.store.delete(name)
    world.settle()
    all_answer(links=False)


def forged(token: str, others: Sequence[str], count: int = 10_000) -> list[str]:
    """Tokens we did not mint for a picture: random, bent, cut, swapped together, or minted for something else."""
    chooser = random.Random(11)
    alphabet = string.ascii_letters + string.digits + "-_"
    made = [*others]
    for place, letter in enumerate(token):
        made.append(token[:place] + chooser.choice(alphabet.replace(letter, "")) + token[place + 1 :])
        made.append(token[:place])
        made.append(token[:place] + others[0][place:])
    made = [text for text in made if text != token]
    return [*made, *("".join(chooser.choices(alphabet, k=54)) for _ in range(count - len(made)))]


@pytest.mark.feature("EC-07")
def test_it_answers_forged_tokens_alike_without_a_look_up_and_without_a_word_in_the_log(
    ground: Ground, prompt: Served
) -> None:
    world = ground.world
    story = world.story("forged", people=2)
    mail, other = story.mails.values()
    own = {path[path.rindex("/") + 1 :][:54] for one in (mail, other) for path in one.paths}
    pictures = {path[3:57] for one in (mail, other) for path in (*one.pictures.values(), *one.dark.values())}
    token = mail.pictures[0][3:57]
    raw = base64.urlsafe_b64decode(token + "==")
    for secret in (mail.recipient.encode(), story.names[0].encode(), mail.token.profile.to_bytes(8, "big")):
        assert secret not in raw
        assert secret not in token.encode()
    assert len(own) == len([path for one in (mail, other) for path in one.paths]), "no two addresses are alike"
    tried = forged(token, sorted(own - pictures))
    assert len(set(tried)) >= 9_900
    # Only render may speak to the store while its commands are counted.
    others = [world.programs[name].process for name in ("recorder", "schedule", "sender")]
    for process in others:
        process.send_signal(signal.SIGSTOP)
    # A read that waits is counted when its wait is over.
    until(lambda: not [one for one in world.store.client_list() if one["cmd"] == "xreadgroup" and "b" in one["flags"]],
          "the recorder's last read to end")  # fmt: skip
    neutral = fetch(prompt.url, "/o/forged.jpg")
    assert (neutral.status, neutral.size) == (200, (1200, 400))
    world.store.config_resetstat()
    errors = answered_otherwise(prompt.url, tried, neutral.body)
    told = world.store.info("commandstats")
    for process in others:
        process.send_signal(signal.SIGCONT)
    assert errors == []
    assert {name for name in told if name.startswith("cmdstat_")} <= {"cmdstat_config|resetstat", "cmdstat_info"}
    log = prompt.log.read_text()
    assert not any(text in log for text in tried if len(text) > 20)
    assert world.rows('SELECT 1 FROM "fetch" WHERE campaign_id = :campaign', campaign=story.campaign) == []
    for purpose in (Purpose.CLICK, Purpose.VIEW, Purpose.UNSUBSCRIBE):
        path = {Purpose.CLICK: "/c/", Purpose.VIEW: "/view/", Purpose.UNSUBSCRIBE: "/u/"}[purpose]
        assert fetch(prompt.url, path + token).status == 404


def answered_otherwise(url: str, tried: Sequence[str], expected: bytes) -> list[str]:
    """Which of these were answered in another way than a forgery is. Several clients at once, to save time."""
    wrong: list[str] = []

    def ask(some: Sequence[str]) -> None:
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        for text in some:
            connection.request("GET", f"/o/{text}.jpg", headers={"User-Agent": BROWSER})
            answer = connection.getresponse()
            if answer.read() != expected or answer.status != 200 or "no-store" not in answer.headers["Cache-Control"]:
                wrong.append(text)
        connection.close()

    threads = [threading.Thread(target=ask, args=(tried[number::4],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.mark.feature("EC-02")
@pytest.mark.feature("EC-03")
def test_it_never_redirects_a_picture_and_makes_clients_ask_again(world: World) -> None:
    story = world.story("asked", people=1)
    mail = story.mail()
    for path in (mail.pictures[0], mail.dark[0], "/o/x.png"):
        answer = fetch(world.render.url, path)
        assert (answer.status, answer.location) == (200, "")
        assert answer.headers["Content-Length"] == str(len(answer.body))
        caching = {part.strip() for part in answer.headers["Cache-Control"].split(",")}
        assert caching == {"no-store", "no-cache", "must-revalidate", "max-age=0"}
        for name in ("ETag", "Last-Modified", "Set-Cookie", "Vary"):
            assert name not in answer.headers
