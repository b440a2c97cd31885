"""Questions to the DNS: what records say of a domain, by the machine's resolver or by the servers of the settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, Final

import dns.exception
import dns.name
import dns.resolver
import dns.reversename
from dns.nameserver import Do53Nameserver

from base.errors import LatebindError
from base.settings import Settings
from base.values import name_server

SECONDS: Final = 5.0
"""Longest wait for one answer, over all servers and tries."""


class NoAnswer(LatebindError):
    """The DNS does not answer a question; that says nothing of whether the record is there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The DNS does not answer for {name}: try again later.")


class Lookups:
    """Asks the DNS. What does not exist is an empty list; no answer raises NoAnswer."""

    def __init__(self, servers: Iterable[str] = ()) -> None:
        self._servers = tuple(servers)
        self._made: dns.resolver.Resolver | None = None

    @classmethod
    def of(cls, settings: Settings) -> Lookups:
        """By the servers of LATEBIND_DNS_SERVERS, else as the machine does."""
        return cls(settings.dns_servers)

    def texts(self, name: str) -> list[str]:
        """The TXT records of a name, each with its strings joined (RFC 7208 §3.3, RFC 6376 §3.6.2.2)."""
        return [b"".join(record.strings).decode("utf-8", "replace") for record in self._ask(name, "TXT")]

    def addresses(self, name: str) -> list[str]:
        """The IPv4 and IPv6 addresses of a name; of an address, itself."""
        try:
            return [str(ipaddress.ip_address(name))]
        except ValueError:
            return [record.address for kind in ("A", "AAAA") for record in self._ask(name, kind)]

    def exchangers(self, name: str) -> list[str]:
        """The mail exchangers of a domain."""
        return [record.exchange.to_text(omit_final_dot=True) for record in self._ask(name, "MX")]

    def names(self, address: str) -> list[str]:
        """The names that an address points back to."""
        found = self._ask(dns.reversename.from_address(address).to_text(), "PTR")
        return [record.target.to_text(omit_final_dot=True) for record in found]

    def _ask(self, name: str, kind: str) -> list[Any]:
        try:
            return list(self._resolver().resolve(name, kind, search=False, lifetime=SECONDS))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel):
            return []
        except (dns.exception.DNSException, OSError):
            raise NoAnswer(name) from None

    def _resolver(self) -> dns.resolver.Resolver:
        if self._made is None:
            self._made = dns.resolver.Resolver(configure=not self._servers)
            if self._servers:
                self._made.nameservers = [Do53Nameserver(*name_server(server)) for server in self._servers]
        return self._made
