"""Whatever strangers send: no 5xx, nothing looked up, no line in the log, no growth; and silence holds nobody up."""

from __future__ import annotations

import random
import re
import socket
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from base.clock import monotonic
from base.settings import Settings
from tests.render.mail import Mail, browser, size_of
from tests.serving import Serve, Served

BATCHES, BATCH = 5, 300
GROWTH_KB = 16_000
"""A leak of ten kilobytes a request would be above this; the allocator's own restlessness is below."""
SILENT = 40


class Stranger:
    """A raw connection, opened anew when the server has had enough."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._address = (place.hostname or "", place.port or 0)
        self._socket: socket.socket | None = None

    def send(self, data: bytes) -> int:
        """Send bytes as they are; the status of the answer, 0 for none."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=20)
        try:
            self._socket.sendall(data)
            head = self._read(has_body=not data.startswith(b"HEAD "))
        except ConnectionError:
            head = b""
        if not head or b"connection: close" in head.lower():
            self._socket.close()
            self._socket = None
        found = re.match(rb"HTTP/1\.1 (\d{3})", head)
        return int(found[1]) if found else 0

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()

    def _read(self, *, has_body: bool) -> bytes:
        """The head of one answer, whose body is read and dropped."""
        assert self._socket is not None
        data = b""
        while b"\r\n\r\n" not in data:
            part = self._socket.recv(65_536)
            if not part:
                return data
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        left = int(length[1]) - len(body) if length and has_body else 0
        while left > 0:
            part = self._socket.recv(65_536)
            if not part:
                break
            left -= len(part)
        return head


def requests(valid: str, seed: int) -> Iterator[bytes]:
    """A batch of what a fuzzer would send: some of it is no HTTP, some of it is a real mail's address among noise."""
    chooser = random.Random(seed)
    letters = string.ascii_letters + string.digits + "-_"

    def noise(most: int) -> str:
        return "".join(chooser.choices(letters, k=chooser.randint(1, most)))

    def raw(most: int) -> bytes:
        return bytes(chooser.choices([*range(1, 10), *range(14, 256)], k=chooser.randint(1, most)))

    for _ in range(BATCH):
        token = chooser.choice((noise(80), noise(4_000), valid[: chooser.randint(0, 50)], valid[:40] + noise(11)))
        path = chooser.choice((
            f"/o/{token}.jpg", f"/o/{token}", f"/o/{token}/../../etc/passwd", f"/c/{token}", f"/u/{token}",
            f"/view/{token}", f"/h/{token}", f"/amp/{token}", f"/o/{valid}.jpg?{noise(3_000)}", f"/o/%00{token}.png",
            f"/o/{'%FF' * 40}",
            f"/{noise(60)}", "/v1/decide", "//", "/o/", "*",
        ))  # fmt: skip
        method = chooser.choice(("GET",) * 6 + ("HEAD", "POST", "PUT", "OPTIONS", "DELETE", "TRACE", noise(12)))
        head = [f"{method} {path} HTTP/1.1".encode(), b"Host: x"]
        head.append(b"User-Agent: " + chooser.choice((b"", raw(200), browser()["User-Agent"].encode(), b"A" * 5_000)))
        odd = chooser.random()
        if odd < 0.1:
            head += [f"X-{number}: {noise(300)}".encode() for number in range(chooser.choice((20, 100)))]
        elif odd < 0.2:
            head.append(
                chooser.choice((b"Transfer-Encoding: " + raw(9), b"Content-Length: " + raw(5), b"Range: " + raw(40)))
            )
        elif odd < 0.3:
            head.append(b"Authorization: Bearer " + raw(300))
        elif odd < 0.35:
            head.append(raw(300))
        yield b"\r\n".join(head) + b"\r\n\r\n"


def opening(mail: Mail) -> bytes:
    """What a mail client sends for the mail's picture."""
    head = "".join(f"{name}: {value}\r\n" for name, value in browser().items())
    return f"GET {mail.url()} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode()


def private_kb(served: Served) -> int:
    """Private memory of the process that answers."""
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
    sizes = []
    for pid in children:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private")))
    return max(sizes)


