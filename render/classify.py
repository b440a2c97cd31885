"""Who is fetching: a person, a proxy for one, a machine, or one that cannot be told.

The table follows what was seen of real clients (Gmail's and Yahoo's proxies, Apple's bare `Mozilla/5.0`, Gmail's
prefetch under an old Edge name, security gateways). Marks change: they decide what is *counted* and whether caps may be
used, never whether an answer is given. The verdict keeps derived features, never an address nor the raw user agent;
`told` makes the class of them alone, so that what becomes known later (the moment of the send, a hidden link that was
followed) adds its feature and the class is told again (`workers/hindsight.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from render.facts import FetchClass

Evidence = dict[str, str | int | float | bool]

MACHINE_SECONDS: Final = 3.0
"""A fetch this soon after the mail server took the mail has no reader behind it (gateways look within 2 to 5 s)."""
BURST_RECIPIENTS: Final = 5
"""People whose mails one source fetched from within a second, from which on no reader is behind it."""
BURST_LINKS: Final = 3
"""Different links of one mail followed within five seconds, from which on no reader is behind them."""
SOON_SECONDS: Final = 60.0
"""So soon after the delivery, two links within five seconds will do."""
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
    "bingpreview", "microsoftpreview", "gmail-content-sampling", "linkcheck", "checklink",
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
    environ: Mapping[str, object],
    *,
    is_test: bool,
    is_staff: bool,
    seconds_since_send: float | None,
    origin: Mapping[str, str | int] | None = None,
) -> Verdict:
    """Tell a fetch's class from its request (a WSGI environment).

    `is_test` comes from the delivery, `is_staff` from a checked key. `seconds_since_send` is None where the moment of
    the send is not known; the token's day alone is no evidence. `origin` are the features of where it comes from.
    """
    agent = str(environ.get("HTTP_USER_AGENT", ""))[:MAX_AGENT]
    evidence: Evidence = {"agent": agent_kind(agent)}
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
    if origin:
        evidence.update(origin)
    if seconds_since_send is not None:
        evidence |= since_send(seconds_since_send)
    if is_test:
        return Verdict("test", evidence)
    return Verdict("staff" if is_staff else told(evidence), evidence)


def since_send(seconds: float) -> Evidence:
    """The feature of a fetch so many seconds after the send; none when that is more than an hour."""
    return {"seconds_since_send": round(max(0.0, seconds), 1)} if seconds < 3600 else {}


def told(evidence: Mapping[str, object]) -> FetchClass:
    """The class that features tell of a fetch or click that is neither a test nor one of staff."""
    kind = str(evidence.get("agent", "none"))
    is_early = _number(evidence, "seconds_since_send", 3600.0) < MACHINE_SECONDS
    is_proxy = kind.endswith("proxy")
    if kind in ("gateway", "tool", "none") or evidence.get("network") == "gateway" or evidence.get("trap") is True:
        return "scanner"
    if "prefetch_header" in evidence:
        return "prefetch"
    if kind == "gmail prefetch":
        # The same name was once seen from another provider's proxy, so it takes Gmail's referer or network to be sure.
        is_gmail = evidence.get("referer") == "gmail" or evidence.get("network") == "google"
        return "prefetch" if is_gmail or is_early else "undecided"
    if kind == "apple privacy" and "referer" not in evidence:
        return "prefetch" if is_early else "undecided"
    if is_proxy:
        # A provider fetches for many people from few addresses, so bursts tell nothing; nobody reads that soon, though.
        return "prefetch" if is_early else "proxy"
    return "scanner" if is_early or _is_burst(evidence) else "person"


def _is_burst(evidence: Mapping[str, object]) -> bool:
    """Whether more is fetched at once than one reader fetches, or beside the link that no reader sees."""
    if evidence.get("near_trap") is True or _number(evidence, "burst_recipients", 0) >= BURST_RECIPIENTS:
        return True
    is_soon = _number(evidence, "seconds_since_send", 3600.0) < SOON_SECONDS
    return _number(evidence, "burst_links", 0) >= (2 if is_soon else BURST_LINKS)


def _number(evidence: Mapping[str, object], name: str, absent: float) -> float:
    value = evidence.get(name, absent)
    return float(value) if isinstance(value, int | float) else absent


def _is_gmail(referer: str) -> bool:
    _, _, rest = referer.partition("://")
    return rest.split("/", 1)[0].split(":", 1)[0].lower() == "mail.google.com"


def _says_prefetch(environ: Mapping[str, object]) -> bool:
    return any("prefetch" in str(environ[name]).lower() for name in _PREFETCH_HEADERS if name in environ)
