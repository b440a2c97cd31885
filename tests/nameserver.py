"""A real name server on loopback, written with dnspython, that answers from a table and fails where it is told to."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.serving import serving


class _Asked(socketserver.BaseRequestHandler):
    server: NameServer

    def handle(self) -> None:
        data, reply = self.request
        answer = self.server.answer(data)
        if answer is not None:
            reply.sendto(answer, self.client_address)


class NameServer(socketserver.ThreadingUDPServer):
    """`records` maps (name, type) to values in zone-file form; `failing` names are answered SERVFAIL.

    Only UDP is spoken: no answer of a test is too long for it.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.failing: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Asked)

    @property
    def place(self) -> str:
        """The server as LATEBIND_DNS_SERVERS writes it."""
        host, port = self.server_address[:2]
        return f"{host!s}:{port}"

    def put(self, name: str, kind: str, *values: str) -> None:
        """Give a name these records of a type, in place of those it has; none takes them away."""
        self.records[name.lower().rstrip("."), kind] = list(values)

    def text(self, name: str, *texts: str) -> None:
        """Give a name TXT records, each of one text, however long."""
        self.put(name, "TXT", *(_quoted(text) for text in texts))

    def answer(self, data: bytes) -> bytes | None:
        """What is answered to a question."""
        question = dns.message.from_wire(data)
        asked = question.question[0]
        name, kind = asked.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(asked.rdtype)
        self.asked.append((name, kind))
        reply = dns.message.make_response(question, recursion_available=True)
        values = self.records.get((name, kind), [])
        if name in self.failing:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif values:
            reply.answer.append(dns.rrset.from_text(asked.name, 60, dns.rdataclass.IN, asked.rdtype, *values))
        elif all(known != name for known, _ in self.records):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire(max_size=4096)


def _quoted(text: str) -> str:
    return " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))


@contextmanager
def name_server() -> Iterator[NameServer]:
    """The server while the block runs."""
    server = NameServer()
    with serving(server):
        yield server
