"""Fetch classes and their evidence."""

from __future__ import annotations

import pytest

from render.classify import MACHINE_SECONDS, agent_kind, classify
from tests.render.mail import APPLE, BROWSER, GMAIL, GMAIL_PREFETCH

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/22B83"
OUTLOOK = "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17328; Pro)"
YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"


def told(agent: str, since: float | None = None, **headers: str) -> str:
    environ = {"HTTP_USER_AGENT": agent, **headers}
    return classify(environ, is_test=False, is_staff=False, seconds_since_send=since).fetch_class


@pytest.mark.parametrize("agent", [BROWSER, CHROME, IPHONE, OUTLOOK, "K-9 Mail for Android"])
def test_it_takes_mail_programs_and_browsers_for_persons(agent: str) -> None:
    assert told(agent) == "person"


@pytest.mark.parametrize("agent", [GMAIL, YAHOO, "OutlookImageProxy"])
def test_it_takes_display_proxies_for_readers_behind_them(agent: str) -> None:
    assert told(agent) == "proxy"


def test_it_cannot_tell_apples_bare_agent() -> None:
    assert told(APPLE) == "undecided"
    assert told(APPLE, HTTP_REFERER="https://webmail.example.com/") == "person"
    assert told("Mozilla/5.0 ") != "undecided"


def test_it_knows_gmails_prefetch_by_agent_and_referer() -> None:
    assert told(GMAIL_PREFETCH, HTTP_REFERER="http://mail.google.com/") == "prefetch"
    assert told(GMAIL_PREFETCH) == "undecided"
    assert told(GMAIL_PREFETCH, HTTP_REFERER="http://mail.google.com.example.org/") == "undecided"


@pytest.mark.parametrize(
    ("header", "value"),
    [("HTTP_SEC_PURPOSE", "prefetch;prerender"), ("HTTP_PURPOSE", "prefetch"), ("HTTP_X_MOZ", "prefetch")],
)
def test_it_believes_a_client_that_says_it_prefetches(header: str, value: str) -> None:
    assert told(CHROME, None, **{header: value}) == "prefetch"


@pytest.mark.parametrize(
    "agent",
    [
        "",
        " ",
        "curl/8.5",
        "python-requests/2.32",
        "Barracuda Sentinel",
        "Mimecast",
        "Googlebot/2.1",
        "Go-http-client/2",
        "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b",
        GMAIL_PREFETCH.removesuffix("Mozilla/5.0") + "Gmail-content-sampling",
        "Mozilla/5.0 (compatible; LinkChecker/10.2.1; +https://linkchecker.github.io/linkchecker/)",
        "W3C-checklink/4.5 [4.160] libwww-perl/5.823",
    ],
)
def test_it_knows_scanners_and_tools(agent: str) -> None:
    assert told(agent) == "scanner"


def test_it_takes_a_fetch_in_the_moment_of_delivery_for_a_scanner() -> None:
    assert told(CHROME, since=MACHINE_SECONDS - 0.1) == "scanner"
    assert told(CHROME, since=MACHINE_SECONDS) == "person"


def test_it_keeps_tests_and_staff_apart_whatever_they_use() -> None:
    environ = {"HTTP_USER_AGENT": CHROME}
    assert classify(environ, is_test=True, is_staff=False, seconds_since_send=None).fetch_class == "test"
    assert classify(environ, is_test=False, is_staff=True, seconds_since_send=None).fetch_class == "staff"


def test_it_keeps_derived_features_and_never_what_was_sent() -> None:
    environ = {
        "HTTP_USER_AGENT": CHROME + " ada@example.com",
        "HTTP_REFERER": "https://mail.example.com/?user=ada@example.com",
        "HTTP_ACCEPT": "image/avif,*/*",
        "HTTP_SEC_FETCH_DEST": "image",
        "HTTP_X_FORWARDED_FOR": "203.0.113.9",
        "REMOTE_ADDR": "203.0.113.9",
    }
    evidence = classify(environ, is_test=False, is_staff=False, seconds_since_send=61.04).evidence
    assert evidence == {
        "agent": "browser",
        "referer": "other",
        "accepts": "image",
        "fetch_metadata": True,
        "seconds_since_send": 61.0,
    }


def test_it_bounds_what_it_reads_of_an_agent() -> None:
    assert agent_kind("Mozilla/5.0 " + "x" * 10_000) == "browser"
