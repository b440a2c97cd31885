"""Where a request comes from, told without keeping it: the kind of its network, and how many people it fetches for.

An address is looked at and forgotten. What remains are two derived features: `network`, the kind that the operator's
file of address ranges gives it, and `burst_recipients`, the people whose mails one source fetched from within a second.
The sources of that second stand in memory only, under a hash with a salt that is drawn anew each day.
"""

from __future__ import annotations

import hashlib
import secrets
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from threading import Lock
from typing import Final

from base.errors import SettingError
from render.facts import DAY_MS

Address = IPv4Address | IPv6Address
NETWORKS: Final = ("relay", "google", "gateway")
"""relay: a privacy relay of the readers' devices. google: Google's own. gateway: whoever scans mails for viruses."""
BURST_MS: Final = 1000
MAX_SOURCES: Final = 2048
MAX_RECIPIENTS: Final = 32
"""Recipients counted for one source: more than enough to tell a burst."""
MAX_RANGES: Final = 200_000
_SETTING: Final = "LATEBIND_ADDRESS_RANGES"
_FORWARDED: Final = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_VIA")


class Ranges:
    """Address ranges that do not overlap, each with a word; a look-up is one binary search."""

    def __init__(self, ranges: Iterable[tuple[str, str]]) -> None:
        """`ranges` are pairs of CIDR and word. Raises ValueError naming a range that is malformed or overlaps."""
        self._starts: dict[int, list[int]] = {4: [], 6: []}
        self._ends: dict[int, list[tuple[int, str]]] = {4: [], 6: []}
        parsed = [(ip_network(cidr), word) for cidr, word in ranges]
        for network, word in sorted(parsed, key=lambda entry: (entry[0].version, int(entry[0].network_address))):
            starts, ends = self._starts[network.version], self._ends[network.version]
            first, last = int(network.network_address), int(network.broadcast_address)
            if ends and first <= ends[-1][0]:
                raise ValueError(f"{network} overlaps another range")
            starts.append(first)
            ends.append((last, word))

    def word(self, address: Address) -> str | None:
        """The word of the range that an address is in."""
        number = int(address)
        at = bisect_right(self._starts[address.version], number) - 1
        if at < 0:
            return None
        last, word = self._ends[address.version][at]
        return word if number <= last else None


def read_ranges(path: Path | None) -> Ranges:
    """The operator's file: a line a range, `<CIDR> <relay|google|gateway>`, `#` begins a comment.

    Raises SettingError naming the line at fault.
    """
    if path is None:
        return Ranges(())
    entries: list[tuple[str, str]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise SettingError(_SETTING, "names a file that cannot be read") from None
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in NETWORKS:
            raise SettingError(_SETTING, f"line {number}: write a CIDR and one of {', '.join(NETWORKS)}")
        try:
            ip_network(words[0])
        except ValueError as error:
            raise SettingError(_SETTING, f"line {number}: {error}") from None
        entries.append((words[0], words[1]))
        if len(entries) > MAX_RANGES:
            raise SettingError(_SETTING, f"has more than {MAX_RANGES} ranges")
    try:
        return Ranges(entries)
    except ValueError as error:
        raise SettingError(_SETTING, str(error)) from None


class Origins:
    """Tells the derived features of where requests come from. For many threads; each process counts for itself."""

    def __init__(self, trusted: Iterable[str], ranges: Ranges) -> None:
        """`trusted` are the CIDRs of our own balancers: only what they say about a client's address is believed."""
        self._trusted = tuple(ip_network(cidr) for cidr in trusted)
        self._ranges = ranges
        self._lock = Lock()
        self._salt, self._salt_day = secrets.token_bytes(16), -1
        self._seen: OrderedDict[bytes, dict[int, int]] = OrderedDict()

    def features(self, environ: Mapping[str, object], recipient: int, now_ms: int) -> dict[str, str | int]:
        """`network` where a range names it, `burst_recipients` where there is more than one."""
        address = self.client(environ)
        if address is None or not address.is_global:
            return {}
        found: dict[str, str | int] = {}
        network = self._ranges.word(address)
        if network is not None:
            found["network"] = network
        recipients = self._recipients(address, recipient, now_ms)
        if recipients > 1:
            found["burst_recipients"] = recipients
        return found

    def client(self, environ: Mapping[str, object]) -> Address | None:
        """The address of the client itself; None where a proxy that we do not trust stands in between."""
        peer = _address(str(environ.get("REMOTE_ADDR", "")))
        if peer is None:
            return None
        if not self._is_ours(peer):
            return None if any(name in environ for name in _FORWARDED) else peer
        # The last hop that is not ours is the client: whatever stands before it, the client may have made up.
        for text in reversed(str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")[-8:]):
            hop = _address(text.strip())
            if hop is None or not self._is_ours(hop):
                return hop
        return None

    def _is_ours(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _recipients(self, address: Address, recipient: int, now_ms: int) -> int:
        with self._lock:
            if self._salt_day != now_ms // DAY_MS:
                self._salt, self._salt_day = secrets.token_bytes(16), now_ms // DAY_MS
                self._seen.clear()
            source = hashlib.blake2b(address.packed, key=self._salt, digest_size=16).digest()
            recent = self._seen.pop(source, {})
            if len(recent) >= MAX_RECIPIENTS or any(now_ms - at >= BURST_MS for at in recent.values()):
                recent = {one: at for one, at in recent.items() if now_ms - at < BURST_MS}
            if recipient in recent or len(recent) < MAX_RECIPIENTS:
                recent[recipient] = now_ms
            self._seen[source] = recent
            while len(self._seen) > MAX_SOURCES:
                self._seen.popitem(last=False)
            return len(recent)


def _address(text: str) -> Address | None:
    """An address; one of IPv4 written as IPv6 is that of IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
