"""Who reads the mails and when: kinds of client, and a delay curve of opens.

The shares and the curve are assumptions, chosen to look like published ones and to exercise every path; no figure of
the story rests on them being right. Each address gets its habits from a hash, so a repeated story repeats them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

Kind = Literal["scan", "prefetch", "fetch", "click"]

# What each fetcher calls itself (strings seen in the wild).
GMAIL_PROXY: Final = {
    "User-Agent": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
}
GMAIL_PREFETCH: Final = {
    "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
    "Referer": "http://mail.google.com/",
}
YAHOO_PROXY: Final = {"User-Agent": "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"}
APPLE_RELAY: Final = {"User-Agent": "Mozilla/5.0"}
THUNDERBIRD: Final = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Thunderbird/153.7.0",
    "Accept": "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
    "Accept-Language": "en-US,en;q=0.5",
    "Sec-Fetch-Dest": "image",
    "Sec-Fetch-Mode": "no-cors",
    "Sec-Fetch-Site": "cross-site",
}
APPLE_DIRECT: Final = {
    "User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Mobile/15E148",
    "Accept": "image/webp,image/avif,image/heic,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
    "Accept-Language": "en-US,en;q=0.9",
}
BROWSER: Final = {
    "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.9",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-User": "?1",
}
GATEWAY: Final = {"User-Agent": "Mozilla/5.0 (compatible; Barracuda Sentinel (EE))"}


@dataclass(frozen=True)
class Client:
    """A way of reading mail. `open_share` of its users open at all; `keeps_copy`: a picture is fetched once, ever."""

    name: str
    share: float
    headers: dict[str, str]
    open_share: float
    keeps_copy: bool = False
    prefetch_share: float = 0.0
    dark_share: float = 0.0


CLIENTS: Final = (
    Client("Gmail", 0.38, GMAIL_PROXY, open_share=0.55, prefetch_share=0.15),
    Client("Apple Mail with privacy protection", 0.32, APPLE_RELAY, open_share=0.80, keeps_copy=True, dark_share=0.3),
    Client("Apple Mail", 0.08, APPLE_DIRECT, open_share=0.55, dark_share=0.3),
    Client("Yahoo", 0.07, YAHOO_PROXY, open_share=0.50),
    Client("Thunderbird", 0.15, THUNDERBIRD, open_share=0.55),
)
GATEWAY_SHARE: Final = 0.06
REOPEN_SHARE: Final = 0.35
CLICK_SHARE: Final = 0.16
LOOK_AGAIN_SHARE: Final = 0.3
# Half of those who ever open do so within five hours; a sixth within the first hour, five in six within a day.
MEDIAN_HOURS: Final = 5.0
SPREAD: Final = 1.6
RELAY_MEDIAN_HOURS: Final = 0.75


@dataclass(frozen=True, order=True)
class Step:
    """Something that happens to a mail, `after` its delivery. `link`, 0 to 1, picks which of its links is clicked."""

    after: timedelta
    kind: Kind
    headers: dict[str, str] = field(compare=False)
    dark: bool = field(default=False, compare=False)
    link: float = field(default=0.0, compare=False)


def client_of(address: str, seed: int) -> Client:
    """The client behind an address, by the shares above."""
    point = random.Random(f"{seed}:client:{address}").random()
    for client in CLIENTS:
        point -= client.share
        if point < 0:
            return client
    return CLIENTS[-1]


def steps(address: str, seed: int, within: timedelta) -> list[Step]:
    """Everything that happens to the mail of `address` within a time of its delivery, in order.

    A gateway scans at delivery; Gmail sometimes fetches ahead; then the reader opens, perhaps again, perhaps clicks.
    """
    client, dice = client_of(address, seed), random.Random(f"{seed}:steps:{address}")
    found: list[Step] = []
    if dice.random() < GATEWAY_SHARE:
        found.append(Step(timedelta(seconds=2), "scan", GATEWAY))
    if dice.random() < client.prefetch_share:
        found.append(Step(timedelta(seconds=4), "prefetch", GMAIL_PREFETCH))
    if dice.random() < client.open_share:
        found += _opens(client, dice)
    return sorted(step for step in found if step.after <= within)


def _opens(client: Client, dice: random.Random) -> list[Step]:
    dark = dice.random() < client.dark_share
    if client.keeps_copy:
        # The device fetches in the background; what the reader sees later is that copy, and only a click tells of it.
        fetched = _delay(dice, RELAY_MEDIAN_HOURS)
        found = [Step(fetched, "fetch", client.headers, dark)]
        seen = max(fetched, _delay(dice, MEDIAN_HOURS))
    else:
        seen = _delay(dice, MEDIAN_HOURS)
        found = [Step(seen, "fetch", client.headers, dark)]
        if dice.random() < REOPEN_SHARE:
            again = seen + _delay(dice, MEDIAN_HOURS * 3)
            found.append(Step(again, "fetch", client.headers, dark))
            seen = again if dice.random() < 0.5 else seen
    if dice.random() < CLICK_SHARE:
        found.append(Step(seen + timedelta(seconds=dice.uniform(5, 90)), "click", BROWSER, link=dice.random()))
    return found


def _delay(dice: random.Random, median_hours: float) -> timedelta:
    """A log-normal delay: long waits are rare but do happen."""
    return timedelta(hours=math.exp(dice.gauss(math.log(median_hours), SPREAD)))
