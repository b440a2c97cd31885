"""What a mail server's reply says. Decisions rest on its codes, never on its words.

A refusal can concern the recipient (no such mailbox, it is full), us (the relay does not know us, our address or our
mail is against its policy), or either: many servers give no enhanced code, or one that both could have.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from signals.statuses import DEAD

_ENHANCED: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_OURS_BARE: Final = frozenset({"421", "454", "530", "534", "535", "538", "554"})
"""Without an enhanced code: of a session, its log-in or all of its mail (RFC 4954 §6, RFC 5321 §4.2.3)."""
_OF_OUR_ADDRESS: Final = frozenset({"1.7", "1.8"})
_OF_THEIR_MAILBOX: Final = frozenset({"7.17", "7.18"})
"""The mailbox or its domain has changed hands (RFC 7293)."""


class Concern(Enum):
    """Whom a refusal concerns."""

    RECIPIENT = "recipient"
    US = "us"
    EITHER = "either"


def is_permanent(reply: str) -> bool:
    """Whether a refusal is for good: by its enhanced code, else by its first digit."""
    enhanced = enhanced_code(reply)
    return (enhanced or reply).startswith("5")


def enhanced_code(reply: str) -> str | None:
    """The enhanced status code of a reply (RFC 3463), such as 5.1.1; None when it has none."""
    words = reply.split(maxsplit=2)
    return words[1] if len(words) > 1 and _ENHANCED.fullmatch(words[1]) else None


def is_dead_address(reply: str) -> bool:
    """Whether a refusal says that the address itself is gone."""
    return enhanced_code(reply) in DEAD


def concern(reply: str) -> Concern:
    """Whom the refusal of a recipient or a mail concerns: subjects 1 and 2 are address and mailbox, 7 is policy."""
    enhanced = enhanced_code(reply)
    if enhanced is None:
        return Concern.US if reply[:3] in _OURS_BARE else Concern.EITHER
    detail = enhanced.partition(".")[2]
    if detail in _OF_OUR_ADDRESS:
        return Concern.US
    if detail in _OF_THEIR_MAILBOX or detail.startswith(("1.", "2.")):
        return Concern.RECIPIENT
    return Concern.US if detail.startswith("7.") else Concern.EITHER
