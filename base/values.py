"""The values of settings: each function reads the text of one kind, and raises ValueError saying what it must be."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

KEY_BYTES = 32
TOKEN_KEY_BYTES = 64
DNS_PORT = 53
_DOMAIN = re.compile(r"(?=.{1,190}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")


def text(value: str) -> str:
    """Any text."""
    return value


def url(*schemes: str) -> Callable[[str], str]:
    """An address with one of these schemes, without a slash at its end."""

    def read(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes:
            raise ValueError(f"must be an address starting with {' or '.join(f'{s}://' for s in schemes)}")
        # PostgreSQL's own addresses may leave the host out, or name a socket's folder behind a question mark.
        if not located(parts) and not parts.scheme.startswith("postgresql"):
            raise ValueError(f"must name a host, as {parts.scheme}://host does")
        return value.rstrip("/") if parts.scheme in {"http", "https"} else value

    return read


def located(parts: SplitResult) -> bool:
    """Whether an address names a host. Raises ValueError where its port is none."""
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("must name a port from 1 to 65535, or none")
    return bool(parts.hostname)


def folder(value: str) -> Path:
    """A folder."""
    return Path(value).expanduser().absolute()


def blob_address(value: str) -> str:
    """A folder to keep blobs in."""
    parts = urlsplit(value)
    if parts.scheme not in {"", "file"}:
        raise ValueError("must be a folder; this version keeps blobs in folders only")
    return str(folder(parts.path))


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number between two bounds, both included."""

    def read(value: str) -> int:
        number = int(value) if value.strip().lstrip("-").isdigit() else None
        if number is None or not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return read


def switch(value: str) -> bool:
    """Yes or no."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if value.strip().lower() not in words:
        raise ValueError("must be 1 or 0")
    return words[value.strip().lower()]


def choice(*words: str) -> Callable[[str], str]:
    """One of these words."""

    def read(value: str) -> str:
        if value.strip().lower() not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return value.strip().lower()

    return read


def host_name(value: str) -> str:
    """A full host name, or an address in brackets."""
    name = value.strip()
    if not re.fullmatch(r"(?i)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+|\[[0-9a-f.:vip]+\]", name) or len(name) > 253:
        raise ValueError("must be a full name such as mailer.example.com")
    return name


def key(size: int) -> Callable[[str], bytes]:
    """A key of so many bytes."""

    def read(value: str) -> bytes:
        try:
            key = bytes.fromhex(value.strip())
        except ValueError:
            key = b""
        if len(key) != size:
            raise ValueError(f"must be {size * 2} hexadecimal digits")
        return key

    return read


def numbered_keys(size: int) -> Callable[[str], dict[int, bytes]]:
    """Keys of so many bytes by their ids, the newest last."""

    def read(value: str) -> dict[int, bytes]:
        keys: dict[int, bytes] = {}
        for part in value.split(","):
            number, _, digits = part.strip().partition(":")
            if not number.isascii() or not number.isdigit() or not 0 <= int(number) <= 255 or int(number) in keys:
                raise ValueError(
                    "must be id:key pairs with distinct ids from 0 to 255, separated by commas, newest last"
                )
            keys[int(number)] = key(size)(digits)
        return keys

    return read


def brand_urls(value: str) -> dict[str, str]:
    """An address for each brand."""
    urls: dict[str, str] = {}
    for part in value.split(","):
        brand, equals, address = part.partition("=")
        if not equals or not brand.strip() or brand.strip() in urls:
            raise ValueError("must be brand=address pairs with distinct brands, separated by commas")
        urls[brand.strip()] = str(url("http", "https")(address.strip()))
    return urls


def networks(value: str) -> tuple[str, ...]:
    """Networks, as addresses or CIDRs."""
    try:
        return tuple(str(ip_network(part.strip())) for part in value.split(","))
    except ValueError:
        raise ValueError("must be addresses or CIDRs such as 10.0.0.0/8, separated by commas") from None


def addresses(value: str) -> tuple[str, ...]:
    """Addresses of hosts."""
    try:
        return tuple(str(ip_address(part.strip())) for part in value.split(","))
    except ValueError:
        raise ValueError("must be addresses such as 192.0.2.10, separated by commas") from None


def name_server(value: str) -> tuple[str, int]:
    """Address and port of a name server: `10.0.0.2`, `10.0.0.2:5353`, `::1`, `[::1]:5353`."""
    address, colon, port = value.strip().rpartition(":")
    if not colon or (":" in address and not address.endswith("]")):
        address, port = value.strip(), str(DNS_PORT)
    try:
        found, number = str(ip_address(address.removeprefix("[").removesuffix("]"))), int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65_536:
        raise ValueError("must be addresses such as 10.0.0.2 or 10.0.0.2:5353, separated by commas")
    return found, number


def name_servers(value: str) -> tuple[str, ...]:
    """Name servers, as they are written."""
    servers = tuple(part.strip() for part in value.split(","))
    for server in servers:
        name_server(server)
    return servers


def domain(value: str) -> str:
    """A domain that mail can be sent to, in small letters."""
    found = value.strip().lower().rstrip(".")
    if not _DOMAIN.fullmatch(found):
        raise ValueError("must be a domain such as bounce.example.com")
    return found


def names(value: str) -> tuple[str, ...]:
    """Names without blanks, separated by commas."""
    found = tuple(part.strip() for part in value.split(","))
    if not all(found) or any(" " in name for name in found):
        raise ValueError("must be names without blanks, separated by commas")
    return found


def countries(value: str) -> tuple[str, ...]:
    """Countries by their two letters (ISO 3166), in capitals."""
    found = tuple(part.strip().upper() for part in value.split(","))
    if not all(len(one) == 2 and one.isascii() and one.isalpha() for one in found):
        raise ValueError("must be countries by two letters such as DE,AT, separated by commas")
    return found


def level(value: str) -> str:
    """A level of the log."""
    if value.upper() not in logging.getLevelNamesMapping():
        raise ValueError("must be debug, info, warning or error")
    return value.lower()
