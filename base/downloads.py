"""Fetching what a stranger's address names, and telling it something, without being led into our own network.

A name is resolved once, every address it has is checked, and the connection goes to the checked address itself, with
the name in `Host` and SNI: what was checked is what is connected to, whatever the name says a moment later. A redirect
is a new address and is checked like the first. Time, bytes and redirects are bounded.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from base.clock import monotonic
from base.errors import InvalidInput

MAX_BYTES: Final = 10_000_000
MAX_SECONDS: Final = 15.0
MAX_REDIRECTS: Final = 3
MAX_URL: Final = 2_000
MAX_ADDRESSES: Final = 4
MAX_WORDS: Final = 300
"""Bytes of a refusal that are read."""
PORTS: Final = {"http": 80, "https": 443}
AGENT: Final = "Latebind/0.1"
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_PIECE: Final = 64 * 1024
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[..., list[tuple[Any, ...]]]


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet and to one host.

    Addresses that carry another one inside (IPv4-mapped, 6to4, Teredo, NAT64) never do: they lead to what they carry.
    """
    if isinstance(address, ipaddress.IPv6Address):
        carries = address.ipv4_mapped or address.sixtofour or address.teredo or address in _NAT64
        if carries or address.is_site_local:
            return False
    shut = address.is_private or address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not shut and not address.is_loopback and not address.is_link_local


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: its status, what it says of `Retry-After`, and the first bytes of what a refusal says."""

    status: int
    retry_after: str | None
    words: bytes


class Unreached(InvalidInput):
    """The other side was not given all of a call: it cannot have acted on it."""


class Unanswered(InvalidInput):
    """All of a call was given to the network, and no answer came: the other side may have acted on it or not."""


@dataclass(frozen=True)
class Downloads:
    """A guarded GET or POST. `loopback` lets it reach this machine, on any port: for tests and the demo only.

    `seconds` bounds one download, redirects included, from the first connection on; the system's resolver has bounds
    of its own. At most so many `redirects` are followed. `named` is the field at fault in errors.
    """

    loopback: bool = False
    seconds: float = MAX_SECONDS
    max_bytes: int = MAX_BYTES
    redirects: int = MAX_REDIRECTS
    named: str = "link"
    resolve: Resolve = socket.getaddrinfo
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def get(self, url: str) -> bytes:
        """The body. Raises InvalidInput with a reason that a person can act on."""
        cut = _Cut(self.seconds)
        try:
            for _ in range(self.redirects + 1):
                answer = self._ask(url, cut)
                if isinstance(answer, bytes):
                    return answer
                url = self._joined(url, answer)
            raise self._refusal(f"redirects more than {self.redirects} times")
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            if cut.fell:
                raise self._refusal(f"took longer than {self.seconds:g} seconds") from None
            raise self._refusal(_told(error)) from None
        finally:
            cut.end()

    def check(self, url: str) -> None:
        """Raises InvalidInput for an address that nothing is ever told to, whatever it resolves to."""
        if not self.loopback and not url.lower().startswith("https://"):
            raise self._refusal("must begin with https://")
        self._place(url)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Send a body; the status of the answer. Raises InvalidInput when none came, as `call` does."""
        return self.call(url, body, headers).status

    def call(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        """Send a body, which must not be empty; what was answered. A redirect is an answer like any other.

        Raises InvalidInput with a reason that a person can act on: Unanswered where all of it was given to the network
        and no answer came, else nothing can have acted on it: Unreached where that is the network's fault, a plain one
        where the address may not be called at all.
        """
        self.check(url)
        place = self._place(url)
        cut = _Cut(self.seconds)
        was_sent = False
        try:
            connection = self._connected(place, cut)
            try:
                _send(connection, place, body, {"User-Agent": AGENT, **headers})
                was_sent = True
                with closing(connection.getresponse()) as response:
                    return Answered(response.status, response.getheader("Retry-After"), _beginning(response))
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            reason = f"took longer than {self.seconds:g} seconds" if cut.fell else _told(error)
            raise (Unanswered if was_sent else Unreached)(self.named, reason) from None
        finally:
            cut.end()

    def _joined(self, url: str, to: str) -> str:
        """Where a redirect leads."""
        try:
            return urljoin(url, to)
        except ValueError:
            raise self._refusal("redirects to what is not a valid address") from None

    def _refusal(self, reason: str) -> InvalidInput:
        return InvalidInput(self.named, reason)

    def _ask(self, url: str, cut: _Cut) -> bytes | str:
        """One request: the body, or where it redirects to."""
        place = self._place(url)
        connection = self._connected(place, cut)
        try:
            connection.request("GET", _target(place), headers={"User-Agent": AGENT, "Accept-Encoding": "identity"})
            with closing(connection.getresponse()) as response:
                if response.status in _REDIRECTS:
                    return response.getheader("Location") or ""
                if response.status != 200:
                    raise self._refusal(f"answers with status {response.status}")
                if response.getheader("Content-Encoding", "identity").lower() != "identity":
                    raise self._refusal("answers with a compressed body that was not asked for")
                return self._body(response, cut)
        finally:
            connection.close()

    def _body(self, response: http.client.HTTPResponse, cut: _Cut) -> bytes:
        too_large = self._refusal(f"is larger than {self.max_bytes / 1e6:g} MB")
        if (response.length or 0) > self.max_bytes:
            raise too_large
        told = response.length
        body = bytearray()
        while piece := response.read1(_PIECE):
            body += piece
            if len(body) > self.max_bytes:
                raise too_large
        if cut.fell:
            raise TimeoutError
        if told is not None and len(body) < told:
            raise self._refusal("ended before all of it was there")
        return bytes(body)

    def _place(self, url: str) -> SplitResult:
        """The address taken apart. Raises InvalidInput for what is not fetched whatever it resolves to."""
        try:
            place = urlsplit(url)
            port = place.port
        except ValueError:
            raise self._refusal("is not a valid address") from None
        if len(url) > MAX_URL:
            raise self._refusal(f"is longer than {MAX_URL} characters")
        if place.scheme not in PORTS or not place.hostname:
            raise self._refusal("must begin with http:// or https:// and name a host")
        if place.username is not None or place.password is not None:
            raise self._refusal("must not carry a user name or password")
        if port not in (None, *PORTS.values()) and not self.loopback:
            raise self._refusal("must use port 80 or 443")
        return place

    def _connected(self, place: SplitResult, cut: _Cut) -> http.client.HTTPConnection:
        """A connection to an address that was checked."""
        host = (place.hostname or "").encode("idna").decode()
        port = place.port or PORTS[place.scheme]
        last: OSError = OSError("the host has no address")
        for address in self._addresses(host, port):
            try:
                sock = socket.create_connection((str(address), port), timeout=cut.left)
            except OSError as error:
                last = error
                continue
            connection = http.client.HTTPConnection(host, port)
            connection.default_port = PORTS[place.scheme]  # what Host leaves out
            connection.sock = sock
            try:
                cut.over(sock)
                if place.scheme == "https":
                    connection.sock = self.trust.wrap_socket(sock, server_hostname=host)
                    cut.over(connection.sock)
            except BaseException:
                connection.close()
                raise
            return connection
        raise last

    def _addresses(self, host: str, port: int) -> list[Address]:
        """All addresses of a name, every one of them allowed. Raises InvalidInput when one is not."""
        found = [
            ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
            for entry in self.resolve(host, port, type=socket.SOCK_STREAM)
        ]
        for address in found:
            if not (is_public(address) or (self.loopback and address.is_loopback)):
                raise self._refusal("leads to an address that is not on the public internet")
            if not address.is_loopback and port not in PORTS.values():
                raise self._refusal("must use port 80 or 443")
        return found[:MAX_ADDRESSES]


class _Cut:
    """Cuts the connection of a download when its time is over: a timeout per read would let a slow drip go on."""

    def __init__(self, seconds: float) -> None:
        self.fell = False
        self._ends = monotonic() + seconds
        self._sock: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._fall)
        self._timer.daemon = True
        self._timer.start()

    @property
    def left(self) -> float:
        """Seconds until the time is over, for a connection that is only being made. Raises TimeoutError: it is."""
        left = self._ends - monotonic()
        if left <= 0:
            self.fell = True
            raise TimeoutError
        return left

    def over(self, sock: socket.socket) -> None:
        """Watch this connection from now on."""
        with self._lock:
            self._sock = sock
            if self.fell:
                raise TimeoutError

    def end(self) -> None:
        """Watch no more."""
        self._timer.cancel()
        self._timer.join()

    def _fall(self) -> None:
        with self._lock:
            self.fell = True
            if self._sock is not None:
                try:
                    self._sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return  # it was closed already


