"""Audience exports: a segment arrives at a receiver hashed, with additions and removals, if it agreed."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import text

from base.downloads import Downloads
from base.errors import Conflict, InvalidInput
from base.queues import QueueName
from campaigns import receivers, segments
from campaigns.instance import SET_BACK, Guard
from campaigns.matchkeys import match_keys
from campaigns.models import ExportMember
from campaigns.receivers import ExportIn
from signals.erasure import erase
from tests.campaigns.shop import MANAGER, Shop
from workers import jobs, schedule
from workers.exporting import Exporter
from workers.schedule import Scheduler
from workers.sending import Sender

PROMOTERS = {"field": "survey.score", "name": "nps", "op": ">=", "value": 9}
SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Receiver:
    """A real HTTP server that takes calls; it answers with `status`, and keeps what was said."""

    status: int = 200
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.calls.append(({name.lower(): text for name, text in self.headers.items()}, body))
                self.send_response(receiver.status)
                self.send_header("Location", "http://169.254.169.254/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/audience"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def told(self) -> list[dict[str, Any]]:
        """The bodies of the calls so far, which are forgotten."""
        found = [json.loads(body) for _, body in self.calls]
        self.calls.clear()
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@dataclass
class Desk:
    """A shop with a segment of promoters, and what tells of it."""

    shop: Shop

    def __post_init__(self) -> None:
        downloads = Downloads(loopback=True, seconds=5.0, named="url")
        key = self.shop.settings.subject_key
        guard = Guard(self.shop.settings, "exports", claims=False)
        self.exporter = Exporter(self.shop.sessions, self.shop.clock, key, guard, post=downloads.post)
        with self.shop.sessions.begin() as session:
            made = segments.create_segment(session, "Promoters", PROMOTERS, self.shop.now, MANAGER)
            self.segment = made.id

    def answer(self, name: str, score: int) -> None:
        answered = {"survey_id": "nps", "score": score}
        self.shop.send({"type": "track", "userId": name, "event": "Survey Answered", "properties": answered})

    def export(self, url: str | None, format_: Any = "google", loopback: bool = True) -> tuple[int, str | None]:
        wanted = ExportIn("Promoters", self.segment, format_, url)
        settings = replace(self.shop.settings, fetch_loopback=loopback)
        with self.shop.sessions.begin() as session:
            row, secret = receivers.create(session, wanted, settings, self.shop.now, MANAGER)
            return row.id, secret

    def later(self, minutes: int = 11) -> None:
        """Time passes, and receivers are told."""
        self.shop.clock.advance(timedelta(minutes=minutes))
        self.exporter.run()

    def kept(self) -> receivers.Kept:
        with self.shop.sessions.begin() as session:
            (kept,) = receivers.listing(session)
            session.expunge_all()
            return kept


@pytest.fixture
def desk(shop: Shop) -> Desk:
    return Desk(shop)


def test_it_stops_between_two_calls_when_the_database_turns_out_not_to_be_ours(desk: Desk) -> None:
    shop = desk.shop
    calls: list[str] = []
    shop.people("ann")
    desk.answer("ann", 10)
    shop.send(shop.consent("ann", True, "advertising"))

    def post(url: str, _body: bytes, _headers: Mapping[str, str]) -> int:
        calls.append(url)
        with shop.sessions.begin() as session:
            session.execute(text("UPDATE instance SET set_back = true"))
        return 200

    with shop.sessions.begin() as session:
        assert Guard(shop.settings, "schedule").blocked(session, shop.now) is None
    guard = Guard(shop.settings, "exports", claims=False)
    desk.exporter = Exporter(shop.sessions, shop.clock, shop.settings.subject_key, guard, post=post)
    desk.export("http://127.0.0.1:9/audience")
    desk.later()
    assert len(calls) == 1
    assert desk.kept().row.fault == SET_BACK


@pytest.mark.feature("DE-36")
def test_it_tells_a_receiver_of_promoters_by_hashes_with_additions_and_removals(
    desk: Desk, receiver: Receiver, scheduler: Scheduler, sender: Sender
) -> None:
    shop = desk.shop
    shop.people("ann", phone="+49 151 1234567")
    shop.people("bob", "cara", "dan", "eve")
    for name, score in (("ann", 10), ("bob", 9), ("cara", 3), ("dan", 10), ("eve", 9)):
        desk.answer(name, score)
    shop.send(*(shop.consent(name, True, "advertising") for name in ("ann", "bob", "cara", "eve")))
    _, secret = desk.export(receiver.url)
    assert secret
    forget = jobs.set_up(sender, exporter=desk.exporter)
    scheduler.tick()
    jobs.work(QueueName.WORK, shop.queues, burst=True)
    forget()

    (headers, body), = receiver.calls  # fmt: skip
    key = base64.b64decode(secret.removeprefix("whsec_"))
    name, at, signature = (headers[one] for one in SIGNED)
    mac = hmac.new(key, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    assert signature == f"v1,{base64.b64encode(mac).decode()}"
    assert int(at) == int(shop.now.timestamp())
    assert b"@" not in body
    assert b"1511234567" not in body
    (told,) = receiver.told()
    assert told["removals"] == []
    assert told["additions"] == [
        {"email": sha("ann@example.com"), "phone": sha("+491511234567")}, {"email": sha("bob@example.com")},
        {"email": sha("eve@example.com")},
    ]  # fmt: skip
    desk.later()
    assert receiver.told() == [], "what is known is not told again"

    # Dan agrees, Ann withdraws, Bob changes his mind about us, Eve is erased.
    shop.send(shop.consent("dan", True, "advertising"), shop.consent("ann", False, "advertising"))
    desk.answer("bob", 2)
    assert erase(shop.intake, shop.profile("eve"), shop.now)
    desk.later()
    (told,) = receiver.told()
    assert told["additions"] == [{"email": sha("dan@example.com")}]
    assert told["removals"] == [
        {"email": sha("ann@example.com"), "phone": sha("+491511234567")}, {"email": sha("bob@example.com")},
        {"email": sha("eve@example.com")},
    ]  # fmt: skip
    desk.later()
    with shop.sessions.begin() as session:
        assert [row.profile_id for row in session.query(ExportMember)] == [shop.profile("dan")]
        receivers.act(session, desk.kept().row.id, "end", shop.now, MANAGER)
    desk.later(1)
    (told,) = receiver.told()
    assert (told["additions"], told["removals"]) == ([], [{"email": sha("dan@example.com")}])
    assert desk.kept().row.state == "ended"


def test_it_tries_a_receiver_again_and_tells_of_who_may_be_known(desk: Desk, receiver: Receiver) -> None:
    shop = desk.shop
    shop.people("ann")
    desk.answer("ann", 10)
    shop.send(shop.consent("ann", True, "advertising"))
    desk.export(receiver.url)
    receiver.status = 503
    desk.exporter.run()
    first = receiver.calls[0][0]["webhook-id"]
    assert desk.kept().row.fault == "the receiver answers with status 503"
    desk.exporter.run()
    assert len(receiver.calls) == 1, "not before its time"
    receiver.status = 302
    desk.later(1)
    assert [heads["webhook-id"] for heads, _ in receiver.calls] == [first, first]
    desk.later(3)
    assert len(receiver.calls) == 2
    receiver.told()
    # She withdraws before anybody knows whether the receiver kept her: it is told to forget her.
    shop.send(shop.consent("ann", False, "advertising"))
    receiver.status = 204
    desk.later(1)
    (told,) = receiver.told()
    assert (told["additions"], told["removals"]) == ([], [{"email": sha("ann@example.com")}])
    kept = desk.kept()
    assert (kept.row.fault, kept.row.attempts, kept.standing.members) == (None, 0, 0)


def test_it_calls_an_address_at_fault_the_receiver_as_the_page_does(desk: Desk) -> None:
    desk.shop.people("ann")
    desk.answer("ann", 10)
    desk.shop.send(desk.shop.consent("ann", True, "advertising"))
    desk.export("https://127.0.0.1:1/", loopback=True)
    desk.exporter.run()
    assert (desk.kept().row.fault or "").startswith("the receiver ")


def test_it_tells_nobody_from_a_copy_of_the_database(desk: Desk, receiver: Receiver, scheduler: Scheduler) -> None:
    shop = desk.shop
    shop.people("ann")
    desk.answer("ann", 10)
    shop.send(shop.consent("ann", True, "advertising"))
    desk.export(receiver.url)
    scheduler.tick()
    with shop.sessions.begin() as session:
        (ours,) = session.scalars(text("UPDATE instance SET identity = 'another' RETURNING 1")).all()
    assert ours == 1
    desk.exporter.run()
    assert receiver.calls == []


def test_it_adds_nobody_while_it_is_paused_and_still_removes(desk: Desk, receiver: Receiver) -> None:
    shop = desk.shop
    shop.people("ann", "bob")
    shop.send(*(shop.consent(name, True, "advertising") for name in ("ann", "bob")))
    desk.answer("ann", 9)
    number, _ = desk.export(receiver.url)
    desk.exporter.run()
    receiver.told()
    with shop.sessions.begin() as session:
        receivers.act(session, number, "pause", shop.now, MANAGER)
    desk.answer("bob", 9)
    desk.answer("ann", 1)
    desk.later()
    (told,) = receiver.told()
    assert (told["additions"], told["removals"]) == ([], [{"email": sha("ann@example.com")}])
    with shop.sessions.begin() as session:
        receivers.act(session, number, "resume", shop.now, MANAGER)
        with pytest.raises(Conflict, match="still names this segment"):
            segments.delete_segment(session, desk.segment, shop.now, MANAGER)
    desk.exporter.run()
    assert receiver.told()[0]["additions"] == [{"email": sha("bob@example.com")}]


def test_it_hands_out_files_until_they_are_confirmed(desk: Desk) -> None:
    shop = desk.shop
    shop.people("ann", "bob")
    shop.send(*(shop.consent(name, True, "advertising") for name in ("ann", "bob")))
    desk.answer("ann", 9)
    number, secret = desk.export(None)
    assert secret is None

    def fetch() -> tuple[str, list[list[str]]]:
        with shop.sessions.begin() as session:
            row, told = receivers.pending(session, number, shop.now)
            return told.name, list(csv.reader("".join(receivers.lines(row, told)).splitlines()))[1:]

    def confirm(batch: str) -> None:
        with shop.sessions.begin() as session:
            receivers.confirm(session, number, batch, shop.now, MANAGER)

    assert fetch() == fetch() == (fetch()[0], [["add", sha("ann@example.com"), ""]])
    old = fetch()[0]
    desk.answer("bob", 9)
    newer = fetch()
    assert [line[0] for line in newer[1]] == ["add", "add"]
    with pytest.raises(Conflict, match="fetch it anew"):
        confirm(old)
    # He withdraws while the file is being loaded: it is confirmed as it was, and the next one takes him back.
    shop.send(shop.consent("bob", False, "advertising"))
    confirm(newer[0])
    assert fetch()[1] == [["remove", sha("bob@example.com"), ""]]
    shop.send(shop.consent("ann", False, "advertising"), shop.consent("bob", True, "advertising"))
    assert fetch()[1] == [["remove", sha("ann@example.com"), ""]]
    with shop.sessions.begin() as session:
        assert receivers.act(session, number, "end", shop.now, MANAGER).state == "ending"
    last = fetch()
    assert sorted(line[0] for line in last[1]) == ["remove", "remove"]
    confirm(last[0])
    assert desk.kept().row.state == "ended"
    assert desk.exporter.run().receivers == 0, "nobody is called for a file"


def test_it_hears_a_refusal_for_everybody_who_has_the_address(desk: Desk, receiver: Receiver) -> None:
    shop = desk.shop
    ann, ben = shop.people("ann", "ben")
    shop.send(shop.consent("ann", True, "advertising"))
    desk.answer("ann", 10)
    desk.export(receiver.url)
    desk.later()
    assert len(receiver.told()[0]["additions"]) == 1
    # Ben reads at her address too, as a household may, and withdraws there.
    with shop.sessions.begin() as session:
        shares = text(
            "INSERT INTO identifier SELECT"
            " (jsonb_populate_record(i, jsonb_build_object('profile_id', CAST(:ben AS int), 'owns', false))).*"
            " FROM identifier i WHERE i.profile_id = :ann AND i.type = 'email'"
        )
        session.execute(shares, {"ann": ann, "ben": ben})
    shop.clock.advance(timedelta(minutes=1))
    shop.send(shop.consent("ben", False, "advertising"))
    desk.later()
    (told,) = receiver.told()
    assert (told["additions"], told["removals"]) == ([], [{"email": sha("ann@example.com")}])
    shop.send(shop.consent("ann", True, "advertising"))
    desk.later()
    assert receiver.told()[0]["additions"] == [{"email": sha("ann@example.com")}]


def test_it_drops_names_of_the_erased_though_nobody_confirms_their_removal(
    desk: Desk, receiver: Receiver, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "CHECK_TICKS", 1)
    shop = desk.shop
    shop.people("ann", "bob")
    shop.send(*(shop.consent(name, True, "advertising") for name in ("ann", "bob")))
    for name in ("ann", "bob"):
        desk.answer(name, 10)
    desk.export(receiver.url)
    desk.later()
    receiver.status = 503
    ann = shop.profile("ann")
    assert erase(shop.intake, ann, shop.now)
    desk.later()

    def names() -> list[tuple[int, str, dict[str, str]]]:
        scheduler.tick()
        with shop.sessions.begin() as session:
            return sorted((row.profile_id, row.told, row.names) for row in session.query(ExportMember))

    bob = (shop.profile("bob"), "yes", {"email": sha("bob@example.com")})
    assert names() == sorted([(ann, "yes", {"email": sha("ann@example.com")}), bob])
    desk.later(31 * 24 * 60)
    assert names() == sorted([(ann, "lost", {}), bob])
    receiver.status = 200
    receiver.told()
    desk.later()
    assert receiver.told() == [], "nobody can be named any more"
    standing = desk.kept().standing
    assert (standing.members, standing.removals, standing.lost) == (1, 0, 1)


def test_it_hashes_as_each_channel_asks() -> None:
    address, phone = " Ann.Smith+shop@GoogleMail.com", "+4915112345"
    assert match_keys("google", address, phone) == {"email": sha("annsmith@googlemail.com"), "phone": sha(phone)}
    assert match_keys("meta", address, phone) == {
        "email": sha("ann.smith+shop@googlemail.com"), "phone": sha("4915112345"),
    }  # fmt: skip
    assert match_keys("google", "A.b+c@example.com", None) == {"email": sha("a.b+c@example.com")}
    assert match_keys("generic", None, "015112345") == {}, "a number without its country names nobody"


def test_it_is_not_led_into_our_own_network(desk: Desk, receiver: Receiver) -> None:
    for url in ("http://example.com/", "https://user:pw@example.com/", "ftp://example.com", "https://example.com:22/"):
        with pytest.raises(InvalidInput) as refused:
            desk.export(url, loopback=False)
        assert refused.value.field == "url"
    guarded = Downloads(named="url", resolve=lambda *_args, **_more: [(2, 1, 6, "", ("127.0.0.1", 443))])
    with pytest.raises(InvalidInput, match="not on the public internet"):
        guarded.post("https://receiver.example/", b"{}", {})
    assert receiver.calls == []