@pytest.mark.feature("OP-15")
def test_it_bears_whatever_strangers_send_without_an_error_a_look_up_a_log_line_or_growth(
    mail: Mail, render_settings: Settings, serve: Serve
) -> None:
    served = serve("render", render_settings)
    valid = mail.token()

    def flood(batches: Iterable[int]) -> Counter[int]:
        stranger, seen = Stranger(served.url), Counter[int]()
        for number in batches:
            seen.update(stranger.send(request) for request in requests(valid, number))
        stranger.close()
        return seen

    # The first batch has opened the real mail once, and loaded what answers errors.
    statuses = flood([0])
    first, log = private_kb(served), served.log.stat().st_size
    with ThreadPoolExecutor(2) as pool:
        floods = [pool.submit(flood, range(number, BATCHES, 2)) for number in (1, 2)]
        reader, opens = Stranger(served.url), 0
        while not all(one.done() for one in floods):
            assert reader.send(opening(mail)) == 200
            opens += 1
        reader.close()
    for one in floods:
        statuses += one.result()
    assert opens > 20
    assert private_kb(served) - first < GROWTH_KB
    assert served.log.stat().st_size == log
    assert "ip=" not in served.log.read_text()
    assert [status for status in statuses if status >= 500] == []
    assert statuses[200] > BATCHES * BATCH / 10
    assert {400, 404, 405} <= set(statuses)
    # Of all that only the real address was looked up, and it was answered each time.
    known = {bytes(name) for name in mail.store.scan_iter()}
    assert {name for name in known if b"shown" in name} == {f"{{4711}}:shown:{mail.delivery.name}".encode()}
    assert {name.split(b":")[0] for name in known} <= {b"live", b"plan", b"product", b"records", b"{4711}"}
    assert {made.profile for made in mail.fetches()} == {4711}


SLOW = {
    "nothing": b"",
    "a letter": b"G",
    "half a head": b"GET /o/x.png HTTP/1.1\r\nHost: x\r\n",
    "a request and a half": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /o/x.p",
    "half a body": b"POST /u/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nLi",
    "half a body, when told to go on": b"POST /u/x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
    "a chunk": b"POST /u/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nLi",
}


def test_it_gives_a_thread_to_whole_requests_only_whatever_pieces_they_come_in(
    mail: Mail, render_settings: Settings, serve: Serve
) -> None:
    """Four threads answer; ten times as many slow connections of each kind do not hold one of them up."""
    served = serve("render", render_settings)
    place = urlsplit(served.url)
    slow = [socket.create_connection((place.hostname or "", place.port or 0)) for _ in range(SILENT * len(SLOW))]
    for one, said in zip(slow, [*SLOW.values()] * SILENT, strict=True):
        one.sendall(said)
    reader = Stranger(served.url)
    began = monotonic()
    for _ in range(8):
        assert reader.send(opening(mail)) == 200
    # Had each been given a thread for the five seconds that gunicorn waits, this would take a minute.
    assert monotonic() - began < 5
    for one in slow:
        one.close()
    reader.close()
    assert size_of(mail.fetches()[0].body or b"") == (1200, 400)

    # Two proxies on the way may contradict each other about the scheme: the picture does not break by that.
    proxied = "X-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on\r\nScript_Name: /o\r\n"
    request = f"GET {mail.url()} HTTP/1.1\r\nHost: x\r\n{proxied}\r\n".encode()
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A letter at a time, then two at once with the end of the second one late.
        for at in range(len(request)):
            client.sendall(request[at : at + 1])
        client.sendall(request + request[:-2])
        client.sendall(request[-2:] + b"POST /u/x HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\n")
        client.sendall(b"Content-Length: 3\r\n\r\n")
        client.sendall(b"a=b")
        said = b"".join(iter(lambda: client.recv(65_536), b""))
    assert said.count(b"HTTP/1.1 200 OK") == 3
    assert said.count(b"HTTP/1.1 404") == 1
    assert b"HTTP/1.1 100" in said
    too_long = b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 200_000
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=30) as client:
        client.sendall(too_long)
        assert client.recv(1000).startswith(b"HTTP/1.1 4")
