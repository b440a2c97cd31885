"""Slots of a Valkey Cluster: which of the 16,384 a key falls into, as every node computes it."""

from __future__ import annotations

import itertools
from binascii import crc_hqx
from functools import cache
from typing import Final

SLOTS: Final = 16_384


def slot_of(key: bytes | str) -> int:
    """The slot of a key: CRC-16/XMODEM of what stands between its first braces, or of all of it."""
    data = key.encode() if isinstance(key, str) else key
    opened = data.find(b"{")
    if opened >= 0:
        closed = data.find(b"}", opened + 1)
        if closed > opened + 1:
            data = data[opened + 1 : closed]
    return crc_hqx(data, 0) % SLOTS


@cache
def even_tags(count: int) -> tuple[str, ...]:
    """`count` hash tags, the smallest numbers whose slots stand in the middle of as many equal parts of all slots."""
    width = SLOTS // count
    found: dict[int, str] = {}
    for number in itertools.count():
        slot = slot_of(str(number))
        if slot % width == width // 2 and slot // width not in found:
            found[slot // width] = str(number)
            if len(found) == count:
                return tuple(found[place] for place in range(count))
    raise AssertionError  # Numbers do not end.
