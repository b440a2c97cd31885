"""What a picture's answer looks like to clients and proxies."""

from __future__ import annotations

import random
import string
import urllib.request
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from base.settings import Settings
from base.tokens import Purpose
from render.parts import Parts
from tests.render.mail import GMAIL, Mail, browser, size_of
from tests.render.shoe_shop import NOON, SHOES, bought, plan, state
from tests.serving import Serve

AGAIN = {"no-store", "no-cache", "must-revalidate", "max-age=0"}


@pytest.mark.feature("EC-02")
def test_it_never_redirects_a_picture(client: FlaskClient, mail: Mail) -> None:
    paths = [mail.url(), mail.url(dark=True), mail.url(fmt="png"), mail.url(profile=0), "/o/forged.png", "/o/"]
    for path in paths:
        for agent in (GMAIL, "", "curl/8"):
            answer = client.get(path, headers=browser(agent=agent))
            assert answer.status_code == 200
            assert "Location" not in answer.headers


class Proxy:
    """A proxy that keeps pictures: Gmail's obeys `no-cache`; one that caches anyway obeys nothing but `no-store`."""

    def __init__(self, client: FlaskClient, obeys: str) -> None:
        self.client = client
        self.obeys = obeys
        self.kept: dict[str, bytes] = {}

    def show(self, path: str) -> bytes:
        """What the reader sees."""
        if path in self.kept:
            return self.kept[path]
        answer = self.client.get(path, headers=browser(agent=GMAIL))
        body: bytes = answer.data
        if self.obeys not in answer.headers.get("Cache-Control", ""):
            self.kept[path] = body
        return body


@pytest.mark.feature("EC-03")
def test_it_makes_clients_and_proxies_ask_again(client: FlaskClient, mail: Mail) -> None:
    answer = client.get(mail.url(), headers=browser())
    assert {part.strip() for part in answer.headers["Cache-Control"].split(",")} == AGAIN
    expected = {
        "Content-Type": "image/jpeg",
        "Content-Length": str(len(answer.data)),
        "Pragma": "no-cache",
        "Expires": "0",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Referrer-Policy": "no-referrer",
    }
    assert {name: answer.headers.get(name) for name in expected} == expected
    for name in ("ETag", "Last-Modified", "Set-Cookie", "Vary", "Accept-Ranges"):
        assert name not in answer.headers
    for number, obeys in enumerate(("no-cache, ", "no-store")):
        mail.know(state())
        proxy = Proxy(client, obeys)
        before = proxy.show(mail.url())
        mail.know(state([bought(SHOES, NOON, order=f"n{number}")]))
        assert proxy.show(mail.url()) != before


@pytest.mark.feature("EC-08")
def test_it_answers_head_range_and_validators_without_a_new_decision(client: FlaskClient, mail: Mail) -> None:
    mail.publish(plan(discount={"cap_person": 5, "cap_total": 5}))
    whole = client.get(mail.url(), headers=browser())
    before = (mail.records(), mail.lane())
    head = client.head(mail.url(), headers=browser())
    assert (head.status_code, head.content_type, head.data) == (200, "image/jpeg", b"")
    assert "Content-Length" not in head.headers
    assert (mail.records(), mail.lane()) == before
    partial = {"Range": "bytes=0-99", "If-None-Match": '"x"', "If-Modified-Since": "Mon, 02 Mar 2026 11:00:00 GMT"}
    for headers in ({"Range": "bytes=0-99"}, {"If-None-Match": "*"}, partial):
        answer = client.get(mail.url(), headers=browser(headers))
        assert (answer.status_code, answer.data) == (200, whole.data)
    assert len(mail.decisions()) == 1
    assert mail.used().offer(mail.lane().chosen[0].offer).count == 1
    assert mail.store.hget("cap:1", "left") == b"4"


def test_it_answers_a_very_long_query_and_odd_headers(client: FlaskClient, mail: Mail) -> None:
    answer = client.get(mail.url() + "?" + "a=b&" * 700, headers=browser({"Referer": "ü" * 400, "X-Odd": "\x7f" * 50}))
    assert size_of(answer.data) == (1200, 400)


def test_it_answers_other_methods_than_get_and_head_with_405(client: FlaskClient, mail: Mail) -> None:
    assert client.post(mail.url(), data=b"x").status_code == 405


def forgeries(token: str, how_many: int) -> list[str]:
    """Random tokens of the right shape, bit flips and truncations of a true one, and things that are no token."""
    chooser = random.Random(7)
    alphabet = string.ascii_letters + string.digits + "-_"
    made = ["".join(chooser.choices(alphabet, k=54)) for _ in range(how_many - 3 * len(token) - 6)]
    for place in range(len(token)):
        other = chooser.choice([letter for letter in alphabet if letter != token[place]])
        made.append(token[:place] + other + token[place + 1 :])
        made.append(token[:place])
        made.append(token + token[: place + 1])
    return [*made, "", "..", "%00", "é" * 54, "+" * 54, "A" * 4000]


@pytest.mark.feature("EC-07")
def test_it_answers_forged_tokens_with_one_neutral_picture_and_looks_nothing_up(
    client: FlaskClient, mail: Mail, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    token = mail.token()
    for secret in (b"4711", b"@", (4711).to_bytes(8, "big")):
        assert secret not in token.encode()
    parts.warmer.stop()
    neutral = client.get("/o/forged.jpg").data
    assert size_of(neutral) == (1200, 400)
    calls = mail.store.info("commandstats")
    tried = [*forgeries(token, 10_000), *(mail.token(other) for other in Purpose if "picture" not in other.value)]
    for text in tried:
        answer = client.get(f"/o/{text}.jpg", headers=browser())
        assert (answer.status_code, answer.data) == (200, neutral)
        assert "no-store" in answer.headers["Cache-Control"]
    read = mail.store.info("commandstats")
    assert read.get("cmdstat_mget") == calls.get("cmdstat_mget")
    assert read.get("cmdstat_get") == calls.get("cmdstat_get")
    assert (mail.records(), caplog.text) == ([], "")
    assert parts.metrics.total("forged") == len(tried) + 1


def test_it_keeps_tokens_out_of_its_logs(mail: Mail, render_settings: Settings, serve: Serve, tmp_path: Path) -> None:
    served = serve("render", render_settings)
    for path in ("/o/" + "A" * 54 + ".jpg", mail.url(), mail.click()):
        with urllib.request.urlopen(urllib.request.Request(served.url + "/healthz")):
            pass
        try:
            with urllib.request.urlopen(served.url + path) as answer:
                answer.read()
        except OSError:
            continue
    served.stop()
    log = served.log.read_text()
    assert "A" * 54 not in log
    assert mail.token() not in log
