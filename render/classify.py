"""Who is fetching: a person, a proxy for one, a machine, or one that cannot be told.

The table follows what was seen of real clients (Gmail's and Yahoo's proxies, Apple's bare `Mozilla/5.0`, Gmail's
prefetch under an old Edge name, security gateways). Marks change: they decide what is *counted* and whether caps may be
used, never whether an answer is given. The verdict keeps derived features, never an address nor the raw user agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from render.facts import FetchClass

Evidence = dict[str, str | int | float | bool]

MACHINE_SECONDS: Final = 3.0
"""A fetch this soon after the mail server took the mail has no reader behind it (gateways look within 2 to 5 s)."""
MAX_AGENT: Final = 400
_GMAIL_PREFETCH: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
_PROXIES: Final = (
    ("googleimageproxy", "gmail proxy"),
    ("yahoomailproxy", "yahoo proxy"),
    ("outlookimageproxy", "outlook proxy"),
)
_GATEWAYS: Final = (
    "proofpoint", "mimecast", "barracuda", "safelinks", "defender", "fireeye", "trendmicro", "cloudmark", "ironport",
    "sophos", "symantec", "messagelabs", "urldefense", "virustotal", "zscaler", "forcepoint", "trustwave", "checkpoint",
)  # fmt: skip
_TOOLS: Final = (
    "bot", "crawl", "spider", "curl/", "wget/", "python-", "python/", "go-http-client", "java/", "okhttp", "libwww",
    "httpclient", "headlesschrome-lighthouse", "scanner", "monitor", "phantomjs", "axios/", "node-fetch", "ruby",
)  # fmt: skip
_MAIL_PROGRAMS: Final = (
    ("thunderbird", "thunderbird"),
    ("microsoft outlook", "outlook"),
    ("ms-office", "outlook"),
    ("microsoft office", "outlook"),
)
_PREFETCH_HEADERS: Final = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")


class Verdict(NamedTuple):
    """The class of a fetch and the derived features it was told by."""

    fetch_class: FetchClass
    evidence: Evidence


@lru_cache(maxsize=4096)
def agent_kind(agent: str) -> str:
    """What a user agent says it is, in a word or two; `browser` for whatever a person could be using."""
    if not agent.strip():
        return "none"
    if agent == "Mozilla/5.0":
        return "apple privacy"
    if agent == _GMAIL_PREFETCH:
        return "gmail prefetch"
    lower = agent.lower()
    for mark, kind in _PROXIES:
        if mark in lower:
            return kind
    if any(mark in lower for mark in _GATEWAYS):
        return "gateway"
    if any(mark in lower for mark in _TOOLS):
        return "tool"
    for mark, kind in _MAIL_PROGRAMS:
        if mark in lower:
            return kind
    return "browser" if lower.startswith("mozilla/") or "webkit" in lower else "other"


def classify(
    environ: Mapping[str, object], *, is_test: bool, is_staff: bool, seconds_since_send: float | None
) -> Verdict:
    """Tell a fetch's class from its request (a WSGI environment).

    `is_test` comes from the delivery, `is_staff` from a checked key. `seconds_since_send` is None where the moment of
    the send is not known; the token's day alone is no evidence.
    """
    agent = str(environ.get("HTTP_USER_AGENT", ""))[:MAX_AGENT]
    kind = agent_kind(agent)
    evidence: Evidence = {"agent": kind}
    referer = str(environ.get("HTTP_REFERER", ""))
    if referer:
        evidence["referer"] = "gmail" if _is_gmail(referer) else "other"
    if _says_prefetch(environ):
        evidence["prefetch_header"] = True
    accept = str(environ.get("HTTP_ACCEPT", ""))
    if accept:
        evidence["accepts"] = "image" if accept.startswith("image/") else "html" if "text/html" in accept else "any"
    if "HTTP_SEC_FETCH_DEST" in environ:
        evidence["fetch_metadata"] = True
    if seconds_since_send is not None and seconds_since_send < 3600:
        evidence["seconds_since_send"] = round(seconds_since_send, 1)
    return Verdict(_told(evidence, kind, is_test=is_test, is_staff=is_staff, since_send=seconds_since_send), evidence)


def _told(evidence: Evidence, kind: str, *, is_test: bool, is_staff: bool, since_send: float | None) -> FetchClass:
    if is_test:
        return "test"
    if is_staff:
        return "staff"
    if kind in ("gateway", "tool", "none"):
        return "scanner"
    if "prefetch_header" in evidence:
        return "prefetch"
    if kind == "gmail prefetch":
        # The same name was once seen from another provider's proxy, so it takes Gmail's referer to be sure.
        return "prefetch" if evidence.get("referer") == "gmail" else "undecided"
    if kind == "apple privacy":
        return "person" if "referer" in evidence else "undecided"
    if since_send is not None and since_send < MACHINE_SECONDS:
        return "scanner"
    return "proxy" if kind.endswith("proxy") else "person"


def _is_gmail(referer: str) -> bool:
    _, _, rest = referer.partition("://")
    return rest.split("/", 1)[0].split(":", 1)[0].lower() == "mail.google.com"


def _says_prefetch(environ: Mapping[str, object]) -> bool:
    return any("prefetch" in str(environ[name]).lower() for name in _PREFETCH_HEADERS if name in environ)
