"""Pictures from outside, made safe to keep: decoded in a process of its own with bounded memory and time.

What comes out is a picture of ours: first frame, upright, sRGB, no metadata, no larger than a hero needs. What a feed
links to and what a manager uploads pass through here alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Final

from base.downloads import MAX_BYTES
from base.errors import InvalidInput

SECONDS: Final = 20.0
TOGETHER: Final = 2
"""Decoders of one process that run at a time; each may use 768 MB."""
_room = threading.BoundedSemaphore(TOGETHER)
_COMMAND: Final = (sys.executable, "-s", "-m", "campaigns.cleaner")
_PASSED: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
"""The child gets no setting of ours, and so no key and no address."""


@dataclass(frozen=True)
class Clean:
    """A picture that may be kept: JPEG or PNG, its size in pixels."""

    body: bytes
    width: int
    height: int


def cleaned(data: bytes, field: str = "picture") -> Clean:
    """The picture made safe. Raises InvalidInput naming `field`, with the reason why it is refused."""
    if not data:
        raise InvalidInput(field, "is empty")
    if len(data) > MAX_BYTES:
        raise InvalidInput(field, f"is larger than {MAX_BYTES / 1e6:g} MB")
    environ = {name: os.environ[name] for name in _PASSED if name in os.environ}
    try:
        with _room:
            done = subprocess.run(_COMMAND, input=data, capture_output=True, timeout=SECONDS, env=environ, check=False)
    except subprocess.TimeoutExpired:
        raise InvalidInput(field, "takes too long to be decoded") from None
    head, _, body = done.stdout.partition(b"\n")
    if done.returncode != 0 or not head:
        # A limit ended it, or a decoder crashed: either way the picture is not one to keep.
        raise InvalidInput(field, "cannot be decoded within the bounds of memory and time")
    told = json.loads(head)
    if "fault" in told:
        raise InvalidInput(field, told["fault"])
    return Clean(body, told["width"], told["height"])