def _send(connection: http.client.HTTPConnection, place: SplitResult, body: bytes, headers: Mapping[str, str]) -> None:
    """Send a POST. Raises OSError only while its last byte has not been given to the system.

    `sendall` would not say how far it came, so a connection that breaks there could mean anything; a request without
    its last byte means nothing.
    """
    connection.putrequest("POST", _target(place), skip_accept_encoding=True)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body[:-1])
    sock: socket.socket = connection.sock
    # The last byte must not wait for the others to be acknowledged.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.send(body[-1:])


def _beginning(response: http.client.HTTPResponse) -> bytes:
    """The first bytes of a refusal; nothing where they do not come, for the status says it all."""
    if 200 <= response.status < 300:
        return b""
    try:
        return response.read1(MAX_WORDS)
    except (OSError, http.client.HTTPException):
        return b""


def _target(place: SplitResult) -> str:
    """Path and query as they go on the wire; what a feed left unquoted is quoted, what is quoted stays."""
    path = quote(place.path or "/", safe="/%:@!$&'()*+,;=~")
    query = quote(place.query, safe="/%:@!$&'()*+,;=~?")
    return f"{path}?{query}" if query else path


def _told(error: Exception) -> str:
    """What went wrong, for a person."""
    match error:
        case socket.gaierror():
            return "names a host that cannot be found"
        case ssl.SSLCertVerificationError():
            return "has a certificate that is not trusted"
        case TimeoutError():
            return "does not answer in time"
        case ConnectionRefusedError():
            return "refuses the connection"
        case UnicodeError():
            return "is not a valid address"
        case http.client.HTTPException():
            return "answers with something that is not HTTP"
        case _:
            return "cannot be reached"
