"""Whether a domain's SPF record lets an address send for it (RFC 7208), asked the way a receiver asks.

Macros that stand for the sender's address are not filled in: a mechanism with one is passed over, and said so.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from campaigns.lookups import Lookups

MAX_LOOKUPS: Final = 10
"""Mechanisms that ask the DNS (RFC 7208 §4.6.4); with one more, receivers take the record for broken."""
Result = Literal["pass", "fail", "softfail", "neutral", "none", "permerror"]
_RESULTS: Final[dict[str, Result]] = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_TERM: Final = re.compile(r"([+\-~?])?([a-z][a-z0-9_.-]*)(?:([:/=])(.*))?")
_ASKING: Final = frozenset({"include", "a", "mx", "ptr", "exists"})
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Broken(Exception):
    """A record that receivers cannot follow; says why."""


@dataclass
class Evaluation:
    """One question after another about one domain's record, by one address; counts what is asked."""

    lookups: Lookups
    asked: int = 0
    passed_over: list[str] = field(default_factory=list)

    def result(self, domain: str, address: Address) -> Result:
        """What the record of a domain says of the address. Raises Broken, NoAnswer."""
        text = record(self.lookups, domain)
        if text is None:
            return "none"
        redirect = ""
        for term in text.split()[1:]:
            found = _TERM.fullmatch(term.lower())
            if found is None:
                raise Broken(f"holds {term}, which is no mechanism")
            sign, name, mark, value = found[1] or "+", found[2], found[3] or "", found[4] or ""
            if mark == "=":
                redirect = value if name == "redirect" else redirect
            elif self._matches(name, mark, value, domain, address):
                return _RESULTS[sign]
        if redirect:
            self._count()
            result = self.result(redirect, address)
            if result == "none":
                raise Broken(f"redirects to {redirect}, which has no SPF record")
            return result
        return "neutral"

    def _matches(self, name: str, mark: str, value: str, domain: str, address: Address) -> bool:
        if name in _ASKING:
            self._count()
        host, _, prefix = (value if mark == ":" else f"/{value}" if mark else "").partition("/")
        if "%{" in host or name in ("ptr", "exists"):
            self.passed_over.append(name)
            return False
        match name:
            case "all":
                return True
            case "ip4" | "ip6":
                return _within(address, value)
            case "include":
                result = Evaluation(self.lookups, self.asked, self.passed_over)
                answer = result.result(host, address)
                self.asked = result.asked
                if answer == "none":
                    raise Broken(f"includes {host}, which has no SPF record")
                return answer == "pass"
            case "a":
                return self._is_of(host or domain, prefix, address)
            case "mx":
                return any(
                    self._is_of(exchanger, prefix, address)
                    for exchanger in self.lookups.exchangers(host or domain)[:MAX_LOOKUPS]
                )
        raise Broken(f"holds {name}, which is no mechanism")

    def _is_of(self, host: str, prefix: str, address: Address) -> bool:
        four, _, six = prefix.partition("//")
        length = (six if address.version == 6 else four) or str(address.max_prefixlen)
        found = (one for one in self.lookups.addresses(host) if ipaddress.ip_address(one).version == address.version)
        return any(_within(address, f"{one}/{length}") for one in found)

    def _count(self) -> None:
        self.asked += 1
        if self.asked > MAX_LOOKUPS:
            raise Broken(f"asks the DNS more than {MAX_LOOKUPS} times, which receivers refuse to do")


def record(lookups: Lookups, domain: str) -> str | None:
    """The SPF record of a domain; None where there is none. Raises Broken where there are two, NoAnswer."""
    found = [text for text in lookups.texts(domain) if text.lower().split(" ")[0] == "v=spf1"]
    if len(found) > 1:
        raise Broken(f"is there {len(found)} times; receivers then take none")
    return found[0] if found else None


def _within(address: Address, network: str) -> bool:
    try:
        range_ = ipaddress.ip_network(network, strict=False)
    except ValueError:
        raise Broken(f"holds {network}, which is no network") from None
    return address.version == range_.version and address in range_
