"""What keeps a campaign from being sent, in the words of its pages."""

from __future__ import annotations

import re
from typing import NamedTuple

FIELD = re.compile(r"[a-z_]+[a-z_0-9.\[\]]*")
PLACES = {
    "message_id": ("The message", "message"),
    "default_landing": ("The address for clicks that lead to no offer", "offers"),
    "slots": ("The places", "offers"),
    "offers": ("An offer", "offers"),
    "creatives": ("A design", "offers"),
    "audience": ("The audience", "audience"),
    "suppress": ("Whom nothing is sold to", "audience"),
    "replenish": ("The categories to restock", "audience"),
    "trigger": ("What the campaign waits for", "audience"),
    "subject": ("The subject", "message"),
    "mjml": ("The mail’s markup", "message"),
    "text": ("The text part", "message"),
    "postal_address": ("The postal address", "message"),
}
"""Where a fault of a field is put right: how the field is called, and its tab."""


class Missing(NamedTuple):
    """What keeps a campaign from being sent, as a sentence, and the tab where it is put right."""

    words: str
    tab: str


def told(line: str) -> Missing:
    """What is missing, in words, with the tab where it is put right."""
    if line.startswith(("The scenario ", "The mail: ", "The text: ")):
        return Missing(line, "checks")
    field, colon, message = line.partition(": ")
    if not colon or not FIELD.fullmatch(field):
        return Missing(line, "schedule")
    if field.endswith(".alt"):
        return Missing(f"An alternative text {message.rstrip('.')}.", "message")
    for start, (words, tab) in PLACES.items():
        if field.startswith(start):
            return Missing(f"{words} {message.rstrip('.')}.", tab)
    return Missing(f"The mail: {message.rstrip('.')}.", "message")
