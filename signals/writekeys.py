"""Write keys in what senders say: a call may carry the key it comes by as `writeKey`, and nothing of that is kept.

It is no part of what a call says (signals/signal.py has what is), so a call with it and the same without are repeats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from signals.events import REJECTED_BODY

NAME: Final = "writeKey"
_QUOTES: Final = r"(?:[\\\"']|%5c|%22|%27)*"
_BLANKS: Final = r"(?:\s|\+|%20)*"
SPELT: Final = re.compile(
    rf"(write(?:[_-]|%5f|%2d)?key{_QUOTES}{_BLANKS}(?:[:=]|%3a|%3d){_BLANKS}{_QUOTES})"
    rf"(?:(?!%(?:22|27|2c|26|7d|5d|5c))[^\s\\\"',;&}}\]])+",
    re.IGNORECASE,
)
"""A write key in a text, as of JSON that cannot be read or of a form, with escapes or without; what stands before it
is its first group."""
_BYTES: Final = re.compile(SPELT.pattern.encode(), re.IGNORECASE)


def dropped(call: object) -> bool:
    """Take the key out of a call, and out of the calls within where it is a batch or a list; whether there was one."""
    held = [one for one in _calls(call) if NAME in one]
    for one in held:
        del one[NAME]
    return bool(held)


def without(body: bytes) -> bytes:
    """A body that is refused, without the keys in it; as it came where it is too long to be kept."""
    if len(body) > REJECTED_BODY:
        return body
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _BYTES.sub(rb"\1", body)
    if isinstance(raw, str):
        return _BYTES.sub(rb"\1", body)
    return msgspec.json.encode(raw) if dropped(raw) else body


def _calls(value: object) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            one = one.get("batch")
        if isinstance(one, list):
            waiting += one
