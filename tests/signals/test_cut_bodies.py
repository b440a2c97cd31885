"""Bodies that break off on their way, as when a sender is killed: nothing of them counts, however they are packed."""

from __future__ import annotations

import gzip
import io
import json
from socket import SHUT_WR, create_connection
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from base.settings import Settings
from tests.serving import Serve
from tests.signals.sending import Desk, address
from tests.signals.test_app import field, http, key
from tests.signals.test_lanes import status

__all__ = ["http"]

HEAD = "id\ttitle\tprice\n"
SMALL, LARGE = 100, 6_000
"""Items of a feed that gunicorn waits for with its head, and of one that a thread reads."""


def tsv(count: int, title: str = "Shoe") -> bytes:
    """A feed of so many products."""
    return (HEAD + "".join(f"p{n:04}\t{title} {n}\t1 EUR\n" for n in range(count))).encode()


def sent(url: str, path: str, declared: int | None, data: bytes, **headers: str) -> int | None:
    """Send these bytes of a body of that length, None for a chunked one, and no more; the status of the answer."""
    parts = urlsplit(url)
    how = {"Transfer-Encoding": "chunked"} if declared is None else {"Content-Length": str(declared)}
    lines = {"Host": parts.netloc, **how, "Connection": "close", **key("shop"), **headers}
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    with create_connection((parts.hostname or "", parts.port or 0), timeout=30) as line:
        line.sendall(head.encode() + data)
        line.shutdown(SHUT_WR)
        return status(line)


@pytest.mark.feature("DE-06")
def test_it_takes_nothing_of_a_body_that_breaks_off(desk: Desk, settings: Settings, serve: Serve) -> None:
    url = address(serve, settings, desk)
    for count in (SMALL, LARGE):
        feed = tsv(count)
        assert sent(url, "/v1/products", len(feed), feed) == 200
        changed = tsv(count, "Changed")
        # What comes of each could be read as a whole feed: lines to their end, a member of gzip.
        lines = changed[: changed.rfind(b"\n", 0, len(changed) * 9 // 10) + 1]
        packed = gzip.compress(lines)
        for come, more in ((lines, {}), (packed, {"Content-Encoding": "gzip"})):
            assert sent(url, "/v1/products", len(come) + 100_000, come, **more) == 408
            assert sent(url, "/v1/products", len(come) + 10, come, **more) == 408
        assert desk.rows("SELECT count(*) FROM product WHERE gone_at IS NOT NULL OR title LIKE 'Changed%'") == [(0,)]
    calls = json.dumps({"batch": [{"type": "identify", "userId": "u1"}]}).encode()
    for path in ("/v1/batch", "/v1/track", "/v1/products/changes"):
        assert sent(url, path, len(calls) + 10, calls) == 408
    assert desk.rows("SELECT count(*) FROM event") == [(0,)]


@pytest.mark.feature("DE-06")
def test_it_takes_nothing_of_chunks_that_break_off(desk: Desk, settings: Settings, serve: Serve) -> None:
    call = json.dumps({"type": "identify", "userId": "u1"}).encode()
    whole = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (call[:9], call[9:])) + b"0\r\n\r\n"
    url, path = address(serve, settings, desk), "/v1/identify"
    assert {sent(url, path, None, whole[:end]) for end in range(1, len(whole) - 1)} == {408}
    for none in (b"9\r\n" + whole, b"none of it\r\n\r\n"):
        assert sent(url, path, None, none) == 408
    assert desk.rows("SELECT count(*) FROM event") == [(0,)]
    assert sent(url, path, None, whole) == 200


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/products", "/v1/webhooks/shopify/x"])
def test_it_says_how_much_is_missing_whatever_serves_it(path: str, http: FlaskClient) -> None:
    feed = tsv(3)
    server: Any = {"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(feed[:-1])}
    answer = http.post(path, headers=key("shop"), content_length=len(feed), environ_overrides=server)
    assert (answer.status_code, field(answer)) == (408, "")
    assert f"{len(feed) - 1} bytes came of the {len(feed)}" in answer.get_data(as_text=True)
