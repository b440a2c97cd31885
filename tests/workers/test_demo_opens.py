"""The demo's mail client and its readers' habits."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from workers.demo.opens import MailClients, is_whole, read_mail
from workers.demo.readers import APPLE_RELAY, BROWSER, CLIENTS, GATEWAY, Step, client_of, steps

WEEK = timedelta(days=7)


def mail(base: str) -> bytes:
    """A mail as a sender of pictures writes it: one picture with a dark twin, one without, a logo, links."""
    message = EmailMessage()
    message["To"] = "Ada <ada.1@example.com>"
    message["Message-ID"] = "<1@example.com>"
    message["List-Unsubscribe"] = f"<{base}/u/unsub>"
    message.set_content("text")
    message.add_alternative(
        f'<a href="{base}/c/one?x=1&amp;y=2"><picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{base}/o/dark.jpg"><img alt="" width="600" src="{base}/o/light.jpg" height="300"></picture></a>'
        f'<a href="{base}/c/two"><img src="{base}/o/broken.jpg" width="280" height="200"></a>'
        f'<img src="{base}/logo.png" width="10" height="10"><a href="{base}/c/two">again</a>'
        f'<a href="{base}/view/all">view</a><a href="https://example.com/">elsewhere</a>',
        subtype="html",
    )
    return message.as_bytes()


class Server(ThreadingHTTPServer):
    """A stand-in for the server a mail client meets; closes the connection after every second answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, str]] = []
        self.answered = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers["User-Agent"]))
        body = b"not a picture"
        if self.path in {"/o/light.jpg", "/o/dark.jpg"}:
            buffer = io.BytesIO()
            Image.new("RGB", (1200, 600), "white").save(buffer, "JPEG")
            body = buffer.getvalue()
        self.send_response(302 if self.path.startswith("/c/") else 200)
        self.send_header("Content-Type", "image/jpeg" if self.path.startswith("/o/") else "text/html")
        if self.path.startswith("/c/"):
            self.send_header("Location", "https://shop.example.com/landing")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        self.server.answered += 1
        self.close_connection = self.server.answered % 2 == 0

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def clients(server: Server) -> Iterator[MailClients]:
    clients = MailClients(f"http://127.0.0.1:{server.server_port}", connections=4)
    yield clients
    clients.close()


def test_it_finds_pictures_dark_twins_and_links_in_a_mail() -> None:
    found = read_mail(mail("http://127.0.0.1:1"))
    assert [(p.url[-11:], p.dark is not None, p.width, p.height) for p in found.pictures] == [
        ("o/light.jpg", True, 600, 300),
        ("/broken.jpg", False, 280, 200),
    ]
    assert [url[18:] for url in found.clicks] == ["/c/one?x=1&y=2", "/c/two"]
    assert found.view is not None
    assert found.to == "ada.1@example.com"
    assert found.one_click == "http://127.0.0.1:1/u/unsub"


def test_it_fetches_all_pictures_and_judges_them_by_their_pixels(server: Server, clients: MailClients) -> None:
    found = read_mail(mail(f"http://127.0.0.1:{server.server_port}"))
    for _ in range(4):  # the server closes connections in between; the client must not care
        answers = [future.result() for future in clients.open(found, APPLE_RELAY)]
        assert [is_whole(picture, answer) for picture, answer in zip(found.pictures, answers, strict=True)] == [
            True,
            False,
        ]
    assert answers[0].pixels == (1200, 600)
    assert answers[0].body is None
    assert {agent for _, _, agent in server.seen} == {"Mozilla/5.0"}


def test_it_asks_for_the_dark_twin_only_where_there_is_one(server: Server, clients: MailClients) -> None:
    found = read_mail(mail(f"http://127.0.0.1:{server.server_port}"))
    for future in clients.open(found, APPLE_RELAY, dark=True):
        future.result()
    assert sorted(path for _, path, _ in server.seen) == ["/o/broken.jpg", "/o/dark.jpg"]


def test_it_clicks_one_link_and_does_not_follow_it(server: Server, clients: MailClients) -> None:
    found = read_mail(mail(f"http://127.0.0.1:{server.server_port}"))
    [future] = clients.play(found, Step(timedelta(0), "click", BROWSER, link=0.99))
    assert (future.result().status, future.result().location) == (302, "https://shop.example.com/landing")
    assert [path for _, path, _ in server.seen] == ["/c/two"]


def test_it_scans_every_link_and_picture_as_a_gateway_does(server: Server, clients: MailClients) -> None:
    found = read_mail(mail(f"http://127.0.0.1:{server.server_port}"))
    for future in clients.play(found, Step(timedelta(0), "scan", GATEWAY)):
        future.result()
    methods = Counter(method for method, _, _ in server.seen)
    assert methods == {"HEAD": 4, "GET": 6}
    assert ("GET", "/u/unsub", GATEWAY["User-Agent"]) in server.seen


def test_it_gives_an_address_the_same_habits_every_time_and_others_under_another_seed() -> None:
    addresses = [f"p{number}@example.com" for number in range(300)]
    first = [steps(address, 1, WEEK) for address in addresses]
    assert first == [steps(address, 1, WEEK) for address in addresses]
    assert first != [steps(address, 2, WEEK) for address in addresses]


def test_it_opens_along_the_curve_and_keeps_clients_in_their_shares() -> None:
    addresses = [f"p{number}@example.com" for number in range(4000)]
    kinds = Counter(client_of(address, 0).name for address in addresses)
    for client in CLIENTS:
        assert kinds[client.name] / 4000 == pytest.approx(client.share, abs=0.03)
    habits = [steps(address, 0, WEEK) for address in addresses]
    assert all(list(one) == sorted(one) for one in habits)
    assert all(step.after <= WEEK for one in habits for step in one)
    read = [next(step for step in one if step.kind == "fetch") for one in habits if any(s.kind == "fetch" for s in one)]
    assert 0.5 < len(read) / 4000 < 0.8
    direct = sorted(step.after for step in read if step.headers is not APPLE_RELAY)
    assert timedelta(hours=3) < direct[len(direct) // 2] < timedelta(hours=7)


def test_it_fetches_a_picture_once_behind_the_privacy_relay() -> None:
    for number in range(2000):
        address = f"p{number}@example.com"
        if client_of(address, 0).keeps_copy:
            assert sum(step.kind == "fetch" for step in steps(address, 0, WEEK)) <= 1
