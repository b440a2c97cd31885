"""Guarded downloads against a real server that misbehaves: no way into our own network, and every bound holds."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from base.clock import monotonic
from base.downloads import Downloads, is_public
from base.errors import InvalidInput
from tests.misbehaving import Misbehaving, misbehaving

INSIDE = Downloads(loopback=True, max_bytes=100_000)


@pytest.fixture
def web() -> Iterator[Misbehaving]:
    """A server on loopback."""
    with misbehaving() as server:
        yield server


def refused(url: str, downloads: Downloads = INSIDE) -> str:
    """Why a download is refused."""
    with pytest.raises(InvalidInput) as refusal:
        downloads.get(url)
    assert refusal.value.field == "link"
    return refusal.value.message


SHUT = [
    "127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "240.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:93.184.215.14", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:4136:e378::1",
]  # fmt: skip


@pytest.mark.parametrize("text", SHUT)
def test_it_takes_no_address_of_ours_for_a_public_one(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111"])
def test_it_knows_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


WRONG = [
    ("ftp://shop.example/1.jpg", "must begin with http"),
    ("file:///etc/passwd", "must begin with http"),
    ("http:///1.jpg", "must begin with http"),
    ("https://ann:secret@shop.example/1.jpg", "must not carry a user name"),
    ("http://shop.example:22/", "must use port 80 or 443"),
    ("http://shop.example:99999/", "is not a valid address"),
    ("http://[::1/", "is not a valid address"),
    ("http://shop.example/" + "a" * 2000, "is longer than"),
    ("http://127.0.0.1/", "not on the public internet"),
    ("http://[::ffff:127.0.0.1]/", "not on the public internet"),
    ("http://169.254.169.254/latest/meta-data/", "not on the public internet"),
    ("http://2130706433/", "not on the public internet"),
    ("http://no-such-host.invalid/1.jpg", "cannot be found"),
]


@pytest.mark.parametrize(("url", "reason"), WRONG)
def test_it_refuses_addresses_that_lead_elsewhere(url: str, reason: str) -> None:
    assert reason in refused(url, Downloads())


def test_it_reaches_this_machine_only_where_that_is_allowed(web: Misbehaving) -> None:
    url = web.serve("/1.jpg", b"picture")
    assert INSIDE.get(url) == b"picture"
    assert "must use port 80 or 443" in refused(url, Downloads())
    assert [path for _, path in web.seen] == ["/1.jpg"]


def test_it_follows_a_few_redirects_and_checks_each(web: Misbehaving) -> None:
    web.serve("/end", b"picture")
    web.redirect("/3", "/end")
    web.redirect("/2", web.url("/3"))
    assert INSIDE.get(web.redirect("/1", "/2")) == b"picture"
    assert "redirects more than 3 times" in refused(web.redirect("/round", "/round"))
    assert "more than 0 times" in refused(web.redirect("/1", "/2"), Downloads(loopback=True, redirects=0))
    assert "not on the public internet" in refused(web.redirect("/meta", "http://169.254.169.254/latest/"))
    assert "must begin with http" in refused(web.redirect("/file", "file:///etc/passwd"))
    assert "user name" in refused(web.redirect("/named", "http://a:b@shop.example/"))


def test_it_connects_to_the_very_address_that_it_checked(web: Misbehaving) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        """A name that says something else each time it is asked: first here, then the metadata service."""
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    web.serve("/1.jpg", b"picture")
    downloads = Downloads(loopback=True, resolve=rebinding)
    assert downloads.get(web.url("/1.jpg", "pictures.example")) == b"picture"
    assert asked == ["pictures.example"]
    assert web.seen == [(f"pictures.example:{web.server_port}", "/1.jpg")]
    assert "not on the public internet" in refused(web.url("/1.jpg", "pictures.example"), downloads)


def test_it_refuses_a_name_of_which_any_address_is_ours(web: Misbehaving) -> None:
    def mixed(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (to, port)) for to in ("93.184.215.14", "10.0.0.1")]

    assert "not on the public internet" in refused("http://pictures.example/1.jpg", Downloads(resolve=mixed))


def test_it_ends_a_slow_drip_in_time(web: Misbehaving) -> None:
    began = monotonic()
    assert "took longer than 0.5 seconds" in refused(web.drip("/slow"), Downloads(loopback=True, seconds=0.5))
    assert monotonic() - began < 10


def test_it_spends_the_time_of_one_download_on_all_addresses_of_a_name() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        port = deaf.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]  # They fill the queue; whoever comes next is not even refused.
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))

        def four(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))] * 4

        began = monotonic()
        downloads = Downloads(loopback=True, seconds=1.5, resolve=four)
        assert "took longer than 1.5 seconds" in refused(f"http://pictures.example:{port}/1.jpg", downloads)
        assert monotonic() - began < 4.5
        for sock in waiting:
            sock.close()


def test_it_bounds_bytes_whatever_the_length_claims(web: Misbehaving) -> None:
    assert "is larger than 0.1 MB" in refused(web.serve("/large", b"x" * 100_001))

    def unmeasured(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x" * 300_000)
        handler.close_connection = True

    web.answers["/unmeasured"] = unmeasured
    assert "is larger than 0.1 MB" in refused(web.url("/unmeasured"))

    def short(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.close_connection = True

    web.answers["/short"] = short
    assert "ended before" in refused(web.url("/short"))


def test_it_takes_nothing_but_a_plain_answer(web: Misbehaving) -> None:
    web.answers["/gone"] = lambda handler: handler.give(b"", status=404)
    assert "status 404" in refused(web.url("/gone"))
    assert "compressed" in refused(web.serve("/packed", b"x", Content_Encoding="gzip"))
    web.answers["/noise"] = lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n")
    assert "not HTTP" in refused(web.url("/noise"))
    web.server_close()
    web.shutdown()
    assert "refuses the connection" in refused(web.url("/1.jpg"))


def test_it_says_so_when_a_redirect_leads_to_no_address(web: Misbehaving) -> None:
    assert "redirects to what is not a valid address" in refused(web.redirect("/moved", "http://[::1/1.jpg"))


def test_it_trusts_no_certificate_of_its_own_making(web: Misbehaving) -> None:
    # The server speaks no TLS at all: whatever it says, no body comes of it.
    web.serve("/1.jpg", b"picture")
    assert refused(web.url("/1.jpg").replace("http://", "https://"), Downloads(loopback=True, seconds=2))
    assert web.seen == []


def test_it_asks_for_what_a_feed_left_unquoted(web: Misbehaving) -> None:
    web.serve("/gr%C3%BCn%20a.jpg", b"picture")
    assert INSIDE.get(web.url("/grün a.jpg?größe=1&b=%20")) == b"picture"
    assert web.seen[0][1] == "/gr%C3%BCn%20a.jpg?gr%C3%B6%C3%9Fe=1&b=%20"
