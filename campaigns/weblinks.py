"""Web addresses that managers type: where a click leads."""

from __future__ import annotations

from urllib.parse import urlsplit

from base.errors import InvalidInput


def host(address: str, field: str) -> str:
    """The host of an address that a mail may lead to. Raises InvalidInput for the field."""
    try:
        parts = urlsplit(address)
        found = parts.hostname
    except ValueError:
        found = None
    if not found or parts.scheme not in ("http", "https"):
        raise InvalidInput(field, "must be an address that begins with https:// or http://")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in address):
        # What takes addresses apart passes over them, but no header of an answer may hold one.
        raise InvalidInput(field, "must be one line without control characters")
    return found
